//! Waits between tries: they double from a first wait to a bound, with jitter, so that a plant's
//! hundred boxes do not all come back in the same millisecond.

use rand::Rng;
use std::time::Duration;

/// Waits of `first`, `2 first`, `4 first` ... at most `longest`, each shortened by a random part of
/// up to a quarter.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts with a wait of `first`; no later wait is longer than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Backoff {
            first,
            longest,
            next: first,
        }
    }

    /// The wait before the next try.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).min(self.longest);
        let jitter = rand::rng().random_range(0.0..0.25);
        wait.mul_f64(1.0 - jitter)
    }

    /// Starts again at the first wait. Called after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for limit in [100, 200, 350, 350] {
            let wait = backoff.next_wait().as_secs_f64() * 1000.0;
            assert!(
                wait <= limit as f64 && wait >= 0.75 * limit as f64 - 1e-6,
                "{wait} of {limit}"
            );
        }

        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
