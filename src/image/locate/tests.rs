//! Drawn parts on a plain belt, found where they were drawn.

use super::*;
use crate::data::pose::corners;

const WIDTH: usize = 320;
const HEIGHT: usize = 240;
const AREA: Area = Area {
    x: 110,
    y: 80,
    w: 100,
    h: 80,
};

/// How a part lies, and how it is lit.
#[derive(Clone, Copy)]
struct Drawing {
    x: f32,
    y: f32,
    turn_deg: f32,
    gain: f32,
    offset: f32,
}

const STILL: Drawing = Drawing {
    x: 160.0,
    y: 120.0,
    turn_deg: 0.0,
    gain: 1.0,
    offset: 0.0,
};

/// Grey of the belt, which is not plain: a weak pattern.
fn belt(x: f32, y: f32) -> f32 {
    100.0 + 3.0 * (x * 0.7).sin() * (y * 0.45).cos()
}

/// Grey of a bracket of 100 x 80 around its middle: a plate with a slot and a hole, which is like itself in
/// no other turn. `None` beside it.
fn bracket(x: f32, y: f32) -> Option<f32> {
    let is_plate = x.abs() < 50.0 && y.abs() < 40.0;
    let is_slot = (-40.0..20.0).contains(&x) && (-26.0..-12.0).contains(&y);
    let is_hole = (x - 28.0).hypot(y - 15.0) < 14.0;
    let grey = if is_slot || is_hole { 60.0 } else { 190.0 };
    is_plate.then_some(grey)
}

/// Grey of a plain square plate: alike in four turns.
fn plate(x: f32, y: f32) -> Option<f32> {
    (x.abs() < 40.0 && y.abs() < 40.0).then_some(190.0)
}

fn drawn(part: fn(f32, f32) -> Option<f32>, drawing: Drawing) -> Picture {
    let (sin, cos) = drawing.turn_deg.to_radians().sin_cos();
    let mut rgb = Vec::with_capacity(3 * WIDTH * HEIGHT);
    for row in 0..HEIGHT {
        for column in 0..WIDTH {
            let right = column as f32 + 0.5 - drawing.x;
            let down = row as f32 + 0.5 - drawing.y;
            let grey = part(cos * right + sin * down, cos * down - sin * right)
                .unwrap_or(belt(column as f32, row as f32));
            let seen = (grey * drawing.gain + drawing.offset).clamp(0.0, 255.0) as u8;
            rgb.extend([seen; 3]);
        }
    }

    Picture::new(WIDTH, HEIGHT, rgb).expect("its bytes")
}

fn nothing(_: f32, _: f32) -> Option<f32> {
    None
}

fn locator(part: fn(f32, f32) -> Option<f32>, turn_max_deg: f32) -> Locator {
    let limits = LocateLimits {
        turn_max_deg,
        ..LocateLimits::new(AREA)
    };

    Locator::new(&drawn(part, STILL), limits).expect("a master")
}

fn assert_at(pose: &Pose, drawing: Drawing) {
    let away = (pose.x - drawing.x).hypot(pose.y - drawing.y);
    let turned = (pose.turn_deg - drawing.turn_deg).abs();
    assert!(
        away < 1.5 && turned < 1.0,
        "{away} pixels, {turned} degrees: {pose:?}"
    );
}

#[test]
fn a_part_is_found_where_it_lies_however_it_is_turned_and_lit() {
    let locator = locator(bracket, 180.0);
    let drawings = [
        STILL,
        Drawing {
            x: 192.0,
            y: 100.0,
            ..STILL
        },
        Drawing {
            turn_deg: 30.0,
            ..STILL
        },
        Drawing {
            x: 128.0,
            y: 140.0,
            turn_deg: -30.0,
            ..STILL
        },
        Drawing {
            x: 150.5,
            y: 118.25,
            turn_deg: 171.0,
            ..STILL
        },
        Drawing {
            x: 180.0,
            turn_deg: 95.0,
            gain: 0.5,
            offset: 60.0,
            ..STILL
        },
        Drawing {
            turn_deg: -12.0,
            gain: 1.25,
            ..STILL
        },
    ];

    for drawing in drawings {
        let pose = locator
            .locate(&drawn(bracket, drawing), &[])
            .expect("there");
        assert_at(&pose, drawing);
        assert!(pose.likeness > 0.9, "{pose:?}");
    }
}

#[test]
fn a_picture_is_aligned_to_the_master() {
    let locator = locator(bracket, 45.0);
    let moved = drawn(
        bracket,
        Drawing {
            x: 190.0,
            y: 100.0,
            turn_deg: 25.0,
            ..STILL
        },
    );
    let pose = locator.locate(&moved, &[]).expect("there");
    let back = aligned(&moved, &pose, locator.size(), AREA);
    let master = drawn(bracket, STILL);
    let mut differences = 0;
    for row in AREA.y..AREA.y + AREA.h {
        for column in AREA.x..AREA.x + AREA.w {
            let at = 3 * (row * WIDTH + column);
            differences += u32::from(back.rgb()[at].abs_diff(master.rgb()[at]));
        }
    }

    // Edges of hard steps lie half a pixel elsewhere; all else is the same.
    let mean = differences as f32 / (AREA.w * AREA.h) as f32;
    assert!(mean < 6.0, "{mean}");
    assert_eq!(back.rgb()[..3], [0; 3]);
}

