//! Layer 3: cameras: frames with their capture time out of GStreamer pipelines or image folders, watched and retried.
//!
//! [`watch`] is the loop round one source: open, read until it ends or fails, wait, open again. A finite source
//! (folder, file) is read once: its end, or its fault, ends the loop; an endless one is opened again until the stop is
//! heard. What the source is doing is told by [`CameraStatus`], once per change.

#[cfg_attr(not(feature = "gstreamer"), allow(dead_code))]
// cameras that have any come through GStreamer
pub mod auto_features;
pub mod colour;
mod folder;
#[cfg(feature = "gstreamer")]
mod gst;
pub mod pipelines;
#[cfg(feature = "gstreamer")]
mod pool;
#[cfg(feature = "gstreamer")]
mod stopwatch;

use crate::base::backoff::Backoff;
use crate::base::stop::Stop;
use crate::camera::auto_features::Automatics;
use crate::data::frame::Frame;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One camera of a configuration; `values` fill its kind's pipeline and were checked by [`pipelines::check`].
#[derive(Debug, Clone)]
pub struct CameraSettings {
    pub name: Arc<str>,
    pub kind: String,
    pub values: BTreeMap<String, String>,
    /// No frame for this long: the camera is opened again.
    pub stall: Duration,
    /// Frames come when the line triggers them: without one it is idle, not stalled.
    pub triggered: bool,
    /// How long a frame is on its way: where nobody says when it was captured, this much before it arrived.
    pub delay: Duration,
}

/// What a camera is doing: `camera/<name>/status`.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraStatus {
    pub state: CameraState,
    pub since: Timestamp,
    /// Tries to get it back since it was last online.
    pub retries: u64,
    /// Why it last went; kept when it is back.
    pub last_reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CameraState {
    Online,
    /// A triggered camera that waits: the line stands.
    Idle,
    Stalled,
    Offline,
    /// A finite source that came to its end, or a line that stopped.
    Disabled,
}

impl CameraState {
    pub fn word(self) -> &'static str {
        match self {
            CameraState::Online => "online",
            CameraState::Idle => "idle",
            CameraState::Stalled => "stalled",
            CameraState::Offline => "offline",
            CameraState::Disabled => "disabled",
        }
    }
}

/// Where a camera's frames and changes of state go.
pub trait Sink {
    /// Must not block: the hand-over is newest-wins.
    fn frame(&mut self, frame: Frame);
    /// False while the last frame still waits for the inspector: a source that can wait (a folder, a file) does.
    fn is_ready(&self) -> bool;
    fn status(&mut self, status: CameraStatus);
    /// It runs, and nothing has triggered it for a while.
    fn quiet(&mut self) {}
    /// It runs, and `read` asks it what it sets by itself; only those who want to know call it.
    fn automatics(&mut self, _read: &mut dyn FnMut() -> Automatics) {}
}

/// One try at a source; the seam for tests.
pub trait Source: Send {
    /// Opens, reads and hands over frames until the source ends, fails or the stop is heard.
    fn run_once(&mut self, stop: &Stop, sink: &mut dyn Sink) -> Result<Ended, CameraError>;

    /// Its end is the end of the run, not a fault; nor is it opened again after one, which would judge parts twice.
    fn is_finite(&self) -> bool;
}

/// Why a try ended without a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    EndOfStream,
    Stopped,
    /// A triggered camera's driver gave up waiting: opened again at once, and nobody need know.
    Quiet,
}

#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// The description cannot work: a syntax error, a missing element, a folder without pictures. Not tried again.
    #[error("{0}")]
    Pipeline(String),
    /// It went, or did not come; an endless source is tried again after a wait.
    #[error("{0}")]
    Lost(String),
    #[error("no frame for {} s", .0.as_secs_f32())]
    Stalled(Duration),
}

/// The source that the settings describe. Nothing is opened yet.
///
/// # Errors
/// When this build cannot read the kind.
pub fn open(settings: &CameraSettings) -> Result<Box<dyn Source>, CameraError> {
    let pipeline = pipelines::pipeline(&settings.kind).map_err(CameraError::Pipeline)?;
    match &pipeline.launch {
        None => Ok(Box::new(folder::Folder::new(settings))),
        #[cfg(feature = "gstreamer")]
        Some(launch) => Ok(Box::new(gst::GstSource::new(settings, launch, &pipeline)?)),
        #[cfg(not(feature = "gstreamer"))]
        Some(_) => {
            let kind = &settings.kind;
            Err(CameraError::Pipeline(format!(
                "camera kind {kind:?} needs GStreamer, which this build has not"
            )))
        }
    }
}

