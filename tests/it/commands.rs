//! Commands and their answers: what is refused and why, and what each command does.

use crate::harness::line::{TRIGGERED, summary};
use crate::harness::plc::{Listener, publish};
use crate::harness::station::Station;

#[test]
fn triggers_that_cannot_be_done_are_refused_with_a_reason() {
    let station = Station::start(TRIGGERED);
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(9000));
    for (payload, words) in [
        ("{", "the JSON ends too early"),
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
    states.until_fits("box/state", |state| {
        state["causes"].to_string().contains("challenge k")
    });

    plc.ask("set_threshold", r#"{"id":"n","value":0.2}"#, "done");
    plc.ask("reset", r#"{"id":"m"}"#, "done");
    states.until("box/state", "health", "NORMAL");
    station.summary();
}

#[test]
fn an_answer_goes_where_its_sender_wants_it() {
    let station = Station::start(TRIGGERED);
    let answers = Listener::start(station.broker.port, "plc/answers");
    // Of a part there is a picture.
    station.plc.ask("trigger", r#"{"id":"m"}"#, "accepted");
    station.plc.next("box/result");
    let wanted = ["-D", "publish", "response-topic", "plc/answers"];
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

#[test]
fn an_answer_does_not_go_to_a_topic_of_the_station() {
    let station = Station::start(TRIGGERED);
    // A client that may only command would else write what it may not.
    for (id, topic) in [
        ("a", "plant/box/reject"),
        ("b", "plant/box/result"),
        ("c", "plant/box/cmd/pause"),
    ] {
        let wanted = ["-D", "publish", "response-topic", topic];
        let command = format!(r#"{{"id":"{id}"}}"#);
        publish(station.broker.port, "cmd/resume", &command, &wanted);
        let answer = station.plc.answered("resume");
        assert_eq!(answer["id"], id, "{answer}");
        assert_eq!(answer["status"], "rejected", "{answer}");
        let reason = answer["reason"].to_string();
        assert!(reason.contains("one of this station's own"), "{answer}");
    }

    station.summary();
}

#[test]
fn an_id_that_comes_with_another_command_is_refused_and_told() {
    let station = Station::start(TRIGGERED);
    let states = station.listen("state");
    let plc = &station.plc;
    let first = plc.ask("trigger", r#"{"id":"1","part_id":"A"}"#, "accepted");
    // The same question in another order of its keys is a repetition.
    let again = plc.ask("trigger", r#"{"part_id":"A","id":"1"}"#, "accepted");
    assert_eq!(again, first);
    let words = "stands for another command already";
    plc.ask_in_vain("trigger", r#"{"id":"1","part_id":"B"}"#, words);
    plc.ask_in_vain("trigger", r#"{"id":"1"}"#, words);
    plc.ask_in_vain("pause", r#"{"id":"1"}"#, words);
    let state = states.until("box/state", "health", "OFF_SPEC");
    let causes = state["causes"].to_string();
    assert!(
        causes.contains("the id \\\"1\\\" stands for another"),
        "{state}"
    );
    plc.ask("reset", r#"{"id":"2"}"#, "done");
    states.until("box/state", "health", "NORMAL");
    let summary = station.summary();
    assert_eq!(summary["parts"], 1, "{summary}");
}

#[test]
fn a_threshold_that_passes_everything_is_a_failure() {
    let station = Station::start(TRIGGERED);
    let states = station.listen("state");
    states.until("box/state", "health", "NORMAL");
    station
        .plc
        .ask("set_threshold", r#"{"id":"a","value":1.9}"#, "done");

    let state = states.until("box/state", "health", "FAILURE");
    let causes = state["causes"].to_string();
    assert!(causes.contains("1.9 passes everything"), "{state}");
    station
        .plc
        .ask("set_threshold", r#"{"id":"b","value":0.2}"#, "done");

    states.until("box/state", "health", "NORMAL");
    station.summary();
}