#[test]
fn a_belt_without_a_part_has_none() {
    let locator = locator(bracket, 180.0);
    let found = locator.locate(&drawn(nothing, STILL), &[]);
    assert!(matches!(found, Err(NotFound::Unlike { .. })), "{found:?}");
    let flat = Picture::new(WIDTH, HEIGHT, vec![128; 3 * WIDTH * HEIGHT]).expect("its bytes");
    let found = locator.locate(&flat, &[]);
    assert!(matches!(found, Err(NotFound::Unlike { .. })), "{found:?}");
}

#[test]
fn a_part_beyond_the_limits_is_told_by_its_figure() {
    let locator = locator(bracket, 20.0);
    let turned = drawn(
        bracket,
        Drawing {
            turn_deg: 24.0,
            ..STILL
        },
    );
    let found = locator.locate(&turned, &[]);
    let Err(NotFound::Turned {
        turn_deg,
        most: 20.0,
    }) = found
    else {
        panic!("{found:?}");
    };

    assert!((turn_deg - 24.0).abs() < 1.5, "{turn_deg}");
    let limits = LocateLimits {
        move_max: 0.1,
        ..LocateLimits::new(AREA)
    };
    let near = Locator::new(&drawn(bracket, STILL), limits).expect("a master");
    let moved = drawn(bracket, Drawing { x: 200.0, ..STILL });
    let found = near.locate(&moved, &[]);
    assert!(
        matches!(found, Err(NotFound::Moved { most_x: 32.0, .. })),
        "{found:?}"
    );
}

#[test]
fn a_part_that_is_turned_far_is_not_taken_for_one_that_is_not() {
    let locator = locator(bracket, 30.0);
    for turn_deg in [80.0, 180.0, -100.0] {
        let turned = drawn(bracket, Drawing { turn_deg, ..STILL });
        let found = locator.locate(&turned, &[]);
        assert!(
            matches!(found, Err(NotFound::Turned { .. })),
            "{turn_deg}: {found:?}"
        );
    }
}

#[test]
fn a_part_is_cut_off_where_what_is_judged_is_not_all_seen() {
    let limits = LocateLimits {
        move_max: 0.5,
        ..LocateLimits::new(AREA)
    };
    let locator = Locator::new(&drawn(bracket, STILL), limits).expect("a master");
    let judged = corners(AREA);
    let edge = drawn(bracket, Drawing { y: 55.0, ..STILL });
    assert!(locator.locate(&edge, &judged).is_ok());
    let cut = drawn(
        bracket,
        Drawing {
            y: 55.0,
            turn_deg: 35.0,
            ..STILL
        },
    );
    let found = locator.locate(&cut, &judged);
    let Err(NotFound::CutOff { pixels }) = found else {
        panic!("{found:?}");
    };

    // Half the width and height, turned: 50 sin 35 + 40 cos 35 = 61.4, with 55 to the edge.
    assert!((pixels - 6.4).abs() < 1.5, "{pixels}");
}

#[test]
fn of_turns_that_look_alike_the_smallest_is_taken() {
    let locator = locator(plate, 180.0);
    for turn_deg in [0.0, 80.0, -100.0, 190.0] {
        let turned = drawn(plate, Drawing { turn_deg, ..STILL });
        let pose = locator.locate(&turned, &[]).expect("there");
        assert!(pose.turn_deg.abs() < 46.0, "{turn_deg}: {pose:?}");
    }
}

#[test]
fn without_turns_a_turned_part_keeps_the_turn_of_the_master() {
    let locator = locator(bracket, 0.0);
    let turned = drawn(
        bracket,
        Drawing {
            x: 170.0,
            turn_deg: 4.0,
            ..STILL
        },
    );
    let pose = locator.locate(&turned, &[]).expect("there");
    assert_eq!(pose.turn_deg, 0.0);
    assert!((pose.x - 170.0).abs() < 2.0, "{pose:?}");
}

#[test]
fn masters_that_show_no_part_are_refused() {
    let master = drawn(bracket, STILL);
    let refused = |area| Locator::new(&master, LocateLimits::new(area)).err();
    let area = |x, y, w, h| Area { x, y, w, h };
    let belt = refused(area(10, 10, 60, 50));
    assert!(matches!(belt, Some(MasterError::Flat { .. })), "{belt:?}");
    let small = refused(area(100, 100, 100, 20));
    assert!(
        matches!(small, Some(MasterError::Small { least: 27, .. })),
        "{small:?}"
    );
    let beyond = refused(area(250, 100, 100, 100));
    assert!(
        matches!(beyond, Some(MasterError::Beyond { .. })),
        "{beyond:?}"
    );
}

#[test]
fn a_picture_of_another_size_is_refused() {
    let other = Picture::new(100, 100, vec![90; 30_000]).expect("its bytes");
    let found = locator(bracket, 45.0).locate(&other, &[]);
    assert!(matches!(found, Err(NotFound::Size { .. })), "{found:?}");
}
