//! Starts and ends of a pipeline within a bounded time.
//!
//! An element may hang in a change of state: a driver that does not answer, a server that sends
//! without end. The change runs on a thread of its own. A thread that does not come back is left
//! behind and told, so that the camera's own thread goes on and the line can stop; it gives
//! everything back when it does return.

use crate::camera::gst::errors;
use crate::camera::source::CameraError;
use gstreamer as gst;
use gstreamer::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

/// Time for a pipeline to start. Network sources start at once and connect on their own threads.
const START_WITHIN: Duration = Duration::from_secs(10);
/// Time for a pipeline to give everything back.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);
/// Pipelines of one camera that may be left behind; it is not opened again beyond.
const LEFT_MAX: usize = 4;

/// Result of a change of state.
type Changed = Result<gst::StateChangeSuccess, gst::StateChangeError>;

/// The changes of state of one camera's pipelines.
pub struct Closing {
    camera: Arc<str>,
    /// Threads that did not come back in time, and have not since.
    left: Arc<AtomicUsize>,
}

impl Closing {
    /// No pipeline was started yet.
    pub fn new(camera: Arc<str>) -> Self {
        Closing {
            camera,
            left: Arc::default(),
        }
    }

    /// Starts a pipeline.
    ///
    /// # Errors
    /// When it does not start, or not in time; or when too many earlier ones hang.
    pub fn start(&self, pipeline: &gst::Pipeline) -> Result<(), CameraError> {
        // Each pipeline that hangs holds memory and sockets: their number is bounded.
        let left = self.left.load(Ordering::Relaxed);

        if left >= LEFT_MAX {
            return Err(CameraError::Lost(format!(
                "{left} earlier tries hang and cannot be ended; restart the camera, or winspect"
            )));
        }

        match self.change(pipeline, gst::State::Playing, START_WITHIN) {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) => Err(errors::start_error(pipeline)),
            None => Err(CameraError::Lost(format!(
                "it does not start within {} s",
                START_WITHIN.as_secs()
            ))),
        }
    }

    /// Ends a pipeline. One that was left behind at its start ends itself.
    pub fn end(&self, pipeline: &gst::Pipeline) {
        // The only failure is an element that is gone already.
        if self
            .change(pipeline, gst::State::Null, CLOSE_WITHIN)
            .is_none()
        {
            tracing::warn!(
                "camera {}: its pipeline does not end within {} s; it is left behind",
                self.camera,
                CLOSE_WITHIN.as_secs()
            );
        }
    }

    /// Changes the state on a thread of its own. `None` if the thread was left behind.
    fn change(
        &self,
        pipeline: &gst::Pipeline,
        state: gst::State,
        within: Duration,
    ) -> Option<Changed> {
        let changed = self.spawn(pipeline.clone(), state);
        let answer = changed.recv_timeout(within).ok();

        if answer.is_none() {
            self.left.fetch_add(1, Ordering::Relaxed);
        }

        answer
    }

    /// The thread of one change. The channel has no room: sending works only while the answer is
    /// waited for, so that exactly one of both sides knows that the thread was left.
    fn spawn(&self, pipeline: gst::Pipeline, state: gst::State) -> Receiver<Changed> {
        let (sender, receiver) = sync_channel(0);
        let left = self.left.clone();
        thread::Builder::new()
            .name(format!("{}-state", self.camera))
            .spawn(move || {
                let changed = pipeline.set_state(state);

                if sender.send(changed).is_err() {
                    let _ = pipeline.set_state(gst::State::Null); // nothing waits for its failure
                    left.fetch_sub(1, Ordering::Relaxed);
                }
            })
            .expect("a thread can be started");

        receiver
    }
}
