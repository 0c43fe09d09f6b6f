//! `/metrics` for Prometheus: one table of all metrics, each read from the line's own counters.
//!
//! Nothing is counted here: frames are those of the tickets, results those of the store, verdicts and
//! times those of `data::part_counts`. Names end in the unit, and counters in `_total`; docs/metrics.md
//! has the same table, and a test compares both.

use super::disk::DiskRoom;
use super::now::LineNow;
use crate::base::cpu;
use crate::base::health::{Health, LineState};
use crate::camera::{CameraState, CameraStatus};
use crate::data::counters::TallyCount;
use crate::data::part_counts::{BUCKETS, STAGES, StageHistogram, VerdictCount};
use crate::data::result::whole_ms;
use crate::protocol::metrics::CameraMetrics;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use std::fmt;

/// Media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the metrics are read from.
#[derive(Debug)]
pub struct Readings {
    /// Time of the reading.
    pub at: Timestamp,
    /// The line.
    pub now: LineNow,
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
    read: fn(&Readings) -> Vec<Sample>,
}

/// One value with the values of its labels.
struct Sample {
    labels: Vec<String>,
    value: SampleValue,
}

enum SampleValue {
    Number(f64),
    Histogram(Box<StageHistogram>),
}

use MetricKind::{Counter, Gauge, Histogram};

