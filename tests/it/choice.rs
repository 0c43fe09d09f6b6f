//! `winspect teach --choose`: block and top share by a recipe's own good and bad pictures.

use crate::harness::assert_said;
use crate::harness::golden::{golden, imported};
use crate::harness::line::{FREE_RUNNING, LineConfig};
use crate::harness::program::{both, winspect};
use std::fs;
use std::path::Path;
use winspect::model;
use winspect::recipe::library::folder::Library;

/// 30000 and -30000 as half-precision numbers, the lowest byte first.
const LARGE: [[u8; 2]; 2] = [[0x53, 0x77], [0x53, 0xF7]];

/// Imports the tiny DINOv2 with a third block that adds the same large vector to every patch: from there on all
/// patches look alike, and blocks 1 and 2 are as they were.
fn import_with_a_blind_third_block(folder: &Path) {
    let source = folder.join("source");
    fs::create_dir(&source).expect("made");
    for file in fs::read_dir(golden("dinov2-tiny")).expect("a folder") {
        let file = file.expect("a file").path();
        let name = file.file_name().expect("a name");
        fs::copy(&file, source.join(name)).expect("copied");
    }

    let weights = source.join("model.safetensors");
    let mut bytes = fs::read(&weights).expect("weights");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).expect("JSON");
    let offsets = &header["encoder.layer.2.mlp.fc2.bias"]["data_offsets"];
    let [from, to] =
        [0, 1].map(|end| 8 + length + offsets[end].as_u64().expect("a number") as usize);
    for (place, value) in bytes[from..to].chunks_exact_mut(2).enumerate() {
        value.copy_from_slice(&LARGE[place % 2]);
    }

    fs::write(&weights, bytes).expect("written");
    model::import(&source, &folder.join("dinov2-tiny"), &|_| ()).expect("imports");
}

/// A drawn part: stripes with noise, a little different for each number; a bad one has a dark spot.
fn drawn(number: u32, is_bad: bool) -> image::RgbImage {
    image::RgbImage::from_fn(70, 70, |x, y| {
        let noise = (x * 31 + y * 17 + number * 101).wrapping_mul(2_654_435_761) >> 27;
        let stripe = if (x / 7) % 2 == 0 { 150 } else { 190 };
        let (right, below) = (x.abs_diff(20 + number % 5), y.abs_diff(40));
        let level = match is_bad && right < 6 && below < 6 {
            true => 40,
            false => stripe + noise,
        };

        image::Rgb([level as u8; 3])
    })
}

/// A line with this threshold that compares the blind third block, and pictures beside it.
fn line(threshold: &str, good: u32, bad: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    import_with_a_blind_third_block(folder.path());
    for (kind, count) in [("good", good), ("bad", bad)] {
        fs::create_dir(folder.path().join(kind)).expect("made");
        for number in 0..count {
            let file = folder.path().join(format!("{kind}/{number:02}.png"));
            let picture = drawn(number + 50 * u32::from(kind == "bad"), kind == "bad");
            picture.save(file).expect("written");
        }
    }

    let recipe = format!("block = 3\nthreshold = {threshold}");
    let config = LineConfig::new(1, FREE_RUNNING).recipe(&recipe);
    config.without("references").write(folder.path());
    folder
}

fn run(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = winspect();
    let output = command.current_dir(folder).args(words).output();
    let output = output.expect("runs");
    (output.status.code(), both(&output))
}

#[track_caller]
fn taught(folder: &Path, words: &[&str]) -> String {
    let (code, said) = run(folder, &[&["teach", "line.toml"], words].concat());
    assert_eq!(code, Some(0), "{words:?}: {said}");
    said
}

fn recipe_of(folder: &Path) -> String {
    let library = Library::at(folder.join("box.recipes"));
    let revision = library.current("nut").expect("whole").expect("there");
    fs::read_to_string(revision.folder().join("recipe.toml")).expect("a recipe")
}

