//! The messages as the broker sees them: JSON, flat at the top, every key always there, null where not computed.

use crate::base::health::LineCondition;
use crate::camera::CameraStatus;
use crate::data::counters::TallyCount;
use crate::data::frame::CapturedBy;
use crate::data::map::Map;
use crate::data::part::Part;
use crate::data::report::{CameraView, DecisionPolicy, Report};
use crate::data::verdict::{Defect, Reason, Verdict};
use crate::store::{Previous, Reject, StoreCount};
use base64::Engine;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Raised when a key changes its meaning.
pub const SCHEMA: u32 = 1;
/// A result stays small: a larger map is max-pooled to this side, more regions stay with the heat map.
const MAP_SIDE_MAX: usize = 16;
const REGIONS_MAX: usize = 3;
/// Bytes.
const DETAIL_MAX: usize = 160;

/// What is the same in every message of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    pub prefix: String,
    pub station: String,
    pub run_id: String,
    pub version: &'static str,
    pub cameras: Vec<String>,
    pub recipe: String,
    pub model: String,
    pub backend: String,
    pub device: String,
    pub references: usize,
    /// Of the references' pixels; nothing without any.
    pub gallery: Option<String>,
    /// Nothing where there are regions with names: each has its own.
    pub threshold: Option<f32>,
    /// Where the last run ended, by camera.
    pub previous: Vec<Previous>,
    /// The threshold of each region that has a name.
    pub regions: BTreeMap<String, Option<f32>>,
}

impl Identity {
    /// What judges, and where each region's limit is.
    pub fn judged_by(&mut self, judges: &[(Option<Arc<str>>, DecisionPolicy)]) {
        self.recipe = judges
            .first()
            .map_or_else(String::new, |(_, judge)| judge.recipe.to_string());
        self.threshold = judges
            .iter()
            .find(|(region, _)| region.is_none())
            .and_then(|(_, judge)| judge.threshold);
        let named = judges
            .iter()
            .filter_map(|(region, judge)| Some((region.as_ref()?.to_string(), judge.threshold)));
        self.regions = named.collect();
    }
}

#[derive(Serialize)]
struct Birth<'a> {
    schema: u32,
    #[serde(flatten)]
    identity: &'a Identity,
    at: String,
}

/// Which part a message is about: its first keys.
#[derive(Serialize)]
struct About<'a> {
    schema: u32,
    seq: u64,
    run_id: &'a str,
    part_id: Option<&'a str>,
    station: &'a str,
    camera: &'a str,
    region: Option<&'a str>,
}

impl<'a> About<'a> {
    fn of(part: &'a Part, identity: &'a Identity) -> Self {
        About {
            schema: SCHEMA,
            seq: part.seq,
            run_id: &part.run_id,
            part_id: part.ask.part_id.as_deref(),
            station: &identity.station,
            camera: &part.ask.camera,
            region: part.ask.region.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct ResultMessage<'a> {
    #[serde(flatten)]
    about: About<'a>,
    verdict: Verdict,
    evaluation: u8,
    /// What the gate does.
    reject: bool,
    score: Option<f32>,
    threshold: Option<f32>,
    margin: Option<f32>,
    captured_at: String,
    captured_by: CapturedBy,
    latency_ms: LatencyMs,
    deadline_ms: u64,
    deadline_met: bool,
    reject_in_ms: Option<f64>,
    reject_at_count: Option<i64>,
    count: Option<i64>,
    position: Option<f64>,
    recipe: &'a str,
    model: &'a str,
    backend: &'a str,
    reason: Option<Reason>,
    detail: Option<&'a str>,
    /// The challenge that it is a known part of: no production.
    challenge: Option<&'a str>,
    views: &'a [CameraView],
    regions: &'a [Defect],
    map: Option<SmallMap>,
}

#[derive(Serialize)]
struct LatencyMs {
    queue: f64,
    decode: Option<f64>,
    pixels: f64,
    encode: f64,
    score: f64,
    total: f64,
}

/// `u8 / 255 x scale`, row-major from the top left.
#[derive(Serialize)]
struct SmallMap {
    side: usize,
    scale: f32,
    u8: String,
}

#[derive(Serialize)]
struct CameraStatusMessage<'a> {
    schema: u32,
    state: crate::camera::CameraState,
    since: String,
    retries: u64,
    last_reason: Option<&'a str>,
}

pub fn birth(identity: &Identity) -> Vec<u8> {
    json(&Birth {
        schema: SCHEMA,
        identity,
        at: time(Timestamp::now()),
    })
}

pub fn state(condition: &LineCondition) -> Vec<u8> {
    #[derive(Serialize)]
    struct Message<'a> {
        schema: u32,
        #[serde(flatten)]
        condition: &'a LineCondition,
    }
    json(&Message {
        schema: SCHEMA,
        condition,
    })
}

