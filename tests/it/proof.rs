//! Does the line still see? Challenges with known parts, two stored pictures, and the log of both, as an engineer meets them.

use crate::broker::{Broker, Listener, free_port};
use crate::line::{ask_to_stop, start, summary, write_line};
use crate::parts::{answered, next, publish, tell, until};
use crate::support::{golden, imported};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

const CAMERA: &str = "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120\ntrigger = \"command\"\ndeadline_ms = 5000";

/// A line like that of the other tests, with these lines in its recipe.
fn write(folder: &Path, port: u16, recipe: &str) {
    write_line(folder, port, CAMERA);
    let file = folder.join("line.toml");
    let text = std::fs::read_to_string(&file).expect("written");
    std::fs::write(
        &file,
        text.replace("[[camera]]", &format!("{recipe}\n[[camera]]")),
    )
    .expect("written");
}

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
    lines
        .map(|line| line.expect("text"))
        .collect::<Vec<_>>()
        .join("\n")
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
fn told(listener: &Listener, words: &str) -> Value {
    loop {
        let state = next(listener, "box/state");
        if state["causes"].to_string().contains(words) {
            return state;
        }
    }
}

fn stop(line: Child) -> Value {
    ask_to_stop(&line);
    summary(&line.wait_with_output().expect("ends"))
}

#[test]
fn a_challenge_that_is_met_missed_cut_or_interrupted_says_so_and_stands_in_the_log() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let port = broker.port;
    let listener = Listener::start(port, "plant/box/ack/+");
    let states = Listener::start(port, "plant/box/state");
    let results = Listener::start(port, "plant/box/result");
    write(folder.path(), port, "");
    let mut line = start(folder.path());
    next(&states, "box/state");
    // With that threshold every part fails.
    assert_eq!(
        tell(&listener, port, "set_threshold", r#"{"id":"a","value":0}"#)["status"],
        "done"
    );
    assert_eq!(
        tell(
            &listener,
            port,
            "challenge",
            r#"{"id":"met","parts":2,"expect":"fail"}"#
        )["status"],
        "accepted"
    );
    for part in ["b", "c", "d"] {
        tell(&listener, port, "trigger", &format!(r#"{{"id":"{part}"}}"#));
    }
    let of = |results: &Listener| next(results, "box/result")["challenge"].clone();
    assert_eq!(
        [of(&results), of(&results), of(&results)],
        [json!("met"), json!("met"), json!(null)]
    );
    assert_eq!(
        answered(&listener, "challenge"),
        json!({"schema": 2, "id": "met", "status": "done", "parts": [],
        "reason": "challenge met: 2 of 2 parts got the verdict fail"})
    );

    // A part that nobody could look at was not caught.
    let order = r#"{"id":"missed","camera":"top","parts":1,"expect":"fail"}"#;
    assert_eq!(
        tell(&listener, port, "challenge", order)["status"],
        "accepted"
    );
    tell(
        &listener,
        port,
        "trigger",
        r#"{"id":"e","at":"2026-01-01T00:00:00Z"}"#,
    );
    assert_eq!(answered(&listener, "challenge")["status"], "rejected");
    until(&states, "box/state", "health", "FAILURE");
    let refused = tell(
        &listener,
        port,
        "challenge",
        r#"{"id":"f","camera":"side","parts":1,"expect":"fail"}"#,
    );
    assert!(
        refused["reason"]
            .as_str()
            .expect("words")
            .contains("there are top"),
        "{refused}"
    );

    // It is a failure also after the line was started again, and one that was under way has ended.
    tell(
        &listener,
        port,
        "challenge",
        r#"{"id":"dead","parts":1,"expect":"fail"}"#,
    );
    line.kill().and_then(|()| line.wait()).expect("it ran");
    let line = start(folder.path());
    let ended = answered(&listener, "challenge");
    assert_eq!(
        (&ended["id"], &ended["status"]),
        (&json!("dead"), &json!("rejected")),
        "{ended}"
    );
    assert!(
        ended["reason"]
            .as_str()
            .expect("words")
            .contains("winspect ended"),
        "{ended}"
    );
    until(&states, "box/state", "health", "FAILURE");

    tell(
        &listener,
        port,
        "challenge",
        r#"{"id":"cut","parts":1,"expect":"fail"}"#,
    );
    publish(port, "cmd/reset", r#"{"id":"g"}"#, &[]);
    assert!(
        answered(&listener, "challenge")["reason"]
            .as_str()
            .expect("words")
            .contains("reset by a command")
    );
    until(&states, "box/state", "health", "NORMAL");
    tell(
        &listener,
        port,
        "challenge",
        r#"{"id":"last","parts":1,"expect":"fail"}"#,
    );
    stop(line);
    assert!(
        answered(&listener, "challenge")["reason"]
            .as_str()
            .expect("words")
            .contains("the line stops")
    );

    let log = audit(folder.path());
    for words in [
        "command set_threshold a",
        "command challenge met",
        "challenge met: 2 of 2 parts got the verdict fail",
        "challenge missed: 0 of 1 parts got the verdict fail",
        "challenge dead: winspect ended before its last part had a result; 0 of 1",
        "challenge cut: reset by a command",
        "challenge last: the line stops",
    ] {
        assert_eq!(log.matches(words).count(), 1, "{words:?} in {log}");
    }
}

#[test]
fn a_challenge_that_is_overdue_is_told_on_state() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/#");
    write(folder.path(), broker.port, "challenge_minutes = 60");
    let line = start(folder.path());
    until(&listener, "box/state", "health", "NORMAL");
    stop(line);
    // The clock begins with the recipe's first start, and goes on while winspect is away.
    let hours_ago = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2)).to_string();
    assert!(kept(folder.path(), "challenge_met/nut") > hours_ago);
    keep(folder.path(), "challenge_met/nut", &hours_ago);
    let line = start(folder.path());
    assert_eq!(
        told(&listener, "none was met for more than 60 min")["health"],
        "OFF_SPEC"
    );
    tell(
        &listener,
        broker.port,
        "set_threshold",
        r#"{"id":"a","value":0}"#,
    );
    tell(
        &listener,
        broker.port,
        "challenge",
        r#"{"id":"b","parts":1,"expect":"fail"}"#,
    );
    tell(&listener, broker.port, "trigger", r#"{"id":"c"}"#);
    assert_eq!(answered(&listener, "challenge")["status"], "done");
    until(&listener, "box/state", "health", "NORMAL");
    stop(line);
}

#[test]
fn two_stored_pictures_that_no_longer_score_as_they_were_taught_are_a_failure() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/#");
    let picture = |name: &str| golden("open-clip-tiny").join(name).display().to_string();
    let test = format!(
        "[recipe.self_test]\ngood = {:?}\nbad = {:?}\nevery_s = 1",
        picture("good_a.png"),
        picture("bad.png")
    );
    write(folder.path(), broker.port, &test);
    let line = start(folder.path());
    until(&listener, "box/state", "health", "NORMAL");
    // A threshold under which the bad one passes is as bad as a line that does not see it.
    tell(
        &listener,
        broker.port,
        "set_threshold",
        r#"{"id":"a","value":2}"#,
    );
    told(&listener, "the bad picture scores");
    stop(line);

    // Taught at the first start; what judges now scores otherwise.
    let taught = kept(folder.path(), "self_test/nut");
    let mut other: Value = serde_json::from_str(&taught).expect("JSON");
    other["good"][0] = json!(other["good"][0].as_f64().expect("a score") + 0.01);
    keep(folder.path(), "self_test/nut", &other.to_string());
    let line = start(folder.path());
    told(&listener, "something between pixels and verdict broke");
    stop(line);
    keep(folder.path(), "self_test/nut", &taught);
    let line = start(folder.path());
    until(&listener, "box/state", "health", "NORMAL");
    stop(line);
    let log = audit(folder.path());
    assert_eq!(
        log.matches("self-test of recipe nut@1 taught").count(),
        1,
        "{log}"
    );
    assert!(log.contains("self-test: the good picture scores"), "{log}");
}

