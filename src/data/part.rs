//! Layer 2: a part: what one verdict is about. Accepted once, with a number of its own; exactly one result each.

use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A part that asks to be accepted.
#[derive(Debug, Clone)]
pub struct PartRequest {
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
    pub terms: PartTiming,
    /// The challenge that it is a known part of: no production.
    pub challenge: Option<Arc<str>>,
}

/// A camera's part in time and place: when a verdict is due, and where a rejected part leaves the line.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PartTiming {
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
    pub ask: PartRequest,
    /// Shared by its clones and its result.
    pub marks: Arc<StageTimes>,
}

/// What a part goes through, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its number is on the disk.
    Numbered,
    /// Its camera was asked for the frame.
    Asked,
    /// A frame was found for it.
    Framed,
    /// Its verdict was brought to the store.
    Settled,
    /// Its result is on the disk.
    Written,
    /// The publisher took it.
    Sent,
    /// The broker's PUBACK came.
    Acked,
}

/// When a part reached which stage: an atomic number each, so that keeping them costs a line nothing.
#[derive(Debug)]
pub struct StageTimes {
    since: Instant,
    /// Nanoseconds after `since`; zero is never.
    reached: [AtomicU64; Stage::Acked as usize + 1],
}

impl StageTimes {
    fn new(since: Instant) -> Self {
        StageTimes {
            since,
            reached: Default::default(),
        }
    }

    /// It was asked for then.
    pub fn since(&self) -> Instant {
        self.since
    }

    pub fn reach(&self, stage: Stage) {
        self.reach_at(stage, Instant::now());
    }

    /// The last time counts.
    pub fn reach_at(&self, stage: Stage, at: Instant) {
        let after = at
            .saturating_duration_since(self.since)
            .as_nanos()
            .clamp(1, u64::MAX.into());
        self.reached[stage as usize].store(after as u64, Ordering::Relaxed);
    }

    /// How long after `since`; nothing when it has not.
    pub fn reached(&self, stage: Stage) -> Option<Duration> {
        let after = self.reached[stage as usize].load(Ordering::Relaxed);
        (after > 0).then(|| Duration::from_nanos(after))
    }
}

impl Part {
    pub fn new(key: u64, run_id: Arc<str>, seq: u64, ask: PartRequest) -> Self {
        let marks = Arc::new(StageTimes::new(ask.since));
        Part {
            key,
            run_id,
            seq,
            ask,
            marks,
        }
    }

    pub fn camera(&self) -> &Arc<str> {
        &self.ask.camera
    }

    /// When it becomes undecided.
    pub fn due(&self) -> Instant {
        self.ask.since + self.ask.terms.deadline
    }

    pub fn found_its_frame(&self) {
        self.marks.reach(Stage::Framed);
    }

    pub fn has_frame(&self) -> bool {
        self.marks.reached(Stage::Framed).is_some()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plausible question, for tests of what handles parts.
    pub(crate) fn ask(camera: &str, deadline: Duration) -> PartRequest {
        PartRequest {
            camera: camera.into(),
            region: None,
            part_id: None,
            count: None,
            position: None,
            since: Instant::now(),
            at: Timestamp::UNIX_EPOCH,
            terms: PartTiming {
                deadline,
                ..PartTiming::default()
            },
            challenge: None,
        }
    }
}
