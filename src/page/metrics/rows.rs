//! The table of all metrics, each read from the line's own counters.

use super::row::MetricKind::{Counter, Gauge, Histogram};
use super::row::{MetricKind, MetricRow, Readings, Sample, SampleValue};
use crate::base::cpu;
use crate::camera::{CameraState, CameraStatus};
use crate::data::counters::TallyCount;
use crate::data::evidence_counts::EvidenceFigures;
use crate::data::lens::LensView;
use crate::data::part_counts::{STAGES, VerdictCount};
use crate::data::result::whole_ms;
use crate::page::board::source;
use crate::protocol::codes;
use crate::protocol::metrics::CameraMetrics;

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
        |from| vec![sample(&[from.now.condition.state.word()], 1.0)],
    ),
    row(
        "winspect_health",
        Gauge,
        &[],
        "health after NE 107: 0 normal, 1 maintenance required, 2 off spec, 3 check function, 4 failure",
        |from| one(f64::from(codes::of_health(from.now.condition.health))),
    ),
    row(
        "winspect_cause",
        Gauge,
        &["source"],
        "1 for each present cause of the health, drift among them, by its source",
        |from| {
            let causes = from.now.condition.causes.iter();
            let mut sources: Vec<&str> = causes.map(|cause| source(cause)).collect();
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
        "winspect_evidence_kept_total",
        Counter,
        &[],
        "parts kept in the evidence folder; none where none are kept",
        |from| evidence(from, |evidence| evidence.kept),
    ),
    row(
        "winspect_evidence_missed_total",
        Counter,
        &[],
        "parts that the rule of the evidence would keep and that were not kept: no room on the way, or the disk refused",
        |from| evidence(from, |evidence| evidence.missed),
    ),
    row(
        "winspect_evidence_bytes",
        Gauge,
        &[],
        "size of what the evidence folder keeps",
        |from| evidence(from, |evidence| evidence.bytes),
    ),
    row(
        "winspect_evidence_waiting_bytes",
        Gauge,
        &[],
        "pictures on their way to the evidence folder",
        |from| evidence(from, |evidence| evidence.waiting_bytes),
    ),
    row(
        "winspect_lens_brightness",
        Gauge,
        &["camera"],
        "brightness of the last parts that passed, 0 to 255 (docs/drift.md)",
        |from| lenses(from, |lens| lens.figures.brightness),
    ),
    row(
        "winspect_lens_sharpness",
        Gauge,
        &["camera"],
        "sharpness of the last parts that passed, the variance of the Laplacian in squared grey levels",
        |from| lenses(from, |lens| lens.figures.sharpness),
    ),
    row(
        "winspect_lens_saturated_ratio",
        Gauge,
        &["camera"],
        "share of pixels at the sensor's end in the last parts that passed",
        |from| lenses(from, |lens| lens.figures.saturated),
    ),
    row(
        "winspect_lens_unlike_ratio",
        Gauge,
        &["camera"],
        "the largest share of the last parts on which one place is unlike the references",
        |from| lenses(from, LensView::worst_share),
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

/// A figure of the evidence, where parts are kept.
fn evidence(from: &Readings, read: impl Fn(&EvidenceFigures) -> u64) -> Vec<Sample> {
    known(
        from.now
            .evidence
            .as_ref()
            .map(|figures| read(figures) as f64),
    )
}

/// A figure of each camera's lens, once parts have passed.
fn lenses(from: &Readings, read: impl Fn(&LensView) -> f32) -> Vec<Sample> {
    let seen = from.lenses.iter().filter(|lens| lens.parts > 0);
    seen.map(|lens| sample(&[&lens.camera], f64::from(read(lens))))
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
