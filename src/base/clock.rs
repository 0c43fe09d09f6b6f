//! Synchronisation of the system's clock, and its steps: times in results are worth as much as that
//! clock.

use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, Instant};

/// Longest time between the readings of one moment.
const READ_WITHIN: Duration = Duration::from_millis(1);
/// Readings of one moment at most: on a machine that is overloaded the last one must do.
const READINGS: usize = 5;

/// One moment by the system's clock and by the monotonic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time by the system's clock, which may be set.
    pub at: Timestamp,
    /// Time by the monotonic clock.
    pub now: Instant,
}

impl Moment {
    /// The present.
    pub fn now() -> Self {
        // A thread that lost the processor between both readings would see a step that was none.
        let mut moment = Moment::read();
        for _ in 1..READINGS {
            if moment.now.elapsed() <= READ_WITHIN {
                break;
            }

            moment = Moment::read();
        }

        moment
    }

    fn read() -> Self {
        let now = Instant::now();
        let at = Timestamp::now();
        Moment { at, now }
    }

    /// The way by which the system's clock was set since an earlier moment, forward where positive.
    pub fn step_since(self, earlier: Moment) -> SignedDuration {
        let passed = self.now.saturating_duration_since(earlier.now);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        self.at.duration_since(earlier.at).saturating_sub(passed)
    }
}

/// True if the kernel says that NTP, PTP or chrony steers the clock (adjtimex(2)). `None` if the
/// kernel does not say.
pub fn is_synchronised() -> Option<bool> {
    // SAFETY: a timex is plain numbers, and zeros are a valid one: modes = 0 changes nothing.
    let mut now: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes into the whole timex that we own, and keeps no pointer to it.
    let state = unsafe { libc::adjtimex(&raw mut now) };
    if state < 0 {
        return None;
    }

    let has_error = state == libc::TIME_ERROR;
    let is_unsteered = now.status & libc::STA_UNSYNC != 0;
    Some(!has_error && !is_unsteered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_what_the_system_s_clock_went_more_than_the_monotonic_one() {
        let before = Moment::now();
        let after = Moment {
            at: before.at + SignedDuration::from_millis(-650),
            now: before.now + Duration::from_millis(50),
        };

        assert_eq!(after.step_since(before), SignedDuration::from_millis(-700));
    }

    #[test]
    fn the_kernel_says_the_same_twice() {
        assert_eq!(is_synchronised(), is_synchronised());
    }
}
