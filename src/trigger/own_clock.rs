//! Steps of this machine's own wall clock, found by comparing it with the monotonic one.
//!
//! Frames and triggers are matched by moments of the monotonic clock, which nothing sets: a step of the
//! wall clock moves no picture. Two doubts are left, and what is in doubt is not judged.
//! ```text
//! set forward    the machine may have slept, and the monotonic clock with it: a frame and a trigger on
//!                two sides of the step may be further apart than their moments say
//! set at all     an `at` that was stamped by this clock before the step, and came after it, means
//!                another moment than it says now
//! ```

use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Least difference that is a step of the clock. Steering it (NTP) moves both clocks alike.
const STEP_MIN: SignedDuration = SignedDuration::from_millis(20);
/// Time for which a step counts: longer than an `at` may be old, and than a frame waits.
const KEPT: Duration = Duration::from_secs(120);
/// Limit of the age of an `at` that is believed to be stamped before a step.
const OLD_MAX: Duration = Duration::from_secs(60);
/// Largest number of steps that are kept; the oldest is let go.
const STEPS_MAX: usize = 8;
/// Longest time that the reading of both clocks may take, and tries to get there.
const READING_MAX: Duration = Duration::from_micros(200);
const READING_TRIES: usize = 4;
/// Time from which on a reading tells of no step: the thread lost its turn between the two clocks.
const READING_DOUBTED: Duration = Duration::from_millis(10);

/// Both clocks of this machine at one moment.
#[derive(Debug, Clone, Copy)]
pub struct ClockReading {
    /// The monotonic clock.
    pub now: Instant,
    /// The wall clock.
    pub wall: Timestamp,
}

impl ClockReading {
    /// Reads both clocks. A thread that loses its turn between the two reads again. Returns the time
    /// that the best reading took, too.
    fn take() -> (Duration, Self) {
        let mut best: Option<(Duration, ClockReading)> = None;

        for _ in 0..READING_TRIES {
            let now = Instant::now();
            let wall = Timestamp::now();
            let took = now.elapsed();

            if best.is_none_or(|(least, _)| took < least) {
                best = Some((took, ClockReading { now, wall }));
            }

            if took <= READING_MAX {
                break;
            }
        }

        best.expect("the clocks were read")
    }

    /// The moment at which this wall clock shows, or showed, `at`.
    pub fn moment_of(&self, at: Timestamp) -> Instant {
        moved(self.now, at.duration_since(self.wall))
    }

    /// The time that this wall clock shows, or would have shown, at `moment`.
    pub fn wall_at(&self, moment: Instant) -> Timestamp {
        let wall = self.wall.checked_add(between(self.now, moment));

        wall.unwrap_or(self.wall)
    }

    /// Returns `at` unless it was stamped by a wall clock that was set since: then the time that this
    /// one gives the same `moment`.
    pub fn restamped(&self, at: Timestamp, moment: Instant) -> Timestamp {
        let wall = self.wall_at(moment);

        if wall.duration_since(at).abs() > STEP_MIN {
            wall
        } else {
            at
        }
    }
}

/// A step of the wall clock between two readings.
#[derive(Debug, Clone, Copy)]
pub struct ClockStep {
    /// The last moment at which the clock was not yet set.
    pub from: Instant,
    /// The first moment at which it was seen to be set.
    pub until: Instant,
    /// Size of the step, positive where the clock was set forward.
    pub by: SignedDuration,
}

impl ClockStep {
    /// True if unknown time may have passed between two moments: the step is forward, and not wholly
    /// before or after both.
    fn parts(&self, one: Instant, other: Instant) -> bool {
        let is_before = one.max(other) <= self.from;
        let is_after = one.min(other) > self.until;

        self.by.is_positive() && !is_before && !is_after
    }

    /// Size and direction in words: `set back by 0.800 s`.
    pub fn words(&self) -> String {
        let seconds = self.by.as_secs_f64().abs();
        let direction = if self.by.is_negative() {
            "back"
        } else {
            "forward"
        };

        format!("set {direction} by {seconds:.3} s")
    }
}

