//! How old a command may be that comes now. Pure: the time is the caller's.
//!
//! The broker does not say when it got a command, and delivers in order. So messages of our own, the
//! fences, go out again and again and come back among the commands: the broker passed a command on after
//! the fence that came back last, hence after that fence was sent.
//!
//! ```text
//! sent     fence 1    fence 2                        fence 3
//! came        fence 1 | a  fence 2 | b ... (the link stands still) ... c  fence 3 | d
//! ```
//! `b` and `c` are no older than fence 2, and `c` comes long after it was sent: it may have waited in a
//! link, a broker or a process that stood still, and counts as stale. The same rule covers the commands
//! that the broker kept while there was no connection: no fence of the new one has come back yet.
//!
//! A broker that stood still has read nothing either: what its senders had to say waits on their side of
//! it, and may come behind a fence that is sent after all went on. So commands stay stale for as long
//! again as the fences say that the way stood still, and for [`CATCH_UP_MAX`] at most: a sender that can
//! send twice as fast as its parts come has caught up by then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Interval of fences.
pub(super) const FENCE_EVERY: Duration = Duration::from_millis(200);
/// Time that a command may be older than the interval and a round trip: what a busy machine takes.
const SLACK: Duration = Duration::from_millis(500);
/// Longest time for which senders are given to catch up after a broker that stood still.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);
/// Fences on their way at once, at most: those of a round trip of 1.6 s.
const FENCES_MAX: usize = 8;

/// The fences of one connection.
#[derive(Debug, Default)]
pub(super) struct LinkAge {
    /// Fences on their way, the oldest first.
    sent: VecDeque<SentFence>,
    /// Number of the newest fence.
    newest: u64,
    /// Commands that come now were passed on later. `None` while nothing is known.
    passed_on_after: Option<Instant>,
    /// The shortest round trip so far.
    round_trip: Option<Duration>,
    /// True once a fence was given up, until one comes back.
    is_silent: bool,
    /// Until then commands may come that waited at their senders. `None` where nothing stood still.
    catches_up_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct SentFence {
    number: u64,
    at: Instant,
}

impl LinkAge {
    /// Notes that the broker has kept no commands for this connection, which is there since `now`.
    pub(super) fn begin_fresh(&mut self, now: Instant) {
        self.passed_on_after = Some(now);
    }

    /// True if one more fence may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.sent.len() < FENCES_MAX
    }

    /// Number of the next fence, which is sent now.
    pub(super) fn send(&mut self, now: Instant) -> u64 {
        self.newest += 1;
        self.sent.push_back(SentFence {
            number: self.newest,
            at: now,
        });

        self.newest
    }

    /// Gives up fences that are on their way for longer than `patience`, so that others may go. True
    /// while none comes back.
    pub(super) fn give_up_lost(&mut self, now: Instant, patience: Duration) -> bool {
        let is_lost = |fence: &SentFence| now.saturating_duration_since(fence.at) > patience;
        while self.sent.front().is_some_and(is_lost) {
            self.sent.pop_front();
            self.is_silent = true;
        }

        self.is_silent
    }

    /// Takes a fence that has come back.
    pub(super) fn come_back(&mut self, number: u64, now: Instant) {
        while let Some(fence) = self.sent.front().copied()
            && fence.number <= number
        {
            self.sent.pop_front();
            if fence.number == number {
                let took = now.saturating_duration_since(fence.at);
                // Older ones than this were given up.
                let stood = if self.is_silent { CATCH_UP_MAX } else { took };
                self.is_silent = false;
                self.round_trip = Some(self.round_trip.map_or(took, |least| least.min(took)));
                self.note_standstill(stood.max(took), now);
                self.passed_on_after = Some(fence.at);
            }
        }
    }

    /// Notes how long the way stood still, by a fence that took so long.
    fn note_standstill(&mut self, took: Duration, now: Instant) {
        if took <= self.usual() {
            return;
        }

        let until = now + took.min(CATCH_UP_MAX);
        self.catches_up_until = self.catches_up_until.max(Some(until));
    }

    /// True once a fence of this connection has come back.
    pub(super) fn has_come_back(&self) -> bool {
        self.round_trip.is_some()
    }