/// All metrics.
pub const METRICS: &[MetricRow] = &[
    row(
        "winspect_info",
        Gauge,
        &["version", "recipe", "model", "backend", "device"],
        "1; the labels name what judges",
        |from| {
            let identity = &from.now.identity;
            let labels = [
                identity.version,
                &identity.recipe,
                &identity.model,
                &identity.backend,
                &identity.device,
            ];

            vec![sample(&labels, 1.0)]
        },
    ),
    row(
        "winspect_ready",
        Gauge,
        &[],
        "1 if a part that came now would be judged",
        |from| one(flag(from.now.condition.ready)),
    ),
    row(
        "winspect_state",
        Gauge,
        &["state"],
        "1 for the state of the line (OPC 40100-1)",
        |from| vec![sample(&[state_word(from.now.condition.state)], 1.0)],
    ),
    row(
        "winspect_health",
        Gauge,
        &[],
        "health after NE 107: 0 normal, 1 maintenance required, 2 off spec, 3 check function, 4 failure",
        |from| one(f64::from(health_number(from.now.condition.health))),
    ),
    row(
        "winspect_cause",
        Gauge,
        &["source"],
        "1 for each present cause of the health, drift among them, by its source",
        |from| {
            let causes = from.now.condition.causes.iter();
            let mut sources: Vec<&str> = causes.map(|cause| super::board::source(cause)).collect();
            sources.dedup();

            sources
                .into_iter()
                .map(|source| sample(&[source], 1.0))
                .collect()
        },
    ),
    row(
        "winspect_frames_captured_total",
        Counter,
        &["camera"],
        "frames captured, whatever became of them",
        |from| cameras(from, |camera| Some(camera.frames.captured as f64)),
    ),
    row(
        "winspect_frames_total",
        Counter,
        &["camera", "outcome"],
        "frames by their outcome: judged, replaced, skipped, failed, stopped",
        |from| {
            let mut samples = vec![];

            for (name, camera) in &from.now.metrics.cameras {
                for (outcome, count) in outcomes(&camera.frames) {
                    samples.push(sample(&[name, outcome], count as f64));
                }
            }

            samples
        },
    ),
    row(
        "winspect_frames_waiting",
        Gauge,
        &["camera"],
        "frames captured and without an outcome: in the queue, and in work",
        |from| cameras(from, |camera| Some(camera.frames.on_their_way() as f64)),
    ),
    row(
        "winspect_camera_up",
        Gauge,
        &["camera"],
        "1 if the camera shows pictures, or would at a trigger",
        |from| {
            states(from, |status| {
                let state = status.map(|status| status.state);
                Some(flag(matches!(
                    state,
                    Some(CameraState::Online | CameraState::Idle)
                )))
            })
        },
    ),
    row(
        "winspect_camera_retries",
        Gauge,
        &["camera"],
        "tries to get the camera back since it was last there",
        |from| states(from, |status| Some(status?.retries as f64)),
    ),
    row(
        "winspect_camera_clock_offset_seconds",
        Gauge,
        &["camera"],
        "distance of the camera's clock from ours, positive where it is ahead; none without a clock of its own",
        |from| {
            states(from, |status| {
                Some(whole_ms(status?.clock_offset?) as f64 / 1e3)
            })
        },
    ),
    row(
        "winspect_web_unseen_meters_total",
        Counter,
        &["camera"],
        "length of a web that no frame showed",
        |from| cameras(from, |camera| Some(camera.unseen_mm as f64 / 1e3)),
    ),
    row(
        "winspect_parts_total",
        Counter,
        &[],
        "parts that were given a number",
        |from| one(from.now.metrics.store.accepted as f64),
    ),
    row(
        "winspect_parts_open",
        Gauge,
        &[],
        "parts that have a number and no result yet",
        |from| one(from.now.metrics.store.open as f64),
    ),
    row(
        "winspect_results_total",
        Counter,
        &[],
        "results that stand; with the open parts they are the numbered ones",
        |from| one(from.now.metrics.store.results as f64),
    ),
    row(
        "winspect_verdicts_total",
        Counter,
        &["place", "verdict"],
        "results by place and verdict: pass, fail, undecided, and challenge for known parts; together the results",
        |from| {
            let mut samples = vec![];

            for (place, counts) in &from.now.parts.places {
                for (verdict, count) in verdicts(counts) {
                    samples.push(sample(&[place, verdict], count as f64));
                }
            }

            samples
        },
    ),
    row(
        "winspect_rejected_total",
        Counter,
        &["place"],
        "parts that the gate has to reject",
        |from| {
            let places = from.now.parts.places.iter();
            places
                .map(|(place, counts)| sample(&[place], counts.rejected as f64))
                .collect()
        },
    ),
    row(
        "winspect_undecided_total",
        Counter,
        &["reason"],
        "results without a verdict, by reason, known parts among them",
        |from| {
            let reasons = from.now.parts.reasons.iter();
            reasons
                .map(|(reason, count)| sample(&[reason], *count as f64))
                .collect()
        },
    ),
    row(
        "winspect_late_verdicts_total",
        Counter,
        &[],
        "verdicts that came after their part's result",
        |from| one(from.now.metrics.store.late as f64),
    ),
    row(
        "winspect_stage_seconds",
        Histogram,
        &["stage"],
        "time of a part in each stage: queue, decode, pixels, encode, score; total from arrival to verdict",
        |from| {
            let stages = STAGES.iter().zip(&from.now.parts.stages);
            stages
                .map(|(stage, histogram)| Sample {
                    labels: vec![(*stage).to_owned()],
                    value: SampleValue::Histogram(Box::new(*histogram)),
                })
                .collect()
        },
    ),
    row(
        "winspect_shift_check_overdue",
        Gauge,
        &[],
        "1 while a shift check is overdue; none where none is asked for",
        |from| known(from.now.checks.is_overdue.map(flag)),
    ),
    row(
        "winspect_shift_check_passed",
        Gauge,
        &[],
        "1 if the newest shift check that is over passed, 0 if it failed; none without one",
        |from| known(from.now.checks.has_passed.map(flag)),
    ),
    row(
        "winspect_shift_check_age_seconds",
        Gauge,
        &[],
        "time since a shift check of the recipe that judges passed; none without one",
        |from| {
            let passed = from.now.checks.passed_at;
            known(passed.map(|at| from.at.duration_since(at).as_secs_f64().max(0.0)))
        },
    ),
    row(
        "winspect_broker_up",
        Gauge,
        &[],
        "1 while the broker has the line as a client",
        |from| one(flag(from.now.broker.is_connected)),
    ),
    row(
        "winspect_results_waiting",
        Gauge,
        &[],
        "results on their way to the broker",
        |from| one(from.now.metrics.store.waiting as f64),
    ),
    row(
        "winspect_results_aside",
        Gauge,
        &[],
        "waiting results that the broker refuses while it takes others",
        |from| one(from.now.metrics.store.aside as f64),
    ),
    row(
        "winspect_results_acked_total",
        Counter,
        &[],
        "results that the broker has",
        |from| one(from.now.metrics.store.acked as f64),
    ),
    row(
        "winspect_results_given_up_total",
        Counter,
        &[],
        "results that the broker never gets",
        |from| one(from.now.metrics.store.given_up as f64),
    ),
    row(
        "winspect_results_earlier_total",
        Counter,
        &[],
        "results that earlier runs left for the broker",
        |from| one(from.now.metrics.store.earlier as f64),
    ),
    row(
        "winspect_rejects_told_total",
        Counter,
        &[],
        "rejected parts that were told in time when they were at the gate",
        |from| one(from.now.metrics.store.rejects_told as f64),
    ),
    row(
        "winspect_rejects_missed_total",
        Counter,
        &[],
        "rejected parts that went by the gate untold",
        |from| one(from.now.metrics.store.rejects_missed as f64),
    ),
    row(
        "winspect_heatmaps_dropped_total",
        Counter,
        &[],
        "heat maps for which there was no room on the way to the broker",
        |from| one(from.now.metrics.heatmaps_dropped as f64),
    ),
    row(
        "winspect_commit_seconds",
        Gauge,
        &[],
        "time of the last commit of the store",
        |from| one(from.now.metrics.store.commit_ms as f64 / 1e3),
    ),
    row(
        "winspect_commit_longest_seconds",
        Gauge,
        &[],
        "time of the longest commit of the run",
        |from| one(from.now.metrics.store.longest_commit_ms as f64 / 1e3),
    ),
    row(
        "winspect_disk_free_bytes",
        Gauge,
        &[],
        "room on the disk of the store",
        |from| known(from.disk.map(|room| room.free as f64)),
    ),
    row(
        "winspect_disk_size_bytes",
        Gauge,
        &[],
        "size of the disk of the store",
        |from| known(from.disk.map(|room| room.size as f64)),
    ),
    row(
        "winspect_clock_synchronised",
        Gauge,
        &[],
        "1 if the system's clock is steered; none where the kernel does not say",
        |from| known(from.now.condition.clock_synchronised.map(flag)),
    ),
    row(
        "winspect_stages_stuck",
        Gauge,
        &[],
        "stages without a sign of life for a minute",
        |from| one(from.stuck as f64),
    ),
    row(
        "winspect_page_connections",
        Gauge,
        &[],
        "open connections of the page",
        |from| one(from.connections as f64),
    ),
    row(
        "winspect_page_events_missed_total",
        Counter,
        &[],
        "events that the page did not show, because it was behind",
        |from| one(from.events_missed as f64),
    ),
    row(
        "process_cpu_seconds_total",
        Counter,
        &[],
        "processor time of the process",
        |_| one(cpu::of_process().as_secs_f64()),
    ),
];

