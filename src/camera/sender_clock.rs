//! The clock of a camera's sender, used for intervals alone. Pure: the time is the caller's.
//!
//! A camera's clock may be hours off, drift and be set while it runs. What it says is only how far two
//! of its frames are apart. The way from its clock to ours is learned from arrivals: `arrived - sent` of
//! a frame is the difference of the clocks plus the frame's time on the way, and the least of it within
//! [`WINDOW`] is that of a frame that was not held up. Such a frame was captured `delay` before it
//! arrived; each other one as much earlier as it was held up.
//!
//! ```text
//! clock ahead by a step    arrived - sent falls: the new least, at once
//! clock back by a step     sent goes back, or less than the frames came apart: the least grows by the step
//! held up on the way       arrived - sent grows, sent goes on as before: the least stays
//! drift                    the least follows within WINDOW: 3 ms of 100 ppm
//! ```
//! What looks like a step may be the jitter of a busy sender's stamps, also while frames come that were
//! held up. So a step moves the least, and does not forget it: else the next frame would be taken for one
//! that was not held up, and all that come behind it for as much younger as it was.
//!
//! Arrivals are taken from the monotonic clock, so that a step of this machine's own clock changes
//! nothing.

use jiff::SignedDuration;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time for which a frame's way counts for the least.
const WINDOW: Duration = Duration::from_secs(30);
/// Number of the newest intervals of which the middle one is the usual one.
const INTERVALS: usize = 9;
/// Least difference between two intervals that is a step of the clock, and no jitter.
const STEP_MIN: SignedDuration = SignedDuration::from_millis(20);
/// Time for which a step may turn out to have been none.
const DOUBTED: Duration = Duration::from_secs(1);
/// A frame is not believed to have been held up for longer: its clock was set instead.
const HELD_UP_MAX: SignedDuration = SignedDuration::from_secs(60);

/// Learns how a sender's times belong to ours.
#[derive(Debug)]
pub struct SenderClock {
    /// Time from capture to arrival of a frame that is not held up.
    delay: Duration,
    /// Beginning of our monotonic times.
    origin: Instant,
    /// Frames that may still be the least, with growing lag: the first one is the least now.
    least: VecDeque<Lag>,
    last: Option<SentFrame>,
    /// The sender's newest intervals, the newest last.
    intervals: VecDeque<SignedDuration>,
    /// The newest step back. `None` before the first.
    doubted_step: Option<DoubtedStep>,
}

/// A step back that may have been a stamp that was too early.
#[derive(Debug, Clone, Copy)]
struct DoubtedStep {
    by: SignedDuration,
    arrived: Instant,
}

/// A frame's `arrived - sent`, on a scale with an arbitrary zero.
#[derive(Debug, Clone, Copy)]
struct Lag {
    arrived: Instant,
    lag: SignedDuration,
}

/// A frame by both clocks.
#[derive(Debug, Clone, Copy)]
struct SentFrame {
    /// Time since 1970 by the sender's clock.
    sent: SignedDuration,
    arrived: Instant,
}

impl SenderClock {
    /// A clock that nothing is known of; `delay` is the time from capture to arrival of a frame that
    /// is not held up.
    pub fn new(delay: Duration) -> Self {
        SenderClock {
            delay,
            origin: Instant::now(),
            least: VecDeque::new(),
            last: None,
            intervals: VecDeque::new(),
            doubted_step: None,
        }
    }

    /// Takes a frame that was `sent` at that time since 1970 by the sender's clock. Returns how long
    /// before its arrival it was captured.
    pub fn age(&mut self, sent: SignedDuration, arrived: Instant) -> Duration {
        let frame = SentFrame { sent, arrived };
        if let Some(last) = self.last.replace(frame) {
            let step = frame.since(last);
            self.follow_steps(&step, arrived);

            // The interval with a step in it is not usual.
            if !step.sent.is_negative() {
                self.keep_interval(step.sent);
            }
        }

        let since_origin = arrived.saturating_duration_since(self.origin);
        let since_origin = SignedDuration::try_from(since_origin).unwrap_or(SignedDuration::MAX);
        let lag = since_origin.saturating_sub(sent);
        let held_up = self.held_up(Lag { arrived, lag });
        self.delay + held_up
    }

