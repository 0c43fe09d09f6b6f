//! The line's file is read again while the line runs (SIGHUP): what can change does, the rest is named, and
//! a file that is wrong changes nothing.

use crate::harness::assert_said;
use crate::harness::line::{LineConfig, TRIGGERED};
use crate::harness::program::{both, winspect};
use crate::harness::station::Station;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Writes the line's file anew, with these lines of its recipe and its camera, and sends SIGHUP.
fn reload(station: &Station, head: &str, recipe: &str, camera: &str) {
    let camera = format!("{TRIGGERED}{camera}");
    let config = LineConfig::new(station.broker.port, &camera).head(head);
    config.recipe(recipe).write(station.folder.path());
    station.line.signal(libc::SIGHUP);
}

/// A station whose camera's pictures pass.
fn passing() -> Station {
    Station::configured(TRIGGERED, |config, _| config.recipe("threshold = 0.4"))
}

/// Result of one part.
fn judged(station: &Station, id: &str) -> Value {
    let payload = json!({"id": id}).to_string();
    station.plc.ask("trigger", &payload, "accepted");
    station.plc.next("result")
}

fn file(station: &Station) -> PathBuf {
    station.folder.path().join("line.toml")
}

fn audit(station: &Station) -> String {
    let mut command = winspect();
    command.arg("history").arg(file(station)).arg("--audit");
    let output = command.output().expect("the binary was built");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_changed_threshold_and_deadline_hold_from_one_part_to_the_next() {
    let station = passing();
    let before = judged(&station, "a");
    assert_eq!(
        (&before["verdict"], &before["seq"]),
        (&json!("pass"), &json!(1))
    );
    assert_eq!(before["deadline_ms"], 5000);
    reload(
        &station,
        "",
        "threshold = 0.0001",
        "\nreject_after_ms = 9000",
    );
    station.plc.until_fits("birth", |birth| {
        birth["threshold"]
            .as_f64()
            .is_some_and(|threshold| (threshold - 0.0001).abs() < 1e-8)
    });

    let after = judged(&station, "b");
    assert_eq!(
        (&after["verdict"], &after["seq"]),
        (&json!("fail"), &json!(2))
    );
    assert_eq!(after["reject_in_ms"], 9000.0);
    let told = audit(&station);
    for words in [
        "camera[0].reject_after_ms: not given -> 9000",
        "recipe.nut.threshold: 0.4 -> 0.0001",
    ] {
        assert!(told.contains(words), "{words:?} is not in {told}");
    }

    assert_eq!(station.summary()["balanced"], true);
}

#[test]
fn a_wrong_file_changes_nothing_and_is_told_until_a_right_one_comes() {
    let station = passing();
    reload(
        &station,
        "batch = 900",
        "threshold = -1.0",
        "\nreject_after_ms = 9000",
    );
    let state = station.plc.until("state", "health", "MAINTENANCE_REQUIRED");
    let causes = state["causes"].to_string();
    for words in ["configuration", "batch: ", "recipe.threshold: "] {
        assert!(causes.contains(words), "{words:?} is not in {causes}");
    }

    let same = judged(&station, "a");
    assert_eq!(same["verdict"], "pass");
    assert_eq!(same["reject_in_ms"], Value::Null);
    // A file that reads well and cannot be prepared changes nothing either.
    std::fs::write(station.folder.path().join("none.png"), "no picture").expect("written");
    reload(
        &station,
        "",
        "threshold = 0.4\nreferences = [\"none.png\"]",
        "\nreject_after_ms = 9000",
    );
    station.line.wait_for_words("none.png");
    assert_eq!(judged(&station, "b")["reject_in_ms"], Value::Null);
    reload(&station, "", "threshold = 0.4", "");
    station.plc.until("state", "health", "NORMAL");
    let told = audit(&station);
    assert!(told.contains("nothing has changed"), "{told}");
    assert!(told.contains("is not in force"), "{told}");
    assert_eq!(station.summary()["balanced"], true);
}

#[test]
fn what_needs_a_restart_is_named_each_time_and_the_rest_is_taken_over() {
    let station = passing();
    for (threshold, id) in [("0.0001", "a"), ("0.0002", "b")] {
        let recipe = format!("threshold = {threshold}");
        reload(&station, "batch = 2", &recipe, "");
        let wanted: f64 = threshold.parse().expect("a number");
        station.plc.until_fits("birth", |birth| {
            birth["threshold"]
                .as_f64()
                .is_some_and(|found| (found - wanted).abs() < 1e-8)
        });

        assert_eq!(judged(&station, id)["verdict"], "fail");
    }

    let told = audit(&station);
    let restarts: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("needs a restart"))
        .collect();
    assert_eq!(restarts.len(), 2, "{told}");
    for restart in restarts {
        assert!(restart.contains("batch: not given -> 2"), "{restart}");
    }

    assert_eq!(station.summary()["balanced"], true);
}

#[test]
fn a_recipe_for_another_model_waits_for_the_restart_with_it() {
    let station = passing();
    assert_eq!(judged(&station, "a")["verdict"], "pass");
    reload(&station, "model = \"another\"", "threshold = 0.0001", "");
    station.line.wait_for_words("needs a restart");

    assert_eq!(judged(&station, "b")["verdict"], "pass");
    let told = audit(&station);
    let restart = told.lines().find(|line| line.contains("needs a restart"));
    let restart = restart.expect("it is told");
    assert!(
        restart.contains("recipe.nut.threshold: 0.4 -> 0.0001"),
        "{restart}"
    );
    assert_eq!(station.summary()["balanced"], true);
}

#[test]
fn a_command_reads_the_file_as_the_signal_does_and_hears_what_came_of_it() {
    let station = passing();
    let write = |head: &str, recipe: &str| {
        let config = LineConfig::new(station.broker.port, TRIGGERED).head(head);
        config.recipe(recipe).write(station.folder.path());
    };

    write("batch = 2", "threshold = 0.0001");
    let answer = station.plc.ask("reload", r#"{"id":"r1"}"#, "accepted");
    assert_eq!(answer["id"], "r1");
    let outcome = station.plc.next("ack/reload");
    assert_eq!(outcome["status"], "done", "{outcome}");
    let words = outcome["reason"].to_string();
    assert_said(
        &words,
        &[
            "recipe.nut.threshold: 0.4 -> 0.0001",
            "needs a restart: batch: not given -> 2",
        ],
    );
    assert_eq!(judged(&station, "a")["verdict"], "fail");

    // A file that is wrong changes nothing; the command line, which reads it too, says so by itself.
    write("batch = 900", "threshold = -1.0");
    station.plc.ask("reload", r#"{"id":"r2"}"#, "accepted");
    let refused = station.plc.next("ack/reload");
    assert_eq!(refused["status"], "rejected", "{refused}");
    let wrong = ["batch: ", "recipe.threshold: "];
    assert_said(&refused["reason"].to_string(), &["is not in force"]);
    assert_said(&refused["reason"].to_string(), &wrong);
    let command = || {
        let mut command = winspect();
        command.arg("reload").arg(file(&station));
        command.output().expect("it runs")
    };

    let refused = command();
    assert_eq!(refused.status.code(), Some(78), "{}", both(&refused));
    assert_said(&both(&refused), &wrong);
    assert_eq!(judged(&station, "b")["verdict"], "fail");
    write("batch = 2", "threshold = 0.4");
    let done = command();
    assert_said(&both(&done), &["recipe.nut.threshold: 0.0001 -> 0.4"]);
    assert!(done.status.success());
    assert_said(&audit(&station), &["reload from mqtt, id r1"]);
    assert_eq!(station.summary()["balanced"], true);
}
