//! `winspect check` on lines that can run and lines that cannot.

use crate::harness::assert_said;
use crate::harness::broker::{Broker, free_port};
use crate::harness::golden::{golden, imported};
use crate::harness::line::{LineConfig, write_line};
use crate::harness::program::{both, winspect};
use std::path::Path;

/// The exit code, and all that was said.
fn checked(folder: &Path) -> (Option<i32>, String) {
    let output = winspect()
        .args(["check", "--seconds", "3"])
        .arg(folder.join("line.toml"))
        .output()
        .expect("runs");

    (output.status.code(), both(&output))
}

fn camera() -> String {
    let pictures = golden("open-clip-tiny");
    format!("kind = \"folder\"\nlocation = {pictures:?}\nfps = 20")
}

#[test]
fn a_line_that_can_run_is_told_part_by_part() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    write_line(folder.path(), broker.port, &camera());
    let (code, said) = checked(folder.path());
    assert_eq!(code, Some(0), "{said}");
    let words = [
        "ok    model: dinov2-tiny@",
        "2 references",
        "ok    threshold: ",
        "frames/s",
        "a cell of the map is",
        "takes messages to plant/box/#",
    ];

    assert_said(&said, &words);
}

#[test]
fn everything_that_is_wrong_is_told_in_one_round() {
    let (folder, _model) = imported("dinov2-tiny");
    // A broker that is not there, and a camera that shows nothing that may be judged.
    LineConfig::new(free_port(), "kind = \"test\"\npattern = \"black\"")
        .without("threshold")
        .write(folder.path());

    let (code, said) = checked(folder.path());
    assert_eq!(code, Some(69), "{said}");
    let words = [
        "warn  threshold: ",
        "FAIL  broker 127.0.0.1:",
        "this line cannot run: 1 faults",
    ];

    assert_said(&said, &words);
    if cfg!(feature = "gstreamer") {
        let words = "warn  camera top: its picture would not be judged: black";
        assert_said(&said, &[words]);
    }
}

#[test]
fn a_wrong_configuration_ends_with_78() {
    let (folder, _model) = imported("dinov2-tiny");
    write_line(folder.path(), free_port(), "kind = \"tset\"");
    let (code, said) = checked(folder.path());
    assert_eq!(code, Some(78), "{said}");
    assert_said(&said, &["did you mean \"test\"?"]);
}

#[test]
fn without_its_model_the_rest_is_looked_at() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    write_line(folder.path(), broker.port, &camera());
    std::fs::remove_file(folder.path().join("dinov2-tiny/model.toml")).expect("there until now");
    let (code, said) = checked(folder.path());
    assert_eq!(code, Some(78), "{said}");
    let words = [
        "FAIL  model ",
        "ok    camera top: ",
        "takes messages to plant/box/#",
    ];

    assert_said(&said, &words);
}
