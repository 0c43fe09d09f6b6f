//! A camera's recent frames with their times, and the parts that wait for theirs. Pure: the time is the
//! caller's.
//!
//! A frame serves one trigger, and a later part has a later frame: the next trigger of the same time
//! gets the next frame, or none and the name of the part that has it. [`RingSettings::shares_frames`]
//! switches that off.
//!
//! Frames beyond the bound in bytes are let go, the oldest first (`skipped`). Parts are served in the
//! order of their triggers: one that must wait for a frame keeps the later ones waiting, as their
//! results would have to.

use crate::data::counters::{Outcome, Ticket};
use crate::data::frame::Frame;
use crate::data::part::Part;
use crate::data::queued_frame::QueuedFrame;
use jiff::{SignedDuration, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Step back between two frames from which on the clock was set back. Frames are out of order by less.
const CLOCK_BACK: SignedDuration = SignedDuration::from_secs(1);

/// Number of the newest gaps between frames, of which the middle one counts.
const GAPS: usize = 5;

/// Bounds of a camera's recent frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RingSettings {
    /// Largest size of the kept pictures in bytes; one is always kept.
    pub bytes: usize,
    /// Largest distance in time from a part to its frame.
    pub window: Duration,
    /// True if a frame may serve several triggers.
    pub shares_frames: bool,
}

/// The recent frames and the waiting parts of a camera.
#[derive(Debug)]
pub struct Ring {
    settings: RingSettings,
    frames: VecDeque<KeptFrame>,
    /// Size of the kept pictures.
    bytes: usize,
    asked: VecDeque<AskedParts>,
}

#[derive(Debug)]
struct KeptFrame {
    frame: Frame,
    /// The frame's ticket, until it becomes a part's frame.
    ticket: Option<Ticket>,
    /// The trigger that it serves. `None` while it is free.
    serves: Option<ServedTrigger>,
}

/// A trigger that has a frame.
#[derive(Debug, Clone)]
struct ServedTrigger {
    at: Timestamp,
    /// The first of its parts.
    part: Part,
}

/// Bounds of the frames that may serve a trigger, both excluded.
#[derive(Debug, Default)]
struct FreeSpan {
    after: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl FreeSpan {
    fn contains(&self, at: Timestamp) -> bool {
        self.after.is_none_or(|after| at > after) && self.before.is_none_or(|before| at < before)
    }
}

/// The parts of one trigger.
#[derive(Debug)]
struct AskedParts {
    parts: Vec<Part>,
    at: Timestamp,
}

/// Parts that a new frame or trigger has decided.
#[derive(Debug, Default)]
pub struct RingMatches {
    /// Frames with the parts that they show, in the order of the triggers.
    pub waiting: Vec<QueuedFrame>,
    /// Parts without a frame: there are frames before and after their time, and none near it that is
    /// free.
    pub missed: Vec<MissedParts>,
}

/// The parts of one trigger without a frame, and what there is instead.
#[derive(Debug)]
pub struct MissedParts {
    /// The parts.
    pub parts: Vec<Part>,
    /// The frame nearest to their time, free or not. `None` if there is no frame at all.
    pub nearest: Option<NearestFrame>,
}

/// A frame that did not become a part's.
#[derive(Debug)]
pub struct NearestFrame {
    /// Time from the trigger to the frame; negative for an earlier frame.
    pub offset: SignedDuration,
    /// The part that has the frame. `None` if the frame is free, and too far away.
    pub serves: Option<Part>,
}

impl MissedParts {
    /// The reason in words for a person.
    pub fn words(&self) -> String {
        let Some(nearest) = &self.nearest else {
            return "no frame was captured near its time".to_owned();
        };

        let Some(other) = &nearest.serves else {
            let offset = nearest.offset;
            return format!(
                "no frame was captured near its time: the nearest is {}",
                offset_words(offset)
            );
        };

        // The other part is named by the name that its trigger gave, which the PLC knows.
        let part_id = match &other.request.part_id {
            Some(part_id) => format!(" ({part_id})"),
            None => String::new(),
        };

        format!(
            "the frame near its time is that of part {}{part_id}, and serves one",
            other.seq
        )
    }
}

/// A distance in time from a trigger to a frame, in words: `2.013 s earlier`.
pub fn offset_words(offset: SignedDuration) -> String {
    let seconds = offset.as_secs_f64().abs();
    let direction = if offset.is_negative() {
        "earlier"
    } else {
        "later"
    };

    format!("{seconds:.3} s {direction}")
}

impl Ring {
    /// A ring without frames.
    pub fn new(settings: RingSettings) -> Self {
        Ring {
            settings,
            frames: VecDeque::new(),
            bytes: 0,
            asked: VecDeque::new(),
        }
    }

