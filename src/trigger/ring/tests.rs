//! Tests of the ring: which frame a part gets, and against a naive model.

use super::*;
use crate::data::counters::{Tally, TallyCount};
use crate::data::frame::tests::frame;
use crate::data::part::tests::ask;
use crate::trigger::own_clock::tests::look;
use jiff::{SignedDuration, Timestamp};
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
    /// Moment of the time 0.
    start: Instant,
    /// Steps of our clock.
    steps: Vec<ClockStep>,
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
            start: Instant::now(),
            steps: vec![],
        }
    }

    fn put(&mut self, ms: i64) -> Vec<(u64, i64)> {
        chosen(self.put_frame(ms))
    }

    fn put_frame(&mut self, ms: i64) -> RingMatches {
        let frame = Frame {
            captured: self.moment(ms),
            captured_at: at(ms),
            ..frame("top")
        };

        let look = self.look();
        self.ring.put(frame, self.tally.captured(), &look)
    }

    fn ask_parts(&mut self, parts: Vec<Part>, ms: i64) -> RingMatches {
        let look = self.look();
        self.ring.ask(parts, self.moment(ms), &look)
    }

    fn moment(&self, ms: i64) -> Instant {
        self.start + Duration::from_millis(ms as u64)
    }

    fn look(&self) -> ClockLook {
        ClockLook {
            steps: self.steps.clone().into(),
            ..look(self.now)
        }
    }

    fn ask(&mut self, seq: u64, ms: i64) -> Vec<(u64, i64)> {
        chosen(self.ask_parts(part(seq), ms))
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
    assert_eq!(line.ask(5, 60), [(5, -1)]); // 60 is the fourth part's, and 90 is not near
    let count = line.count();
    assert_eq!((count.captured, count.judged, count.stopped), (6, 4, 2));
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
    assert!(line.ask(1, 10).is_empty() && line.ask(2, 12).is_empty() && line.ask(3, 80).is_empty());

    let mut found = line.put_frame(20);
    assert_eq!((found.waiting.len(), found.waiting[0].parts.len()), (1, 2));
    found.waiting.remove(0).settle(Outcome::Judged);
    assert_eq!(line.put(70), [(3, 70)]); // the next, 50 later, will not be nearer
}

#[test]
fn a_frame_serves_one_part_and_the_next_gets_the_next_frame() {
    let mut line = TestLine::new(1000, 50);
    (0..3).for_each(|n| assert!(line.put(n * 40).is_empty()));
    assert_eq!(line.ask(1, 78), [(1, 80)]);
    assert!(line.ask(2, 79).is_empty()); // 40 is free, and earlier than the first part's
    assert_eq!(line.put(108), [(2, 108)]);
    // A part that came before them, of several regions, has one frame.
    let regions = [part(3), part(4)].concat();
    let found = chosen(line.ask_parts(regions, 1));
    assert_eq!(found, [(3, 0), (4, 0)]);
}