#[test]
fn a_line_that_waits_proves_that_it_still_sees() {
    let (folder, _model) = imported("dinov2-tiny");
    let pictures = golden("open-clip-tiny");
    let (good, bad) = (pictures.join("good_a.png"), pictures.join("bad.png"));
    let broker = Broker::start(free_port());
    let states = Listener::start(broker.port, "plant/box/state");
    write_line(folder.path(), broker.port, CAMERA);
    let line_file = folder.path().join("line.toml");
    let text = std::fs::read_to_string(&line_file).expect("just written");
    let test = |good: &Path, bad: &Path| {
        let test =
            format!("self_test = {{ good = {good:?}, bad = {bad:?}, every_s = 1 }}\nthreshold");
        std::fs::write(&line_file, text.replace("threshold", &test)).expect("written");
    };
    test(&good, &bad);
    let line = start(folder.path());
    until(&states, "box/state", "health", "NORMAL");
    std::thread::sleep(Duration::from_secs(3));
    ask_to_stop(&line);
    let output = line.wait_with_output().expect("ends");
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains("self-test"),
        "{output:?}"
    );
    summary(&output);
    // A bad picture that passes is no proof.
    test(&bad, &good);
    let line = start(folder.path());
    assert_eq!(
        told(&states, "the good picture scores")["health"],
        "FAILURE"
    );
    stop(line);
    test(&good, Path::new("none.png"));
    let output = start(folder.path()).wait_with_output().expect("ends");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("recipe.self_test.bad: "),
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(78));
}
