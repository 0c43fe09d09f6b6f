//! Every message as docs/mqtt.md lists it, heard by a foreign client: topic, quality of service, retained or not, and JSON
//! with a schema.

use crate::harness::broker::{Broker, free_port};
use crate::harness::golden::imported;
use crate::harness::line::{
    LineConfig, TRIGGERED, folder_camera, run_to_its_end, summary, write_line,
};
use crate::harness::plc::{Listener, publish};
use crate::harness::program::{Running, errors, winspect};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use winspect::recipe::library::draft::Draft;
use winspect::recipe::library::folder::Library;
use winspect::recipe::library::writer::LibraryWriter;

/// `topic -> (quality of service, retained)` out of the table; names in angle brackets are any name.
fn listed() -> BTreeMap<String, (String, bool)> {
    let rows = include_str!("../../docs/mqtt.md")
        .lines()
        .filter_map(|line| {
            let (topic, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let (how, _) = rest.split_once(" | ")?;
            let (qos, retained) = how.split_once(", ")?;
            ["0", "1"]
                .contains(&qos)
                .then(|| (topic.to_owned(), (qos.to_owned(), retained == "yes")))
        });

    rows.collect()
}

fn fits(listed: &str, topic: &str) -> bool {
    let (listed, topic): (Vec<&str>, Vec<&str>) =
        (listed.split('/').collect(), topic.split('/').collect());

    let fits = |(listed, topic): (&&str, &&str)| listed.starts_with('<') || listed == topic;
    listed.len() == topic.len() && listed.iter().zip(&topic).all(fits)
}

/// A candidate of the recipe `nut`, under which everything passes.
fn keep_lenient_candidate(folder: &Path) {
    let added = winspect()
        .current_dir(folder)
        .args(["recipe", "add", "line.toml"])
        .output()
        .expect("ends");

    assert!(added.status.success(), "{}", errors(&added));
    let library = Library::at(folder.join("box.recipes"));
    let first = library.revision("nut", 1).expect("added");
    let mut draft = Draft::after(&first, "a test".to_owned()).expect("whole");
    draft.set_threshold(None, 1.9, "a test").expect("a region");
    let writer = LibraryWriter::lock(&library).expect("free");
    let candidate = writer.write(&draft).expect("written");
    writer.keep_candidate(&candidate).expect("kept");
}

#[test]
fn every_listed_message_comes_as_listed_and_no_other() {
    let listed = listed();
    assert!(listed.len() >= 16, "{listed:?}");
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let port = broker.port;
    // Topic twice: the first is what `wait_for` takes away.
    let format = "%t %t %q %r %E|%D %p";
    let listener = Listener::with(
        port,
        "plant/box/#",
        &[
            "-V",
            "5",
            "--retain-as-published",
            "-t",
            "plc/answers",
            "-F",
            format,
        ],
    );

    // What a run without a broker leaves is late.
    write_line(folder.path(), free_port(), &folder_camera());
    let left = run_to_its_end(folder.path());
    assert_eq!(left["undelivered"], 4, "{left}");
    let camera = TRIGGERED.replace(
        "5000",
        "3000\nreject_after_ms = 3000\nreject_late_ms = 2000",
    );
    let file = LineConfig::new(port, &camera)
        .mqtt("timed_reject = true\nplc = true")
        .write(folder.path());

    keep_lenient_candidate(folder.path());
    let checked = winspect().arg("check").arg(&file).output().expect("ends");
    assert!(checked.status.success(), "{}", errors(&checked));
    let line = Running::line(folder.path());
    let answers = [
        "-D",
        "publish",
        "response-topic",
        "plc/answers",
        "-D",
        "publish",
        "correlation-data",
        "order-7",
    ];

    let mut seen = BTreeSet::new();
    let mut others = BTreeSet::new();
    let mut lives = BTreeSet::new();
    let mut online = false;
    let mut asked = false;
    let mut stopping = false;
    let mut stopped = false;
    let end = Instant::now() + Duration::from_secs(60);
    while !stopped {
        let missing: Vec<&String> = listed
            .keys()
            .filter(|topic| !seen.contains(*topic))
            .collect();

        assert!(Instant::now() < end, "{missing:?} did not come");
        if online && !asked {
            asked = true;
            publish(
                port,
                "cmd/set_threshold",
                r#"{"id":"limit","value":0.000001}"#,
                &[],
            );

            publish(
                port,
                "cmd/trigger",
                r#"{"id":"a","camera":"top","part_id":"A"}"#,
                &[],
            );

            publish(port, "cmd/shadow", r#"{"id":"d","revision":2}"#, &[]);
            // Its time at the gate has gone by.
            let at = Timestamp::now() - SignedDuration::from_secs(10);
            let late = format!(r#"{{"id":"b","camera":"top","part_id":"B","at":"{at}"}}"#);
            publish(port, "cmd/trigger", &late, &[]);
            publish(
                port,
                "cmd/snapshot",
                r#"{"id":"c","camera":"top"}"#,
                &answers,
            );
        }

        if missing.is_empty() && !stopping {
            stopping = true;
            line.ask_to_stop();
        }

        let message = listener.wait_for("", 1).remove(0);
        let Some((topic, rest)) = message.split_once(' ') else {
            continue;
        }; // the second line of a picture

        if topic == "plc/answers" {
            assert!(
                rest.contains("|order-7 {\"schema\":2,\"id\":\"c\",\"status\":\"done\""),
                "{message}"
            );

            continue;
        }

        let Some(topic) = topic.strip_prefix("plant/box/") else {
            continue;
        };

        let parts: Vec<&str> = rest.splitn(4, ' ').collect();
        let [qos, retained, properties, payload] = parts.as_slice() else {
            continue;
        };

        // What `check` tries on a line's topics is no message of a line.
        if payload.contains("\"check\":true") && !["check", "fence"].contains(&topic) {
            continue;
        }

        // A trial for PLCs says so by the number of no part, or is the state of a line that is not there; the
        // line's own states are kept by the broker.
        let is_trial_state =
            topic == "plc/state" && *retained == "0" && payload.contains("\"beat\":0,");
        if payload.starts_with("{\"n\":0,") || is_trial_state {
            continue;
        }

        // The line fails what the shadow passes.
        let is_outcome = payload.contains("\"status\":\"done\"");
        if topic == "ack/shadow" && is_outcome {
            publish(port, "cmd/trigger", r#"{"id":"e","camera":"top"}"#, &[]);
        }

        online |= topic.ends_with("/status") && payload.contains("\"online\"");
        if topic == "availability" {
            lives.insert(payload.to_string());
            stopped = *payload == "stopped";
        } else if payload.starts_with('{')
            && !["check", "fence"].contains(&topic)
            && !topic.starts_with("cmd/")
        {
            let value: serde_json::Value =
                serde_json::from_str(payload).unwrap_or_else(|error| panic!("{error}: {payload}"));

            // Messages for PLCs are short before all else.
            let is_of_plc = topic == "plc" || topic.starts_with("plc/");
            assert_eq!(value["schema"] == 2, !is_of_plc, "{message}");
        }

        // A result is of no use to the gate after that, a rejected part of none after a second.
        let expires = match topic {
            "result" | "plc" => Some(0..65),
            "reject" => Some(0..2),
            _ => None,
        };

        if let Some(expires) = expires {
            let within: u32 = properties
                .trim_end_matches('|')
                .parse()
                .unwrap_or_else(|_| panic!("{message}"));

            assert!(expires.contains(&within), "{message}");
        }

        match listed.iter().find(|(listed, _)| fits(listed, topic)) {
            Some((name, as_listed)) => {
                assert_eq!((qos.to_string(), *retained == "1"), *as_listed, "{message}");
                seen.insert(name);
            }
            None => drop(others.insert(topic.to_owned())),
        }
    }

    assert_eq!(others, BTreeSet::new());
    assert_eq!(lives, ["online", "stopped"].map(str::to_owned).into());
    summary(&line.end());
}

#[test]
fn a_picture_larger_than_the_broker_takes_is_told_once() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::configured(folder.path(), free_port(), "max_packet_size 3000\n");
    let listener = Listener::station(broker.port);
    write_line(folder.path(), broker.port, &folder_camera());
    let output = Running::line(folder.path()).end();
    let summary = summary(&output);
    assert_eq!(summary["acknowledged"], 4, "{summary}");
    assert_eq!(summary["given_up"], 0, "{summary}");
    let told = errors(&output);
    assert_eq!(
        told.matches("the broker takes packets of at most 3000 bytes")
            .count(),
        1,
        "{told}"
    );

    assert!(!told.contains("away"), "{told}");
    let mut topics = vec![];
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let (topic, payload) = listener.any(until);
        if payload == "stopped" {
            break;
        }

        topics.push(topic);
    }

    let count = |end: &str| topics.iter().filter(|topic| topic.ends_with(end)).count();
    for (end, expected) in [("box/result", 4), ("box/birth", 1), ("heatmap/top", 0)] {
        assert_eq!(count(end), expected, "{end} in {topics:?}");
    }
}
