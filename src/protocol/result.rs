//! The result of a part (`result`, `result/late`, `result/last/...`): a row, made from a report once
//! and kept by the store, and the message, made from the row each time that it is sent.

use super::birth::Identity;
use super::encoding::encode as encode_message;
use super::fit::{cut, fitted};
use crate::data::frame::CapturedBy;
use crate::data::report::{Latency, Report};
use crate::data::result::{LatencyMs, PoseOnWire, SmallMap, tenths_of_ms, whole_ms};
pub use crate::data::result::{ResultRow, SCHEMA};
use crate::data::verdict::{Defect, Reason};
use serde::Serialize;

/// Defects in a result; the heat map shows them all.
const DEFECTS_MAX: usize = 3;
/// Bytes of `detail`.
const DETAIL_MAX: usize = 160;

#[derive(Serialize)]
struct ResultMessage<'a> {
    #[serde(flatten)]
    row: &'a ResultRow,
    historical: bool,
    given_up_before: u64,
}

/// The message of `row`. `historical`: it could not be sent in time. `given_up_before`: results that
/// were given up before it, and not reported yet.
pub fn encode(row: &ResultRow, historical: bool, given_up_before: u64) -> Vec<u8> {
    encode_message(ResultMessage {
        row,
        historical,
        given_up_before,
    })
}

/// The row that the store keeps of a report.
pub fn row(report: &Report, identity: &Identity) -> ResultRow {
    // Defects are cut to the few that a message has room for. The map is made smaller by
    // `SmallMap`; the heat map shows both in full.
    let part = &report.part;
    let ask = &part.request;
    let terms = &ask.timing;
    let is_late = report.reason == Some(Reason::Late);
    let is_in_time = report.took.total <= terms.deadline;
    let detail = report.detail.as_deref();
    let defects = report.defects.iter().take(DEFECTS_MAX);
    fitted(ResultRow {
        // Names come first: they say which part this is, and stay the same whatever the verdict.
        seq: part.seq,
        run_id: part.run_id.to_string(),
        part_id: ask.part_id.clone(),
        station: identity.station.clone(),
        camera: ask.camera.to_string(),
        region: ask.region.as_deref().map(str::to_owned),
        verdict: report.verdict,
        evaluation: report.verdict.evaluation(),
        reject: report.is_rejected(),
        // These are the verdict's reasons: without a score the margin is null, too.
        score: report.score,
        threshold: report.threshold,
        margin: margin(report),
        // The times say when the picture was taken, how long each step took, and what the line had
        // promised.
        captured_at: report.captured_at,
        captured_by: report.captured_by,
        frame_offset_ms: frame_offset_ms(report),
        latency_ms: latency_ms(&report.took),
        deadline_ms: terms.deadline.as_millis() as u64,
        deadline_met: is_in_time && !is_late,
        reject_in_ms: terms.reject_after.map(tenths_of_ms),
        reject_at_count: reject_at_count(ask.count, terms.reject_counts),
        // The sender's own numbers come back as they came.
        count: ask.count,
        position: ask.position,
        // The recipe is the report's own: the line's may have changed since.
        recipe: report.recipe.to_string(),
        model: identity.model.clone(),
        backend: identity.backend.clone(),
        reason: report.reason,
        detail: detail.map(|words| cut(words, DETAIL_MAX)),
        challenge: ask.challenge.as_deref().map(str::to_owned),
        // The largest values stand at the end, where a person who reads the message looks last.
        views: report.views.clone(),
        defects: defects.map(|defect| in_camera(defect, report)).collect(),
        map: report.map.as_ref().map(SmallMap::of),
        pose: report.pose.as_ref().map(PoseOnWire::of),
        mm_per_pixel: report.scale_of_defects(),
    })
}

/// The defect in the camera's picture: of a part that was located, the box around its turned box.
fn in_camera(defect: &Defect, report: &Report) -> Defect {
    match &report.pose {
        Some(pose) => defect.moved(pose),
        None => *defect,
    }
}

/// Distance of the frame from the part's time. A report without a frame has the trigger's time.
fn frame_offset_ms(report: &Report) -> Option<i64> {
    if report.captured_by == CapturedBy::Trigger {
        return None;
    }

    let at = report.part.request.at;
    Some(whole_ms(report.captured_at.duration_since(at)))
}

fn margin(report: &Report) -> Option<f32> {
    // Positive is on the failing side of the threshold.
    let score = report.score?;
    let threshold = report.threshold?;

    Some(score - threshold)
}

fn reject_at_count(count: Option<i64>, reject_counts: Option<i64>) -> Option<i64> {
    // An encoder that runs over stays at its end, and does not become negative.
    Some(count?.saturating_add(reject_counts?))
}

fn latency_ms(latency: &Latency) -> LatencyMs {
    LatencyMs {
        // All are in milliseconds with one decimal. What was not measured is null, and not zero.
        queue: tenths_of_ms(latency.queue),
        decode: latency.decode.map(tenths_of_ms),
        pixels: tenths_of_ms(latency.pixels),
        encode: tenths_of_ms(latency.encode),
        score: tenths_of_ms(latency.score),
        // Rounded up: a part that missed its deadline by a little is not told to have been in time.
        total: latency.total.as_nanos().div_ceil(100_000) as f64 / 10.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::birth::tests::identity;
    use super::*;
    use crate::data::report::tests::{report, turned};
    use serde_json::Value;

    #[test]
    fn a_result_has_every_key_and_stays_small() {
        let row = row(&report(u64::MAX), &identity());
        assert_eq!(row.mm_per_pixel, None, "not written where nobody said it");
        let bytes = encode(&row, true, 3);
        assert!(bytes.len() < 1536, "{} bytes", bytes.len());
        let value: Value = serde_json::from_slice(&bytes).expect("JSON");
        for key in ["part_id", "region", "reason", "detail", "reject_in_ms"] {
            assert_eq!(value.get(key), Some(&Value::Null), "{key}");
        }

        assert_eq!(value["schema"], 2);
        assert_eq!(value["captured_at"], "1970-01-01T00:00:00.000Z");
        assert_eq!(value["verdict"], "fail");
        assert_eq!(value["defects"].as_array().map(Vec::len), Some(3));
        assert_eq!(value["map"]["side"], 16);
        assert_eq!(
            (&value["map"]["w"], &value["map"]["h"]),
            (&16.into(), &16.into())
        );
        assert_eq!(value["historical"], true);
        assert_eq!(value["given_up_before"], 3);
        assert_eq!(value["reject"], true);
    }

    #[test]
    fn a_result_tells_the_scale_of_its_defects_and_of_nothing_else() {
        let mut report = report(7);
        report.mm_per_pixel = Some(0.05);
        let message = |report: &Report| {
            let bytes = encode(&row(report, &identity()), false, 0);
            let value: Value = serde_json::from_slice(&bytes).expect("JSON");
            value.get("mm_per_pixel").cloned()
        };

        assert_eq!(message(&report), Some(0.05.into()));

        // The box of a turned part is none around the defect itself, so that no size follows from it.
        let turned = Report {
            pose: Some(turned()),
            ..report.clone()
        };

        assert_eq!(message(&turned), None);
        report.defects.clear();
        assert_eq!(message(&report), None);
    }

    #[test]
    fn a_message_is_the_stored_row_with_two_more_keys() {
        let row = row(&report(7), &identity());
        let mut stored = row.to_stored();
        assert_eq!(stored.pop(), Some('}'));
        let message = String::from_utf8(encode(&row, false, 0)).expect("JSON");
        assert_eq!(
            message,
            stored + ",\"historical\":false,\"given_up_before\":0}"
        );
    }
}