/// Whether its pictures come when they come; else the source waits for the inspector.
pub fn is_live(settings: &CameraSettings) -> bool {
    pipelines::pipeline(&settings.kind).is_ok_and(|pipeline| pipeline.live)
}

/// Keeps one source running until it ends, cannot work, or the stop is heard.
///
/// # Errors
/// [`CameraError::Pipeline`]: trying again would not help; of a finite source every fault.
pub fn watch(
    source: &mut dyn Source,
    name: &str,
    stop: &Stop,
    mut backoff: Backoff,
    sink: &mut dyn Sink,
) -> Result<(), CameraError> {
    let mut telling = StatusReporter {
        sink,
        name,
        state: None,
        retries: 0,
        last_reason: None,
        gone: None,
    };
    loop {
        let error = match source.run_once(stop, &mut telling) {
            Ok(Ended::Stopped) => break,
            Ok(Ended::EndOfStream) if source.is_finite() => break,
            Ok(Ended::EndOfStream) => CameraError::Lost("the stream ended".to_owned()),
            Ok(Ended::Quiet) => {
                telling.quiet();
                if stop.is_stopped() {
                    break;
                }
                continue;
            }
            Err(error) => error,
        };
        if matches!(telling.state, Some(CameraState::Online | CameraState::Idle)) {
            backoff.reset();
        }
        telling.went(&error);
        if source.is_finite() || matches!(error, CameraError::Pipeline(_)) {
            return Err(error);
        }
        if stop.stopped_within(backoff.next_wait()) {
            break;
        }
        telling.retries += 1;
    }
    telling.tell(CameraState::Disabled);
    Ok(())
}

/// Tells changes of state once each: online with the first frame of a try, away with its reason.
struct StatusReporter<'a> {
    sink: &'a mut dyn Sink,
    name: &'a str,
    state: Option<CameraState>,
    retries: u64,
    last_reason: Option<String>,
    gone: Option<Instant>,
}

impl StatusReporter<'_> {
    /// The first fault since it was last online is told; what tries after it run into is for a debugging person.
    fn went(&mut self, error: &CameraError) {
        if self.gone.is_some() {
            tracing::debug!("camera {}: {error}", self.name);
            return;
        }
        self.gone = Some(Instant::now());
        self.last_reason = Some(error.to_string());
        tracing::warn!("camera {} lost: {error}", self.name);
        self.tell(if matches!(error, CameraError::Stalled(_)) {
            CameraState::Stalled
        } else {
            CameraState::Offline
        });
    }

    fn tell(&mut self, state: CameraState) {
        self.state = Some(state);
        let status = CameraStatus {
            state,
            since: Timestamp::now(),
            retries: self.retries,
            last_reason: self.last_reason.clone(),
        };
        self.sink.status(status);
    }
}

