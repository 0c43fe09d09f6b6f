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
use std::time::{Duration, Instant};

/// Time after a miss in which a frame that is found does not end it.
const TOLD_FOR: Duration = Duration::from_secs(2);

/// Watches results for triggers without a frame.
pub struct TriggerMisses {
    states: CameraStates,
    newest: NewestFrames,
    diagnostics: Diagnostics,
    /// Misses of each camera that are told.
    misses: Mutex<BTreeMap<Arc<str>, Misses>>,
}

/// Misses of one camera since the last quiet time.
struct Misses {
    count: u64,
    last: Instant,
}

impl TriggerMisses {
    /// A watch over the cameras of a line.
    pub fn new(shared: &Shared) -> Self {
        TriggerMisses {
            states: shared.camera_states.clone(),
            newest: shared.newest_frames.clone(),
            diagnostics: shared.diagnostics.clone(),
            misses: Mutex::default(),
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
            let offset = newest.captured_at.duration_since(undecided.part.request.at);
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
        let now = Instant::now();
        let mut all = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(Reason::CameraLost) if self.is_online(camera) => {
                let misses = all.entry(camera.clone()).or_insert(Misses {
                    count: 0,
                    last: now,
                });

                misses.count += 1;
                misses.last = now;
                let count = misses.count;
                let detail = detail.unwrap_or("no frame was captured near its time");
                if count == 1 {
                    tracing::warn!("camera {camera}: a trigger without a frame: {detail}");
                }

                let words = format!(
                    "{count} without a frame, the last: {detail}; see the clocks, window_ms and the camera's rate"
                );

                self.diagnostics.set(source, Health::OffSpec, words);
            }
            // A part that was stopped or came too late to be looked for says nothing of its frame.
            Some(Reason::CameraLost | Reason::NotReady) => {}
            // Where every second part has none, the line is not well at each part between.
            _ => {
                let is_over = all
                    .get(camera)
                    .is_some_and(|misses| now.duration_since(misses.last) >= TOLD_FOR);

                if is_over {
                    all.remove(camera);
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
