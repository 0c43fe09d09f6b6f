//! The clock by which a camera's frames are stamped, used for intervals alone. Pure: the time is the
//! caller's.
//!
//! A camera's clock may be hours off, drift and be set while it runs. What it says is only how far two
//! of its frames are apart. The way from its clock to ours is learned from arrivals: `arrived - sent` of
//! a frame is the difference of the clocks plus the frame's time on the way, and the least of it within
//! [`WINDOW`] is that of a frame that was not held up; each other one was held up by the difference.
//!
//! ```text
//! clock ahead by a step    arrived - sent falls: the new least, at once
//! clock back by a step     sent goes back, or less than the frames came apart: learned anew
//! held up on the way       arrived - sent grows, sent goes on as before: the least stays
//! drift                    the least follows within WINDOW: 3 ms of 100 ppm
//! ```
//! While frames that were held up come, their stamps may jitter as on any busy machine. A short interval
//! among them is no step: taken for one, it would make frames new that are seconds old. Only a stamp before
//! the last one is. A smaller step back among them is taken for more time on the way, until [`WINDOW`] is over.
//!
//! At the beginning of a connection no frame is known that was not held up: a camera that was busy then sends
//! what waited in a burst. The least counts once it has stopped falling ([`SenderClock::is_settled`]).
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
/// A frame among the first that comes so much later than the one before it, by its stamp, shows that the
/// least is not known yet.
const EARLY_MIN: SignedDuration = SignedDuration::from_millis(500);
/// Time for which the least must not have fallen at the beginning of a connection.
const SETTLED_AFTER: Duration = Duration::from_millis(500);
/// A least that falls by less is jitter.
const FALL_MIN: SignedDuration = SignedDuration::from_millis(10);
/// A frame is not believed to have been held up for longer: its clock was set instead.
const HELD_UP_MAX: SignedDuration = SignedDuration::from_secs(60);

/// Learns how a sender's times belong to ours.
#[derive(Debug)]
pub struct SenderClock {
    /// Beginning of our monotonic times.
    origin: Instant,
    /// Frames that may still be the least, with growing lag: the first one is the least now.
    least: VecDeque<Lag>,
    last: Option<SentFrame>,
    /// Time for which that frame was held up.
    last_held_up: SignedDuration,
    /// The sender's newest intervals, the newest last.
    intervals: VecDeque<SignedDuration>,
    /// The least when it had last fallen. `None` before the first frame.
    fallen: Option<Lag>,
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
    /// Time by the sender's clock, which may begin anywhere.
    sent: SignedDuration,
    arrived: Instant,
}

impl SenderClock {
    /// A clock that nothing is known of.
    pub fn new() -> Self {
        SenderClock {
            origin: Instant::now(),
            least: VecDeque::new(),
            last: None,
            last_held_up: SignedDuration::ZERO,
            intervals: VecDeque::new(),
            fallen: None,
        }
    }

    /// Goes over to another scale of the sender's times, which is ahead of the one until now by so much.
    pub fn move_scale(&mut self, ahead: SignedDuration) {
        let lags = self.least.iter_mut().chain(&mut self.fallen);
        lags.for_each(|lag| lag.lag = lag.lag.saturating_sub(ahead));

        if let Some(last) = &mut self.last {
            last.sent = last.sent.saturating_add(ahead);
        }
    }

    /// True once no frame came for a while that was held up for a shorter time than all before it.
    pub fn is_settled(&self, now: Instant) -> bool {
        self.fallen
            .is_some_and(|fallen| now.saturating_duration_since(fallen.arrived) >= SETTLED_AFTER)
    }

    /// Takes a frame that was `sent` at that time by the sender's clock, which may begin anywhere.
    /// Returns the time for which it was held up.
    pub fn held_up(&mut self, sent: SignedDuration, arrived: Instant) -> Duration {
        let frame = SentFrame { sent, arrived };

        if let Some(last) = self.last.replace(frame) {
            let step = frame.since(last);

            if self.is_set_back(&step) {
                self.least.clear();
                self.fallen = None;
            }

            // The interval with a step in it is not usual.
            if !step.sent.is_negative() {
                self.keep_interval(step.sent);
            }
        }

        let since_origin = arrived.saturating_duration_since(self.origin);
        let since_origin = SignedDuration::try_from(since_origin).unwrap_or(SignedDuration::MAX);
        let lag = since_origin.saturating_sub(sent);
        let held_up = self.enter(Lag { arrived, lag });
        self.last_held_up = SignedDuration::try_from(held_up).unwrap_or_default();

        held_up
    }

