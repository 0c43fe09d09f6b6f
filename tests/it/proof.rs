//! Does the line still see? Challenges with known parts, two stored pictures, and the log of both,
//! as an engineer meets them.

use crate::harness::broker::Broker;
use crate::harness::golden::{golden, imported};
use crate::harness::line::{LineConfig, TRIGGERED, assert_refused, summary};
use crate::harness::plc::{Listener, publish};
use crate::harness::program::{Running, errors};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// The store of a line that does not run.
fn store(folder: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.join("box.db")).expect("the store")
}

/// All that the audit log says.
fn audit(folder: &Path) -> String {
    let store = store(folder);
    let mut log = store
        .prepare("SELECT what FROM audit ORDER BY rowid")
        .expect("a log");

    let lines = log
        .query_map([], |row| row.get::<_, String>(0))
        .expect("rows");

    let lines: Vec<String> = lines.map(|line| line.expect("text")).collect();
    lines.join("\n")
}

fn kept(folder: &Path, key: &str) -> String {
    store(folder)
        .query_row("SELECT value FROM kept WHERE key = ?", [key], |row| {
            row.get(0)
        })
        .expect("kept")
}

fn keep(folder: &Path, key: &str, value: &str) {
    let changed = store(folder).execute("UPDATE kept SET value = ? WHERE key = ?", [value, key]);
    assert_eq!(changed.expect("there"), 1);
}

/// The next state with these words among its causes.
#[track_caller]
fn told(plc: &Listener, words: &str) -> Value {
    plc.until_fits("box/state", |state| {
        state["causes"].to_string().contains(words)
    })
}

/// Begins a challenge of so many parts that must fail.
#[track_caller]
fn challenge(plc: &Listener, id: &str, parts: usize) {
    let command = json!({"id": id, "parts": parts, "expect": "fail"});
    plc.ask("challenge", &command.to_string(), "accepted");
}

/// The answer that ends a challenge, with these words.
#[track_caller]
fn ended(plc: &Listener, id: &str, status: &str, words: &str) {
    let answer = plc.answered("challenge");
    assert_eq!(answer["id"], id, "{answer}");
    assert_eq!(answer["status"], status, "{answer}");
    let reason = answer["reason"].as_str().expect("words");
    assert!(reason.contains(words), "{words:?} is not in {answer}");
}

/// A line that waits for commands, in a folder that the test looks into.
struct Bench {
    plc: Listener,
    states: Listener,
    broker: Broker,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let (folder, _model) = imported("dinov2-tiny");
        let broker = Broker::anywhere();
        let bench = Bench {
            plc: Listener::start(broker.port, "plant/box/ack/+"),
            states: Listener::start(broker.port, "plant/box/state"),
            broker,
            folder,
        };

        bench.config().write(bench.folder.path());
        bench
    }

    fn config(&self) -> LineConfig {
        LineConfig::new(self.broker.port, TRIGGERED)
    }

    fn line(&self) -> Running {
        Running::line(self.folder.path())
    }

    /// Asserts that the log has each of these once.
    fn assert_logged(&self, all: &[&str]) {
        let log = audit(self.folder.path());
        for words in all {
            assert_eq!(log.matches(words).count(), 1, "{words:?} in {log}");
        }
    }
}

