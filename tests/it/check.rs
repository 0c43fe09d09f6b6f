//! `winspect check` on lines that can run and lines that cannot.

use crate::harness::assert_said;
use crate::harness::broker::{Broker, free_port};
use crate::harness::contrary::{ContraryBroker, Rules};
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
fn an_area_beyond_the_picture_lets_no_part_come() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let camera = "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120\ntrigger = \"presence\"\n\
                  presence = { area = [0, 100, 160, 40] }";

    write_line(folder.path(), broker.port, camera);
    let (code, said) = checked(folder.path());
    assert_eq!(code, Some(78), "{said}");
    let words = "presence.area 0,100,160,40 is beyond its picture of 160 x 120 pixels";
    assert_said(&said, &[words]);
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

/// What `check` says of a broker that refuses this topic, or subscriptions, by its rules.
fn checked_at(change: impl FnOnce(&mut Rules)) -> (Option<i32>, String) {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(change);
    LineConfig::new(broker.port, &camera())
        .mqtt("heatmaps = \"none\"")
        .write(folder.path());

    checked(folder.path())
}

#[test]
fn a_rule_that_forbids_results_is_found_before_the_line_runs() {
    let (code, said) = checked_at(|rules| rules.refuses = vec![("box/result", 0x87)]);
    assert_eq!(code, Some(69), "{said}");
    assert_said(&said, &["it refuses plant/box/result (NotAuthorized)"]);
    assert!(!said.contains("result/late"), "{said}");
}

#[test]
fn a_limit_below_a_results_size_is_found_before_the_line_runs() {
    let (code, said) = checked_at(|rules| rules.payload_max = Some(("/check", 1400)));
    assert_eq!(code, Some(69), "{said}");
    let words = [
        "a message is too large",
        "message_size_limit",
        "after a message to plant/box/check of 1500 bytes",
    ];

    assert_said(&said, &words);
}

#[test]
fn a_rule_that_forbids_answers_is_found_before_the_line_runs() {
    let (code, said) = checked_at(|rules| rules.refuses = vec![("ack/trigger", 0x87)]);
    assert_eq!(code, Some(69), "{said}");
    assert_said(&said, &["it refuses plant/box/ack/trigger"]);
}

#[test]
fn a_refused_subscription_is_found_before_the_line_runs() {
    let (code, said) = checked_at(|rules| rules.subscriptions = Some(0x87));
    assert_eq!(code, Some(69), "{said}");
    assert_said(
        &said,
        &["reading plant/box/cmd/+", "reading plant/box/fence"],
    );
}
