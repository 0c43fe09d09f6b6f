//! Triggers that find no frame although their camera runs: each is told by its result, and by the
//! line's health until a trigger finds one again.
//!
//! The reasons are those of a set-up that is wrong: a clock that is off, a window that is too narrow, a
//! camera that is too slow for its parts. None of them shows itself anywhere else.

use crate::base::health::{Diagnostics, Health};
use crate::camera::CameraState;
use crate::data::report::Report;
use crate::data::verdict::Reason;
use crate::line::shared::{CameraStates, NewestFrames, Shared};
use crate::trigger::offset_words;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Watches results for triggers without a frame.
pub struct TriggerMisses {
    states: CameraStates,
    newest: NewestFrames,
    diagnostics: Diagnostics,
    /// Misses in a row of each camera.
    in_a_row: Mutex<BTreeMap<Arc<str>, u64>>,
}

impl TriggerMisses {
    /// A watch over the cameras of a line.
    pub fn new(shared: &Shared) -> Self {
        TriggerMisses {
            states: shared.camera_states.clone(),
            newest: shared.newest_frames.clone(),
            diagnostics: shared.diagnostics.clone(),
            in_a_row: Mutex::default(),
        }
    }

    /// Adds to a part that no frame has come for by its deadline how far the newest one is. A camera
    /// that does not run has told its reason elsewhere.
    pub fn explain(&self, mut undecided: Report) -> Report {
        let is_unexplained = undecided.detail.is_none();
        if undecided.reason != Some(Reason::CameraLost) || !is_unexplained {
            return undecided;
        }

        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) = newest.get(undecided.part.camera()) {
            let offset = newest.duration_since(undecided.part.request.at);
            let words = offset_words(offset);
            undecided.detail = Some(format!(
                "no frame near its time by its deadline: the newest is {words}"
            ));
        }

        undecided
    }

    /// Takes a result that stands: a miss of a camera that runs is told, a frame that was found ends
    /// that.
    pub fn note(&self, report: &Report) {
        if report.views.is_empty() {
            self.note_view(&report.seen_by, report.reason, report.detail.as_deref());
            return;
        }

        for view in &report.views {
            let camera = view.camera.as_str().into();
            self.note_view(&camera, view.reason, None);
        }
    }

    fn note_view(&self, camera: &Arc<str>, reason: Option<Reason>, detail: Option<&str>) {
        let source = format!("triggers of {camera}");
        let mut in_a_row = self.in_a_row.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(Reason::CameraLost) if self.is_online(camera) => {
                let misses = in_a_row.entry(camera.clone()).or_default();
                *misses += 1;
                let detail = detail.unwrap_or("no frame was captured near its time");
                let words = format!(
                    "{misses} in a row without a frame, the last: {detail}; see the clocks, window_ms and the camera's rate"
                );

                if *misses == 1 {
                    tracing::warn!("camera {camera}: a trigger without a frame: {detail}");
                }

                self.diagnostics.set(source, Health::OffSpec, words);
            }
            // A part that was stopped or came too late to be looked for says nothing of its frame.
            Some(Reason::CameraLost | Reason::NotReady) => {}
            _ => {
                if in_a_row.remove(camera).is_some() {
                    self.diagnostics.clear(&source);
                }
            }
        }
    }

    fn is_online(&self, camera: &Arc<str>) -> bool {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states
            .get(camera)
            .is_some_and(|status| status.state == CameraState::Online)
    }
}
