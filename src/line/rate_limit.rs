//! The rate limit of commands that are no triggers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Commands other than triggers within `RATE_TIME`; more are refused.
pub const RATE_MAX: usize = 20;
/// Window of the rate limit.
const RATE_TIME: Duration = Duration::from_secs(1);

/// Moments of the last commands. Each has its lines in the audit log and its place in a commit: a
/// sender that repeats itself in a loop must neither push the log's lines out nor hold triggers up.
#[derive(Default)]
pub struct RateLimit(VecDeque<Instant>);

impl RateLimit {
    /// Returns true, and counts the command, when the limit has room at `now`.
    pub fn allows(&mut self, now: Instant) -> bool {
        self.0
            .retain(|done| now.saturating_duration_since(*done) < RATE_TIME);

        let allows = self.0.len() < RATE_MAX;
        if allows {
            self.0.push_back(now);
        }

        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_commands_are_done_in_a_second_and_more_in_the_next() {
        let now = Instant::now();
        let mut limit = RateLimit::default();
        let allowed = (0..100).filter(|_| limit.allows(now)).count();
        assert_eq!(allowed, RATE_MAX);
        assert!(!limit.allows(now + RATE_TIME / 2) && limit.allows(now + RATE_TIME));
    }
}