pub fn heartbeat(beat: u64) -> Vec<u8> {
    #[derive(Serialize)]
    struct Message {
        schema: u32,
        beat: u64,
    }
    json(&Message {
        schema: SCHEMA,
        beat,
    })
}

/// The counters of a line at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Metrics {
    pub cameras: BTreeMap<String, TallyCount>,
    pub store: StoreCount,
    pub heatmaps_dropped: u64,
}

pub fn metrics(metrics: &Metrics) -> Vec<u8> {
    #[derive(Serialize)]
    struct Message<'a> {
        schema: u32,
        at: String,
        #[serde(flatten)]
        metrics: &'a Metrics,
    }
    json(&Message {
        schema: SCHEMA,
        at: time(Timestamp::now()),
        metrics,
    })
}

pub fn camera_status(status: &CameraStatus) -> Vec<u8> {
    json(&CameraStatusMessage {
        schema: SCHEMA,
        state: status.state,
        since: time(status.since),
        retries: status.retries,
        last_reason: status.last_reason.as_deref(),
    })
}

/// A result without its last two keys, which are known when it leaves: see [`finished`].
pub fn body(report: &Report, identity: &Identity) -> String {
    let (took, ask) = (&report.took, &report.part.ask);
    let latency_ms = LatencyMs {
        queue: ms(took.queue),
        decode: took.decode.map(ms),
        pixels: ms(took.pixels),
        encode: ms(took.encode),
        score: ms(took.score),
        total: ms(took.total),
    };
    let message = ResultMessage {
        about: About::of(&report.part, identity),
        verdict: report.verdict,
        evaluation: report.verdict.evaluation(),
        reject: report.is_rejected(),
        score: report.score,
        threshold: report.threshold,
        margin: report
            .score
            .zip(report.threshold)
            .map(|(score, threshold)| score - threshold),
        captured_at: time(report.captured_at),
        captured_by: report.captured_by,
        latency_ms,
        deadline_ms: ask.terms.deadline.as_millis() as u64,
        deadline_met: took.total <= ask.terms.deadline
            && !matches!(report.reason, Some(Reason::Late)),
        reject_in_ms: ask.terms.reject_after.map(ms),
        reject_at_count: ask
            .count
            .zip(ask.terms.reject_counts)
            .map(|(count, more)| count.saturating_add(more)),
        count: ask.count,
        position: ask.position,
        recipe: &report.recipe,
        model: &identity.model,
        backend: &identity.backend,
        reason: report.reason,
        detail: report
            .detail
            .as_deref()
            .map(|words| &words[..words.floor_char_boundary(DETAIL_MAX)]),
        challenge: ask.challenge.as_deref(),
        views: &report.views,
        regions: &report.regions[..report.regions.len().min(REGIONS_MAX)],
        map: report.map.as_ref().map(small),
    };
    let mut text = serde_json::to_string(&message).expect("messages are plain values");
    text.pop(); // the closing brace
    text
}

/// What the gate is told of a rejected part when it is there; nothing where nobody knows when that is.
pub fn reject(report: &Report, identity: &Identity) -> Option<Reject> {
    #[derive(Serialize)]
    struct Message<'a> {
        #[serde(flatten)]
        about: About<'a>,
        at: String,
    }
    let after = report
        .part
        .ask
        .terms
        .reject_after
        .filter(|_| report.is_rejected())?;
    let after = SignedDuration::try_from(after).ok()?;
    let at = report.captured_at + after;
    // A frame is not captured in the future, whatever its sender's clock says.
    let ahead = at.duration_since(Timestamp::now()).min(after);
    let message = Message {
        about: About::of(&report.part, identity),
        at: time(at),
    };
    let body = serde_json::to_string(&message).expect("messages are plain values");
    Some(Reject {
        at: instant(ahead)?,
        body,
    })
}

