//! When frames went into the decoder, found again by their time stamp: how long decoding took.
//!
//! Filled from GStreamer's threads: nothing in it panics, and it forgets the oldest beyond [`KEPT`], so that frames that
//! never arrive (dropped by the decoder or by newest-wins) cost nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Frames remembered: more than any decoder holds back.
const KEPT: usize = 64;

/// Time stamps in nanoseconds, in order of arrival.
#[derive(Debug, Default)]
pub struct Stopwatch(Mutex<VecDeque<(u64, Instant)>>);

impl Stopwatch {
    pub fn start(&self, pts: u64, now: Instant) {
        let mut started = self.started();
        if started.len() == KEPT {
            started.pop_front();
        }
        started.push_back((pts, now));
    }

    /// Told once for each frame.
    pub fn started_at(&self, pts: u64) -> Option<Instant> {
        let mut started = self.started();
        let at = started.iter().position(|(of, _)| *of == pts)?;
        started.remove(at).map(|(_, began)| began)
    }

    fn started(&self) -> MutexGuard<'_, VecDeque<(u64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_frame_is_found_once_by_its_own_stamp_in_any_order() {
        let (watch, zero) = (Stopwatch::default(), Instant::now());
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
        let (watch, now) = (Stopwatch::default(), Instant::now());
        (0..1000).for_each(|pts| watch.start(pts, now));
        assert_eq!(watch.started().len(), KEPT);
    }
}
