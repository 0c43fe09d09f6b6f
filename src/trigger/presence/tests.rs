//! Tests of the trigger `presence`.

use super::*;
use crate::data::counters::Tally;
use crate::data::frame::tests::frame;
use std::sync::Arc;

const WIDTH: usize = 240;

/// A grey belt with a bright square of 48 pixels whose left edge is at `x`. `None`: an empty belt.
fn belt(x: Option<i64>, light: u8) -> Picture {
    let mut rgb = vec![90 + light; 3 * WIDTH * 120];
    for (at, value) in rgb.iter_mut().enumerate() {
        let column = (at / 3 % WIDTH) as i64;
        let row = at / 3 / WIDTH;
        if x.is_some_and(|x| (x..x + 48).contains(&column)) && (36..84).contains(&row) {
            *value = 220;
        }
    }

    Picture::new(WIDTH, 120, rgb).expect("its bytes")
}

struct TestLine {
    presence: Presence,
    tally: Arc<Tally>,
    now: Instant,
}

impl TestLine {
    fn new(area: Option<Area>) -> Self {
        let presence = Presence::new(PresenceSettings {
            area,
            ..PresenceSettings::default()
        });

        let mut line = TestLine {
            presence,
            tally: Arc::default(),
            now: Instant::now(),
        };

        for _ in 0..LEARNS {
            assert_eq!(line.show(None, 0), None);
        }

        line
    }

    /// Place of the part in the frame that was chosen. `None` if none was.
    fn show(&mut self, x: Option<i64>, light: u8) -> Option<String> {
        self.now += Duration::from_millis(33);
        let name = x.map(|x| x.to_string());
        let frame = Frame {
            picture: Arc::new(belt(x, light)),
            part_id: name,
            ..frame("top")
        };

        let chosen = self
            .presence
            .on_frame(frame, self.tally.captured(), self.now)
            .expect("the area fits");

        chosen.map(|chosen| {
            chosen.ticket.settle(Outcome::Judged);
            chosen.frame.part_id.unwrap_or_default()
        })
    }
}

#[test]
fn a_part_that_passes_is_one_part_and_its_frame_is_in_the_middle() {
    let mut line = TestLine::new(None);
    for speed in [7, 20, 45] {
        let places = (-48..WIDTH as i64).step_by(speed);
        let chosen: Vec<String> = places.filter_map(|x| line.show(Some(x), 0)).collect();
        let gone = line.show(None, 0);
        let all: Vec<i64> = chosen
            .into_iter()
            .chain(gone)
            .map(|x| x.parse().expect("a number"))
            .collect();

        assert_eq!(all.len(), 1, "{speed}: {all:?}");
        assert!(
            (all[0] - 96).unsigned_abs() <= speed as u64 / 2 + 1,
            "{speed}: {all:?}"
        );
    }

    let count = line.tally.count();
    assert_eq!((count.judged, count.balances()), (3, true));
}

#[test]
fn light_that_changes_slowly_is_no_part() {
    let mut line = TestLine::new(None);
    for light in 0..100 {
        assert_eq!(line.show(None, light), None);
        assert_eq!(line.show(None, light), None);
    }
}

#[test]
fn a_part_outside_of_the_area_does_not_count_and_one_that_stays_becomes_the_line() {
    let mut line = TestLine::new(Some(Area {
        x: 120,
        y: 0,
        w: 120,
        h: 120,
    }));

    assert!((0..60).step_by(10).all(|x| line.show(Some(x), 0).is_none()));
    assert!(line.presence.object.is_none());
    assert_eq!(line.show(Some(150), 0), None);
    for _ in 1..STAYS.as_secs() {
        line.now += Duration::from_secs(1);
        assert_eq!(line.show(Some(150), 0), None);
    }

    line.now += Duration::from_secs(1);
    assert_eq!(line.show(Some(150), 0).as_deref(), Some("150"));
    assert_eq!(
        (line.show(Some(150), 0), line.presence.object.is_none()),
        (None, true)
    );
}

#[test]
fn a_part_that_is_there_when_the_pictures_change_their_size_has_come() {
    let mut line = TestLine::new(None);
    assert_eq!(line.show(Some(90), 0), None);
    let chosen = line
        .presence
        .on_frame(frame("top"), line.tally.captured(), line.now)
        .expect("the area fits");

    let chosen = chosen.expect("it was there");
    chosen.ticket.settle(Outcome::Judged);
    assert_eq!(chosen.frame.part_id.as_deref(), Some("90"));
    let count = line.tally.count();
    assert_eq!((count.captured, count.judged, count.skipped), (7, 1, 6));
}

#[test]
fn a_part_that_went_while_no_picture_came_went_by_then_and_the_next_is_another() {
    for gone in [None, Some(180)] {
        let mut line = TestLine::new(None);
        assert_eq!(line.show(Some(60), 0), None);
        let seen = line
            .presence
            .object
            .as_ref()
            .and_then(|object| Some(object.held.as_ref()?.frame.arrived));

        line.now += GAP + Duration::from_millis(1);
        let frame = Frame {
            picture: Arc::new(belt(gone, 0)),
            ..frame("top")
        };

        let found = line
            .presence
            .on_frame(frame, line.tally.captured(), line.now)
            .expect("fits");

        let chosen = found.expect("it was there");
        chosen.ticket.settle(Outcome::Judged);
        assert_eq!(Some(chosen.frame.arrived), seen);
        let chosen: Vec<String> = [None, Some(90), None]
            .iter()
            .filter_map(|x| line.show(*x, 0))
            .collect();

        assert_eq!(
            chosen,
            [gone.map(|_| "").into_iter().collect::<Vec<_>>(), vec!["90"]].concat()
        );
    }
}

