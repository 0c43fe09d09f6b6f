//! How long a frame took from one place of a pipeline to another, found again by its time stamp.
//!
//! Used from GStreamer's threads: nothing in it panics, and it forgets the oldest beyond [`KEPT`], so that frames that
//! never arrive (dropped by the decoder or by newest-wins) cost nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Frames remembered: more than any decoder holds back.
const KEPT: usize = 64;

#[derive(Debug, Default)]
pub struct Stopwatch(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    /// By time stamp in nanoseconds, in order of arrival.
    started: VecDeque<(u64, Instant)>,
    took: VecDeque<(u64, Duration)>,
}

impl Stopwatch {
    pub fn start(&self, pts: u64, now: Instant) {
        push(&mut self.times().started, (pts, now));
    }

    pub fn stop(&self, pts: u64, now: Instant) {
        let mut times = self.times();
        if let Some(started) = take(&mut times.started, pts) {
            push(&mut times.took, (pts, now.saturating_duration_since(started)));
        }
    }

    /// Told once for each frame.
    pub fn took(&self, pts: u64) -> Option<Duration> {
        take(&mut self.times().took, pts)
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == KEPT {
        queue.pop_front();
    }
    queue.push_back(item);
}

fn take<T>(queue: &mut VecDeque<(u64, T)>, pts: u64) -> Option<T> {
    let at = queue.iter().position(|(of, _)| *of == pts)?;
    queue.remove(at).map(|(_, item)| item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_is_timed_by_its_own_stamp_in_any_order() {
        let (watch, zero) = (Stopwatch::default(), Instant::now());
        let at = |ms| zero + Duration::from_millis(ms);
        watch.start(7, at(0));
        watch.start(8, at(1));
        watch.stop(8, at(5));
        watch.stop(7, at(6));
        assert_eq!(watch.took(7), Some(Duration::from_millis(6)));
        assert_eq!(watch.took(8), Some(Duration::from_millis(4)));
        assert_eq!((watch.took(8), watch.took(9)), (None, None));
    }

    #[test]
    fn frames_that_never_arrive_are_forgotten() {
        let (watch, now) = (Stopwatch::default(), Instant::now());
        (0..1000).for_each(|pts| watch.start(pts, now));
        assert_eq!(watch.times().started.len(), KEPT);
    }
}