/// That far ahead on our monotonic clock.
fn instant(ahead: SignedDuration) -> Option<Instant> {
    let (far, now) = (ahead.unsigned_abs(), Instant::now());
    if ahead.is_negative() {
        now.checked_sub(far)
    } else {
        now.checked_add(far)
    }
}

/// A whole result: `historical` when it could not be sent in time.
pub fn finished(body: &str, historical: bool, dropped_before: u64) -> Vec<u8> {
    format!("{body},\"historical\":{historical},\"dropped_before\":{dropped_before}}}").into_bytes()
}

fn small(map: &Map) -> SmallMap {
    let side = map.side().min(MAP_SIDE_MAX);
    let mut pooled = vec![0.0f32; side * side];
    for (at, value) in map.values().iter().enumerate() {
        let (row, column) = (
            at / map.side() * side / map.side(),
            at % map.side() * side / map.side(),
        );
        let cell = &mut pooled[row * side + column];
        *cell = cell.max(*value);
    }
    let scale = pooled.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let bytes: Vec<u8> = pooled
        .iter()
        .map(|v| (v / scale * 255.0).round() as u8)
        .collect();
    SmallMap {
        side,
        scale,
        u8: base64::engine::general_purpose::STANDARD.encode(bytes),
    }
}

/// RFC 3339, UTC, milliseconds.
pub fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// Milliseconds, to a tenth.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

fn json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages are plain values")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            prefix: "acme/plant1".into(),
            station: "cam-box-3".into(),
            run_id: "01TEST".into(),
            version: "0",
            cameras: vec!["top".into()],
            recipe: "nut@7".into(),
            model: "vit@fa8e".into(),
            backend: "onnx-fp32".into(),
            device: "cpu".into(),
            references: 0,
            gallery: None,
            threshold: None,
            previous: vec![],
            regions: BTreeMap::new(),
        }
    }

    #[test]
    fn a_result_has_every_key_and_stays_small() {
        let bytes = finished(
            &body(&crate::data::report::tests::report(u64::MAX), &identity()),
            true,
            3,
        );
        assert!(bytes.len() < 1536, "{} bytes", bytes.len());
        let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        for key in ["part_id", "region", "reason", "detail", "reject_in_ms"] {
            assert_eq!(value.get(key), Some(&serde_json::Value::Null), "{key}");
        }
        assert_eq!(value["captured_at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(value["verdict"], "fail");
        assert_eq!(value["regions"].as_array().map(Vec::len), Some(3));
        assert_eq!(value["map"]["side"], 16);
        assert_eq!(
            (
                &value["historical"],
                &value["dropped_before"],
                &value["reject"]
            ),
            (&true.into(), &3.into(), &true.into())
        );
    }

    #[test]
    fn a_gate_is_told_of_a_rejected_part_where_it_is_known_when_it_is_there() {
        let mut report = crate::data::report::tests::report(7);
        assert_eq!(reject(&report, &identity()), None, "no gate");
        report.part.ask.terms.reject_after = Some(Duration::from_millis(712));
        report.captured_at = time(Timestamp::now()).parse().expect("a time"); // whole milliseconds
        let before = Instant::now();
        let told = reject(&report, &identity()).expect("it fails");
        let ahead = told.at.duration_since(before).as_millis();
        assert!((1..=712).contains(&ahead), "{ahead}");
        let value: serde_json::Value = serde_json::from_str(&told.body).expect("JSON");
        let at: Timestamp = value["at"]
            .as_str()
            .and_then(|at| at.parse().ok())
            .expect("a time");
        assert_eq!(at.duration_since(report.captured_at).as_millis(), 712);
        assert_eq!(
            (&value["seq"], &value["camera"], &value["region"]),
            (&7.into(), &"top".into(), &().into())
        );
        report.verdict = Verdict::Pass;
        assert_eq!(reject(&report, &identity()), None);
        (report.verdict, report.on_undecided) =
            (Verdict::Undecided, crate::data::verdict::OnUndecided::Pass);
        assert_eq!(reject(&report, &identity()), None);
    }

    #[test]
    fn a_larger_map_is_pooled_by_its_maximum() {
        let mut values = vec![0.0; 32 * 32];
        values[5 * 32 + 9] = 2.0;
        let small = small(&Map::new(32, values));
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(small.u8)
            .expect("base64");
        assert_eq!((bytes[2 * 16 + 4], small.scale), (255, 2.0));
        assert_eq!(bytes.iter().filter(|b| **b > 0).count(), 1);
    }
}
