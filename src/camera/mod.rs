//! Layer 3: cameras: frames with their capture time out of GStreamer pipelines or image folders, watched and retried.
//!
//! [`watch`] is the loop round one source: open, read until it ends or fails, wait, open again. A finite source
//! (folder, file) ends; a live one never does until the stop is heard. What the source is doing is told by
//! [`Status`], once per change.

use crate::frame::Frame;
use std::time::{Duration, SystemTime};

/// What a camera is doing: `camera/<name>/status`.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Status {
    pub state: State,
    pub since: SystemTime,
    /// Tries to get it back since it was last online.
    pub retries: u64,
    /// Why it last went; kept when it is back.
    pub last_reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Online,
    Idle,
    Stalled,
    Offline,
    Disabled,
}

/// Where a camera's frames and changes of state go. `frame` must not block: the hand-over is newest-wins.
pub trait Sink {
    fn frame(&mut self, frame: Frame);
    fn status(&mut self, status: Status);
}

/// One kind of source, opened anew for every try; the seam for tests.
pub trait Source {
    /// Opens, reads and hands over frames until the source ends, fails or the stop is heard. `online` is for the first
    /// frame of each try to announce itself; the implementation calls `sink.frame` for every frame.
    fn run_once(
        &mut self,
        stop: &crate::base::stop::Stop,
        on_frame: &mut dyn FnMut(Frame),
    ) -> Result<Ended, CameraError>;

    /// A folder or file: its end is the end of the run, not a fault.
    fn is_finite(&self) -> bool;
}

/// Why a try ended without a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    EndOfStream,
    Stopped,
}

#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// The description cannot work: syntax error, missing element, a folder without pictures. Exit 78, not retried.
    #[error("{0}")]
    Pipeline(String),
    /// It went, or did not come; tried again after a wait.
    #[error("{0}")]
    Lost(String),
    #[error("no frame for {} s", .0.as_secs_f32())]
    Stalled(Duration),
}