    /// Keeps the newest frame.
    pub fn put(&mut self, frame: Frame, ticket: Ticket, now: Instant) -> RingMatches {
        if let Some(newest) = self.newest()
            && newest.captured_at.duration_since(frame.captured_at) > CLOCK_BACK
        {
            self.settle_all(Outcome::Skipped);
        }

        self.bytes += frame.picture.rgb().len();
        self.frames.push_back(KeptFrame {
            frame,
            ticket: Some(ticket),
            serves: None,
        });

        // The parts are served before the oldest frames go, because one of them may be wanted.
        let matches = self.serve(now);
        while self.bytes > self.settings.bytes
            && self.frames.len() > 1
            && let Some(oldest) = self.frames.pop_front()
        {
            self.bytes -= oldest.frame.picture.rgb().len();
            oldest.settle(Outcome::Skipped);
        }

        matches
    }

    /// Asks for the frame nearest to `at`, for the parts of one trigger.
    pub fn ask(&mut self, parts: Vec<Part>, at: Timestamp, now: Instant) -> RingMatches {
        self.asked.push_back(AskedParts { parts, at });
        self.serve(now)
    }

    /// The newest frame. `None` if there is none yet.
    pub fn newest(&self) -> Option<&Frame> {
        self.frames.back().map(|kept| &kept.frame)
    }

    /// Decides the waiting parts in their order, until one must wait for a frame.
    fn serve(&mut self, now: Instant) -> RingMatches {
        let mut matches = RingMatches::default();
        while let Some(asked) = self.asked.front() {
            // A trigger is over when the deadlines of all its parts have passed.
            let is_over = asked.parts.iter().all(|part| part.due() <= now);
            if !is_over && !self.is_decided(asked.at) {
                break;
            }

            let Some(AskedParts { parts, at }) = self.asked.pop_front() else {
                break;
            };

            if is_over {
                continue; // its result has left
            }

            match self.nearest_free(at) {
                Some(index) => matches.add(&mut self.frames[index], parts, at),
                None => matches.missed.push(self.missed(parts, at)),
            }
        }

        matches
    }

    /// True if no frame that is still to come can be nearer than the nearest free one, or than the
    /// window allows.
    fn is_decided(&self, at: Timestamp) -> bool {
        let Some(newest) = self.newest() else {
            return false;
        };

        // A part that came later has a frame already: none that is still to come is before that.
        if self.free_span(at).before.is_some() {
            return true;
        }

        // The next frame comes after the usual gap. Where no free frame is near, an early one would
        // be welcome, so that half of the gap counts.
        let gap = self.usual_gap();
        let (reach, wait) = match self.nearest_free(at) {
            Some(index) => (self.frames[index].away_from(at), gap),
            None => (self.settings.window, gap / 2),
        };

        let next = newest.captured_at.checked_add(wait);
        let ahead = next.map_or(SignedDuration::MAX, |next| next.duration_since(at));
        !ahead.is_negative() && ahead.unsigned_abs() >= reach
    }

    /// The middle one of the newest gaps between frames. Zero if there is none; a single long gap is
    /// not usual either.
    fn usual_gap(&self) -> Duration {
        // Only the newest gaps count, because a camera may change its rate.
        let newest = self.frames.iter().rev().take(GAPS + 1);
        let times: Vec<Timestamp> = newest.map(|kept| kept.frame.captured_at).collect();
        let mut gaps: Vec<Duration> = times
            .windows(2)
            .map(|two| two[0].duration_since(two[1]).unsigned_abs())
            .collect();

        // The middle one of the gaps counts: a lost frame makes one long gap, and a burst makes
        // short ones.
        gaps.sort();
        match gaps.as_slice() {
            [] => Duration::ZERO,
            [one] if *one > 2 * self.settings.window => Duration::ZERO,
            gaps => gaps[(gaps.len() - 1) / 2],
        }
    }