    /// Enters a frame's lag. Returns its distance from the least.
    fn enter(&mut self, newest: Lag) -> Duration {
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
        let is_lower = |fallen: Lag| fallen.lag.saturating_sub(least) > FALL_MIN;

        if self.fallen.is_none_or(is_lower) {
            self.fallen = Some(newest);
        }

        let held_up = newest.lag.saturating_sub(least);
        if held_up > HELD_UP_MAX {
            self.least.clear();
            self.least.push_back(newest);
            self.fallen = Some(newest);
            return Duration::ZERO;
        }

        held_up.unsigned_abs()
    }

    /// Least difference between two intervals that is no jitter.
    fn step_min(&self) -> SignedDuration {
        let usual = self.usual_interval().unwrap_or_default();

        STEP_MIN.max(usual / 4)
    }

    /// True if the sender's clock was set back between two frames. Where the sender's interval is
    /// shorter than ours, either the frame was held up on its way, and the sender's interval is the
    /// usual one; or the clock was set back, and ours is.
    fn is_set_back(&self, step: &FrameInterval) -> bool {
        // Of the first frames it is not known whether one was held up, or the one before it came early, as
        // the first of some servers does: all is learned anew, and the least is not settled.
        let later = step.arrived.saturating_sub(step.sent);
        let Some(usual) = self.usual_interval() else {
            return step.sent.is_negative() || later > EARLY_MIN;
        };

        let step_min = self.step_min();
        if self.last_held_up > step_min {
            return step.sent < -step_min;
        }

        if step.sent.is_negative() {
            return true;
        }

        let is_shorter = later > step_min;
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
                clock: SenderClock::new(),
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
            let held_up = self.clock.held_up(sent, at).as_millis() as i64;
            arrived - held_up - self.now
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
    fn stamps_that_jitter_while_held_up_frames_come_are_no_steps() {
        let mut camera = TestCamera::new(0);
        camera.errors([5; 20]);
        // A freeze of 3 s. What was sent meanwhile comes a frame in 35 ms, then faster, and a stamp
        // in three is 30 ms early.
        for n in 0..75 {
            camera.off = if n % 3 == 1 { -30 } else { 0 };
            let way = (3005 - 5 * n).max(5);
            let error = camera.error(way);
            assert!((-30..=5).contains(&error), "{error} at frame {n}");
        }

        camera.off = 0;
        assert_eq!(camera.errors([5; 20]), [5; 20]);
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
    fn a_first_frame_that_was_sent_ahead_of_its_time_counts_for_nothing() {
        for early in 1..=3 {
            let mut camera = TestCamera::new(2000);
            camera.now = 10_000;
            // They come 3 s before their time.
            camera.off += 3000;
            camera.errors(vec![5; early]);
            camera.now += 3000;
            camera.off -= 3000;
            let now = camera.start + Duration::from_millis(camera.now as u64);
            assert_eq!(camera.errors([5; 20]), [5; 20], "{early}");
            assert!(!camera.clock.is_settled(now + Duration::from_millis(400)));
        }
    }

    #[test]
    fn a_connection_is_settled_once_no_quicker_frame_comes() {
        let mut camera = TestCamera::new(0);
        let mut settled = vec![];
        // The first ten frames come in a burst.
        for frame in 0..25 {
            camera.error((405 - 40 * frame.min(10)) as u64);
            let now = camera.start + Duration::from_millis(camera.now as u64 + 5);
            settled.push(camera.clock.is_settled(now));
        }

        let first = settled.iter().position(|settled| *settled);
        assert_eq!(first, Some(23), "frame 10 is the first in time");
        assert!(settled[23..].iter().all(|settled| *settled));
    }

    #[test]
    fn a_sender_that_begins_anew_is_not_settled() {
        let mut camera = TestCamera::new(0);
        camera.errors([5; 20]);
        let at = |camera: &TestCamera| camera.start + Duration::from_millis(camera.now as u64);
        assert!(camera.clock.is_settled(at(&camera)));
        // Its stamps begin again, and the first frames were held up.
        camera.off = -10_000;
        camera.errors([300, 260]);
        assert!(!camera.clock.is_settled(at(&camera)));
    }

    #[test]
    fn another_scale_keeps_what_is_known() {
        let mut camera = TestCamera::new(0);
        camera.errors([5; 20]);
        camera.off += 7_000_000;
        camera.clock.move_scale(SignedDuration::from_secs(7000));
        assert_eq!(camera.errors([200, 160, 5]), [5; 3]);
        assert!(
            !camera
                .clock
                .intervals
                .iter()
                .any(|interval| interval.as_secs() > 0)
        );
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
