//! Events of a line as plain data: what it tells without being asked, to the broker and to
//! watchers alike. `line::events` hands them to their listeners.

use crate::camera::CameraStatus;
use crate::data::report::Report;
use crate::data::result::ResultRow;
use crate::data::verdict::{Reason, Verdict};
use crate::protocol::answer::Answer;
use crate::protocol::birth::Identity;
use crate::protocol::shadow::ShadowDifference;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::mpsc;

/// One event. A clone is cheap.
#[derive(Debug, Clone)]
pub enum Event {
    /// A camera changed its state.
    Camera {
        /// Name of the camera.
        name: Arc<str>,
        /// State from now on.
        status: CameraStatus,
    },
    /// Another recipe, or another threshold, judges from now on.
    Identity(Arc<Identity>),
    /// A command that was accepted earlier has ended.
    Outcome(Arc<CommandOutcome>),
    /// A part's result is committed.
    Result(Arc<PartResult>),
    /// A part on which the shadow's verdict is another than the line's.
    Difference(Arc<ShadowDifference>),
    /// The heat map of a judged part, drawn over its picture.
    Heatmap {
        /// The part's result.
        report: Arc<Report>,
        /// The picture as a PNG file.
        png: Arc<[u8]>,
    },
    /// A camera's picture as it is, asked for by a command.
    Snapshot {
        /// Name of the camera.
        camera: Arc<str>,
        /// The picture as a PNG file.
        png: Arc<[u8]>,
    },
}

/// Outcome of a command that was accepted earlier, or how far it is.
#[derive(Debug)]
pub struct CommandOutcome {
    /// Name of the command.
    pub name: &'static str,
    /// Status `done`, `rejected` or `progress`, with the id of the command.
    pub answer: Answer,
    /// Key under which the store keeps the outcome until the broker has it, if it does.
    pub kept: Option<String>,
}

/// A part's result for a person who watches: one row, without maps and defects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartResult {
    /// Number of the part, counted per camera from 1.
    pub seq: u64,
    /// Run of the daemon that numbered the part.
    pub run_id: String,
    /// The trigger's id of the part.
    pub part_id: Option<String>,
    /// Camera of the part, or the name that several cameras share.
    pub camera: String,
    /// Region of the view, where the recipe names regions.
    pub region: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// True if the gate rejects the part.
    pub reject: bool,
    /// Anomaly score, if the part was judged.
    pub score: Option<f32>,
    /// Threshold that the score was compared with, if there was one.
    pub threshold: Option<f32>,
    /// Reason why the part is undecided.
    pub reason: Option<Reason>,
    /// The reason in words for a person.
    pub detail: Option<String>,
    /// Time of the frame's capture, UTC.
    pub captured_at: Timestamp,
    /// Milliseconds from arrival of the frame, or of the trigger, to the verdict.
    pub total_ms: f64,
    /// `name@revision` of the recipe that judged.
    pub recipe: String,
}

impl PartResult {
    /// The short form of a stored result.
    pub fn of(row: &ResultRow) -> Self {
        PartResult {
            // The keys are those of the result, in its order.
            seq: row.seq,
            run_id: row.run_id.clone(),
            part_id: row.part_id.clone(),
            camera: row.camera.clone(),
            region: row.region.clone(),
            verdict: row.verdict,
            reject: row.reject,
            score: row.score,
            threshold: row.threshold,
            reason: row.reason,
            detail: row.detail.clone(),
            captured_at: row.captured_at,
            total_ms: row.latency_ms.total,
            recipe: row.recipe.clone(),
        }
    }
}

/// Receiving end of one listener.
#[derive(Debug)]
pub struct EventReceiver {
    /// Events in their order. The channel ends when every stage of the line has left.
    pub events: mpsc::Receiver<Event>,
    /// State shared with the sending end.
    pub state: Arc<ListenerState>,
}

/// Shared state of a listener's two ends.
#[derive(Debug, Default)]
pub struct ListenerState {
    /// True while the listener wants events.
    is_listening: AtomicBool,
    /// Events that found no room.
    missed: AtomicU64,
}

impl ListenerState {
    /// True while the listener wants events; what is told meanwhile costs nothing otherwise.
    pub fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    /// Begins or ends listening.
    pub fn listen(&self, listens: bool) {
        self.is_listening.store(listens, Ordering::Relaxed);
    }

    /// Number of events that found no room.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Counts an event that found no room.
    pub fn miss(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }
}
