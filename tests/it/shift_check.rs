//! Shift checks of a running line: over MQTT and the command line, through a restart, and one that fails.

use crate::harness::broker::Broker;
use crate::harness::line::TRIGGERED;
use crate::harness::plc::Listener;
use crate::harness::program::{Running, both, winspect};
use crate::harness::station::Station;
use serde_json::Value;
use std::path::Path;
use std::process::Output;

/// A threshold from which every part fails.
pub const ALL_FAIL: &str = "0.000001";
/// A threshold under which every part passes.
const ALL_PASS: &str = "1.99";

/// Lets all parts from now on fail, or pass.
pub fn judge_by(plc: &Listener, id: &str, threshold: &str) {
    let payload = format!(r#"{{"id":"{id}","value":{threshold}}}"#);
    plc.ask("set_threshold", &payload, "done");
}

/// A bad part, which fails under [`ALL_FAIL`]: a threshold that is set while a check is under way ends it.
pub fn bad_part(plc: &Listener, id: &str) {
    part(plc, id, "fail");
}

#[track_caller]
fn part(plc: &Listener, id: &str, verdict: &str) {
    plc.ask(
        "trigger",
        &format!(r#"{{"id":"{id}","part_id":"{id}"}}"#),
        "accepted",
    );
    let result = plc.until("box/result", "part_id", id);
    assert_eq!(result["verdict"], verdict, "{result}");
}

/// `winspect shift-check line.toml` with these arguments.
fn cli(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = winspect();
    command.arg("shift-check").arg(folder.join("line.toml"));
    command.args(arguments).output().expect("it runs")
}

#[track_caller]
fn said(folder: &Path, arguments: &[&str], words: &str) -> String {
    let output = cli(folder, arguments);
    let said = both(&output);
    assert!(output.status.success() && said.contains(words), "{said}");
    said
}

/// The last answer to a check's start: how far it is comes before.
#[track_caller]
fn outcome(answers: &Listener) -> Value {
    answers.until_fits("ack/shift_check", |answer| answer["status"] != "progress")
}

fn has_cause(state: &Value, words: &str) -> bool {
    state["causes"].to_string().contains(words)
}

#[test]
fn a_check_goes_from_start_to_signature_and_outlives_a_restart() {
    let station = Station::start(TRIGGERED);
    let plc = &station.plc;
    let answers = station.listen("ack/shift_check");
    let folder = station.folder.path();
    let start = r#"{"id":"c1","step":"start","why":"changeover","bad":2,"name":"anna"}"#;
    judge_by(plc, "t1", ALL_FAIL);
    plc.ask("shift_check", start, "accepted");
    assert_eq!(outcome(&answers)["status"], "accepted");
    plc.ask_in_vain(
        "challenge",
        r#"{"id":"c","parts":1,"expect":"fail"}"#,
        "shift check",
    );

    bad_part(plc, "B1");
    let first = answers.next("ack/shift_check");
    assert_eq!(first["status"], "progress", "{first}");
    let words = first["reason"].to_string();
    assert!(words.contains("1 of 2 bad parts caught"), "{words}");
    bad_part(plc, "B2");
    let over = outcome(&answers);
    assert_eq!(
        (&over["status"], &over["id"]),
        (&"done".into(), &"c1".into()),
        "{over}"
    );
    // The next part is production again.
    plc.ask("trigger", r#"{"id":"P1","part_id":"P1"}"#, "accepted");
    let production = plc.until("box/result", "part_id", "P1");
    assert!(production["challenge"].is_null(), "{production}");

    said(
        folder,
        &["gate", "yes", "--name", "bert"],
        "the gate removed them; sign it",
    );
    let folder = station.folder;
    Running::stop(station.line);
    let line = Running::line(folder.path());
    let folder = folder.path();
    station.plc.until("camera/top/status", "state", "online");
    said(
        folder,
        &["sign", "--name", "anna"],
        "passed: 2 of 2 bad parts caught",
    );
    said(folder, &["list"], "changeover");
    let record = said(folder, &["print"], "PASSED");
    for words in [
        "anna, through mqtt",
        "bert, through",
        "2 of 2 caught",
        "nut@",
    ] {
        assert!(record.contains(words), "{words} is not in\n{record}");
    }

    let json = said(folder, &["list", "--json"], "01");
    let check: Value = serde_json::from_str(json.trim()).expect("one JSON line");
    assert_eq!(check["removed"], true);
    let mut audit = winspect();
    audit
        .arg("history")
        .arg(folder.join("line.toml"))
        .arg("--audit");
    let audit = both(&audit.output().expect("it runs"));
    for words in [
        "start (changeover)",
        "removed the bad parts, by bert",
        "signed, by anna",
    ] {
        assert!(audit.contains(words), "{words} is not in\n{audit}");
    }

    line.summary();
}

#[test]
fn a_miss_is_a_failure_until_somebody_acknowledges_it_by_name() {
    let station = Station::start(TRIGGERED);
    let plc = &station.plc;
    let folder = station.folder.path();
    let states = station.listen("state");
    let answers = station.listen("ack/shift_check");
    judge_by(plc, "t1", ALL_PASS);
    plc.ask(
        "shift_check",
        r#"{"id":"c1","step":"start","why":"start","bad":1}"#,
        "accepted",
    );

    outcome(&answers);
    // A bad part that passes.
    part(plc, "B1", "pass");
    let over = outcome(&answers);
    assert_eq!(over["status"], "rejected", "{over}");
    assert!(
        over["reason"]
            .to_string()
            .contains("bad part B1 (top no. 1) got pass"),
        "{over}"
    );
    let state = states.until_fits("box/state", |state| has_cause(state, "shift check: "));
    assert_eq!(state["health"], "FAILURE");
    plc.ask("reset", r#"{"id":"r"}"#, "done");
    // Hears nothing of what was answered before.
    let signer = station.listen("ack/shift_check");
    signer.ask_in_vain(
        "shift_check",
        r#"{"id":"s","step":"sign","name":"anna"}"#,
        "no shift check",
    );
    let state = station.listen("state").next("box/state");
    assert!(
        has_cause(&state, "shift check: "),
        "reset does not confirm it: {state}"
    );

    let note = ["acknowledge", "--name", "anna", "--note", "lamp replaced"];
    said(folder, &note, "acknowledged: 1 failed");
    states.until_fits("box/state", |state| !has_cause(state, "shift check: "));
    said(folder, &["print"], "anna, through");
    let output = cli(folder, &["gate", "no"]);
    assert_eq!(output.status.code(), Some(65), "{}", both(&output));
}

#[test]
fn an_overdue_check_is_off_spec_until_one_passes_also_over_restarts() {
    let due = "[shift_check]\nevery_hours = 8";
    let station = Station::configured(TRIGGERED, |config, _| config.tables(due));
    let folder = station.folder.path().to_owned();
    let plc = &station.plc;
    assert!(!has_cause(
        &station.listen("state").next("box/state"),
        "shift check overdue"
    ));
    Running::stop(station.line);

    // The line has asked for checks for years, and has never had one.
    let store = rusqlite::Connection::open(folder.join("box.db")).expect("the store");
    let long_ago =
        "UPDATE kept SET value = '2020-01-01T00:00:00Z' WHERE key = 'shift_checks_since'";
    assert_eq!(store.execute(long_ago, []), Ok(1));
    drop(store);
    let _line = Running::line(&folder);
    let states = Listener::start(station.broker.port, "plant/box/state");
    let state = states.until_fits("box/state", |state| {
        has_cause(state, "shift check overdue: ")
    });
    assert!(
        has_cause(
            &state,
            "no shift check has passed so far; one is due every 8 h"
        ),
        "{state}"
    );
    assert_ne!(state["health"], "NORMAL");

    let answers = Listener::start(station.broker.port, "plant/box/ack/shift_check");
    let start = r#"{"id":"c1","step":"start","why":"start","bad":1}"#;
    judge_by(plc, "t1", ALL_FAIL);
    answers.ask("shift_check", start, "accepted");
    bad_part(plc, "B1");
    assert_eq!(outcome(&answers)["status"], "done");
    said(&folder, &["gate", "yes"], "sign it");
    said(&folder, &["sign", "--name", "anna"], "passed");
    states.until_fits("box/state", |state| !has_cause(state, "shift check"));
}

#[test]
fn outcomes_that_the_broker_never_had_are_told_by_the_next_run() {
    let station = Station::start(TRIGGERED);
    let plc = &station.plc;
    let start = r#"{"id":"c1","step":"start","why":"start","bad":2,"name":"anna"}"#;
    plc.ask("shift_check", start, "accepted");
    plc.ask("cleaned", r#"{"id":"c2"}"#, "accepted");

    // The check ends while the broker is away, and the comparison of the lens when the line stops.
    let port = station.broker.port;
    drop(station.broker);
    let folder = station.folder.path();
    said(folder, &["abort", "--name", "anna"], "failed");
    station.line.stop();

    let _broker = Broker::start(port);
    let told = Listener::start(port, "plant/box/ack/#");
    let line = Running::line(folder);
    for (topic, id, words) in [
        ("ack/shift_check", "c1", "aborted"),
        ("ack/cleaned", "c2", "the line stops"),
    ] {
        let outcome = told.until(topic, "id", id);
        assert_eq!(outcome["status"], "rejected", "{outcome}");
        assert!(outcome["reason"].to_string().contains(words), "{outcome}");
    }

    line.summary();
}