    /// True if a command that comes now may have waited on its way for longer than a command of a
    /// link that works does.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let Some(after) = self.passed_on_after else {
            return true;
        };

        let is_old = now.saturating_duration_since(after) > self.usual();
        is_old || self.catches_up_until.is_some_and(|until| now < until)
    }

    /// The longest that a fence which came back is old while all goes on.
    fn usual(&self) -> Duration {
        FENCE_EVERY + SLACK + 2 * self.round_trip.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct TestLink {
        age: LinkAge,
        start: Instant,
    }

    impl TestLink {
        fn new() -> Self {
            TestLink {
                age: LinkAge::default(),
                start: Instant::now(),
            }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn send(&mut self, ms: u64) -> u64 {
            let now = self.at(ms);
            self.age.send(now)
        }

        fn back(&mut self, number: u64, ms: u64) {
            let now = self.at(ms);
            self.age.come_back(number, now);
        }

        fn is_stale(&self, ms: u64) -> bool {
            self.age.is_stale(self.at(ms))
        }
    }

    #[test]
    fn commands_that_the_broker_kept_are_stale_until_a_fence_is_back() {
        let mut link = TestLink::new();
        let first = link.send(0);
        assert!(link.is_stale(5));
        link.back(first, 10);
        assert!(!link.is_stale(11));
        let mut link = TestLink::new();
        link.age.begin_fresh(link.start);
        assert!(!link.is_stale(5), "none was kept");
    }

    #[test]
    fn a_link_or_a_process_that_stood_still_makes_commands_stale() {
        let mut link = TestLink::new();
        for beat in 0..5 {
            let number = link.send(200 * beat);
            link.back(number, 200 * beat + 2);
            assert!(!link.is_stale(200 * beat + 190));
        }

        // Nothing comes for 3 s; then first the commands, then the fences that were sent before.
        let waiting = link.send(1000);
        assert!(link.is_stale(3800));
        let after = link.send(3801);
        link.back(waiting, 3802);
        assert!(
            link.is_stale(3802),
            "they were passed on before it stood still, or in it"
        );
        link.back(after, 3803);
        assert!(link.is_stale(3804), "their senders may have waited too");
        let last = link.send(6601);
        link.back(last, 6602);
        assert!(!link.is_stale(6604));
    }

    #[test]
    fn after_a_broker_that_stood_still_its_senders_catch_up() {
        for (stood, catches_up) in [(900, 900), (3000, 3000), (12_000, 5000)] {
            let mut link = TestLink::new();
            let first = link.send(0);
            link.back(first, 2);
            let waiting = link.send(200);
            let thawed = 200 + stood;
            link.back(waiting, thawed);
            let fresh = link.send(thawed + 1);
            link.back(fresh, thawed + 3);
            let end = thawed + catches_up;
            let beat = link.send(end - 20);
            link.back(beat, end - 18);
            assert!(link.is_stale(thawed + 4), "{stood}");
            assert!(link.is_stale(end - 1), "{stood}");
            assert!(!link.is_stale(end), "{stood}");
        }
    }

    #[test]
    fn fences_that_stay_away_are_told_and_others_go_in_their_place() {
        let patience = Duration::from_secs(5);
        let mut link = TestLink::new();
        let first = link.send(0);
        link.back(first, 2);
        for beat in 1..=FENCES_MAX as u64 {
            link.send(200 * beat);
        }

        // They may not be read for a while.
        assert!(!link.age.has_room());
        let now = link.at(4000);
        assert!(!link.age.give_up_lost(now, patience));
        let now = link.at(5300);
        assert!(link.age.give_up_lost(now, patience));
        assert!(link.age.has_room());
        let next = link.send(5400);
        let now = link.at(5401);
        assert!(link.age.give_up_lost(now, patience), "still");
        link.back(next, 5402);
        let now = link.at(5403);
        assert!(!link.age.give_up_lost(now, patience));
        assert!(
            link.is_stale(5500),
            "given up fences say that it stood still"
        );

        let last = link.send(10_403);
        link.back(last, 10_404);
        assert!(!link.is_stale(10_405));
    }

    #[test]
    fn a_broker_that_is_far_away_is_no_broker_that_stands_still() {
        let mut link = TestLink::new();
        let mut numbers = vec![];
        for beat in 0..20 {
            let now = 200 * beat;
            numbers.push(link.send(now));
            if beat >= 4 {
                link.back(numbers[beat as usize - 4], now + 1);
                assert!(!link.is_stale(now + 190));
            }
        }

        assert!(link.age.has_room());
    }
}