#[test]
fn the_block_that_sees_the_planted_defects_is_chosen_and_kept() {
    let folder = line("0.31", 9, 4);
    let folder = folder.path();
    let said = taught(folder, &["--good", "good", "--bad", "bad", "--choose"]);
    let words = [
        "block 2, top share 0.01 (AUROC 1.000, ",
        "in place of block 3, top share 0.01 (AUROC 0.5",
        "by 4 bad and 9 good pictures",
        "not known: the 4 bad pictures may be of one kind",
        "the threshold 0.31 becomes \"auto\": it was chosen for the scores of block 3",
        "threshold: ",
        "nut@2 is the current revision: 9 good and 4 bad",
        "chose block 2",
    ];

    assert_said(&said, &words);
    let (_, after) = said.split_once("becomes \"auto\"").expect("it said so");
    assert!(!after.contains("known bad parts pass"), "{said}");
    let recipe = recipe_of(folder);
    assert!(
        recipe.contains("block = 2") && recipe.contains("threshold = \"auto\""),
        "{recipe}"
    );
    assert!(!recipe.contains("top_share"), "{recipe}");
    let (_, shown) = run(folder, &["recipe", "show", "line.toml", "nut"]);
    assert_said(
        &shown,
        &[
            "choice     block 2, top share 0.01",
            "not known  the 4 bad",
            "in place of 0.31",
        ],
    );

    // A later lesson keeps the choice, and says whose it is.
    drawn(40, false)
        .save(folder.join("more.png"))
        .expect("written");
    let said = taught(folder, &["--good", "more.png"]);
    assert_said(&said, &["block 2 of 4 judges, chosen before: block 2"]);
    assert!(recipe_of(folder).contains("block = 2"));

    // Chosen anew beside the values of before the first choice: the same, which is no revision.
    let said = taught(folder, &["--choose"]);
    assert_said(&said, &["in place of block 3", "there is no new revision"]);
    assert!(recipe_of(folder).contains("revision = 3"));
}

#[test]
fn nothing_is_chosen_by_too_few_pictures_or_where_there_is_nothing_to_choose() {
    let folder = line("\"auto\"", 5, 2);
    let folder = folder.path();
    let refused = |words: &[&str], code: i32, expected: &str| {
        let (found, said) = run(folder, &[&["teach"], words].concat());
        assert_eq!(found, Some(code), "{words:?}: {said}");
        assert_said(&said, &[expected]);
    };

    let all = ["line.toml", "--good", "good", "--bad", "bad", "--choose"];
    let missing = "give 3 more good ones (5 of 8) and 1 more bad ones (2 of 3)";
    refused(&all, 65, missing);
    assert!(!folder.join("box.recipes/nut/1").exists());
    refused(
        &["line.toml", "--parts", "4", "--choose"],
        64,
        "cannot be used with",
    );

    // Without --choose it says which block judges, and what would measure it.
    let said = taught(folder, &["--good", "good"]);
    let words = "block 3 of 4 judges, the model's default (not measured, by a rule: three quarters of the depth); --choose measures others";
    assert_said(&said, &[words]);
    let (code, said) = run(
        folder,
        &["teach", "box.recipes", "--recipe", "nut", "--choose"],
    );
    assert_eq!(code, Some(64), "{said}");
    assert_said(&said, &["a library's folder does not name a model"]);
}

#[test]
fn a_model_with_text_has_nothing_to_choose() {
    let (folder, _model) = imported("open-clip-tiny");
    let folder = folder.path();
    LineConfig::new(1, FREE_RUNNING)
        .head("model = \"open-clip-tiny\"")
        .recipe("class_name = \"nut\"")
        .without("block")
        .write(folder);

    let bad = golden("open-clip-tiny").join("bad.png");
    let bad = bad.to_str().expect("text");
    let (code, said) = run(folder, &["teach", "line.toml", "--bad", bad, "--choose"]);
    assert_eq!(code, Some(64), "{said}");
    assert_said(
        &said,
        &["--choose: a model with text compares the layer that its paper names"],
    );
}

#[test]
fn the_top_share_decides_the_score_and_is_refused_beside_words() {
    let (folder, model) = imported("dinov2-tiny");
    let pictures = golden("open-clip-tiny");
    let score = |flags: &[&str]| {
        let mut command = winspect();
        command
            .args(["inspect", "--threads", "1", "--model"])
            .arg(&model.path);
        command
            .args(flags)
            .arg("--reference")
            .arg(pictures.join("good_a.png"));
        let output = command
            .arg(pictures.join("bad.png"))
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}", both(&output));
        let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a line");
        line["score"].as_f64().expect("a number")
    };

    let usual = score(&[]);
    assert_eq!(usual, score(&["--top-share", "0.01"]));
    // Of 25 cells the highest, and the mean of all.
    assert!(score(&["--top-share", "1"]) < usual);
    let inspect = |flags: &[&str]| {
        let picture = pictures.join("bad.png");
        let picture = picture.to_str().expect("text");
        run(folder.path(), &[&["inspect"], flags, &[picture]].concat())
    };

    let (code, said) = inspect(&["--model", "dinov2-tiny", "--top-share", "1.5"]);
    assert_eq!(code, Some(64), "{said}");
    assert_said(&said, &["must be 0.0001 to 1"]);
    let (_words, clip) = imported("open-clip-tiny");
    let clip = clip.path.to_str().expect("text");
    let (code, said) = inspect(&["--model", clip, "--class-name", "nut", "--top-share", "0.1"]);
    assert_eq!(code, Some(64), "{said}");
    assert_said(&said, &["--top-share: this model compares with words"]);
}