impl Sink for StatusReporter<'_> {
    fn frame(&mut self, frame: Frame) {
        if self.state != Some(CameraState::Online) {
            match self.gone.take() {
                None if self.state == Some(CameraState::Idle) => {}
                Some(gone) => tracing::info!(
                    "camera {} back after {} s",
                    self.name,
                    gone.elapsed().as_secs()
                ),
                None => tracing::info!(
                    "camera {} online, {} x {}",
                    self.name,
                    frame.picture.width(),
                    frame.picture.height()
                ),
            }
            self.tell(CameraState::Online);
            self.retries = 0;
        }
        self.sink.frame(frame);
    }

    fn is_ready(&self) -> bool {
        self.sink.is_ready()
    }

    fn automatics(&mut self, read: &mut dyn FnMut() -> Automatics) {
        self.sink.automatics(read);
    }

    fn quiet(&mut self) {
        if self.state != Some(CameraState::Idle) {
            if let Some(gone) = self.gone.take() {
                tracing::info!(
                    "camera {} back after {} s, idle",
                    self.name,
                    gone.elapsed().as_secs()
                );
            }
            self.tell(CameraState::Idle);
            self.retries = 0;
        }
    }

    fn status(&mut self, status: CameraStatus) {
        self.sink.status(status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stop::stop_pair;
    use crate::data::frame::tests::frame;

    #[derive(Default)]
    struct Seen {
        frames: usize,
        states: Vec<(CameraState, u64, Option<String>)>,
    }

    impl Sink for Seen {
        fn frame(&mut self, _: Frame) {
            self.frames += 1;
        }
        fn is_ready(&self) -> bool {
            true
        }
        fn status(&mut self, status: CameraStatus) {
            self.states
                .push((status.state, status.retries, status.last_reason));
        }
    }

    /// Each try gives so many frames and then ends so.
    struct Script {
        tries: Vec<(usize, Result<Ended, CameraError>)>,
        finite: bool,
    }

    impl Source for Script {
        fn run_once(&mut self, _: &Stop, sink: &mut dyn Sink) -> Result<Ended, CameraError> {
            let (frames, ended) = self.tries.remove(0);
            (0..frames).for_each(|_| sink.frame(frame("top")));
            ended
        }
        fn is_finite(&self) -> bool {
            self.finite
        }
    }

    fn watched(
        finite: bool,
        tries: Vec<(usize, Result<Ended, CameraError>)>,
    ) -> (Seen, Result<(), CameraError>) {
        let (_stopper, stop) = stop_pair();
        let mut seen = Seen::default();
        let no_wait = Backoff::new(Duration::ZERO, Duration::ZERO);
        let ended = watch(
            &mut Script { tries, finite },
            "top",
            &stop,
            no_wait,
            &mut seen,
        );
        (seen, ended)
    }

    #[test]
    fn a_lost_camera_is_told_once_and_again_when_it_is_back() {
        let lost = || Err(CameraError::Lost("unplugged".to_owned()));
        let stalled = Err(CameraError::Stalled(Duration::from_secs(5)));
        let (seen, ended) = watched(
            false,
            vec![
                (2, lost()),
                (0, stalled),
                (0, Ok(Ended::EndOfStream)),
                (1, Ok(Ended::Stopped)),
            ],
        );
        ended.expect("ends with the stop");
        assert_eq!(seen.frames, 3);
        let states: Vec<(CameraState, u64)> =
            seen.states.iter().map(|(s, r, _)| (*s, *r)).collect();
        assert_eq!(
            states,
            [
                (CameraState::Online, 0),
                (CameraState::Offline, 0),
                (CameraState::Online, 3),
                (CameraState::Disabled, 0)
            ]
        );
        assert_eq!(seen.states[1].2.as_deref(), Some("unplugged"));
    }

    #[test]
    fn a_triggered_camera_that_waits_is_idle_and_never_lost() {
        let quiet = || Ok(Ended::Quiet);
        let (seen, ended) = watched(
            false,
            vec![
                (1, quiet()),
                (0, quiet()),
                (2, quiet()),
                (0, Ok(Ended::Stopped)),
            ],
        );
        ended.expect("ends with the stop");
        let states: Vec<CameraState> = seen.states.iter().map(|(state, ..)| *state).collect();
        assert_eq!(
            states,
            [
                CameraState::Online,
                CameraState::Idle,
                CameraState::Online,
                CameraState::Idle,
                CameraState::Disabled
            ]
        );
        assert!(
            seen.states
                .iter()
                .all(|(_, retries, reason)| *retries == 0 && reason.is_none())
        );
    }

    #[test]
    fn a_description_that_cannot_work_is_not_tried_again() {
        let (_, ended) = watched(
            false,
            vec![(0, Err(CameraError::Pipeline("no such element".to_owned())))],
        );
        assert!(matches!(ended, Err(CameraError::Pipeline(_))));
    }

    #[test]
    fn a_finite_source_is_read_once_even_when_it_breaks() {
        let (seen, ended) = watched(true, vec![(2, Ok(Ended::EndOfStream))]);
        ended.expect("its end is in order");
        assert_eq!(seen.frames, 2);
        let (seen, ended) = watched(
            true,
            vec![(2, Err(CameraError::Lost("cut off".to_owned())))],
        );
        assert!(matches!(ended, Err(CameraError::Lost(_))));
        assert_eq!(
            seen.states.last().map(|(state, ..)| *state),
            Some(CameraState::Offline)
        );
    }
}
