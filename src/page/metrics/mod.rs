//! `/metrics` for Prometheus: one table of all metrics (`rows`), each read from the line's own counters.
//!
//! Nothing is counted here: frames are those of the tickets, results those of the store, verdicts and
//! times those of `data::part_counts`. Names end in the unit, and counters in `_total`; docs/metrics.md
//! has the same table, and a test compares both.

mod row;
mod rows;

use self::row::SampleValue;
use crate::data::part_counts::BUCKETS;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use std::fmt;

pub use self::row::{MetricKind, MetricRow, Readings};
pub use self::rows::METRICS;

/// Media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of `/metrics`.
///
/// # Errors
/// When the text cannot be written, which a string never refuses.
pub fn encode(readings: Readings) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(readings));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;

    Ok(text)
}

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for row in METRICS {
            // The encoder adds `_total` by itself.
            let (name, kind) = match row.kind {
                MetricKind::Counter => (row.name.trim_end_matches("_total"), MetricType::Counter),
                MetricKind::Gauge => (row.name, MetricType::Gauge),
                MetricKind::Histogram => (row.name, MetricType::Histogram),
            };

            let mut metric = encoder.encode_descriptor(name, row.help, None, kind)?;

            for sample in (row.read)(self) {
                let labels: Vec<(&str, &str)> = row
                    .labels
                    .iter()
                    .copied()
                    .zip(sample.labels.iter().map(String::as_str))
                    .collect();

                if labels.is_empty() {
                    encode_value(&mut metric, row.kind, &sample.value)?;
                } else {
                    let mut metric = metric.encode_family(&labels)?;
                    encode_value(&mut metric, row.kind, &sample.value)?;
                }
            }
        }

        Ok(())
    }
}

fn encode_value(
    metric: &mut MetricEncoder,
    kind: MetricKind,
    value: &SampleValue,
) -> Result<(), fmt::Error> {
    match value {
        SampleValue::Number(number) if kind == MetricKind::Counter => {
            metric.encode_counter(number, None::<&Exemplar<NoLabelSet, f64>>)
        }

        SampleValue::Number(number) => metric.encode_gauge(number),
        SampleValue::Histogram(histogram) => {
            let bounds = BUCKETS.iter().copied().chain([f64::MAX]);
            let buckets: Vec<(f64, u64)> = bounds.zip(histogram.buckets).collect();
            let count = histogram.buckets.iter().sum();

            metric.encode_histogram::<NoLabelSet>(histogram.sum, count, &buckets, None)
        }
    }
}
