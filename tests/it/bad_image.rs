//! Pictures that must not be judged, through the whole line: each kind of bad stream ends as `undecided(bad_image)`.

use crate::broker::{Broker, Listener, free_port};
use crate::line::{ask_to_stop, start, summary, write_line};
use crate::support::{golden, imported};
use serde_json::Value;
use std::path::Path;

/// What the first `count` results of this camera say: verdict, reason, the first word of the detail.
fn verdicts(camera: &str, count: usize) -> Vec<(String, Option<String>, Option<String>)> {
    verdicts_with("", camera, count)
}

/// `recipe` is more of it.
fn verdicts_with(
    recipe: &str,
    camera: &str,
    count: usize,
) -> Vec<(String, Option<String>, Option<String>)> {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/result");
    write_line(folder.path(), broker.port, camera);
    let file = folder.path().join("line.toml");
    let text = std::fs::read_to_string(&file).expect("just written");
    std::fs::write(
        &file,
        text.replace("[recipe]\n", &format!("[recipe]\n{recipe}\n")),
    )
    .expect("written");
    let line = start(folder.path());
    let lines = listener.wait_for("result", count);
    ask_to_stop(&line);
    summary(&line.wait_with_output().expect("ends"));
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let of = |line: &String| {
        let value: Value = serde_json::from_str(line).expect("JSON");
        let detail = word(&value["detail"])
            .map(|words| words.split(':').next().unwrap_or_default().to_owned());
        (
            word(&value["verdict"]).expect("always there"),
            word(&value["reason"]),
            detail,
        )
    };
    lines.iter().map(of).collect()
}

fn bad(why: &str) -> (String, Option<String>, Option<String>) {
    (
        "undecided".to_owned(),
        Some("bad_image".to_owned()),
        Some(why.to_owned()),
    )
}

fn folder_camera(location: &Path) -> String {
    format!(
        "kind = \"folder\"\nfps = 0\nlocation = {:?}",
        location.display().to_string()
    )
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_black_and_a_saturated_stream_are_never_judged_from_the_first_frame_on() {
    for (pattern, why) in [("black", "black"), ("white", "saturated")] {
        let camera = format!("kind = \"test\"\npattern = {pattern:?}\nfps = 4");
        assert!(
            verdicts(&camera, 1).iter().all(|found| *found == bad(why)),
            "{why}"
        );
    }
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_frozen_stream_is_told_at_the_stated_number_of_frames() {
    let found = verdicts("kind = \"test\"\npattern = \"gradient\"\nfps = 10", 25);
    let frozen = found
        .iter()
        .position(|found| *found == bad("frozen"))
        .expect("it stands still");
    // Frames that a newer one replaced are not looked at.
    assert_eq!(frozen, 19, "{found:?}");
    assert!(
        found[..19].iter().all(|(_, reason, _)| reason.is_none()),
        "{found:?}"
    );
    assert!(
        found[19..].iter().all(|found| *found == bad("frozen")),
        "{found:?}"
    );
}

#[test]
fn a_blurred_picture_of_the_references_size_is_not_judged() {
    let pictures = tempfile::tempdir().expect("a temporary folder");
    let sharp = image::open(golden("open-clip-tiny").join("good_a.png")).expect("a golden picture");
    sharp.save(pictures.path().join("1.png")).expect("written");
    sharp
        .blur(6.0)
        .save(pictures.path().join("2.png"))
        .expect("written");
    let camera = |location: &Path| {
        format!(
            "kind = \"folder\"\nfps = 0\nlocation = {:?}",
            location.display().to_string()
        )
    };
    let found = verdicts(&camera(pictures.path()), 2);
    assert_eq!(found[0], ("pass".to_owned(), None, None));
    assert_eq!(found[1], bad("blurred"));
}

#[test]
fn a_picture_that_does_not_reach_the_recipes_crop_is_not_judged_and_the_line_goes_on() {
    let pictures = tempfile::tempdir().expect("a temporary folder");
    let whole = image::open(golden("open-clip-tiny").join("good_a.png")).expect("a golden picture");
    // Five in a row: more than the failures of the engine that end a line.
    for number in 1..=5 {
        whole
            .crop_imm(0, 0, 30, 30)
            .save(pictures.path().join(format!("{number}.png")))
            .expect("written");
    }
    whole.save(pictures.path().join("6.png")).expect("written");
    let found = verdicts_with("crop = [10, 8, 40, 36]", &folder_camera(pictures.path()), 6);
    let beyond =
        bad("the crop 10,8,40,36 (x,y,width,height) is beyond a picture of 30 x 30 pixels");
    assert_eq!(found[..5], vec![beyond; 5]);
    assert_eq!(found[5], ("pass".to_owned(), None, None));
}