    /// Index of the frame nearest to `at` that may serve a part. `None` if none is near enough.
    fn nearest_free(&self, at: Timestamp) -> Option<usize> {
        let window = self.settings.window;
        let span = self.free_span(at);
        let mut nearest: Option<usize> = None;
        for (index, kept) in self.frames.iter().enumerate() {
            let away = kept.away_from(at);
            let is_nearer = nearest.is_none_or(|other| away < self.frames[other].away_from(at));
            if away <= window && is_nearer && span.contains(kept.frame.captured_at) {
                nearest = Some(index);
            }
        }

        nearest
    }

    /// The frames that may serve a trigger: between those of the triggers before and after it. All
    /// frames where they are shared.
    fn free_span(&self, at: Timestamp) -> FreeSpan {
        let mut span = FreeSpan::default();
        if self.settings.shares_frames {
            return span;
        }

        for kept in &self.frames {
            let captured_at = kept.frame.captured_at;
            match &kept.serves {
                None => {}
                Some(served) if served.at <= at => span.after = span.after.max(Some(captured_at)),
                Some(_) if span.before.is_none_or(|before| captured_at < before) => {
                    span.before = Some(captured_at);
                }
                Some(_) => {}
            }
        }

        span
    }

    /// The parts that find no frame, with the frame that comes nearest.
    fn missed(&self, parts: Vec<Part>, at: Timestamp) -> MissedParts {
        let nearest = self
            .frames
            .iter()
            .min_by_key(|kept| kept.away_from(at))
            .map(|kept| NearestFrame {
                offset: kept.frame.captured_at.duration_since(at),
                // A frame beyond the window is no part's for being taken, but for being far away.
                serves: match &kept.serves {
                    Some(served) if kept.away_from(at) <= self.settings.window => {
                        Some(served.part.clone())
                    }
                    _ => None,
                },
            });

        MissedParts { parts, nearest }
    }

    fn settle_all(&mut self, outcome: Outcome) {
        for kept in self.frames.drain(..) {
            kept.settle(outcome);
        }

        self.bytes = 0;
    }
}

impl RingMatches {
    /// Adds parts and their frame. Parts of one frame in a row are looked at together.
    fn add(&mut self, kept: &mut KeptFrame, parts: Vec<Part>, at: Timestamp) {
        // A part with a frame is no longer missed at its deadline, but late.
        for part in &parts {
            part.mark_framed();
        }

        if kept.serves.is_none() {
            let first = parts.first().cloned();
            kept.serves = first.map(|part| ServedTrigger { at, part });
        }

        // Triggers of one frame in a row go through the inspector once.
        if let Some(last) = self.waiting.last_mut()
            && Arc::ptr_eq(&last.frame.picture, &kept.frame.picture)
        {
            last.parts.extend(parts);
            return;
        }

        self.waiting.push(QueuedFrame {
            frame: kept.frame.clone(),
            ticket: kept.ticket.take(),
            parts,
        });
    }
}

impl KeptFrame {
    fn away_from(&self, at: Timestamp) -> Duration {
        self.frame.captured_at.duration_since(at).unsigned_abs()
    }