    /// Enters a frame's lag. Returns its distance from the least.
    fn held_up(&mut self, newest: Lag) -> Duration {
        while let Some(oldest) = self.least.front()
            && newest.arrived.saturating_duration_since(oldest.arrived) > WINDOW
        {
            self.least.pop_front();
        }

        // Older frames with a larger lag can never be the least again.
        while self.least.back().is_some_and(|last| last.lag >= newest.lag) {
            self.least.pop_back();
        }

        self.least.push_back(newest);
        let least = self.least.front().map_or(newest.lag, |least| least.lag);
        let held_up = newest.lag.saturating_sub(least);
        if held_up > HELD_UP_MAX {
            self.least.clear();
            self.least.push_back(newest);
            return Duration::ZERO;
        }

        held_up.unsigned_abs()
    }

    /// Moves the least with the sender's clock where that was set back, or seemed to be.
    fn follow_steps(&mut self, step: &FrameInterval, arrived: Instant) {
        let usual = self.usual_interval().unwrap_or(step.arrived);
        if self.is_set_back(step) {
            // The frame came as those before it, so that its interval lacks what the clock was set by.
            let by = usual.saturating_sub(step.sent);
            self.move_least(by);
            let doubted = self.doubted(arrived).saturating_add(by);
            self.doubted_step = Some(DoubtedStep {
                by: doubted,
                arrived,
            });
            return;
        }

        // A stamp that was too early is made up for by a longer interval: there was no step.
        let longer = step.sent.saturating_sub(usual);
        let back = longer.min(self.doubted(arrived));
        if step.sent.saturating_sub(step.arrived) > STEP_MIN && back.is_positive() {
            self.move_least(-back);
            let by = self.doubted(arrived).saturating_sub(back);
            self.doubted_step = Some(DoubtedStep { by, arrived });
        }
    }

    /// The step that a longer interval may still show to have been none.
    fn doubted(&self, now: Instant) -> SignedDuration {
        let is_fresh = |step: &DoubtedStep| now.saturating_duration_since(step.arrived) <= DOUBTED;

        let step = self.doubted_step.filter(is_fresh);
        step.map_or(SignedDuration::ZERO, |step| step.by)
    }

    /// The sender's clock was set back by that: all its lags have grown.
    fn move_least(&mut self, by: SignedDuration) {
        for known in &mut self.least {
            known.lag = known.lag.saturating_add(by);
        }
    }

    /// True if the sender's clock was set back between two frames. Where the sender's interval is
    /// shorter than ours, either the frame was held up on its way, and the sender's interval is the
    /// usual one; or the clock was set back, and ours is.
    fn is_set_back(&self, step: &FrameInterval) -> bool {
        if step.sent.is_negative() {
            return true;
        }

        let Some(usual) = self.usual_interval() else {
            return false;
        };

        let is_shorter = step.arrived.saturating_sub(step.sent) > STEP_MIN.max(usual / 4);
        let sent_off = step.sent.saturating_sub(usual).abs();
        let arrived_off = step.arrived.saturating_sub(usual).abs();
        is_shorter && arrived_off < sent_off
    }

    fn keep_interval(&mut self, interval: SignedDuration) {
        if self.intervals.len() == INTERVALS {
            self.intervals.pop_front();
        }

        self.intervals.push_back(interval);
    }

    /// The middle one of the newest intervals. `None` before there are three.
    fn usual_interval(&self) -> Option<SignedDuration> {
        if self.intervals.len() < 3 {
            return None;
        }

        let mut sorted: Vec<SignedDuration> = self.intervals.iter().copied().collect();
        sorted.sort();
        Some(sorted[sorted.len() / 2])
    }
}

/// Time between two frames by both clocks.
struct FrameInterval {
    sent: SignedDuration,
    arrived: SignedDuration,
}

