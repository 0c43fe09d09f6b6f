//! Pictures that must not be judged, through the whole line: each kind of bad stream ends as
//! `undecided(bad_image)`.

use crate::harness::broker::Broker;
use crate::harness::golden::{golden, imported};
use crate::harness::line::LineConfig;
use crate::harness::plc::Listener;
use crate::harness::program::Running;
use serde_json::Value;
use std::path::Path;

/// Verdict, reason, and the first words of the detail.
type Told = (String, Option<String>, Option<String>);

/// The first `count` results of a line with this camera and these keys of its recipe.
fn verdicts(recipe: &str, camera: &str, count: usize) -> Vec<Told> {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let listener = Listener::start(broker.port, "plant/box/result");
    LineConfig::new(broker.port, camera)
        .recipe(recipe)
        .write(folder.path());

    let line = Running::line(folder.path());
    let results = (0..count).map(|_| told(&listener.next("result"))).collect();
    line.summary();
    results
}

fn told(result: &Value) -> Told {
    let word = |key: &str| result[key].as_str().map(str::to_owned);
    let detail = word("detail").map(|words| words.split(':').next().unwrap_or_default().to_owned());
    (
        word("verdict").expect("always there"),
        word("reason"),
        detail,
    )
}

fn bad(detail: &str) -> Told {
    let reason = Some("bad_image".to_owned());
    ("undecided".to_owned(), reason, Some(detail.to_owned()))
}

fn good() -> Told {
    ("pass".to_owned(), None, None)
}

fn folder_of(location: &Path) -> String {
    format!("kind = \"folder\"\nfps = 0\nlocation = {location:?}")
}

fn golden_picture() -> image::DynamicImage {
    image::open(golden("open-clip-tiny").join("good_a.png")).expect("a golden picture")
}

#[cfg(feature = "gstreamer")]
#[test]
fn black_and_saturated_streams_are_not_judged() {
    for (pattern, detail) in [("black", "black"), ("white", "saturated")] {
        let camera = format!("kind = \"test\"\npattern = {pattern:?}\nfps = 4");
        assert_eq!(verdicts("", &camera, 1), [bad(detail)]);
    }
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_frozen_stream_is_told_after_twenty_frames() {
    // A busy machine may be late; that is not what is looked at.
    let camera = "kind = \"test\"\npattern = \"gradient\"\nfps = 10\ndeadline_ms = 60000";
    let found = verdicts("", camera, 25);
    let frozen = found.iter().position(|found| *found == bad("frozen"));
    // Frames that a newer one replaced are not looked at.
    assert_eq!(frozen, Some(19), "{found:?}");
    for (_, reason, _) in &found[..19] {
        assert_eq!(*reason, None, "{found:?}");
    }

    assert_eq!(found[19..], vec![bad("frozen"); 6]);
}

#[test]
fn a_blurred_picture_is_not_judged() {
    let pictures = tempfile::tempdir().expect("a temporary folder");
    let sharp = golden_picture();
    for (name, picture) in [("1.png", &sharp), ("2.png", &sharp.blur(6.0))] {
        picture.save(pictures.path().join(name)).expect("written");
    }

    let found = verdicts("", &folder_of(pictures.path()), 2);
    assert_eq!(found, [good(), bad("blurred")]);
}

#[test]
fn pictures_smaller_than_the_crop_are_not_judged() {
    let pictures = tempfile::tempdir().expect("a temporary folder");
    let whole = golden_picture();
    let small = whole.crop_imm(0, 0, 30, 30);
    // Five in a row: more than the failures of the engine that end a line.
    for number in 1..=6 {
        let picture = if number < 6 { &small } else { &whole };
        let file = pictures.path().join(format!("{number}.png"));
        picture.save(file).expect("written");
    }

    let crop = "crop = [10, 8, 40, 36]";
    let found = verdicts(crop, &folder_of(pictures.path()), 6);
    let beyond = "the crop 10,8,40,36 (x,y,width,height) is beyond a picture of 30 x 30 pixels";
    assert_eq!(found[..5], vec![bad(beyond); 5]);
    assert_eq!(found[5], good());
}