    fn settle(self, outcome: Outcome) {
        if let Some(ticket) = self.ticket {
            ticket.settle(outcome);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.settle_all(Outcome::Stopped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::counters::{Tally, TallyCount};
    use crate::data::frame::tests::frame;
    use crate::data::part::tests::ask;
    use jiff::SignedDuration;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn at(ms: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(ms)
    }

    fn part(seq: u64) -> Vec<Part> {
        vec![Part::new(
            seq,
            "run".into(),
            seq,
            ask("top", Duration::from_secs(60)),
        )]
    }

    struct TestLine {
        ring: Ring,
        tally: Arc<Tally>,
        now: Instant,
    }

    impl TestLine {
        fn new(bytes: usize, window_ms: u64) -> Self {
            let ring = Ring::new(RingSettings {
                bytes,
                window: Duration::from_millis(window_ms),
                shares_frames: false,
            });

            TestLine {
                ring,
                tally: Arc::default(),
                now: Instant::now(),
            }
        }

        fn put(&mut self, ms: i64) -> Vec<(u64, i64)> {
            let frame = Frame {
                captured_at: at(ms),
                ..frame("top")
            };

            let found = self.ring.put(frame, self.tally.captured(), self.now);
            chosen(found)
        }

        fn ask(&mut self, seq: u64, ms: i64) -> Vec<(u64, i64)> {
            chosen(self.ring.ask(part(seq), at(ms), self.now))
        }

        fn count(self) -> TallyCount {
            drop(self.ring);
            self.tally.count()
        }
    }

    /// Number of each part and time of its frame in milliseconds; -1 for none.
    fn chosen(found: RingMatches) -> Vec<(u64, i64)> {
        let missed = found.missed.iter().flat_map(|missed| &missed.parts);
        let mut all: Vec<(u64, i64)> = missed.map(|part| (part.seq, -1)).collect();
        for waiting in found.waiting {
            all.extend(
                waiting
                    .parts
                    .iter()
                    .map(|p| (p.seq, waiting.frame.captured_at.as_millisecond())),
            );

            if let Some(ticket) = waiting.ticket {
                ticket.settle(Outcome::Judged);
            }
        }

        all
    }

    #[test]
    fn a_part_gets_the_frame_nearest_to_its_time_from_before_or_after() {
        let mut line = TestLine::new(1000, 50);
        (0..5).for_each(|n| assert!(line.put(n * 30).is_empty()));
        assert_eq!(line.ask(1, 34), [(1, 30)]);
        assert_eq!(line.ask(2, 125), [(2, 120)]); // 150 would not be nearer
        assert!(line.ask(3, 146).is_empty()); // 150 will be
        assert!(line.ask(4, 60).is_empty()); // in order
        assert_eq!(line.put(150), [(3, 150), (4, 60)]);
        assert_eq!(line.ask(5, 60), [(5, 90)]); // 60 is the fourth part's
        let count = line.count();
        assert_eq!((count.captured, count.judged, count.stopped), (6, 5, 1));
    }

    #[test]
    fn after_a_gap_a_part_waits_for_its_frame() {
        let mut line = TestLine::new(1000, 50);
        [0, 30, 60, 90, 6000]
            .iter()
            .for_each(|ms| assert!(line.put(*ms).is_empty()));

        assert!(line.ask(1, 6040).is_empty()); // 6000 is in the window, and 6030 nearer
        assert!(line.ask(2, 6200).is_empty());
        assert_eq!(line.put(6030), [(1, 6030)]);
        assert_eq!(line.put(6195), [(2, 6195)]);
        let mut line = TestLine::new(1000, 50);
        [0, 6000]
            .iter()
            .for_each(|ms| assert!(line.put(*ms).is_empty()));

        assert!(line.ask(1, 6040).is_empty() && line.ask(2, 6200).is_empty());
        assert_eq!(line.put(6030), [(1, 6030)]);
        assert_eq!(line.put(6210), [(2, 6210)]);
    }

    #[test]
    fn a_time_without_a_frame_near_it_is_a_miss() {
        let mut line = TestLine::new(1000, 20);
        line.put(0);
        assert!(line.ask(1, 50).is_empty());
        assert_eq!(line.put(100), [(1, -1)]);
    }

    #[test]
    fn parts_that_share_one_frame_are_looked_at_together() {
        let mut line = TestLine::new(1000, 50);
        line.ring.settings.shares_frames = true;
        assert!(
            line.ask(1, 10).is_empty() && line.ask(2, 12).is_empty() && line.ask(3, 80).is_empty()
        );

        let frame = Frame {
            captured_at: at(20),
            ..frame("top")
        };

        let mut found = line.ring.put(frame, line.tally.captured(), line.now);
        assert_eq!((found.waiting.len(), found.waiting[0].parts.len()), (1, 2));
        found.waiting.remove(0).settle(Outcome::Judged);
        assert_eq!(line.put(70), [(3, 70)]); // the next, 50 later, will not be nearer
    }

    #[test]
    fn a_frame_serves_one_part_and_the_next_gets_the_next_frame() {
        let mut line = TestLine::new(1000, 50);
        line.put(0);
        line.put(40);
        assert_eq!(line.ask(1, 38), [(1, 40)]);
        assert!(line.ask(2, 39).is_empty()); // 0 is free, and earlier than the first part's
        assert_eq!(line.put(70), [(2, 70)]);
        // A part that came before them, of several regions, has one frame.
        let regions = [part(3), part(4)].concat();
        let found = chosen(line.ring.ask(regions, at(1), line.now));
        assert_eq!(found, [(3, 0), (4, 0)]);
    }

    #[test]
    fn a_part_without_a_frame_of_its_own_is_told_whose_it_is() {
        let mut line = TestLine::new(1000, 50);
        line.put(0);
        line.put(200);
        let mut first = part(1);
        first[0].request.part_id = Some("A-7".to_owned());
        assert_eq!(chosen(line.ring.ask(first, at(190), line.now)), [(1, 200)]);
        let found = line.ring.ask(part(2), at(210), line.now);
        let found = match found.missed.is_empty() {
            true => {
                let frame = Frame {
                    captured_at: at(400),
                    ..frame("top")
                };

                line.ring.put(frame, line.tally.captured(), line.now)
            }
            false => found,
        };

        let words = found.missed[0].words();
        assert!(words.contains("that of part 1 (A-7)"), "{words}");
        assert_eq!(line.ask(3, 400), [(3, 400)]);
    }

    #[test]
    fn a_miss_tells_how_far_the_nearest_frame_was() {
        for (asked, words) in [(2050, "1.950 s later"), (6000, "2.000 s earlier")] {
            let mut line = TestLine::new(1000, 50);
            line.put(4000);
            let mut found = line.ring.ask(part(1), at(asked), line.now);
            if found.missed.is_empty() {
                let frame = Frame {
                    captured_at: at(9000),
                    ..frame("top")
                };

                found = line.ring.put(frame, line.tally.captured(), line.now);
            }

            let told = found.missed[0].words();
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_leaves_no_frame_of_a_time_to_come() {
        let mut line = TestLine::new(1000, 50);
        line.put(5000);
        line.put(5030);
        assert!(line.put(3000).is_empty());
        assert!(line.ask(1, 5010).is_empty()); // that time is still to come
        assert_eq!(line.put(5040), [(1, 5040)]);
        assert_eq!(line.count().skipped, 2);
    }

    #[test]
    fn a_part_that_is_due_no_longer_holds_the_others_up() {
        let mut line = TestLine::new(1000, 50);
        line.put(0);
        assert!(line.ask(1, 10_000).is_empty() && line.ask(2, 0).is_empty());
        line.now += Duration::from_secs(61);
        assert!(line.put(30).is_empty());
        let fresh = vec![Part::new(
            3,
            "run".into(),
            3,
            ask("top", Duration::from_secs(600)),
        )];

        assert_eq!(chosen(line.ring.ask(fresh, at(30), line.now)), [(3, 30)]);
    }

    proptest! {
        /// Compares with a naive model: the nearest of all frames so far that fit and are later than
        /// those of the parts before. The bound holds,
        /// and every frame is accounted for.
        #[test]
        fn the_ring_keeps_its_bound_and_loses_no_frame(times in proptest::collection::vec(1i64..60, 1..40), frames in 1usize..6) {
            let mut line = TestLine::new(3 * frames, 1_000_000);
            let (mut now, mut kept) = (0, Vec::<i64>::new());
            let mut served = Vec::<i64>::new();
            for (number, step) in times.iter().enumerate() {
                now += step;
                line.put(now);
                kept.push(now);
                kept = kept[kept.len().saturating_sub(frames)..].to_vec();
                let asked = now - step / 2;
                let free = kept.iter().filter(|time| served.last().is_none_or(|last| *time > last));
                let best = free.map(|time| (time - asked).abs()).min();
                let got = line.ask(number as u64, asked);
                prop_assert_eq!(got.len(), 1);
                prop_assert_eq!(Some((got[0].1 - asked).abs()), best);
                served.push(got[0].1);
                prop_assert!(line.ring.bytes <= 3 * frames);
            }
            let total = times.len() as u64;
            let count = line.count();
            prop_assert_eq!((count.captured, count.balances()), (total, true));
        }
    }
}
