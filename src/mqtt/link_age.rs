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
//! A broker that stood still has not read what others sent meanwhile either. It reads that when it goes on,
//! at the same time as a fence of ours: for a while after the silence the age of a command is not known.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Interval of fences.
pub(super) const FENCE_EVERY: Duration = Duration::from_millis(200);
/// Time that a command may be older than the interval and a round trip: what a busy machine takes.
const SLACK: Duration = Duration::from_millis(500);
/// Time that a broker which stood still may take to read what others sent meanwhile, at most, where
/// it stood still for so long that the connection was given up.
const CATCH_UP_MAX: Duration = Duration::from_secs(3);
/// The same where the connection is the same one. Only what senders sent within some seconds waits.
const CATCH_UP: Duration = Duration::from_secs(1);
/// A fence that is away for longer shows that the broker, the link or this process stood still. One that
/// is a little late shows a busy link, on which senders hold nothing back.
const STOOD_STILL: Duration = Duration::from_millis(1500);
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
    /// Until then commands come that waited for a broker which stood still.
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

    /// Notes that this connection, which is there since `now`, follows one that stood still, and that
    /// nothing was heard of the broker for so long.
    pub(super) fn begin_after_silence(&mut self, now: Instant, silent: Duration) {
        self.doubt_until(now + silent.min(CATCH_UP_MAX));
    }

    /// Since when the link stands still, or what waited may come. `None` while it works, and before its
    /// first fence.
    pub(super) fn silent_since(&self, now: Instant) -> Option<Instant> {
        let after = self.passed_on_after?;
        self.is_stale(now).then_some(after)
    }

    /// Makes commands stale up to that moment. A longer doubt stays.
    fn doubt_until(&mut self, moment: Instant) {
        self.catches_up_until = self.catches_up_until.max(Some(moment));
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
                self.is_silent = false;
                let took = now.saturating_duration_since(fence.at);
                // The first one comes behind all commands that the broker had kept.
                if self.has_come_back() && took > STOOD_STILL && self.is_silent_at(fence.at, now) {
                    self.doubt_until(now + CATCH_UP);
                }

                self.round_trip = Some(self.round_trip.map_or(took, |least| least.min(took)));
                self.passed_on_after = Some(fence.at);
            }
        }
    }

    /// True once a fence of this connection has come back.
    pub(super) fn has_come_back(&self) -> bool {
        self.round_trip.is_some()
    }

    /// True if a command that comes now may have waited on its way for longer than a command of a
    /// link that works does.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        let catches_up = self.catches_up_until.is_some_and(|until| now < until);
        let Some(after) = self.passed_on_after else {
            return true;
        };

        catches_up || self.is_silent_at(after, now)
    }

    /// True if a fence that was sent at `sent`, and comes back at `now` or later, was away for longer
    /// than on a link that works.
    fn is_silent_at(&self, sent: Instant, now: Instant) -> bool {
        let usual = FENCE_EVERY + SLACK + 2 * self.round_trip.unwrap_or_default();
        now.saturating_duration_since(sent) > usual
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
        assert!(link.is_stale(3804), "others may have waited as well");
        let later = link.send(4803);
        link.back(later, 4805);
        assert!(!link.is_stale(4806));
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
        assert!(!link.is_stale(5500));
    }

    #[test]
    fn what_waited_for_a_broker_that_stood_still_may_come_for_a_while_after_it() {
        let mut link = TestLink::new();
        for beat in 0..3 {
            let number = link.send(200 * beat);
            link.back(number, 200 * beat + 2);
        }

        // It stands still for 4 s, and reads our fence before what others have sent.
        let waiting = link.send(600);
        link.back(waiting, 4600);
        let next = link.send(4601);
        link.back(next, 4603);
        assert!(link.is_stale(4604) && link.is_stale(5590));
        let next = link.send(5600);
        link.back(next, 5602);
        assert!(!link.is_stale(5603));
    }

    #[test]
    fn a_connection_after_one_that_stood_still_begins_in_doubt() {
        let mut link = TestLink::new();
        let first = link.send(0);
        link.back(first, 2);
        assert_eq!(link.age.silent_since(link.at(300)), None);
        assert_eq!(link.age.silent_since(link.at(5000)), Some(link.at(0)));
        for (silent, doubted) in [(1500, 1500), (12_000, 3000)] {
            let mut link = TestLink::new();
            let now = link.start;
            link.age
                .begin_after_silence(now, Duration::from_millis(silent));

            let before = doubted - 50;
            let number = link.send(before);
            link.back(number, before + 2);
            assert!(link.is_stale(before + 3), "{silent}");
            assert!(!link.is_stale(doubted + 1), "{silent}");
        }
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
