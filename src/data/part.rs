//! Part: the subject of one verdict. Accepted once, with a number of its own, and with exactly one
//! result.

use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Request to accept a part.
#[derive(Debug, Clone)]
pub struct PartRequest {
    /// Name of the camera that sees the part.
    pub camera: Arc<str>,
    /// Region of interest, one of several parts in a view. `None` if the view shows one part.
    pub region: Option<Arc<str>>,
    /// The line's own name for the part, where it gave one.
    pub part_id: Option<String>,
    /// The line's encoder when the part was at the trigger, where the trigger told it.
    pub count: Option<i64>,
    /// The part's position at the trigger, where the trigger told it; of a web in millimetres.
    pub position: Option<f64>,
    /// Monotonic clock at the trigger: the deadline counts from here.
    pub since: Instant,
    /// Time of the trigger.
    pub at: Timestamp,
    /// Monotonic clock at that time: the way to the gate counts from here, because nothing sets that
    /// clock.
    pub moment: Instant,
    /// Deadline, and the way to the gate.
    pub timing: PartTiming,
    /// Name of the challenge that the part is a known part of; such a part is no production.
    pub challenge: Option<Arc<str>>,
}

impl PartRequest {
    /// The moment at which the part becomes undecided without a verdict.
    pub fn due(&self) -> Instant {
        self.since + self.timing.deadline
    }
}

/// A camera's part in time and place: deadline of the verdict, and the way to the gate.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PartTiming {
    /// Longest time from the trigger to the verdict; the part is undecided then.
    pub deadline: Duration,
    /// Time from the frame to the gate. `None` if the line has no gate by time.
    pub reject_after: Option<Duration>,
    /// Time after which a message to the gate would meet another part: none is sent then.
    pub reject_late: Duration,
    /// Encoder counts from the trigger to the gate. `None` if the line has no gate by counts.
    pub reject_counts: Option<i64>,
    /// Millimetres of the part in a pixel of the camera's picture. `None` if the configuration does not say.
    pub mm_per_pixel: Option<f64>,
}

/// An accepted part. `seq` is unique and gap-free per (run, camera), from 1.
#[derive(Debug, Clone)]
pub struct Part {
    /// The store's own number for the part.
    pub key: u64,
    /// The run of winspect that accepted it.
    pub run_id: Arc<str>,
    /// Number within the run and camera.
    pub seq: u64,
    /// The request that was accepted.
    pub request: PartRequest,
    /// Times of its stages, shared by its clones and its result.
    pub times: Arc<StageTimes>,
}

/// Stages of a part, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartStage {
    /// The part's number is on the disk.
    Numbered,
    /// The camera was asked for the frame.
    Asked,
    /// A frame was found.
    Framed,
    /// The verdict was brought to the store.
    Settled,
    /// The result is on the disk.
    Written,
    /// The publisher took the result.
    Sent,
    /// The broker's PUBACK came.
    Acked,
}

/// Times at which a part reached its stages: an atomic number each, so that keeping them costs a line
/// nothing.
#[derive(Debug)]
pub struct StageTimes {
    since: Instant,
    /// Nanoseconds from `since` to each stage; zero if it was not reached.
    reached: [AtomicU64; PartStage::Acked as usize + 1],
}

impl StageTimes {
    fn new(since: Instant) -> Self {
        StageTimes {
            since,
            reached: Default::default(),
        }
    }

    /// Time of the trigger, from which the stages count.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Enters that the part reached `stage` now.
    pub fn reach(&self, stage: PartStage) {
        self.reach_at(stage, Instant::now());
    }

    /// Enters that the part reached `stage` at `at`. The last time counts.
    pub fn reach_at(&self, stage: PartStage, at: Instant) {
        let after = at.saturating_duration_since(self.since);

        // The time is at least one nanosecond, because 0 means that the stage was not reached.
        let nanos = after.as_nanos().clamp(1, u64::MAX.into());
        self.reached[stage as usize].store(nanos as u64, Ordering::Relaxed);
    }

    /// Time from `since` to `stage`. `None` if the part has not reached it.
    pub fn reached(&self, stage: PartStage) -> Option<Duration> {
        // The times come from several threads, and each is a number by itself that orders no other
        // memory, hence a relaxed load is enough.
        match self.reached[stage as usize].load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

impl Part {
    /// The part of an accepted request; no stage is reached yet.
    pub fn new(key: u64, run_id: Arc<str>, seq: u64, request: PartRequest) -> Self {
        // Times count from the trigger, which a deadline counts from too.
        let times = Arc::new(StageTimes::new(request.since));
        Part {
            key,
            run_id,
            seq,
            request,
            times,
        }
    }

    /// The camera's name.
    pub fn camera(&self) -> &Arc<str> {
        &self.request.camera
    }

    /// The moment at which a part without a verdict becomes undecided.
    pub fn due(&self) -> Instant {
        self.request.due()
    }

    /// Enters that the part has a frame now.
    pub fn mark_framed(&self) {
        self.times.reach(PartStage::Framed);
    }

    /// True if a frame was found.
    pub fn has_frame(&self) -> bool {
        self.times.reached(PartStage::Framed).is_some()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A plausible request, for tests of what handles parts.
    pub(crate) fn ask(camera: &str, deadline: Duration) -> PartRequest {
        PartRequest {
            camera: camera.into(),
            region: None,
            part_id: None,
            count: None,
            position: None,
            since: Instant::now(),
            at: Timestamp::UNIX_EPOCH,
            moment: Instant::now(),
            timing: PartTiming {
                deadline,
                ..PartTiming::default()
            },
            challenge: None,
        }
    }
}
