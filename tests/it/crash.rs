//! What a line that was killed leaves, and what the next run makes of it.

use crate::harness::broker::{Broker, free_port};
use crate::harness::golden::imported;
use crate::harness::json;
use crate::harness::line::{FREE_RUNNING, LineConfig, Systemd, TRIGGERED, write_line};
use crate::harness::network::Between;
use crate::harness::plc::{Listener, publish};
use crate::harness::program::{Running, errors};
use crate::harness::station::Station;
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn triggers_sent_to_a_dead_daemon_are_answered_later() {
    let Station {
        line,
        plc,
        broker,
        folder,
    } = Station::start(TRIGGERED);

    let first = plc.tell("trigger", r#"{"id":"a"}"#);
    plc.next("box/result");
    drop(line);
    assert_eq!(plc.wait_for("box/availability", 1), ["offline"]);
    let away = r#"{"id":"b","part_id":"while away"}"#;
    publish(broker.port, "cmd/trigger", away, &[]);
    publish(broker.port, "cmd/trigger", r#"{"id":"a"}"#, &[]);
    let line = Running::line(folder.path());
    let birth = plc.next("box/birth");
    let run_id = &first["parts"][0]["run_id"];
    let previous = json!([{"run_id": run_id, "camera": "top", "last_seq": 1}]);
    assert_eq!(birth["previous"], previous);
    let answer = plc.answered("trigger"); // its result may come before the second answer
    assert_eq!(answer["id"], "b", "{answer}");
    assert_eq!(answer["status"], "accepted", "{answer}");
    // The id of the first run's trigger is known to the second, with its question.
    assert_eq!(plc.answered("trigger"), first);
    let other = r#"{"id":"a","part_id":"another"}"#;
    plc.ask_in_vain("trigger", other, "stands for another command already");
    let result = plc.next("box/result");
    assert_eq!(result["part_id"], "while away", "{result}");
    assert_eq!(result["reason"], "not_ready", "{result}");
    let summary = line.summary();
    assert_eq!(summary["parts"], 1, "{summary}");
    assert_eq!(summary["undelivered"], 0, "{summary}");
}

#[test]
fn what_waits_at_a_kill_comes_late_and_in_order() {
    let (folder, _model) = imported("dinov2-tiny");
    let port = free_port();
    let broker = Broker::start(port);
    let listener = Listener::station(port);
    write_line(
        folder.path(),
        port,
        &FREE_RUNNING.replace("fps = 20", "fps = 50"),
    );

    let systemd = Systemd::listen(folder.path());
    let line = systemd.start(folder.path());
    let mut last = json(&listener.wait_for("box/result", 3)[2]);
    drop(broker);
    // What the broker has passed on until its end.
    while let Some(line) = listener.any_within(Duration::from_millis(500)) {
        if let Some((topic, payload)) = line.split_once(' ')
            && topic.ends_with("box/result")
        {
            last = json(payload);
        }
    }

    drop(listener);
    systemd.wait_for_backlog(20);
    drop(line);
    let broker = Broker::start(port);
    let listener = Listener::station(port);
    let line = Running::line(folder.path());
    let birth = listener.next("box/birth");
    let end = birth["previous"][0]["last_seq"].as_u64().expect("a number");
    let heard = last["seq"].as_u64().expect("a number");
    assert!(end > heard + 10, "{birth}");
    let mut seqs = vec![];
    while seqs.last() != Some(&end) {
        let late = listener.next("result/late");
        assert_eq!(late["historical"], true, "{late}");
        assert_eq!(late["run_id"], birth["previous"][0]["run_id"]);
        seqs.push(late["seq"].as_u64().expect("a number"));
    }

    // The broker may have acknowledged a few that it did not pass on any more.
    assert!(seqs[0] <= heard + 10, "{heard} {seqs:?}");
    assert!(
        seqs.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{seqs:?}"
    );

    drop(broker);
    let output = line.stop();
    // A broker that is away is no fault of the line's.
    assert!(output.status.success(), "{}", errors(&output));
}

/// The moment at which a line is killed after a command that has two answers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kill {
    /// The first answer was heard.
    Accepted,
    /// The effect was heard: a recipe judges, a part has its result.
    Effect,
    /// The second answer was heard, and the broker's acknowledgement of it never came.
    Outcome,
}

/// Kills a line at that moment, and asserts that the next run gives the second answer.
fn has_its_second_answer(name: &str, command: &Value, kill: Kill, status: &[&str]) {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let between = Between::start(Some(broker.port));
    LineConfig::new(between.port, FREE_RUNNING)
        .bolt(folder.path(), "input_px = 98")
        .write(folder.path());

    let plc = Listener::station(broker.port);
    let line = Running::line(folder.path());
    plc.until("camera/top/status", "state", "online");
    let outcomes = Listener::start(broker.port, &format!("plant/box/ack/{name}"));
    if kill == Kill::Outcome {
        plc.next("box/result");
        between.set(|way| way.acknowledges = false);
    }

    plc.ask(name, &command.to_string(), "accepted");
    assert_eq!(outcomes.next(name)["status"], "accepted");
    match kill {
        Kill::Accepted => {}
        Kill::Effect if name == "challenge" => {
            plc.until("box/result", "challenge", "two answers");
        }
        Kill::Effect => drop(plc.until("box/birth", "recipe", "bolt@4")),
        Kill::Outcome => assert_eq!(outcomes.next(name)["id"], "two answers"),
    }

    drop(line);
    between.set(|way| way.acknowledges = true);
    let line = Running::line(folder.path());
    let outcome = outcomes.until(name, "id", "two answers");
    let told = outcome["status"].as_str().expect("a word");
    assert!(status.contains(&told), "{name} {kill:?}: {outcome}");
    // The line does what the second answer says.
    if name == "select_recipe" {
        let recipe = if told == "done" { "bolt@4" } else { "nut@1" };
        plc.until("box/result", "recipe", recipe);
    }

    line.wait_for_words("connected"); // what was heard may be of the run before
    line.summary();
}

#[test]
fn each_selection_has_its_second_answer_wherever_the_line_is_killed() {
    let command = json!({"id": "two answers", "recipe": "bolt"});
    let either = ["done", "rejected"];
    for (kill, status) in [
        (Kill::Accepted, &either[..]),
        (Kill::Effect, &either),
        (Kill::Outcome, &["done"]),
    ] {
        has_its_second_answer("select_recipe", &command, kill, status);
    }
}

#[test]
fn each_challenge_has_its_second_answer_wherever_the_line_is_killed() {
    // More parts than come until the kill, but for the last: one part that passes.
    for (kill, parts, status) in [
        (Kill::Accepted, 1000, "rejected"),
        (Kill::Effect, 1000, "rejected"),
        (Kill::Outcome, 1, "rejected"),
    ] {
        let command = json!({"id": "two answers", "parts": parts, "expect": "pass"});
        has_its_second_answer("challenge", &command, kill, &[status, "done"]);
    }
}
