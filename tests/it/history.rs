//! The history of a line, read beside it and after it: the parts that a subscriber got, row by row.

use crate::harness::broker::Broker;
use crate::harness::golden::imported;
use crate::harness::line::{LineConfig, TRIGGERED};
use crate::harness::plc::Listener;
use crate::harness::program::{Running, errors, winspect};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

/// A part's id that a comma-separated file has to quote.
const ODD_ID: &str = "A,\"7\" \u{e4}";

fn history(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = winspect();
    command.arg("history").arg(folder.join("line.toml"));
    command
        .args(arguments)
        .env("TZ", "UTC")
        .output()
        .expect("the binary was built")
}

#[track_caller]
fn told(folder: &Path, arguments: &[&str]) -> String {
    let output = history(folder, arguments);
    assert!(output.status.success(), "{}", errors(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// The rows of a comma-separated history, each with the names of its columns.
#[track_caller]
fn rows(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["--csv"];
    all.extend(arguments);
    let text = told(folder, &all);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows = reader.deserialize::<std::collections::BTreeMap<String, String>>();
    rows.map(|row| json!(row.expect("a row"))).collect()
}

/// A row says what the message said: null is empty, and numbers are the same to the last digit.
#[track_caller]
fn assert_same(row: &Value, message: &Value) {
    for key in [
        "captured_at",
        "run_id",
        "station",
        "camera",
        "region",
        "seq",
        "part_id",
        "verdict",
        "reject",
        "score",
        "threshold",
        "margin",
        "reason",
        "detail",
        "recipe",
        "model",
        "backend",
        "captured_by",
        "frame_offset_ms",
        "deadline_ms",
        "deadline_met",
        "reject_in_ms",
        "reject_at_count",
        "count",
        "position",
        "challenge",
    ] {
        let text = row[key].as_str().expect("text");
        match &message[key] {
            Value::Null => assert_eq!(text, "", "{key} of {message}"),
            Value::String(said) => assert_eq!(text, said, "{key}"),
            Value::Bool(said) => assert_eq!(text, said.to_string(), "{key}"),
            said => {
                let number: f64 = text.parse().expect(key);
                assert_eq!(Some(number), said.as_f64(), "{key}");
            }
        }
    }

    let total: f64 = row["total_ms"]
        .as_str()
        .expect("text")
        .parse()
        .expect("a number");
    assert_eq!(Some(total), message["latency_ms"]["total"].as_f64());
}

#[test]
fn the_history_of_a_running_line_is_what_a_subscriber_got_row_by_row() {
    let (folder, _model) = imported("dinov2-tiny");
    let folder = folder.path();
    let broker = Broker::anywhere();
    // Every picture of the camera passes, until another threshold is set.
    let config = LineConfig::new(broker.port, TRIGGERED);
    config.recipe("threshold = 1.9").write(folder);
    let listener = Listener::station(broker.port);
    let line = Running::line(folder);
    listener.until("state", "state", "Ready");
    let mut messages = vec![];
    let mut part = |id: &str, part_id: Option<&str>| {
        let payload = json!({"id": id, "part_id": part_id, "count": 7, "position": 0.1});
        listener.ask("trigger", &payload.to_string(), "accepted");
        messages.push(listener.next("result"));
    };

    part("a", Some("A-1"));
    part("b", Some(ODD_ID));
    listener.ask("set_threshold", r#"{"id":"t","value":0.0001}"#, "done");
    part("c", None);
    // Of then the camera has no picture any more.
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(40);
    let old = json!({"id": "d", "at": at.to_string()}).to_string();
    listener.ask("trigger", &old, "accepted");
    let undecided = listener.next("result");
    assert_eq!(undecided["verdict"], "undecided", "{undecided}");
    messages.push(undecided);

    let mut found = rows(folder, &[]);
    found.reverse();
    assert_eq!(found.len(), messages.len());
    for (row, message) in found.iter().zip(&messages) {
        assert_same(row, message);
        assert_eq!(row["late_verdict"], "false");
    }

    // What was sent as JSON comes back as it was, with three keys more.
    let json = told(folder, &["--json", "--part-id", ODD_ID]);
    let part: Value = serde_json::from_str(&json).expect("one line");
    for (key, value) in messages[1].as_object().expect("an object") {
        if !["schema", "historical", "given_up_before"].contains(&key.as_str()) {
            assert_eq!(&part[key], value, "{key}");
        }
    }

    let seqs = |arguments: &[&str]| -> Vec<String> {
        let rows = rows(folder, arguments);
        rows.iter()
            .map(|row| row["seq"].as_str().expect("text").to_owned())
            .collect()
    };

    let reason = messages[3]["reason"]
        .as_str()
        .expect("it has one")
        .to_owned();
    let first = messages[0]["captured_at"].as_str().expect("a time");
    let third = messages[2]["captured_at"].as_str().expect("a time");
    for (arguments, expected) in [
        (vec!["--limit", "2"], vec!["4", "3"]),
        (vec!["--verdict", "fail"], vec!["3"]),
        (vec!["--verdict", "undecided"], vec!["4"]),
        (vec!["--reason", &reason], vec!["4"]),
        (vec!["--part-id", "A-1"], vec!["1"]),
        (vec!["--camera", "side"], vec![]),
        (vec!["--recipe", "bolt"], vec![]),
        (vec!["--recipe", "nut", "--limit", "1"], vec!["4"]),
        (vec!["--until", first], vec!["4"]),
        (vec!["--since", first], vec!["3", "2", "1"]),
        (vec!["--since", first, "--until", third], vec!["2", "1"]),
        (vec!["--since", "10s"], vec!["3", "2", "1"]),
        (vec!["--until", "10s"], vec!["4"]),
        (vec!["--since", "1h"], vec!["4", "3", "2", "1"]),
    ] {
        assert_eq!(seqs(&arguments), expected, "{arguments:?}");
    }

    let counts = told(folder, &["--by", "reason", "--json"]);
    let counts: Vec<Value> = counts
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();

    assert_eq!(counts.len(), 2, "{counts:?}");
    assert_eq!(
        (&counts[0]["pass"], &counts[0]["fail"], &counts[0]["reason"]),
        (&json!(2), &json!(1), &json!("-"))
    );

    assert_eq!(
        (&counts[1]["undecided"], &counts[1]["reason"]),
        (&json!(1), &json!(reason))
    );

    let audit = told(folder, &["--audit"]);
    assert!(audit.contains("set_threshold"), "{audit}");

    // The same is there once the line has ended, in a copy of its file.
    let beside = told(folder, &["--csv"]);
    line.summary();
    assert_eq!(told(folder, &["--csv"]), beside);
    assert_eq!(told(folder, &["--audit"]), audit);
}

#[test]
fn a_line_that_never_ran_has_no_history_and_wrong_flags_are_refused() {
    let (folder, _model) = imported("dinov2-tiny");
    let folder = folder.path();
    LineConfig::new(1, TRIGGERED).write(folder);
    let output = history(folder, &[]);
    assert_eq!(output.status.code(), Some(69));
    assert!(errors(&output).contains("box.db"), "{}", errors(&output));
    assert!(!folder.join("box.db").exists());
    for (arguments, words) in [
        (vec!["--since", "yesterday"], "is no time"),
        (vec!["--verdict", "maybe"], "possible values"),
        (
            vec!["--by", "shift", "--shifts", "6"],
            "is no time of a day",
        ),
        (vec!["--csv", "--json"], "cannot be used with"),
        (vec!["--audit", "--camera", "top"], "cannot be used with"),
    ] {
        let output = history(folder, &arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(errors(&output).contains(words), "{}", errors(&output));
    }
}

/// Labels without a picture that is kept: of an earlier run, and such as teach nothing.
#[test]
fn a_label_and_a_note_are_kept_with_a_part_whose_picture_is_gone() {
    let (folder, _model) = imported("dinov2-tiny");
    let folder = folder.path();
    let broker = Broker::anywhere();
    let config = LineConfig::new(broker.port, TRIGGERED);
    config.recipe("threshold = 1.9").write(folder);
    let listener = Listener::station(broker.port);
    let start = || {
        let line = Running::line(folder);
        listener.until("camera/top/status", "state", "online");
        line
    };

    let line = start();
    listener.ask("trigger", r#"{"id":"a"}"#, "accepted");
    let part = listener.next("result");
    line.summary();
    let line = start(); // its pictures are gone
    let run_id = part["run_id"].as_str().expect("text").to_owned();
    let label = |id: &str, seq: u64, rest: Value| {
        let mut payload = json!({"id": id, "run_id": run_id, "camera": "top", "seq": seq});
        for (key, value) in rest.as_object().expect("an object") {
            payload[key] = value.clone();
        }

        payload.to_string()
    };

    let kept = listener.ask("label", &label("1", 1, json!({"as": "not_sure"})), "done");
    assert!(
        kept["reason"].to_string().contains("nothing is taught"),
        "{kept}"
    );
    let noted = json!({"note": "a scratch, \"small\""});
    listener.ask("label", &label("2", 1, noted), "done");
    let kept = listener.ask("label", &label("3", 1, json!({"as": "really_bad"})), "done");
    for words in ["the label is kept", "nothing was taught", "is not kept"] {
        assert!(kept["reason"].to_string().contains(words), "{kept}");
    }

    let passed = label("4", 1, json!({"as": "false_reject"}));
    listener.ask_in_vain("label", &passed, "is no false reject");
    let none = label("5", 2, json!({"as": "good"}));
    listener.ask_in_vain("label", &none, "the store has no result of part");
    listener.ask_in_vain("label", &label("6", 1, json!({})), "as or note is missing");
    let found = rows(folder, &["--label", "really_bad"]);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["note"], "a scratch, \"small\"");
    assert_eq!(found[0]["labelled_by"], "mqtt");
    assert_eq!(
        rows(folder, &["--label", "not_sure"]).len(),
        0,
        "the last one counts"
    );

    // By the command line, with the user of this machine.
    let mut command = winspect();
    command.arg("label").arg(folder.join("line.toml"));
    let flags = [
        "--camera", "top", "--seq", "1", "--run-id", &run_id, "--as", "bad",
    ];
    let output = command.args(flags).output().expect("the binary was built");
    assert!(output.status.success(), "{}", errors(&output));
    let found = rows(folder, &["--label", "bad"]);
    let who = found[0]["labelled_by"].as_str().expect("text");
    assert!(who.ends_with(" (control socket)"), "{who}");
    let audit = told(folder, &["--audit"]);
    for words in ["is not_sure", "is really_bad", "is bad", who] {
        assert!(audit.contains(words), "{words:?} is not in {audit}");
    }

    line.summary();
}
