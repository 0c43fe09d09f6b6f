//! `winspect check` on lines that can run and lines that cannot.

use crate::broker::{Broker, free_port};
use crate::line::write_line;
use crate::support::{golden, imported};
use std::path::Path;
use std::process::Command;

/// The exit code, and all that was said.
fn checked(folder: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_winspect"));
    let output = command
        .args(["check", "--seconds", "3"])
        .arg(folder.join("line.toml"))
        .output()
        .expect("runs");
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), said.concat())
}

fn folder_camera() -> String {
    format!(
        "kind = \"folder\"\nlocation = {:?}\nfps = 20",
        golden("open-clip-tiny")
    )
}

#[track_caller]
fn assert_said(said: &str, words: &[&str]) {
    words
        .iter()
        .for_each(|word| assert!(said.contains(word), "{word:?} is not in\n{said}"));
}

#[test]
fn a_line_that_can_run_is_told_part_by_part() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    write_line(folder.path(), broker.port, &folder_camera());
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
    write_line(
        folder.path(),
        free_port(),
        "kind = \"test\"\npattern = \"black\"",
    );
    let text = std::fs::read_to_string(folder.path().join("line.toml")).expect("just written");
    std::fs::write(
        folder.path().join("line.toml"),
        text.replace("threshold = \"auto\"\n", ""),
    )
    .expect("written");
    let (code, said) = checked(folder.path());
    assert_eq!(code, Some(69), "{said}");
    assert_said(
        &said,
        &[
            "warn  threshold: ",
            "FAIL  broker 127.0.0.1:",
            "this line cannot run: 1 faults",
        ],
    );
    if cfg!(feature = "gstreamer") {
        assert_said(
            &said,
            &["warn  camera top: its picture would not be judged: black"],
        );
    }
}

#[test]
fn a_configuration_that_is_wrong_ends_with_78_and_a_model_that_is_not_there_too() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    write_line(folder.path(), broker.port, "kind = \"tset\"");
    let (code, said) = checked(folder.path());
    assert_eq!(code, Some(78), "{said}");
    assert_said(&said, &["did you mean \"test\"?"]);

    write_line(folder.path(), broker.port, &folder_camera());
    std::fs::remove_file(folder.path().join("dinov2-tiny/model.toml")).expect("there until now");
    let (code, said) = checked(folder.path());
    assert_eq!(code, Some(78), "{said}");
    // The rest is looked at all the same.
    assert_said(
        &said,
        &[
            "FAIL  model ",
            "ok    camera top: ",
            "takes messages to plant/box/#",
        ],
    );
}
