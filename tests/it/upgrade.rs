//! Store files of earlier releases under today's winspect: results that waited in them arrive, and
//! answers, the selected recipe and challenges are still known.
//! `tests/golden/store-0.1.0/README.md` says how they were made.

use crate::harness::broker::{Broker, free_port};
use crate::harness::golden::{golden, imported};
use crate::harness::line::write_line;
use crate::harness::plc::Listener;
use crate::harness::plc::publish;
use crate::harness::program::Running;
use serde_json::{Value, json};
use std::path::Path;

const CAMERA: &str = "kind = \"test\"\nfps = 5\nwidth = 160\nheight = 120\ntrigger = \"command\"";
const RELEASE: &str = "store-0.1.0";

/// A line with the recipes of the release's line, and its store file.
fn write_old_line(folder: &Path, port: u16, store: &str) {
    for end in ["", "-wal"] {
        let file = golden(RELEASE).join(format!("{store}.db{end}"));
        if file.exists() {
            std::fs::copy(file, folder.join(format!("box.db{end}"))).expect("copied");
        }
    }

    write_line(folder, port, CAMERA);
    let file = folder.join("line.toml");
    let line = std::fs::read_to_string(&file).expect("just written");
    let references = line
        .lines()
        .find(|line| line.starts_with("references"))
        .expect("it has some");

    let bolt =
        format!("name = \"bolt\"\nrevision = 4\ninput_px = 70\nthreshold = 1.5\n{references}\n");

    std::fs::write(folder.join("bolt.toml"), bolt).expect("written");
    std::fs::write(&file, format!("recipes = [\"bolt.toml\"]\n{line}")).expect("written");
}

/// A number out of the file.
fn count(folder: &Path, sql: &str) -> i64 {
    let store = rusqlite::Connection::open(folder.join("box.db")).expect("it is let go");
    store.query_row(sql, [], |row| row.get(0)).expect("works")
}

fn object(value: &Value) -> &serde_json::Map<String, Value> {
    value.as_object().expect("an object")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// The next message of a topic; the others are there for later.
#[track_caller]
fn hear(listener: &Listener, topic: &str) -> Value {
    serde_json::from_str(&listener.answer(&format!("box/{topic}"))).expect("JSON")
}

fn arrives(store: &str) {
    let expected = std::fs::read_to_string(golden(RELEASE).join("expected.json"))
        .expect("it is beside the files");

    let expected = serde_json::from_str::<Value>(&expected).expect("JSON")[store].take();
    let (folder, _model) = imported("dinov2-tiny");
    let folder = folder.path();
    let broker = Broker::anywhere();
    let listener = Listener::with(
        broker.port,
        "plant/box/+",
        &["-t", "plant/box/ack/#", "-t", "plant/box/result/late"],
    );

    write_old_line(folder, broker.port, store);
    let line = Running::line(folder);

    let birth = hear(&listener, "birth");
    assert_eq!(birth["previous"], expected["previous"]);
    assert_eq!(birth["recipe"], "bolt@4", "the recipe that was selected");
    for wanted in list(&expected["results"]) {
        let late = hear(&listener, "result/late");
        assert_eq!(late["historical"], true, "{late}");
        assert_eq!(late["schema"], 2, "{late}");
        assert!(late["defects"].is_array(), "{late}");
        assert_eq!(late.get("regions"), None, "{late}");
        for (key, value) in object(wanted) {
            assert_eq!(&late[key], value, "{key} of {late}");
        }
    }

    // The challenge that was under way is ended; the other one was told, and is still known.
    let cut = hear(&listener, "ack/challenge");
    assert_eq!(
        (&cut["id"], &cut["status"]),
        (&json!("cut"), &json!("rejected")),
        "{cut}"
    );

    while hear(&listener, "state")["health"] != "FAILURE" {}
    // Commands that were answered are answered again, and not done twice.
    for known in object(&expected["answers"]).values() {
        let command = known["command"].as_str().expect("a name");
        publish(
            broker.port,
            &format!("cmd/{command}"),
            &known["message"].to_string(),
            &[],
        );

        // The same answer, under today's schema: its keys have not changed.
        let mut answer = known["answer"].clone();
        answer["schema"] = json!(2);
        assert_eq!(hear(&listener, &format!("ack/{command}")), answer);
    }

    let summary = line.summary();
    assert_eq!(
        (&summary["parts"], &summary["undelivered"]),
        (&json!(0), &json!(0)),
        "{summary}"
    );

    // Once: nothing more came until the end.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let (topic, payload) = listener.any(until);
        assert!(!topic.contains("/result"), "{topic} {payload}");
        if payload == "stopped" {
            break;
        }
    }

    assert_eq!(
        count(folder, "SELECT count(*) FROM part WHERE state < 3"),
        0
    );

    let notes = list(&expected["notes"]).len() as i64;
    assert!(count(folder, "SELECT count(*) FROM audit") >= notes);
}

#[test]
fn what_waited_in_a_stopped_0_1_0_arrives_once_and_in_order() {
    arrives("stopped");
}

#[test]
fn what_waited_in_a_killed_0_1_0_arrives_once_and_in_order() {
    arrives("killed");
}

#[test]
fn a_store_of_a_newer_winspect_is_refused_and_left_as_it_is() {
    let (folder, _model) = imported("dinov2-tiny");
    let folder = folder.path();
    write_old_line(folder, free_port(), "stopped");
    let file = folder.join("box.db");
    let store = rusqlite::Connection::open(&file).expect("opens");
    store.pragma_update(None, "user_version", 999).expect("set");
    drop(store);
    let before = std::fs::read(&file).expect("there");
    let output = Running::line(folder).end();
    let errors = String::from_utf8_lossy(&output.stderr);
    // 0.1.0 refuses it already, as unavailable (69). 0.2: refused
    assert_eq!(output.status.code(), Some(69), "{errors}");
    assert!(
        errors.contains("box.db was made by a newer winspect (version 999, this one knows 4)"),
        "{errors}"
    );

    assert!(errors.contains("update, or move it away"), "{errors}");
    assert!(
        std::fs::read(&file).expect("there") == before,
        "the file was changed"
    );
}
