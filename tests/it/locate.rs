//! A line that finds the part in each picture: moved and turned parts are judged as if they lay still, and
//! an empty belt is no part.

use crate::harness::broker::Broker;
use crate::harness::golden::imported;
use crate::harness::line::LineConfig;
use crate::harness::plc::Listener;
use crate::harness::program::{Running, errors, winspect};
use image::{Rgb, RgbImage};
use serde_json::Value;
use std::path::Path;

/// Where a part lies, and what is wrong with it.
#[derive(Clone, Copy, Default)]
struct Lies {
    right: f32,
    down: f32,
    turn_deg: f32,
    is_bad: bool,
}

/// A bracket of 140 x 80 pixels with a slot on a belt, in the middle of 320 x 240 pixels or elsewhere; a bad
/// one has a dark spot.
fn picture(lies: Lies, grain: u32) -> RgbImage {
    let (sin, cos) = lies.turn_deg.to_radians().sin_cos();
    RgbImage::from_fn(320, 240, |x, y| {
        let right = x as f32 + 0.5 - 160.0 - lies.right;
        let down = y as f32 + 0.5 - 120.0 - lies.down;
        let [x_on, y_on] = [cos * right + sin * down, cos * down - sin * right];
        let is_part = x_on.abs() < 70.0 && y_on.abs() < 40.0;
        let is_slot = (-55.0..10.0).contains(&x_on) && (-25.0..-10.0).contains(&y_on);
        let is_spot = lies.is_bad && (x_on - 35.0).hypot(y_on - 10.0) < 18.0;
        let noise = (x * 7919 + y * 104_729 + grain * 15_485_863).wrapping_mul(2_654_435_761) >> 29;
        let grey = match (is_part, is_slot || is_spot) {
            (false, _) => 100,
            (true, false) => 190,
            (true, true) => 50,
        };

        Rgb([grey + noise as u8; 3])
    })
}

fn empty(grain: u32) -> RgbImage {
    let far = Lies {
        right: 1000.0,
        ..Lies::default()
    };

    picture(far, grain)
}

fn save(folder: &Path, name: &str, picture: RgbImage) {
    std::fs::create_dir_all(folder).expect("a folder");
    picture.save(folder.join(name)).expect("written");
}

const MOVED: Lies = Lies {
    right: 30.0,
    down: -20.0,
    turn_deg: 28.0,
    is_bad: false,
};

/// A good part and a bad one, moved and turned.
pub fn moved() -> Vec<RgbImage> {
    let lies = [
        MOVED,
        Lies {
            is_bad: true,
            ..MOVED
        },
    ];
    lies.map(|lies| picture(lies, 5)).to_vec()
}

/// A line's folder: two references, the master picture, and what the camera shows.
pub fn line(folder: &Path, port: u16, shown: &[RgbImage]) {
    for number in 0..2 {
        let name = format!("{number}.png");
        save(
            &folder.join("good"),
            &name,
            picture(Lies::default(), number),
        );
    }

    save(folder, "master.png", picture(Lies::default(), 9));
    for (number, picture) in shown.iter().enumerate() {
        save(
            &folder.join("shown"),
            &format!("{number}.png"),
            picture.clone(),
        );
    }

    let camera = format!(
        "kind = \"folder\"\nfps = 0\nlocation = {:?}",
        folder.join("shown")
    );
    LineConfig::new(port, &camera)
        .recipe("references = \"good\"\nthreshold = 0.05\nlocate = { master = \"master.png\", area = [90, 80, 140, 80] }")
        .write(folder);
}

fn results(shown: &[RgbImage]) -> Vec<Value> {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let listener = Listener::start(broker.port, "plant/box/result");
    line(folder.path(), broker.port, shown);
    let running = Running::line(folder.path());
    let results = shown.iter().map(|_| listener.next("result")).collect();
    running.summary();
    results
}

fn score(result: &Value) -> f64 {
    result["score"]
        .as_f64()
        .unwrap_or_else(|| panic!("no score: {result}"))
}

#[test]
fn moved_and_turned_parts_are_judged_as_if_they_lay_still() {
    let bad = |lies| Lies {
        is_bad: true,
        ..lies
    };
    let lies = [Lies::default(), MOVED, bad(Lies::default()), bad(MOVED)];
    let shown: Vec<RgbImage> = lies.iter().map(|lies| picture(*lies, 5)).collect();
    let results = results(&shown);
    let scores: Vec<f64> = results.iter().map(score).collect();
    assert!(
        scores[0].max(scores[1]) < scores[2].min(scores[3]) / 2.0,
        "{scores:?}"
    );
    let pose = &results[1]["pose"];
    let near = |key: &str, value: f64, room: f64| {
        let found = pose[key].as_f64().expect("a number");
        assert!((found - value).abs() < room, "{key}: {pose}");
    };

    near("x", 190.0, 2.0);
    near("y", 100.0, 2.0);
    near("turn_deg", 28.0, 1.0);
    near("likeness", 1.0, 0.1);

    // The spot is at 35, 10 from the middle of the part: turned by 28 degrees 26, 25.
    let defect = &results[3]["defects"][0];
    let side = |key: &str| defect[key].as_f64().expect("a number");
    let x = side("x") + side("w") / 2.0;
    let y = side("y") + side("h") / 2.0;
    assert!(
        (x - 216.0).abs() < 20.0 && (y - 125.0).abs() < 20.0,
        "{defect}"
    );
}

#[test]
fn an_empty_belt_is_no_part_and_touches_no_other() {
    let out = Lies {
        down: 100.0,
        ..Lies::default()
    };

    let shown = [empty(1), picture(Lies::default(), 5), picture(out, 5)];
    let results = results(&shown);
    for (number, words) in [(0, "no part found"), (2, "")] {
        let result = &results[number];
        assert_eq!(result["verdict"], "undecided", "{result}");
        assert_eq!(result["reason"], "no_part", "{result}");
        assert_eq!(result["pose"], Value::Null);
        assert_eq!(result["reject"], true);
        let detail = result["detail"].as_str().expect("words");
        assert!(detail.starts_with(words), "{detail}");
    }

    assert_eq!(results[1]["reason"], Value::Null, "{}", results[1]);
}

#[test]
fn references_without_the_part_are_named_all_at_once() {
    let (folder, _model) = imported("dinov2-tiny");
    line(folder.path(), 1883, &[picture(Lies::default(), 5)]);
    for grain in [7, 8] {
        let name = format!("{grain}.png");
        save(&folder.path().join("good"), &name, empty(grain));
    }

    let far = Lies {
        turn_deg: 80.0,
        ..Lies::default()
    };

    save(&folder.path().join("good"), "9.png", picture(far, 5));
    let line = folder.path().join("line.toml");
    let output = winspect()
        .arg("check")
        .arg(line)
        .output()
        .expect("the binary was built");
    assert_eq!(output.status.code(), Some(65));
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &errors(&output);
    assert!(
        told.contains("the part of the master picture is not found"),
        "{told}"
    );
    for name in [
        "7.png: no part found",
        "9.png: the part is turned by 80 degrees, at most 45",
    ] {
        assert!(told.contains(name), "{name:?} is not in:\n{told}");
    }
}
