//! Times at which frames went into the decoder, found again by their time stamp: how long decoding took.
//!
//! Filled from GStreamer's threads: nothing in it panics, and the oldest entry beyond [`KEPT`] is
//! forgotten, so that frames that never arrive (dropped by the decoder or by newest-wins) cost nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Number of frames remembered: more than any decoder holds back.
const KEPT: usize = 64;

/// A frame in the decoder.
#[derive(Debug)]
struct Started {
    /// Time stamp in nanoseconds.
    pts: u64,
    at: Instant,
}

/// Frames in the decoder, in order of arrival.
#[derive(Debug, Default)]
pub struct Stopwatch(Mutex<VecDeque<Started>>);

impl Stopwatch {
    /// Enters that the frame with the time stamp `pts` (nanoseconds) went into the decoder at `now`.
    pub fn start(&self, pts: u64, now: Instant) {
        let mut started = self.started();

        if started.len() == KEPT {
            started.pop_front();
        }

        started.push_back(Started { pts, at: now });
    }

    /// The moment at which the frame went into the decoder, told once for each frame. `None` if it is
    /// not known.
    pub fn started_at(&self, pts: u64) -> Option<Instant> {
        let mut started = self.started();
        let at = started.iter().position(|frame| frame.pts == pts)?;
        let frame = started.remove(at)?;

        Some(frame.at)
    }

    fn started(&self) -> MutexGuard<'_, VecDeque<Started>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_frame_is_found_once_by_its_own_stamp_in_any_order() {
        let watch = Stopwatch::default();
        let zero = Instant::now();
        let one = zero + Duration::from_millis(1);
        watch.start(7, zero);
        watch.start(8, one);
        assert_eq!(
            (watch.started_at(8), watch.started_at(7)),
            (Some(one), Some(zero))
        );

        assert_eq!((watch.started_at(8), watch.started_at(9)), (None, None));
    }

    #[test]
    fn frames_that_never_arrive_are_forgotten() {
        let watch = Stopwatch::default();
        let now = Instant::now();
        (0..1000).for_each(|pts| watch.start(pts, now));
        assert_eq!(watch.started().len(), KEPT);
    }
}
