//! Signs of the line's condition: `state`, `heartbeat` and the status of each camera.

use super::encoding::encode;
use crate::base::health::LineCondition;
use crate::camera::{CameraState, CameraStatus};
use crate::data::result::{rfc3339, whole_ms};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// Diagnostics source of rejected parts that went by their gates untold; `reset` confirms it.
pub const GATE: &str = "gate";

/// Diagnostics source of a subscription that the broker refuses.
pub const COMMANDS: &str = "commands";

/// Diagnostics source of fences that do not come back: triggers without `at` are not judged.
pub const FENCES: &str = "fences";

/// Diagnostics source of results that the broker refuses.
pub const RESULTS: &str = "results";

/// Diagnostics source of control of the set-up that somebody has.
pub const HELD: &str = "control held";

/// Who has control of the line's set-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// User and door, as the audit log names them.
    pub who: String,
    /// Latest end.
    pub until: Timestamp,
}

impl Holder {
    /// The holder in words, with the end to the minute.
    pub fn words(&self) -> String {
        let local = self.until.to_zoned_datetime(TimeZone::system());
        let until = local.strftime("%H:%M");
        format!("{} has control until {until} at the latest", self.who)
    }
}

#[derive(Serialize)]
struct Beat {
    beat: u64,
}

#[derive(Serialize)]
struct CameraStatusMessage<'a> {
    state: CameraState,
    since: String,
    retries: u64,
    last_reason: Option<&'a str>,
    clock_offset_ms: Option<i64>,
}

/// The message `state`.
pub fn state(condition: &LineCondition) -> Vec<u8> {
    encode(condition)
}

/// The message `heartbeat`: a counter.
pub fn heartbeat(beat: u64) -> Vec<u8> {
    encode(Beat { beat })
}

/// The message `camera/<name>/status`.
pub fn camera_status(status: &CameraStatus) -> Vec<u8> {
    encode(CameraStatusMessage {
        state: status.state,
        since: rfc3339(status.since),
        retries: status.retries,
        last_reason: status.last_reason.as_deref(),
        clock_offset_ms: status.clock_offset.map(whole_ms),
    })
}
