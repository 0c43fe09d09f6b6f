//! Requests and replies of the control socket, one JSON object a line.

use crate::base::health::LineCondition;
use crate::camera::CameraState;
use crate::data::counters::TallyCount;
use crate::data::history::{AuditPage, AuditQuery, HistoryPage, HistoryQuery};
use crate::protocol::answer::Answer;
use crate::protocol::event::PartResult;
use crate::protocol::shadow::{ShadowCounts, ShadowDifference};
use crate::protocol::shift_check::ShiftCheck;
use crate::store::{Search, StoreCount};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bytes of a request line at most, without its line feed.
pub const LINE_MAX: usize = 4096;

/// Words for a line that is no request.
const WISHES: &str = "no request: give one of {\"command\": NAME, \"payload\": {...}}, {\"status\": true}, {\"watch\": true}, {\"history\": {...}}, {\"audit\": {...}}, {\"shift_checks\": NUMBER}";

/// A request: exactly one of `command`, `status`, `watch`, `history`, `audit` and `shift_checks`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlRequest {
    /// Name of a command, as in the topic `cmd/<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Payload of the command; `{}` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
    /// True to get the line's status once.
    #[serde(default, skip_serializing_if = "is_false")]
    pub status: bool,
    /// True to get events from now on, and the status every second.
    #[serde(default, skip_serializing_if = "is_false")]
    pub watch: bool,
    /// Parts of the history that are looked for: one page of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryQuery>,
    /// Lines of the audit log that are looked for: one page of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditQuery>,
    /// Number of the newest shift checks that are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift_checks: Option<u16>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// A checked request.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// Do a command.
    Command {
        /// Name of the command.
        name: String,
        /// Payload, as the broker would bring it.
        payload: Vec<u8>,
    },
    /// Tell the status once.
    Status,
    /// Tell events from now on.
    Watch,
    /// Look into the history.
    Search(Search),
    /// Tell so many of the newest shift checks.
    ShiftChecks(u16),
}

impl ControlRequest {
    /// Reads a line.
    ///
    /// # Errors
    /// Why the line is no request, in words for its sender.
    pub fn parse(line: &[u8]) -> Result<Wish, String> {
        // Unknown keys are refused here: a misspelt `comand` would otherwise be an empty request.
        let request: ControlRequest =
            serde_json::from_slice(line).map_err(|error| format!("no request: {error}"))?;

        // Exactly one wish may stand in a request. A payload belongs to a command alone.
        let has_payload = request.payload.is_some();
        if has_payload && request.command.is_none() {
            return Err(WISHES.to_owned());
        }

        let payload = request.payload;
        let command = request.command.map(|name| {
            let payload = payload_bytes(payload);
            Wish::Command { name, payload }
        });

        let status = request.status.then_some(Wish::Status);
        let watch = request.watch.then_some(Wish::Watch);
        let history = request.history.map(Search::Parts).map(Wish::Search);
        let audit = request.audit.map(Search::Audit).map(Wish::Search);
        let checks = request.shift_checks.map(Wish::ShiftChecks);
        let wishes = [command, status, watch, history, audit, checks];
        let mut wishes = wishes.into_iter().flatten();
        match (wishes.next(), wishes.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(WISHES.to_owned()),
        }
    }
}

/// The payload of a command as the broker would bring it, which has bytes: both doors share one parser.
fn payload_bytes(payload: Option<serde_json::Value>) -> Vec<u8> {
    let Some(value) = payload else {
        return b"{}".to_vec();
    };

    value.to_string().into_bytes()
}

/// A line of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlReply {
    /// Answer to a command.
    Answer(NamedAnswer),
    /// The line at this moment.
    Status(Box<LineStatus>),
    /// A page of the history.
    History(HistoryPage),
    /// A page of the audit log.
    Audit(AuditPage),
    /// The newest shift checks, the newest first.
    ShiftChecks(Vec<ShiftCheck>),
    /// A part's result.
    Result(PartResult),
    /// A camera changed its state.
    Camera(CameraChange),
    /// A command that was accepted earlier has ended.
    Outcome(NamedAnswer),
    /// A part on which the shadow's verdict is another than the line's.
    Difference(Box<ShadowDifference>),
    /// Another recipe, or another threshold, judges from now on: `name@revision`.
    Recipe(String),
    /// Number of events that this client missed because it did not read.
    Missed(u64),
    /// The line has ended.
    Ended(String),
    /// The last line was no request, or there are too many connections; the reason.
    Error(String),
}

/// Answer to a command, with the command's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedAnswer {
    /// Name of the command.
    pub name: String,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
}

/// A camera's state from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CameraChange {
    /// Name of the camera.
    pub camera: String,
    /// State from now on.
    pub state: CameraState,
    /// Time of the change.
    pub since: Timestamp,
    /// Reason why the camera last went.
    pub last_reason: Option<String>,
}

/// A line at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineStatus {
    /// Version of the daemon.
    pub version: String,
    /// First levels of every topic.
    pub prefix: String,
    /// Name of the line.
    pub station: String,
    /// Run of the daemon.
    pub run_id: String,
    /// `name@revision` of the recipe that judges.
    pub recipe: String,
    /// Model that judges.
    pub model: String,
    /// Engine that the model runs on.
    pub backend: String,
    /// Device of the engine.
    pub device: String,
    /// Threshold; `None` where there is none, or where regions have their own.
    pub threshold: Option<f32>,
    /// Threshold of each region that has a name.
    pub regions: BTreeMap<String, Option<f32>>,
    /// State and health, with causes.
    #[serde(flatten)]
    pub condition: LineCondition,
    /// Every camera by name.
    pub cameras: BTreeMap<String, LineCamera>,
    /// Counters of parts and results.
    pub store: StoreCount,
    /// Heat maps that found no room.
    pub heatmaps_dropped: u64,
    /// Counters of the shadow; `None` without one, and of a line before 0.3.
    #[serde(default)]
    pub shadow: Option<ShadowCounts>,
}

/// A camera at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LineCamera {
    /// State of the camera; `None` while it starts.
    pub state: Option<CameraState>,
    /// Counters of its frames.
    #[serde(flatten)]
    pub frames: TallyCount,
    /// Distance of the camera's clock from ours, positive where it is ahead. `None` where the camera
    /// has no clock of its own, and of a line before 0.3.
    #[serde(default)]
    pub clock_offset_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_exactly_one_wish() {
        let parse = |text: &str| ControlRequest::parse(text.as_bytes());
        assert_eq!(parse(r#"{"status":true}"#), Ok(Wish::Status));
        assert_eq!(parse(r#"{"watch":true}"#), Ok(Wish::Watch));
        let command = Wish::Command {
            name: "pause".to_owned(),
            payload: br#"{"id":"a"}"#.to_vec(),
        };

        let text = r#"{"command":"pause","payload":{"id":"a"}}"#;
        assert_eq!(parse(text), Ok(command));
        let history = r#"{"history":{"verdict":"fail","limit":5}}"#;
        assert!(matches!(parse(history), Ok(Wish::Search(Search::Parts(_)))));
        for wrong in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"status":false}"#,
            r#"{"status":true,"watch":true}"#,
            r#"{"history":{},"audit":{}}"#,
            r#"{"history":{},"watch":true}"#,
            r#"{"history":{"verdikt":"fail"}}"#,
            r#"{"watch":true,"payload":{}}"#,
            r#"{"comand":"pause"}"#,
            "\u{0}",
        ] {
            let refusal = parse(wrong).expect_err(wrong);
            assert!(refusal.starts_with("no request: "), "{refusal}");
        }
    }
}