#[test]
fn a_lost_frame_is_one_parts_loss() {
    let mut line = TestLine::new(1000, 100);
    let mut found = vec![];
    // A frame each 40 ms but for 240, and a part 5 ms after each.
    for number in 0..12 {
        if number != 6 {
            found.extend(line.put(number * 40));
        }

        found.extend(line.ask(number as u64, number * 40 + 5));
    }

    found.extend(line.put(480));
    let expected = (0..12).map(|number| match number {
        6 => (6, -1),
        _ => (number as u64, number * 40),
    });

    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn lost_frames_are_some_parts_losses_also_where_few_pictures_fit() {
    // Room for so many pictures, and the numbers of lost ones; each part comes 5 ms after its frame, at
    // once or two frames later.
    let cases: [(usize, &[i64]); 5] = [
        (1, &[30]),
        (2, &[30, 32]),
        (4, &[6, 8]),
        (4, &[30, 32, 34, 36]),
        (333, &[4, 6]),
    ];

    for (room, lost) in cases {
        for late in [0, 2] {
            if room <= late as usize {
                continue; // its frame has been let go
            }

            let mut line = TestLine::new(3 * room, 100);
            let mut found = vec![];
            for number in 0..60 {
                if !lost.contains(&number) {
                    found.extend(line.put(number * 40));
                }

                if number >= late {
                    let part = number - late;
                    found.extend(line.ask(part as u64, part * 40 + 5));
                }
            }

            found.extend(line.put(60 * 40));
            let expected = (0..60 - late).map(|number| match lost.contains(&number) {
                true => (number as u64, -1),
                false => (number as u64, number * 40),
            });

            assert_eq!(
                found,
                expected.collect::<Vec<_>>(),
                "{room} {lost:?} {late}"
            );
        }
    }
}

#[test]
fn a_few_frames_that_were_held_up_are_no_parts_also_once_others_have_come() {
    // A frame each 50 ms; those of 300, 350 and 400 come at 430.
    for frames_after in 0..4 {
        let mut line = TestLine::new(1000, 100);
        (0..6).for_each(|n| assert!(line.put(n * 50).is_empty()));
        (430..433).for_each(|ms| assert!(line.put(ms).is_empty()));
        (0..frames_after).for_each(|n| assert!(line.put(450 + n * 50).is_empty()));
        let mut found = line.ask(1, 410);
        if found.is_empty() {
            found = line.put(450 + frames_after * 50);
        }

        assert_eq!(found, [(1, -1)], "{frames_after}");
        assert_eq!(line.ask(2, 262), [(2, 250)]);
    }

    // Two that came at 400. Where the second is in time, it serves.
    let mut line = TestLine::new(1000, 100);
    (0..6).for_each(|n| assert!(line.put(n * 50).is_empty()));
    (400..402).for_each(|ms| assert!(line.put(ms).is_empty()));
    line.put(450);
    let words = line.ask_parts(part(1), 410).missed[0].words();
    assert!(words.contains("held up by about 0.051 s"), "{words}");
    let mut line = TestLine::new(1000, 100);
    (0..6).for_each(|n| assert!(line.put(n * 50).is_empty()));
    [340, 349, 400]
        .iter()
        .for_each(|ms| assert!(line.put(*ms).is_empty()));
    assert_eq!(line.ask(1, 352), [(1, 349)]);

    // Parts that are close together are two frames of a camera that shows one for each part.
    let mut line = TestLine::new(1000, 100);
    for n in 0..8 {
        line.put(n * 1000);
    }

    line.put(9000);
    line.put(9030);
    assert_eq!(line.ask(1, 9001), [(1, 9000)]);
    assert_eq!(line.ask(2, 9031), [(2, 9030)]);
}

#[test]
fn a_burst_of_held_up_frames_takes_no_earlier_part_its_frame() {
    let mut line = TestLine::new(1000, 50);
    (0..6).for_each(|n| assert!(line.put(n * 50).is_empty()));
    // Nothing is read for a second; then what waited comes at once, and the trigger last.
    (0..8).for_each(|n| assert!(line.put(1300 + n).is_empty()));
    assert_eq!(line.ask(1, 271), [(1, 250)]);
    assert_eq!(line.ask(2, 1290), [(2, -1)], "the burst may be older");
    assert!(line.ask(3, 1303).is_empty());
    assert_eq!(line.put(1350), [(3, -1)]);
    assert_eq!(line.ask(4, 1370), [(4, 1350)], "it came in time");
}

#[test]
fn frames_in_pairs_serve_parts_within_the_window() {
    let mut line = TestLine::new(1000, 50);
    for pair in 0..4 {
        line.put(pair * 100);
        line.put(pair * 100 + 2);
    }

    assert_eq!(line.ask(1, 240), [(1, 202)]);
}

#[test]
fn a_part_without_a_frame_of_its_own_is_told_whose_it_is() {
    let mut line = TestLine::new(1000, 50);
    line.put(0);
    line.put(200);
    let mut first = part(1);
    first[0].request.part_id = Some("A-7".to_owned());
    assert_eq!(chosen(line.ask_parts(first, 190)), [(1, 200)]);
    let found = line.ask_parts(part(2), 210);
    let found = match found.missed.is_empty() {
        true => line.put_frame(400),
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
        let mut found = line.ask_parts(part(1), asked);
        if found.missed.is_empty() {
            found = line.put_frame(9000);
        }

        let told = found.missed[0].words();
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn frames_are_found_by_their_moments_whatever_the_wall_clock_says() {
    // The wall clock is set back by 0.8 s after 400 ms: its times come a second time.
    let mut line = TestLine::new(1000, 50);
    for number in 0..10 {
        let set = if number > 4 { -800 } else { 0 };
        let frame = Frame {
            captured: line.moment(number * 100),
            captured_at: at(number * 100 + 2000 + set),
            ..frame("top")
        };

        let look = line.look();
        let found = line.ring.put(frame, line.tally.captured(), &look);
        assert!(found.waiting.is_empty());
    }

    let found = line.ask_parts(part(1), 610);
    assert_eq!(found.waiting[0].frame.captured, line.moment(600));
    chosen(found);
}

#[test]
fn after_a_forward_step_no_part_gets_a_frame_of_the_other_side() {
    let step = |line: &TestLine| ClockStep {
        from: line.moment(110),
        until: line.moment(140),
        by: SignedDuration::from_secs(3600),
    };

    let mut line = TestLine::new(1000, 50);
    (0..4).for_each(|n| assert!(line.put(n * 40).is_empty()));
    line.steps = vec![step(&line)];
    assert_eq!(line.ask(1, 70), [(1, 80)]);
    assert!(line.ask(2, 150).is_empty()); // after the step: 120 is the nearest so far, and of before
    assert_eq!(line.put(190), [(2, -1)]);
    assert_eq!(line.ask(3, 188), [(3, 190)]);
    let found = line.ask_parts(part(4), 121);
    let words = found.missed[0].words();
    assert!(words.contains("set forward by 3600.000 s"), "{words}");
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

    assert_eq!(chosen(line.ask_parts(fresh, 30)), [(3, 30)]);
}

proptest! {
    /// Compares with a naive model: the nearest of all frames so far that fit and are later than
    /// those of the parts before. The bound holds, and every frame is accounted for. Gaps are alike, so
    /// that each part's frame is within reach.
    #[test]
    fn the_ring_keeps_its_bound_and_loses_no_frame(times in proptest::collection::vec(40i64..60, 1..40), frames in 1usize..6) {
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
