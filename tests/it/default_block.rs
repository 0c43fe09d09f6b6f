//! The block that judges where a recipe names none: which it is, who says so, and where it is kept.

use crate::harness::assert_said;
use crate::harness::golden::{golden, imported};
use crate::harness::line::{FREE_RUNNING, LineConfig};
use crate::harness::program::{both, errors, winspect};
use std::fs;
use std::path::Path;
use std::process::Output;

/// Words of the warning.
const WARNING: &str =
    "block 3 of 4 is compared by default (not measured, by a rule: three quarters of the depth)";
/// What a person has measured, in `model.toml`.
const MEASURED: &str =
    "\n[model.default_block]\nnumber = 2\nbasis = \"measured\"\nsource = \"our nuts\"\n";

/// `winspect inspect` of a bad part against a good one, with these flags.
#[track_caller]
fn inspect(model: &Path, flags: &[&str]) -> Output {
    let pictures = golden("open-clip-tiny");
    let output = winspect()
        .args(["inspect", "--threads", "1", "--model"])
        .arg(model)
        .args(flags)
        .arg("--reference")
        .arg(pictures.join("good_a.png"))
        .arg(pictures.join("bad.png"))
        .output()
        .expect("runs");

    assert!(output.status.success(), "{}", both(&output));
    output
}

/// The score of the one picture.
fn score(output: &Output) -> String {
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line");
    line["score"].to_string()
}

/// What `winspect model info` says.
fn info(model: &Path) -> String {
    let mut command = winspect();
    command.args(["model", "info"]).arg(model);
    both(&command.output().expect("runs"))
}

fn say_in_manifest(model: &Path, words: &str) {
    let file = model.join("model.toml");
    let text = fs::read_to_string(&file).expect("a manifest");
    fs::write(&file, text + words).expect("written");
}

#[test]
fn a_recipe_without_a_block_scores_as_one_that_names_the_default() {
    let (_guard, model) = imported("dinov2-tiny");
    let plain = inspect(&model.path, &[]);
    let third = inspect(&model.path, &["--block", "3"]);
    assert_eq!(score(&plain), score(&third));
    let last = inspect(&model.path, &["--block", "4"]);
    assert_ne!(score(&plain), score(&last));

    // What nobody has measured is told once, with the way out; what was asked for is not told.
    assert_eq!(
        errors(&plain).matches(WARNING).count(),
        1,
        "{}",
        errors(&plain)
    );
    assert_said(&errors(&plain), &["say block = N", "--block 2,3,4"]);
    assert!(!errors(&third).contains("by default"), "{}", errors(&third));
    assert_said(
        &info(&model.path),
        &["block      3 of 4 is compared where a recipe names none"],
    );
}

#[test]
fn a_models_own_default_judges_and_is_not_warned_of() {
    let (_guard, model) = imported("dinov2-tiny");
    say_in_manifest(&model.path, MEASURED);
    let plain = inspect(&model.path, &[]);
    assert_eq!(
        score(&plain),
        score(&inspect(&model.path, &["--block", "2"]))
    );
    assert!(!errors(&plain).contains("by default"), "{}", errors(&plain));
    assert_said(
        &info(&model.path),
        &["block      2 of 4 is compared where a recipe names none (measured: our nuts)"],
    );
}

#[test]
fn a_default_block_that_the_model_does_not_have_is_refused() {
    let (_guard, model) = imported("dinov2-tiny");
    say_in_manifest(&model.path, &MEASURED.replace("number = 2", "number = 5"));
    assert_said(
        &info(&model.path),
        &["model.toml: default_block.number: must be 1 to 4, got 5"],
    );
}

#[test]
fn words_keep_to_the_published_layer() {
    let (_guard, model) = imported("open-clip-tiny");
    let class = ["--class-name", "metal nut"];
    let plain = inspect(&model.path, &class);
    let last = inspect(&model.path, &[&class[..], &["--block", "3"]].concat());
    let middle = inspect(&model.path, &[&class[..], &["--block", "2"]].concat());
    assert_eq!(score(&plain), score(&last));
    assert_ne!(score(&plain), score(&middle));
    assert!(!errors(&plain).contains("by default"), "{}", errors(&plain));
    assert_said(
        &info(&model.path),
        &["block      3 of 3", "published: WinCLIP"],
    );
}

#[test]
fn the_library_keeps_the_block_that_a_recipe_was_taught_with() {
    let (folder, model) = imported("dinov2-tiny");
    let folder = folder.path();
    LineConfig::new(1, FREE_RUNNING)
        .without("block")
        .write(folder);
    let bad = golden("open-clip-tiny").join("bad.png");
    let mut command = winspect();
    command
        .current_dir(folder)
        .args(["teach", "line.toml", "--bad"])
        .arg(&bad);
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", both(&output));
    assert_eq!(
        both(&output).matches(WARNING).count(),
        1,
        "{}",
        both(&output)
    );
    for revision in [1, 2] {
        let file = folder.join(format!("box.recipes/nut/{revision}/recipe.toml"));
        let text = fs::read_to_string(file).expect("a recipe");
        assert!(text.lines().any(|line| line == "block = 3"), "{text}");
    }

    // Whatever the default becomes: the revision judges by its own block.
    let held = |model: &Path| {
        let mut command = winspect();
        command
            .current_dir(folder)
            .arg("inspect")
            .arg("--model")
            .arg(model);
        command.args(["--recipe", "box.recipes/nut"]).arg(&bad);
        command.output().expect("runs")
    };

    let before = held(&model.path);
    say_in_manifest(&model.path, MEASURED);
    let after = held(&model.path);
    assert_eq!(score(&before), score(&after));
    assert!(!errors(&after).contains("by default"), "{}", errors(&after));
}

#[test]
fn a_line_tells_which_block_judges() {
    let (folder, model) = imported("dinov2-tiny");
    let folder = folder.path();
    LineConfig::new(1, FREE_RUNNING)
        .without("block")
        .write(folder);
    let check = || {
        let mut command = winspect();
        command
            .current_dir(folder)
            .args(["check", "line.toml", "--seconds", "1"]);
        both(&command.output().expect("runs"))
    };

    let said = check();
    assert_eq!(said.matches(WARNING).count(), 1, "{said}");
    say_in_manifest(&model.path, MEASURED);
    let said = check();
    let words = "block 2 of 4 is compared, the model's default (measured)";
    assert_eq!(said.matches(words).count(), 1, "{said}");
}