#[test]
fn a_part_that_stands_through_a_long_pause_is_one_part_and_not_the_line() {
    for is_given in [false, true] {
        let mut line = TestLine::new(None);
        let came: Vec<String> = (0..=96)
            .step_by(8)
            .filter_map(|x| line.show(Some(x), 0))
            .collect();

        assert!(came.is_empty());
        let stands = if is_given { 120 } else { 96 };
        assert_eq!(line.show(Some(stands), 0).is_some(), is_given);
        line.now += Duration::from_secs(600);
        let after = [Some(stands), Some(stands), Some(150), None, Some(90), None];
        let chosen: Vec<String> = after.iter().filter_map(|x| line.show(*x, 0)).collect();
        assert_eq!(
            chosen,
            if is_given {
                vec!["90"]
            } else {
                vec!["96", "90"]
            }
        );
    }
}

#[test]
fn an_area_beyond_the_picture_is_told() {
    let mut presence = Presence::new(PresenceSettings {
        area: Some(Area {
            x: 0,
            y: 0,
            w: 9,
            h: 9,
        }),
        ..PresenceSettings::default()
    });

    let tally = Arc::new(Tally::default());
    let told = presence.on_frame(frame("top"), tally.captured(), Instant::now());
    assert!(told.is_err_and(|words| {
        words.contains("presence.area 0,0,9,9 is beyond its picture of 1 x 1 pixels")
    }));

    assert_eq!(tally.count().skipped, 1);
}

/// Frames of a belt that is empty for five frames, and shows a part for five, from frame `phase` on.
fn in_turn(phase: usize, count: usize) -> impl Iterator<Item = Option<i64>> {
    (phase..phase + count).map(|at| (at / 5 % 2 == 1).then_some(96))
}

#[test]
fn a_line_that_starts_while_parts_come_and_go_sees_each_of_them() {
    for phase in 0..10 {
        let mut line = TestLine::new(None);
        line.presence = Presence::new(PresenceSettings::default());
        let begun = in_turn(phase, 10).filter_map(|x| line.show(x, 0)).count();
        // What was there for five frames on end was learned; what comes in turn with it is the part.
        let later = in_turn(phase + 10, 60).filter_map(|x| line.show(x, 0));
        assert_eq!(later.count(), 6, "phase {phase}");
        assert!(begun <= 1, "phase {phase}");
    }
}

#[test]
fn pictures_that_never_look_like_each_other_are_told_until_they_do() {
    let mut line = TestLine::new(None);
    line.presence = Presence::new(PresenceSettings::default());
    let mut told = vec![];
    for at in 0..200 {
        line.now += Duration::from_millis(33);
        let picture = Arc::new(belt((at < 180).then_some(at % 4 * 60), 0));
        let frame = Frame {
            picture,
            ..frame("top")
        };

        let found = line
            .presence
            .on_frame(frame, line.tally.captured(), line.now);

        told.push(found.err());
    }

    let first = told.iter().position(Option::is_some).expect("told");
    assert!((151..155).contains(&first), "{first}");
    let words = told[first].as_deref().expect("told");
    assert!(words.starts_with("for 5 s no 5 pictures on end have looked like each other"));
    let last = told.iter().rposition(Option::is_some).expect("told");
    assert_eq!(last, 183);
    assert!(line.tally.count().balances());
}

/// A line before which a part has stood at 96 for so long that it became the line's own.
fn taken_over() -> TestLine {
    let mut line = TestLine::new(None);
    let came: Vec<String> = (0..=STAYS.as_secs() + 1)
        .filter_map(|_| {
            line.now += Duration::from_secs(1);
            line.show(Some(96), 0)
        })
        .collect();

    assert_eq!(came, ["96"]);
    assert_eq!(line.presence.take_change(), Some(LineChange::TakenOver));
    assert_eq!(line.presence.take_change(), None);
    line
}

#[test]
fn a_part_that_stood_until_it_was_the_lines_own_is_no_second_part_as_it_leaves() {
    let mut line = taken_over();
    let leaves = (96..=WIDTH as i64).step_by(16).map(Some);
    let after = leaves.chain([None, Some(90), None, None]);
    let chosen: Vec<String> = after.filter_map(|x| line.show(x, 0)).collect();
    assert_eq!(chosen, ["90"]);
    assert_eq!(line.presence.take_change(), Some(LineChange::GivenBack));
}

#[test]
fn parts_before_what_was_put_there_for_good_are_seen() {
    let mut line = taken_over();
    for _ in 0..3 {
        // The part covers a half of what was put there.
        let passes = [Some(96), Some(72), Some(96), Some(96)];
        let chosen: Vec<String> = passes.iter().filter_map(|x| line.show(*x, 0)).collect();
        assert_eq!(chosen, ["72"]);
        assert_eq!(line.presence.take_change(), None);
    }
}