const fn row(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
    read: fn(&Readings) -> Vec<Sample>,
) -> MetricRow {
    MetricRow {
        name,
        kind,
        labels,
        help,
        read,
    }
}

fn sample(labels: &[&str], value: f64) -> Sample {
    Sample {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        value: SampleValue::Number(value),
    }
}

fn one(value: f64) -> Vec<Sample> {
    vec![sample(&[], value)]
}

/// The value where it is known, and no sample else.
fn known(value: Option<f64>) -> Vec<Sample> {
    value.map_or_else(Vec::new, one)
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

fn cameras(from: &Readings, read: impl Fn(&CameraMetrics) -> Option<f64>) -> Vec<Sample> {
    let cameras = from.now.metrics.cameras.iter();
    cameras
        .filter_map(|(name, camera)| Some(sample(&[name], read(camera)?)))
        .collect()
}

fn states(from: &Readings, read: impl Fn(Option<&CameraStatus>) -> Option<f64>) -> Vec<Sample> {
    let cameras = from.now.cameras.iter();
    cameras
        .filter_map(|(name, status)| Some(sample(&[name], read(status.as_ref())?)))
        .collect()
}

fn outcomes(frames: &TallyCount) -> [(&'static str, u64); 5] {
    [
        ("judged", frames.judged),
        ("replaced", frames.replaced),
        ("skipped", frames.skipped),
        ("failed", frames.failed),
        ("stopped", frames.stopped),
    ]
}

fn verdicts(counts: &VerdictCount) -> [(&'static str, u64); 4] {
    [
        ("pass", counts.pass),
        ("fail", counts.fail),
        ("undecided", counts.undecided),
        ("challenge", counts.challenged),
    ]
}

fn state_word(state: LineState) -> &'static str {
    match state {
        LineState::ContinuousExecution => "ContinuousExecution",
        LineState::Ready => "Ready",
        LineState::Preoperational => "Preoperational",
        LineState::Initialized => "Initialized",
        LineState::Error => "Error",
        LineState::Halted => "Halted",
    }
}

fn health_number(health: Health) -> u8 {
    match health {
        Health::Normal => 0,
        Health::MaintenanceRequired => 1,
        Health::OffSpec => 2,
        Health::CheckFunction => 3,
        Health::Failure => 4,
    }
}

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
                Counter => (row.name.trim_end_matches("_total"), MetricType::Counter),
                Gauge => (row.name, MetricType::Gauge),
                Histogram => (row.name, MetricType::Histogram),
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
        SampleValue::Number(number) if kind == Counter => {
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
