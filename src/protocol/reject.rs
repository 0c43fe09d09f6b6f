//! The gate's message (`reject`): a rejected part is there now.

use super::birth::Identity;
use super::encoding::encode;
use crate::data::report::Report;
use crate::data::result::rfc3339;
use crate::store::Reject;
use jiff::SignedDuration;
use serde::Serialize;

#[derive(Serialize)]
struct RejectMessage<'a> {
    seq: u64,
    run_id: &'a str,
    part_id: Option<&'a str>,
    station: &'a str,
    camera: &'a str,
    region: Option<&'a str>,
    at: String,
}

/// The message to the gate and when it is due; `None` for a part that stays, or where the line does
/// not say when a part is at the gate.
pub fn reject(report: &Report, identity: &Identity) -> Option<Reject> {
    let part = &report.part;
    let timing = &part.request.timing;
    let after = timing.reject_after.filter(|_| report.is_rejected())?;
    let at_gate = report.at_gate()?;

    // The time in the message is the part's own, as its sender's clock had it.
    let at = report.captured_at + SignedDuration::try_from(after).ok()?;
    let message = RejectMessage {
        seq: part.seq,
        run_id: &part.run_id,
        part_id: part.request.part_id.as_deref(),
        station: &identity.station,
        camera: part.camera(),
        region: part.request.region.as_deref(),
        at: rfc3339(at),
    };

    Some(Reject {
        at: at_gate,
        late_after: part.request.timing.reject_late,
        body: encode(message),
    })
}

#[cfg(test)]
mod tests {
    use super::super::birth::tests::identity;
    use super::*;
    use crate::data::verdict::{OnUndecided, Verdict};
    use jiff::Timestamp;
    use std::time::{Duration, Instant};

    #[test]
    fn a_gate_is_told_of_a_rejected_part_where_it_is_known_when_it_is_there() {
        let mut report = crate::data::report::tests::report(7);
        assert_eq!(reject(&report, &identity()), None, "no gate");
        report.part.request.timing.reject_after = Some(Duration::from_millis(712));
        // Whole milliseconds. The wall clock was set since, which moves nothing on a belt.
        let captured_at = Timestamp::now() - SignedDuration::from_secs(3600);
        report.captured_at = rfc3339(captured_at).parse().expect("a time");
        let told = reject(&report, &identity()).expect("it fails");
        assert_eq!(told.at, report.captured + Duration::from_millis(712));
        report.captured += Duration::from_secs(60);
        let ahead = reject(&report, &identity())
            .expect("it fails")
            .at
            .duration_since(Instant::now());
        assert!(ahead <= Duration::from_millis(712), "{ahead:?}");
        let value: serde_json::Value = serde_json::from_slice(&told.body).expect("JSON");
        let at: Timestamp = value["at"]
            .as_str()
            .and_then(|at| at.parse().ok())
            .expect("a time");

        assert_eq!(at.duration_since(report.captured_at).as_millis(), 712);
        assert_eq!(value["schema"], 2);
        assert_eq!(value["seq"], 7);
        assert_eq!(value["camera"], "top");
        assert_eq!(value["region"], serde_json::Value::Null);
        report.verdict = Verdict::Pass;
        assert_eq!(reject(&report, &identity()), None);
        report.verdict = Verdict::Undecided;
        report.on_undecided = OnUndecided::Pass;
        assert_eq!(reject(&report, &identity()), None);
    }
}
