//! What a metric is, and what its value is read from.

use crate::data::lens::LensView;
use crate::data::part_counts::StageHistogram;
use crate::page::disk::DiskRoom;
use crate::page::now::LineNow;
use jiff::Timestamp;

/// What the metrics are read from.
#[derive(Debug)]
pub struct Readings {
    /// Time of the reading.
    pub at: Timestamp,
    /// The line.
    pub now: LineNow,
    /// What the cameras' lenses show.
    pub lenses: Vec<LensView>,
    /// The disk of the store.
    pub disk: Option<DiskRoom>,
    /// Events that the page had no room for.
    pub events_missed: u64,
    /// Connections of the page.
    pub connections: usize,
    /// Stages without a sign of life.
    pub stuck: usize,
}

/// Kinds of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Grows, and begins at 0 with each run.
    Counter,
    /// A value at the moment.
    Gauge,
    /// Numbers of parts by time.
    Histogram,
}

/// One metric.
pub struct MetricRow {
    /// Name, as queries have it; a histogram's without `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// Kind.
    pub kind: MetricKind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Meaning.
    pub help: &'static str,
    /// Its samples.
    pub(super) read: fn(&Readings) -> Vec<Sample>,
}

/// One value with the values of its labels.
pub struct Sample {
    /// Values of the labels.
    pub(super) labels: Vec<String>,
    /// The value.
    pub(super) value: SampleValue,
}

pub(super) enum SampleValue {
    Number(f64),
    Histogram(Box<StageHistogram>),
}