/// Clocks and their latest steps, at one moment.
#[derive(Debug, Clone)]
pub struct ClockLook {
    /// Both clocks.
    pub reading: ClockReading,
    /// The latest steps, the newest last.
    pub steps: VecDeque<ClockStep>,
}

impl ClockLook {
    /// The step over which two moments may be further apart than they say. `None` without doubt.
    pub fn doubt(&self, one: Instant, other: Instant) -> Option<&ClockStep> {
        self.steps.iter().find(|step| step.parts(one, other))
    }

    /// The moment that a sender's `at` means.
    ///
    /// # Errors
    /// The step of the clock, where `at` may have been stamped before it.
    pub fn moment_of(&self, at: Timestamp) -> Result<Instant, ClockStep> {
        let moment = self.reading.moment_of(at);

        // The moment that each earlier state of the clock would have meant.
        let mut earlier = moment;

        for step in self.steps.iter().rev() {
            earlier = moved(earlier, step.by);
            let age = self.reading.now.saturating_duration_since(earlier);

            if earlier <= step.until && age <= OLD_MAX {
                return Err(*step);
            }
        }

        Ok(moment)
    }
}

/// The wall clock of this machine, watched by all who match by time.
#[derive(Debug)]
pub struct OwnClock(Mutex<WatchedClock>);

/// The last reading, and the steps before it.
#[derive(Debug)]
struct WatchedClock {
    last: ClockReading,
    steps: VecDeque<ClockStep>,
}

impl Default for OwnClock {
    fn default() -> Self {
        OwnClock(Mutex::new(WatchedClock {
            last: ClockReading::take().1,
            steps: VecDeque::new(),
        }))
    }
}

impl OwnClock {
    /// Reads the clocks, and finds a step since the last look.
    pub fn look(&self) -> ClockLook {
        // The clocks are read under the lock, so that readings follow each other in time.
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (took, reading) = ClockReading::take();
        let step = match took < READING_DOUBTED {
            true => watched.follow(reading),
            false => None,
        };

        // The last reading that was good tells the wall clock as well, but for a step since.
        let reading = ClockReading {
            now: reading.now,
            wall: watched.last.wall_at(reading.now),
        };

        let look = ClockLook {
            reading,
            steps: watched.steps.clone(),
        };

        drop(watched);
        if let Some(step) = step {
            tracing::warn!(
                "this machine's clock was {}; parts whose picture is in doubt by that are undecided",
                step.words()
            );
        }

        look
    }
}

impl WatchedClock {
    /// Takes the next reading. Returns the step since the last one.
    fn follow(&mut self, reading: ClockReading) -> Option<ClockStep> {
        let by_wall = reading.wall.duration_since(self.last.wall);
        let by = by_wall.saturating_sub(between(self.last.now, reading.now));
        let step = ClockStep {
            from: self.last.now,
            until: reading.now,
            by,
        };

        self.last = reading;
        self.steps
            .retain(|old| reading.now.saturating_duration_since(old.until) <= KEPT);

        if by.abs() <= STEP_MIN {
            return None;
        }

        if self.steps.len() == STEPS_MAX {
            self.steps.pop_front();
        }

        self.steps.push_back(step);
        Some(step)
    }
}

/// Time from one moment to another; negative where that is earlier.
pub fn between(from: Instant, to: Instant) -> SignedDuration {
    let signed = |time| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);

    match to.checked_duration_since(from) {
        Some(later) => signed(later),
        None => -signed(from.saturating_duration_since(to)),
    }
}

