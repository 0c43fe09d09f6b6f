//! Commands and their answers: what is refused and why, and what each command does.

use crate::harness::line::{TRIGGERED, summary};
use crate::harness::plc::publish;
use crate::harness::station::Station;

#[test]
fn triggers_that_cannot_be_done_are_refused_with_a_reason() {
    let station = Station::start(TRIGGERED);
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(9000));
    for (payload, words) in [
        ("{", "EOF"),
        (r#"{"id":"a","prat":1}"#, "unknown field `prat`"),
        (r#"{"id":"b","camera":"side"}"#, "there are top"),
        (
            r#"{"id":"c","at":"2099-01-01T00:00:00Z"}"#,
            "ahead of our clock",
        ),
        (&long, "at most 4096 are read"),
    ] {
        station.plc.ask_in_vain("trigger", payload, words);
    }

    let summary = station.summary();
    assert_eq!(summary["parts"], 0, "{summary}");
}

#[test]
fn a_command_without_its_id_is_refused() {
    let station = Station::start(TRIGGERED);
    station.plc.ask_in_vain("pause", "{}", "id is missing");
    station.summary();
}

#[test]
fn an_unknown_command_is_answered() {
    let station = Station::start(TRIGGERED);
    publish(station.broker.port, "cmd/erase", r#"{"id":"d"}"#, &[]);
    let answer = station.plc.next("ack/unknown");
    let reason = answer["reason"].as_str().expect("words");
    assert!(reason.contains("no command \"erase\""), "{answer}");
    station.summary();
}

#[test]
fn a_retained_command_is_refused() {
    let station = Station::start(TRIGGERED);
    publish(station.broker.port, "cmd/pause", r#"{"id":"e"}"#, &["-r"]);
    let answer = station.plc.answered("pause");
    let reason = answer["reason"].as_str().expect("words");
    assert!(reason.contains("without retain"), "{answer}");
    // An empty one takes it from the broker, and is no command.
    publish(station.broker.port, "cmd/pause", "", &["-r"]);
    station.plc.ask("resume", r#"{"id":"f"}"#, "done");
    station.summary();
}

#[test]
fn a_paused_line_takes_no_triggers_and_says_so() {
    let station = Station::start(TRIGGERED);
    let states = station.listen("state");
    station.plc.ask("pause", r#"{"id":"f"}"#, "done");
    let trigger = r#"{"id":"g"}"#;
    station
        .plc
        .ask_in_vain("trigger", trigger, "the line is paused");

    let paused = states.until("box/state", "state", "Initialized");
    assert_eq!(paused["health"], "CHECK_FUNCTION");
    let told = paused.get("clock_synchronised").expect("it is told");
    assert!(told.is_boolean() || told.is_null(), "{paused}");
    station.plc.ask("resume", r#"{"id":"h"}"#, "done");
    station.plc.ask("trigger", r#"{"id":"i"}"#, "accepted");
    station.summary();
}

#[test]
fn a_threshold_is_set_told_and_used() {
    let station = Station::start(TRIGGERED);
    let births = station.listen("birth");
    let set = r#"{"id":"i","value":2}"#;
    let answer = station.plc.ask("set_threshold", set, "done");
    let reason = answer["reason"].as_str().expect("words");
    assert!(reason.starts_with("was 0.18"), "{answer}");
    births.until_fits("box/birth", |birth| birth["threshold"] == 2.0);
    station.plc.ask("trigger", r#"{"id":"j"}"#, "accepted");
    assert_eq!(station.plc.next("box/result")["verdict"], "pass");
    station.summary();
}

#[test]
fn a_missed_challenge_is_a_failure_until_it_is_reset() {
    let station = Station::start(TRIGGERED);
    let states = station.listen("state");
    let plc = &station.plc;
    // With that threshold nothing is caught, and the line knows it by the challenge.
    plc.ask("set_threshold", r#"{"id":"i","value":2}"#, "done");
    let challenge = r#"{"id":"k","parts":1,"expect":"fail"}"#;
    plc.ask("challenge", challenge, "accepted");
    plc.ask("trigger", r#"{"id":"l"}"#, "accepted");
    let ended = plc.answered("challenge");
    assert_eq!(ended["id"], "k", "{ended}");
    assert_eq!(ended["status"], "rejected", "{ended}");
    assert_eq!(plc.next("box/result")["challenge"], "k");
    states.until("box/state", "health", "FAILURE");
    plc.ask("reset", r#"{"id":"m"}"#, "done");
    states.until("box/state", "health", "NORMAL");
    station.summary();
}

#[test]
fn an_answer_goes_where_its_sender_wants_it() {
    let station = Station::start(TRIGGERED);
    let answers = station.listen("plc/answers");
    // Of a part there is a picture.
    station.plc.ask("trigger", r#"{"id":"m"}"#, "accepted");
    station.plc.next("box/result");
    let wanted = ["-D", "publish", "response-topic", "plant/box/plc/answers"];
    publish(
        station.broker.port,
        "cmd/snapshot",
        r#"{"id":"n"}"#,
        &wanted,
    );

    let answer = answers.next("plc/answers");
    assert_eq!(answer["reason"], "snapshot/top", "{answer}");
    let picture = station.plc.wait_for("snapshot/top", 1).remove(0);
    assert!(picture.contains("PNG"));
    station.summary();
}

#[test]
fn a_line_says_that_it_lives_and_when_it_stops() {
    let station = Station::start(TRIGGERED);
    let states = station.listen("state");
    station.plc.next("box/heartbeat");
    station.line.ask_to_stop();
    let last = states.until("box/state", "state", "Halted");
    assert!(last["schema"].is_u64(), "{last}");
    summary(&station.line.end());
}
