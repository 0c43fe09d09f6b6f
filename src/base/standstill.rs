//! A loop that finds out that its process stood still: stopped, paused with its machine, or without a
//! turn for long. Pure: the time is the caller's.
//!
//! What came meanwhile waits, and looks as if it came at the end of the gap.

use std::time::{Duration, Instant};

/// Interval in which the loop ticks.
pub const TICK: Duration = Duration::from_millis(200);
/// Time without a tick from which on the loop stood still.
const GAP_MIN: Duration = Duration::from_millis(700);

/// The ticks of one loop.
#[derive(Debug)]
pub struct Standstill {
    ticked: Instant,
    /// End of the last gap. `None` before the first.
    gap_ended: Option<Instant>,
}

impl Standstill {
    /// A loop that begins now.
    pub fn new(now: Instant) -> Self {
        Standstill {
            ticked: now,
            gap_ended: None,
        }
    }

    /// Notes that the loop goes on. A tick that comes late ends a gap.
    pub fn tick(&mut self, now: Instant) {
        if self.is_in_gap(now) {
            self.gap_ended = Some(now);
        }

        self.ticked = now;
    }

    /// True if something that is read now may have waited through a gap: none was noticed yet, or one
    /// has just ended.
    pub fn is_doubtful(&self, now: Instant) -> bool {
        let has_just_ended = self
            .gap_ended
            .is_some_and(|ended| now.saturating_duration_since(ended) < TICK);

        self.is_in_gap(now) || has_just_ended
    }

    fn is_in_gap(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.ticked) > GAP_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_the_end_of_a_gap_is_doubtful_before_and_after_the_tick() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut loop_ticks = Standstill::new(start);
        loop_ticks.tick(at(200));
        assert!(!loop_ticks.is_doubtful(at(390)));
        assert!(loop_ticks.is_doubtful(at(3200)));
        loop_ticks.tick(at(3201));
        assert!(loop_ticks.is_doubtful(at(3202)));
        loop_ticks.tick(at(3401));
        assert!(!loop_ticks.is_doubtful(at(3402)));
    }
}