/// The moment that is `by` after another, or before it. A moment that cannot be told stays as it is.
fn moved(moment: Instant, by: SignedDuration) -> Instant {
    let size = by.unsigned_abs();
    let there = if by.is_negative() {
        moment.checked_sub(size)
    } else {
        moment.checked_add(size)
    };

    there.unwrap_or(moment)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A look at a moment without steps.
    pub(in crate::trigger) fn look(now: Instant) -> ClockLook {
        let wall = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(9);
        ClockLook {
            reading: ClockReading { now, wall },
            steps: VecDeque::new(),
        }
    }

    /// A clock that is read each 100 ms for 10 s and set by `step_ms` after the 50th time.
    fn stepped(step_ms: i64) -> (Instant, ClockLook) {
        let start = Instant::now() + Duration::from_secs(7200);
        let first = look(start).reading;
        let mut clock = WatchedClock {
            last: first,
            steps: VecDeque::new(),
        };

        for number in 1..=100 {
            let shift = if number > 50 { step_ms } else { 0 };
            let wall = first.wall + SignedDuration::from_millis(100 * number + shift);
            let now = start + Duration::from_millis(100 * number as u64);
            clock.follow(ClockReading { now, wall });
        }

        let look = ClockLook {
            reading: clock.last,
            steps: clock.steps,
        };

        (start, look)
    }

    #[test]
    fn steps_of_all_sizes_are_found_and_none_is_invented() {
        for ms in [
            50, -50, 300, -300, 800, -800, 950, -950, 1500, -1500, 3_600_000,
        ] {
            let (start, look) = stepped(ms);
            assert_eq!(look.steps.len(), 1, "{ms}");
            let step = look.steps[0];
            assert_eq!(step.by.as_millis(), i128::from(ms));
            assert_eq!(step.until, start + Duration::from_millis(5100));
        }

        assert!(stepped(0).1.steps.is_empty());
        assert!(stepped(15).1.steps.is_empty());
    }

    #[test]
    fn a_forward_step_parts_the_moments_on_its_two_sides() {
        for ms in [50, -50, 3_600_000, -3_600_000] {
            let (start, look) = stepped(ms);
            let at = |ms| start + Duration::from_millis(ms);
            let is_forward = ms > 0;
            assert_eq!(look.doubt(at(4990), at(5110)).is_some(), is_forward);
            assert_eq!(look.doubt(at(5110), at(4990)).is_some(), is_forward);
            assert!(look.doubt(at(4900), at(4990)).is_none());
            assert!(look.doubt(at(5110), at(5200)).is_none());
        }
    }

    #[test]
    fn a_time_of_this_clock_means_its_moment_or_is_in_doubt() {
        let hour = 3_600_000;
        for step_ms in [
            50, -50, 300, -300, 800, -800, 950, -950, 1500, -1500, hour, -hour,
        ] {
            let (start, look) = stepped(step_ms);
            let first = look_wall(&look, step_ms);
            for ms in (0..9900).step_by(30) {
                let moment = start + Duration::from_millis(ms);
                let stepped = if ms > 5050 { step_ms } else { 0 };
                let at = first + SignedDuration::from_millis(ms as i64 + stepped);
                // The clock's own stamp: never another moment.
                let found = look.moment_of(at);
                assert!(found.is_err() || found.is_ok_and(|found| found == moment));
                // Another machine's, which is right by the clock as it is now: the same, and well
                // after the step never in doubt.
                let right = first + SignedDuration::from_millis(ms as i64 + step_ms);
                let found = look.moment_of(right);
                let is_over = ms as i64 > 5100 - step_ms.min(0);
                assert!(found.is_ok() || !is_over, "{step_ms} {ms}");
                assert!(found.is_err() || found.is_ok_and(|found| found == moment));
            }
        }
    }

    /// The wall clock's time at the beginning, before the step.
    fn look_wall(look: &ClockLook, step_ms: i64) -> Timestamp {
        look.reading.wall - SignedDuration::from_millis(10_000 + step_ms)
    }

    #[test]
    fn a_frame_that_was_stamped_before_a_step_is_stamped_anew() {
        let (start, look) = stepped(-800);
        let old = look_wall(&look, -800);
        let found = look.reading.restamped(old, start);
        assert_eq!(found, old - SignedDuration::from_millis(800));
        let near = found + SignedDuration::from_millis(3);
        assert_eq!(look.reading.restamped(near, start), near);
    }
}
