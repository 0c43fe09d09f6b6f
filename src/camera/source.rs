//! Traits between a camera and the line: a [`Source`] reads frames, a [`Sink`] takes them.

use crate::base::stop::Stop;
use crate::camera::auto_features::Automatics;
use crate::camera::status::CameraStatus;
use crate::data::frame::Frame;
use std::time::Duration;

/// Receiver of a camera's frames and changes of state.
pub trait Sink {
    /// Takes a frame. Must not block: the hand-over is newest-wins.
    fn frame(&mut self, frame: Frame);

    /// False while the last frame still waits for the inspector. A source that can wait (a folder, a
    /// file) does.
    fn is_ready(&self) -> bool;

    /// Takes a change of state.
    fn status(&mut self, status: CameraStatus);

    /// Told when a triggered camera runs and was not triggered for a while.
    fn quiet(&mut self) {}

    /// Told when the camera sends and cannot show a picture yet, with the reason; may be told again
    /// and again.
    fn waiting(&mut self, _why: &str) {}

    /// Told when it changes which damage of the camera's pictures no check finds, in words; `None`: all
    /// that is known of is found.
    fn blind_spot(&mut self, _words: Option<&'static str>) {}

    /// Told when the camera runs. `read` asks the camera for its automatic features; only a sink that
    /// wants to know them calls it.
    fn automatics(&mut self, _read: &mut dyn FnMut() -> Automatics) {}
}

/// One camera; the seam for tests.
pub trait Source: Send {
    /// Opens, reads and hands over frames until the source ends, fails or the stop is given.
    ///
    /// # Errors
    /// When the source cannot be opened or fails.
    fn run_once(&mut self, stop: &Stop, sink: &mut dyn Sink) -> Result<Ended, CameraError>;

    /// True if the end of the source is the end of the run, not a fault. Such a source is not opened
    /// again after a fault either, which would judge its parts twice.
    fn is_finite(&self) -> bool;
}

/// Ends of a try without a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The source has no more frames.
    EndOfStream,
    /// The stop was given.
    Stopped,
    /// A triggered camera's driver gave up waiting: it is opened again at once and silently.
    Quiet,
}

/// Faults of a source.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// The description cannot work: a syntax error, a missing element, a folder without pictures. Not
    /// tried again.
    #[error("{0}")]
    Pipeline(String),
    /// The camera was lost, or did not come. An endless source is tried again after a wait.
    #[error("{0}")]
    Lost(String),
    /// No frame came for this time.
    #[error("no frame for {} s", .0.as_secs_f32())]
    Stalled(Duration),
}
