//! Limits of sign-ins: who guesses passwords waits longer and longer.
//!
//! A try counts when it begins, and is forgiven when the password was right. Of one name three tries are free;
//! each further one waits twice as long as the one before, up to [`DELAY_MAX`]. A try that comes too early is refused
//! without a look at the password, and counts for nothing, so that a name is never shut for longer than that. All
//! names together have [`ALL_TRIES`] tries, which come back one in [`ALL_REFILL`].
//!
//! Bounds: 1000 names, kept as hashes; the one that failed longest ago makes room.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Tries of a name that wait for nothing.
const FREE: u32 = 3;
/// Wait after the first try that is not free.
const DELAY_FIRST: Duration = Duration::from_secs(1);
/// Longest wait of a name.
pub const DELAY_MAX: Duration = Duration::from_secs(60);
/// Time after which the failures of a name are forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(15 * 60);
/// Wrong tries of all names together that wait for nothing.
pub const ALL_TRIES: u32 = 20;
/// Time in which one of them comes back.
pub const ALL_REFILL: Duration = Duration::from_secs(3);
/// Names with failures that are remembered.
const NAMES_MAX: usize = 1000;

/// Failures of one name.
#[derive(Clone, Copy)]
struct NameTries {
    count: u32,
    last: Instant,
    /// Moment from which the next try is looked at.
    next: Instant,
}

/// The limits.
#[derive(Default)]
pub struct SignInLimits {
    hasher: RandomState,
    names: HashMap<u64, NameTries>,
    /// Tries of all names that are used up, and the moment at which that was so.
    all: Option<(u32, Instant)>,
}

impl SignInLimits {
    /// Begins a try: it counts as failed until [`SignInLimits::forgive`].
    ///
    /// # Errors
    /// The time to wait, when it comes too early; it does not count then.
    pub fn begin(&mut self, name: &str, now: Instant) -> Result<(), Duration> {
        let key = self.hasher.hash_one(name);
        let known = self.names.get(&key).copied();
        let known = known.filter(|tries| now.saturating_duration_since(tries.last) < FORGET_AFTER);

        if let Some(tries) = known
            && tries.next > now
        {
            return Err(tries.next - now);
        }

        let used = self.used_of_all(now);

        if used >= ALL_TRIES {
            return Err(ALL_REFILL);
        }

        self.all = Some((used + 1, now));
        let count = known.map_or(0, |tries| tries.count) + 1;

        self.make_room(key);

        let tries = NameTries {
            count,
            last: now,
            next: now + delay_after(count),
        };

        self.names.insert(key, tries);

        Ok(())
    }

    /// Forgives the tries of a name whose password was right at last.
    pub fn forgive(&mut self, name: &str, now: Instant) {
        let key = self.hasher.hash_one(name);

        self.names.remove(&key);

        // The one that was right; wrong ones before it stay used up for the others.
        let used = self.used_of_all(now).saturating_sub(1);

        self.all = Some((used, now));
    }

    fn used_of_all(&self, now: Instant) -> u32 {
        let Some((used, at)) = self.all else {
            return 0;
        };

        let passed = now.saturating_duration_since(at);
        let back = passed.as_millis() / ALL_REFILL.as_millis();

        used.saturating_sub(u32::try_from(back).unwrap_or(u32::MAX))
    }

    fn make_room(&mut self, key: u64) {
        if self.names.len() < NAMES_MAX || self.names.contains_key(&key) {
            return;
        }

        // A flood of names must not push a name that is guessed at out: all names together are bounded in time too.
        let names = self.names.iter();
        let oldest = names.min_by_key(|(_, tries)| tries.last);

        let oldest = oldest.map(|(key, _)| *key);

        if let Some(oldest) = oldest {
            self.names.remove(&oldest);
        }
    }
}

/// The wait after so many tries.
fn delay_after(count: u32) -> Duration {
    let Some(doublings) = count.checked_sub(FREE) else {
        return Duration::ZERO;
    };

    let factor = 2_u32.saturating_pow(doublings.min(16));

    DELAY_FIRST.saturating_mul(factor).min(DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_wait_of_a_name_grows_to_its_bound_and_others_do_not_wait() {
        let mut limits = SignInLimits::default();
        let mut now = Instant::now();
        for _ in 0..FREE {
            assert_eq!(limits.begin("anna", now), Ok(()));
        }

        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            let early = limits.begin("anna", now + SECOND * wait - Duration::from_millis(1));
            assert_eq!(early, Err(Duration::from_millis(1)), "{wait}");
            now += SECOND * wait;
            assert_eq!(limits.begin("anna", now), Ok(()), "{wait}");
        }

        assert_eq!(limits.begin("otto", now), Ok(()));
        limits.forgive("anna", now);
        assert_eq!(limits.begin("anna", now), Ok(()), "it was right");
    }

    #[test]
    fn failures_are_forgotten_in_time() {
        let mut limits = SignInLimits::default();
        let now = Instant::now();
        for _ in 0..FREE {
            limits.begin("anna", now).expect("free");
        }

        let later = now + FORGET_AFTER;
        limits.begin("anna", later).expect("forgotten");
        assert_eq!(limits.begin("anna", later), Ok(()), "the count began anew");
    }

    #[test]
    fn names_in_bulk_wait_together_and_take_no_memory() {
        let mut limits = SignInLimits::default();
        let now = Instant::now();
        let tried = |limits: &mut SignInLimits, from: u32, now| {
            let names = (from..from + 1000).map(|number| format!("n{number}"));
            names.filter(|name| limits.begin(name, now).is_ok()).count()
        };

        assert_eq!(tried(&mut limits, 0, now), ALL_TRIES as usize);
        assert_eq!(tried(&mut limits, 1000, now + ALL_REFILL * 5), 5);
        for hour in 1..200 {
            tried(
                &mut limits,
                hour * 1000,
                now + Duration::from_secs(3600) * hour,
            );
        }

        assert!(limits.names.len() <= NAMES_MAX);
    }
}
