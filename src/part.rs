//! Layer 2: a part: what one verdict is about. Accepted once, with a number of its own; exactly one result each.

use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A part that asks to be accepted.
#[derive(Debug, Clone)]
pub struct Ask {
    pub camera: Arc<str>,
    /// Which of several parts in one view.
    pub region: Option<Arc<str>>,
    /// The line's own name for it.
    pub part_id: Option<String>,
    /// The line's encoder when the part was at the trigger, and where it was then, as the trigger told them.
    pub count: Option<i64>,
    pub position: Option<f64>,
    /// Our monotonic clock: the deadline counts from here.
    pub since: Instant,
    pub at: Timestamp,
    /// What the line does with it, and when.
    pub terms: Terms,
}

/// A camera's part in time and place: when a verdict is due, and where a rejected part leaves the line.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Terms {
    pub deadline: Duration,
    /// From the frame to the gate.
    pub reject_after: Option<Duration>,
    /// Encoder counts from the trigger to the gate.
    pub reject_counts: Option<i64>,
}

/// An accepted part. `seq` is unique and gap-free per (run, camera), from 1.
#[derive(Debug, Clone)]
pub struct Part {
    /// The store's own number for it.
    pub key: u64,
    pub run_id: Arc<str>,
    pub seq: u64,
    pub ask: Ask,
    /// A frame was found for it.
    framed: Arc<AtomicBool>,
}

impl Part {
    pub fn new(key: u64, run_id: Arc<str>, seq: u64, ask: Ask) -> Self {
        Part { key, run_id, seq, ask, framed: Arc::default() }
    }

    pub fn camera(&self) -> &Arc<str> {
        &self.ask.camera
    }

    /// When it becomes undecided.
    pub fn due(&self) -> Instant {
        self.ask.since + self.ask.terms.deadline
    }

    pub fn found_its_frame(&self) {
        self.framed.store(true, Ordering::Relaxed);
    }

    pub fn has_frame(&self) -> bool {
        self.framed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plausible question, for tests of what handles parts.
    pub(crate) fn ask(camera: &str, deadline: Duration) -> Ask {
        Ask {
            camera: camera.into(),
            region: None,
            part_id: None,
            count: None,
            position: None,
            since: Instant::now(),
            at: Timestamp::UNIX_EPOCH,
            terms: Terms { deadline, ..Terms::default() },
        }
    }
}
