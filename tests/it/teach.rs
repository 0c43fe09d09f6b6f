//! `winspect teach` with picture files.

use crate::harness::golden::{golden, imported};
use crate::harness::line::{FREE_RUNNING, LineConfig};
use crate::harness::program::{both, winspect};
use crate::harness::{assert_said, json};
use std::fs;
use std::path::Path;
use winspect::recipe::library::folder::Library;
use winspect::recipe::library::writer::LibraryWriter;

/// `winspect teach line.toml` with these words: its exit code, and all that it said.
fn taught(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = winspect();
    command
        .current_dir(folder)
        .args(["teach", "line.toml"])
        .args(words);
    let output = command.output().expect("runs");
    (output.status.code(), both(&output))
}

#[track_caller]
fn refused(folder: &Path, words: &[&str], code: i32, expected: &str) {
    let (found, said) = taught(folder, words);
    assert_eq!(found, Some(code), "{words:?}: {said}");
    assert_said(&said, &[expected]);
}

/// A folder with a line of two references, and the golden pictures beside it.
fn line() -> tempfile::TempDir {
    let (folder, _model) = imported("dinov2-tiny");
    LineConfig::new(1, FREE_RUNNING).write(folder.path());
    for name in ["good_a.png", "good_b.png", "good_c.png", "bad.png"] {
        let from = golden("open-clip-tiny").join(name);
        fs::copy(from, folder.path().join(name)).expect("copied");
    }

    folder
}

fn numbers(folder: &Path) -> Vec<u64> {
    let library = Library::at(folder.join("box.recipes"));
    library.numbers("nut").expect("a folder")
}

#[test]
fn pictures_make_the_next_revision_of_a_lines_table() {
    let folder = line();
    let folder = folder.path();
    let (code, said) = taught(folder, &["--good", "good_c.png", "--bad", "bad.png"]);
    assert_eq!(code, Some(0), "{said}");
    let words = [
        "nut@2 is the current revision: 3 good and 1 bad",
        "taught 1 good and 1 bad more",
    ];
    assert_said(&said, &words);
    // The table as it was is the revision to go back to.
    assert_eq!(numbers(folder), [1, 2]);
    // The line's file still has the table, and the library judges in its place.
    let picture = "good_a.png";
    let output = winspect()
        .current_dir(folder)
        .args([
            "inspect",
            "--model",
            "dinov2-tiny",
            "--recipe",
            "box.recipes/nut",
            picture,
        ])
        .output()
        .expect("runs");

    assert!(output.status.success(), "{}", both(&output));
    let line = String::from_utf8_lossy(&output.stdout);
    assert!(json(line.trim())["score"].is_number(), "{line}");
    // Again only what is new.
    fs::create_dir(folder.join("more")).expect("made");
    fs::copy(folder.join("good_c.png"), folder.join("more/c.png")).expect("copied");
    refused(
        folder,
        &["--good", "more"],
        65,
        "has all of these pictures already",
    );
    let mut bytes = fs::read(folder.join("good_c.png")).expect("there");
    bytes.truncate(1000);
    fs::write(folder.join("more/cut.png"), bytes).expect("written");
    refused(folder, &["--good", "more"], 65, "cut.png");
    assert_eq!(numbers(folder), [1, 2]);
}

#[test]
fn pictures_that_would_teach_something_wrong_are_refused() {
    let folder = line();
    let folder = folder.path();
    let grey = image::RgbImage::from_pixel(64, 48, image::Rgb([128; 3]));
    grey.save(folder.join("grey.png")).expect("written");
    fs::copy(folder.join("good_c.png"), folder.join("copy.png")).expect("copied");
    let both = ["--good", "good_c.png", "--bad", "copy.png"];
    refused(
        folder,
        &both,
        65,
        "are the same picture, once good and once bad",
    );
    refused(
        folder,
        &["--bad", "good_a.png"],
        65,
        "once good and once bad",
    );
    let twice = ["--good", "good_c.png", "--good", "copy.png"];
    refused(folder, &twice, 65, "are the same picture; give one of them");
    refused(
        folder,
        &["--good", "grey.png"],
        65,
        "flat from edge to edge",
    );
    refused(folder, &["--good", "none.png"], 65, "none.png");
    refused(
        folder,
        &["--recipe", "bolt", "--good", "good_c.png"],
        64,
        "has no recipe \"bolt\"",
    );
    refused(folder, &[], 64, "required");
    // Nothing was written, not even the table.
    assert!(numbers(folder).is_empty());
    let library = Library::at(folder.join("box.recipes"));
    let writer = LibraryWriter::lock(&library).expect("free");
    refused(
        folder,
        &["--good", "good_c.png"],
        69,
        "another command is changing",
    );
    drop(writer);
}

/// A picture of a drawn part: a light square on grey, a little different for each number.
fn drawn(number: u32, turned: bool) -> image::RgbImage {
    image::RgbImage::from_fn(96, 96, |x, y| {
        let is_part = (24..72).contains(&x) && (24..72).contains(&y);
        let level = if is_part != turned { 190 } else { 90 };
        let noise = (x * 31 + y * 17 + number * 101).wrapping_mul(2_654_435_761) >> 28;
        image::Rgb([level + noise as u8; 3])
    })
}

#[test]
fn a_good_picture_that_is_unlike_the_others_is_kept_apart_until_a_person_says_so() {
    let (folder, _model) = imported("dinov2-tiny");
    let folder = folder.path();
    fs::create_dir(folder.join("good")).expect("made");
    for number in 0..12 {
        let file = folder.join(format!("good/{number:02}.png"));
        drawn(number, number == 11).save(file).expect("written");
    }

    let config = LineConfig::new(1, FREE_RUNNING).without("references");
    config.write(folder);
    let (code, said) = taught(folder, &["--good", "good"]);
    assert_eq!(code, Some(0), "{said}");
    let words = [
        "kept apart: 11.png is unlike the others: ",
        "give it again with --odd",
        "threshold: 0.",
        "11 good and 0 bad pictures",
    ];
    assert_said(&said, &words);
    refused(
        folder,
        &["--good", "good"],
        65,
        "none of the pictures is like the references",
    );
    let (code, said) = taught(folder, &["--good", "good/11.png", "--odd"]);
    assert_eq!(code, Some(0), "{said}");
    assert_said(&said, &["12 good and 0 bad pictures"]);
    // A bad part that scores like a good one is caught, and no threshold is lowered for it.
    drawn(99, false)
        .save(folder.join("bad.png"))
        .expect("written");
    let (code, said) = taught(folder, &["--bad", "bad.png"]);
    assert_eq!(code, Some(0), "{said}");
    assert_said(&said, &["12 good and 1 bad pictures"]);
    assert_said(
        &said,
        &["1 of 1 known bad parts fail by their own looks alone"],
    );
    assert!(!said.contains("lowered from"), "{said}");
}
