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

/// A part that was not seen is no `pass`, and no gap in the parts either.
#[test]
fn damaged_files_of_a_folder_are_not_judged_and_strays_are_no_parts() {
    let pictures = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, content: &[u8]| {
        let file = pictures.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, content).expect("written");
    };

    let whole = golden_picture();
    let encoded = |format| {
        let mut bytes = std::io::Cursor::new(vec![]);
        whole
            .to_rgb8()
            .write_to(&mut bytes, format)
            .expect("encodes");
        bytes.into_inner()
    };

    let jpeg = encoded(image::ImageFormat::Jpeg);
    let png = encoded(image::ImageFormat::Png);
    let scan = jpeg.windows(2).rposition(|pair| pair == [0xFF, 0xDA]);
    let scan = scan.expect("a scan");
    let middle = scan + (jpeg.len() - scan) / 2;
    let mut changed = png.clone();
    changed[png.len() / 2] ^= 1;

    write("1.png", &png);
    write("2.jpg", &[&jpeg[..middle], &[0xFF, 0xD9]].concat());
    write("3.jpg", &[&jpeg[..middle], &jpeg[middle + 300..]].concat());
    write("4.png", &changed);
    write("5.png", b"");
    write("6.jfif", &jpeg);
    write("._1.png", b"\0\x05\x16\x07 a Mac's notes");
    write("@eaDir/1.png", &png);
    write(".ipynb_checkpoints/1-checkpoint.png", &png);
    write("notes.txt", b"hello");

    let found = verdicts("", &folder_of(pictures.path()), 6);
    assert_eq!(found[0], good());
    assert_eq!(found[1..5], vec![bad("corrupt"); 4]);
    // A JPEG is judged as it is, whatever it is called: the encoder's losses may cost its sharpness.
    assert_ne!(found[5], bad("corrupt"));
}