/// With this threshold every part fails.
fn fail_all(plc: &Listener) {
    plc.ask("set_threshold", r#"{"id":"a","value":0}"#, "done");
}

/// A challenge of one good part, at a line at which all parts fail; and a part of before it, which is none of its parts.
fn miss(plc: &Listener) {
    let order = r#"{"id":"missed","camera":"top","parts":1,"expect":"pass"}"#;
    plc.ask("challenge", order, "accepted");
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(20);
    plc.tell("trigger", &format!(r#"{{"id":"before","at":"{at}"}}"#));
    plc.tell("trigger", r#"{"id":"e"}"#);
    ended(plc, "missed", "rejected", "0 of 1");
}

#[test]
fn a_met_challenge_marks_its_parts_and_is_logged() {
    let bench = Bench::new();
    let results = Listener::start(bench.broker.port, "plant/box/result");
    let line = bench.line();
    bench.states.next("box/state");
    fail_all(&bench.plc);
    challenge(&bench.plc, "met", 2);
    for part in ["b", "c", "d"] {
        let trigger = json!({"id": part}).to_string();
        bench.plc.ask("trigger", &trigger, "accepted");
    }

    for expected in [json!("met"), json!("met"), json!(null)] {
        assert_eq!(results.next("box/result")["challenge"], expected);
    }

    let met = "challenge met: 2 of 2 parts got the verdict fail";
    let answer = json!({"schema": 2, "id": "met", "status": "done", "parts": [], "reason": met});
    assert_eq!(bench.plc.answered("challenge"), answer);
    line.summary();
    bench.assert_logged(&[
        "set_threshold from mqtt, id a: ",
        "challenge from mqtt, id met: ",
        met,
    ]);
}

#[test]
fn a_missed_challenge_is_a_failure_after_a_restart_too() {
    let bench = Bench::new();
    let line = bench.line();
    bench.states.next("box/state");
    let plc = &bench.plc;
    fail_all(plc);
    miss(plc);
    bench.states.until("box/state", "health", "FAILURE");
    let order = r#"{"id":"f","camera":"side","parts":1,"expect":"fail"}"#;
    plc.ask_in_vain("challenge", order, "there are top");
    drop(line);
    let line = bench.line();
    bench.states.until("box/state", "health", "FAILURE");
    line.summary();
    bench.assert_logged(&["challenge missed: 0 of 1 parts got the verdict pass"]);
}

#[test]
fn a_challenge_that_a_crash_cuts_is_told_afterwards() {
    let bench = Bench::new();
    let line = bench.line();
    bench.states.next("box/state");
    challenge(&bench.plc, "dead", 1);
    drop(line);
    let line = bench.line();
    ended(&bench.plc, "dead", "rejected", "winspect ended");
    line.summary();
    bench.assert_logged(&[
        "challenge dead: winspect ended before its last part had a result; 0 of 1",
    ]);
}

#[test]
fn a_challenge_that_a_reset_or_stop_cuts_is_told() {
    let bench = Bench::new();
    let line = bench.line();
    bench.states.next("box/state");
    // A failure, so that it is seen that the reset ends it.
    fail_all(&bench.plc);
    miss(&bench.plc);
    bench.states.until("box/state", "health", "FAILURE");
    challenge(&bench.plc, "cut", 1);
    publish(bench.broker.port, "cmd/reset", r#"{"id":"g"}"#, &[]);
    ended(&bench.plc, "cut", "rejected", "reset by a command");
    // That no frame was near the time of the part of before is told for a while longer.
    bench
        .states
        .until_fits("box/state", |state| state["health"] != "FAILURE");
    challenge(&bench.plc, "last", 1);
    line.summary();
    ended(&bench.plc, "last", "rejected", "the line stops");
    bench.assert_logged(&[
        "challenge cut: reset by a command",
        "challenge last: the line stops",
    ]);
}

#[test]
fn a_challenge_that_is_overdue_is_told_on_state() {
    let bench = Bench::new();
    let folder = bench.folder.path();
    bench
        .config()
        .recipe("challenge_minutes = 60")
        .write(folder);

    let line = bench.line();
    bench.states.until("box/state", "health", "NORMAL");
    line.summary();
    // The clock begins with the recipe's first start, and goes on while winspect is away.
    let hours_ago = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2)).to_string();
    assert!(kept(folder, "challenge_met/nut") > hours_ago);
    keep(folder, "challenge_met/nut", &hours_ago);
    let line = bench.line();
    let state = told(&bench.states, "none was met for more than 60 min");
    assert_eq!(state["health"], "OFF_SPEC", "{state}");
    fail_all(&bench.plc);
    challenge(&bench.plc, "b", 1);
    bench.plc.tell("trigger", r#"{"id":"c"}"#);
    ended(&bench.plc, "b", "done", "1 of 1");
    bench.states.until("box/state", "health", "NORMAL");
    line.summary();
}

/// Keys of a recipe that looks at two stored pictures every second.
fn self_test(good: &Path, bad: &Path) -> String {
    format!("self_test = {{ good = {good:?}, bad = {bad:?}, every_s = 1 }}")
}

#[test]
fn stored_pictures_that_score_otherwise_are_a_failure() {
    let bench = Bench::new();
    let folder = bench.folder.path();
    let pictures = golden("open-clip-tiny");
    let test = self_test(&pictures.join("good_a.png"), &pictures.join("bad.png"));
    bench.config().recipe(&test).write(folder);
    let line = bench.line();
    bench.states.until("box/state", "health", "NORMAL");
    // A threshold under which the bad one passes is as bad as a line that does not see it.
    bench
        .plc
        .ask("set_threshold", r#"{"id":"a","value":2}"#, "done");

    told(&bench.states, "the bad picture scores");
    line.summary();

    // Taught at the first start; what judges now scores otherwise.
    let taught = kept(folder, "self_test/nut");
    let mut other: Value = serde_json::from_str(&taught).expect("JSON");
    other["good"][0] = json!(other["good"][0].as_f64().expect("a score") + 0.01);
    keep(folder, "self_test/nut", &other.to_string());
    let line = bench.line();
    told(&bench.states, "something between pixels and verdict broke");
    line.summary();
    keep(folder, "self_test/nut", &taught);
    let line = bench.line();
    bench.states.until("box/state", "health", "NORMAL");
    line.summary();
    bench.assert_logged(&["self-test of recipe nut@1 taught"]);
    let log = audit(folder);
    assert!(log.contains("self-test: the good picture scores"), "{log}");
}

#[test]
fn a_line_that_waits_proves_that_it_still_sees() {
    let bench = Bench::new();
    let folder = bench.folder.path();
    let pictures = golden("open-clip-tiny");
    let good = pictures.join("good_a.png");
    let bad = pictures.join("bad.png");
    bench.config().recipe(&self_test(&good, &bad)).write(folder);
    let line = bench.line();
    bench.states.until("box/state", "health", "NORMAL");
    // Nothing is told of tests that are passed: they have time for three.
    std::thread::sleep(Duration::from_secs(3));
    let output = line.stop();
    let errors = errors(&output);
    assert!(!errors.contains("self-test"), "{errors}");
    summary(&output);
    // A bad picture that passes is no proof.
    bench.config().recipe(&self_test(&bad, &good)).write(folder);
    let line = bench.line();
    let state = told(&bench.states, "the good picture scores");
    assert_eq!(state["health"], "FAILURE", "{state}");
    line.summary();
    let none = Path::new("none.png");
    bench.config().recipe(&self_test(&good, none)).write(folder);
    assert_refused(folder, 78, &["recipe.self_test.bad: "]);
}