impl SentFrame {
    fn since(&self, last: SentFrame) -> FrameInterval {
        let arrived = self.arrived.saturating_duration_since(last.arrived);
        FrameInterval {
            sent: self.sent.saturating_sub(last.sent),
            arrived: SignedDuration::try_from(arrived).unwrap_or(SignedDuration::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A camera with a frame each 40 ms, and a clock of its own.
    struct TestCamera {
        clock: SenderClock,
        start: Instant,
        /// Our time of the next frame in milliseconds.
        now: i64,
        /// Distance of the camera's clock from ours in milliseconds.
        off: i64,
    }

    impl TestCamera {
        fn new(off: i64) -> Self {
            TestCamera {
                clock: SenderClock::new(Duration::ZERO),
                start: Instant::now(),
                now: 0,
                off,
            }
        }

        /// The next frame takes so long on its way. Returns how far its time of capture is from the
        /// truth.
        fn error(&mut self, way: u64) -> i64 {
            let gap = 40;
            self.now += gap;
            let sent = SignedDuration::from_millis(1_700_000_000_000 + self.now + self.off);
            let arrived = self.now + way as i64;
            let at = self.start + Duration::from_millis(arrived as u64);
            let age = self.clock.age(sent, at).as_millis() as i64;
            arrived - age - self.now
        }

        fn errors(&mut self, ways: impl IntoIterator<Item = u64>) -> Vec<i64> {
            ways.into_iter().map(|way| self.error(way)).collect()
        }
    }

    #[test]
    fn a_clock_that_is_off_is_used_for_intervals_alone() {
        for off in [0, 2000, -2000, 3_600_000, -90_000_000_000] {
            let mut camera = TestCamera::new(off);
            let errors = camera.errors([5, 30, 5, 70, 5, 6]);
            assert_eq!(errors, [5; 6], "{off}");
        }
    }

    #[test]
    fn a_frame_that_is_held_up_is_as_much_older() {
        let mut camera = TestCamera::new(2000);
        camera.errors([5; 20]);
        // A freeze of 3 s: what was sent meanwhile arrives at its end.
        let held_up = (0..75).map(|n| 3005 - 40 * n);
        assert_eq!(camera.errors(held_up), [5; 75]);
    }

    #[test]
    fn steps_in_both_directions_are_followed_at_once() {
        for step in [3000, -3000, 500, -500, -30, 7_200_000, -7_200_000] {
            let mut camera = TestCamera::new(100);
            camera.errors([5; 20]);
            camera.off += step;
            let errors = camera.errors([5; 20]);
            assert_eq!(errors, [5; 20], "{step}");
        }
    }

    #[test]
    fn stamps_that_jitter_forget_nothing_while_held_up_frames_come() {
        let mut camera = TestCamera::new(2000);
        camera.errors([5; 20]);
        // A freeze of 4 s; what was held up comes at the rate of the decoder, a little faster than it was
        // sent, and each tenth frame was stamped 38 ms too early.
        for n in 0..300 {
            let way = (4000u64 - 10 * n).max(5);
            let jitters = n % 10 == 9;
            camera.off -= if jitters { 38 } else { 0 };
            let error = camera.error(way);
            camera.off += if jitters { 38 } else { 0 };
            assert!((-5..=10).contains(&error), "{error} at frame {n}");
        }

        // Three stamps close together, as of a sender that stood still, make up for it at once too.
        let mut camera = TestCamera::new(2000);
        camera.errors([5; 20]);
        for n in 0..300 {
            let way = (4000u64 - 10 * n).max(5);
            let early = 38 * [0, 1, 2, 3, 0, 0, 0, 0, 0, 0][n as usize % 10];
            camera.off -= early;
            let error = camera.error(way);
            camera.off += early;
            assert!((-5..=10).contains(&error), "{error} at frame {n}");
        }
    }

    #[test]
    fn a_drift_is_followed() {
        let mut camera = TestCamera::new(0);
        // A second of 1000: 1000 ppm, ten times what a bad crystal does.
        for frame in 0..10_000 {
            camera.off -= i64::from(frame % 25 == 0);
            let error = camera.error(5);
            assert!((-35..=35).contains(&error), "{error} at frame {frame}");
        }
    }

    #[test]
    fn a_first_frame_that_was_held_up_counts_until_a_quicker_one_comes() {
        let mut camera = TestCamera::new(-70);
        assert_eq!(camera.errors([200, 5, 30, 5]), [200, 5, 5, 5]);
    }

    #[test]
    fn a_known_delay_is_taken_off() {
        let mut clock = SenderClock::new(Duration::from_millis(60));
        let start = Instant::now();
        let age = clock.age(SignedDuration::from_secs(5), start);
        assert_eq!(age, Duration::from_millis(60));
    }

    proptest! {
        /// Whatever the way takes and the clock says, each frame is off by what the quickest one took.
        #[test]
        fn the_error_is_what_the_quickest_frame_took(
            ways in proptest::collection::vec(0u64..400, 2..100),
            off in -5000i64..5000,
        ) {
            let mut camera = TestCamera::new(off);
            let mut quickest = u64::MAX;
            for way in ways {
                let error = camera.error(way);
                quickest = quickest.min(way);
                prop_assert_eq!(error, quickest as i64);
            }
        }
    }
}
