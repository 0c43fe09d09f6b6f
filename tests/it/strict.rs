//! The line at a broker that lets nothing pass (`harness/strict`): it keeps every rule of MQTT 5, and its
//! promises hold there as they do at mosquitto.

use crate::harness::PATIENCE;
use crate::harness::golden::imported;
use crate::harness::line::{FREE_RUNNING, LineConfig, TRIGGERED, all_arrived};
use crate::harness::program::Running;
use crate::harness::strict::wire::{Packet, PropertyValue, RESPONSE_TOPIC, parse};
use crate::harness::strict::{Rules, StrictBroker};
use crate::harness::wait_until;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A line at a strict broker, whose camera is online.
fn line(folder: &Path, broker: &StrictBroker, camera: &str) -> Running {
    LineConfig::new(broker.port, camera).write(folder);
    let line = Running::line(folder);
    broker.wait_for_camera();
    line
}

/// A part that is there now, whenever its trigger arrives.
fn trigger(broker: &StrictBroker, number: usize) {
    let now = Timestamp::now();
    let payload = format!(r#"{{"id":"t{number}","part_id":"p{number}","at":"{now}"}}"#);
    broker.command("trigger", &payload);
}

/// A result without what depends on the moment of its sending.
fn lasting(result: &Value) -> Value {
    let mut lasting = result.clone();
    for key in ["historical", "given_up_before"] {
        assert!(lasting[key].take() != Value::Null, "{key} in {result}");
    }

    lasting
}

/// Asserts that each part from 1 to `parts` has one result, first heard in order, and only the same
/// one again. Returns how often results came again.
#[track_caller]
fn assert_whole(broker: &StrictBroker, parts: u64) -> usize {
    let mut known = BTreeMap::new();
    let mut again = 0;
    for topic in ["result", "result/late"] {
        let mut newest = 0;
        for result in broker.heard(topic) {
            let seq = result["seq"].as_u64().expect("a number");
            let lasting = lasting(&result);
            match known.get(&seq) {
                Some(first) => assert_eq!(*first, lasting, "another result"),
                None => assert!(seq > newest, "{seq} after {newest} on {topic}"),
            }

            again += usize::from(known.insert(seq, lasting).is_some());
            newest = newest.max(seq);
        }
    }

    assert!(known.keys().copied().eq(1..=parts), "{:?}", known.keys());
    again
}

#[test]
fn one_verdict_a_part_in_order_over_links_that_are_cut() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = StrictBroker::start();
    let line = line(folder.path(), &broker, TRIGGERED);
    // Each cut comes after that many results of a connection, before the last one is acknowledged. A
    // result that was alone on its way at two of them would be put aside.
    broker.set(|state| state.cuts.extend([3, 6, 7, 6, 8]));
    for number in 1..=50 {
        trigger(&broker, number);
        std::thread::sleep(std::time::Duration::from_millis(60)); // the pace of parts
    }

    broker.wait_for("ack/trigger", 50);
    wait_until("50 parts have results", PATIENCE, || {
        let heard = [broker.heard("result"), broker.heard("result/late")].concat();
        let seqs: BTreeSet<_> = heard.iter().map(|result| result["seq"].as_u64()).collect();
        seqs.len() == 50
    });

    let parts = all_arrived(&line.summary());
    assert_eq!(parts, 50);
    let again = assert_whole(&broker, parts);
    assert!(
        again >= 2,
        "of two results the acknowledgement was lost, {again} came again"
    );
    assert_eq!(broker.set(|state| state.connections), 6);
    let results = broker.heard("result");
    let judged = results
        .iter()
        .filter(|result| result["verdict"] != "undecided");
    assert!(
        judged.count() > 10,
        "a cut link keeps few from being judged"
    );
    broker.assert_kept();
}

#[test]
fn a_session_that_is_forgotten_loses_no_result() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = StrictBroker::start();
    let line = line(folder.path(), &broker, FREE_RUNNING);
    broker.wait_for("result", 5);
    broker.set(|state| state.cuts.push_back(4));
    for connection in 2..=3 {
        let count = broker.heard("result").len();
        wait_until("the line is back", PATIENCE, || {
            broker.set(|state| state.connections) >= connection
        });

        broker.wait_for("result", count + 5);
        if connection == 2 {
            broker.forget();
        }
    }

    let parts = all_arrived(&line.summary());
    assert_whole(&broker, parts);
    broker.assert_kept();
}

#[test]
fn few_messages_may_be_on_their_way() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = StrictBroker::with(Rules {
        receive_max: 2,
        ..Rules::default()
    });

    let line = line(folder.path(), &broker, FREE_RUNNING);
    for number in 1..=10 {
        broker.command("snapshot", &format!(r#"{{"id":"s{number}"}}"#));
    }

    broker.wait_for("ack/snapshot", 10);
    broker.wait_for("result", 20);
    broker.cut();
    let parts = all_arrived(&line.summary());
    assert_whole(&broker, parts);
    broker.assert_kept();
}

#[test]
fn packets_keep_to_the_brokers_size() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = StrictBroker::with(Rules {
        packet_max: 2048,
        ..Rules::default()
    });

    // Heat maps of all parts are larger.
    let line = line(folder.path(), &broker, FREE_RUNNING);
    broker.wait_for("result", 20);
    let parts = all_arrived(&line.summary());
    assert_whole(&broker, parts);
    assert_eq!(broker.set(|state| state.connections), 1);
    broker.assert_kept();
}

#[test]
fn commands_are_acknowledged_in_the_order_in_which_they_came() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = StrictBroker::start();
    let line = line(folder.path(), &broker, TRIGGERED);
    for number in 1..=10 {
        trigger(&broker, number);
        broker.command("trigger", "no JSON");
        broker.command("snapshot", &format!(r#"{{"id":"s{number}"}}"#));
        broker.command("erase", &format!(r#"{{"id":"e{number}"}}"#));
    }

    broker.wait_for("ack/trigger", 20);
    broker.wait_for("ack/snapshot", 10);
    broker.wait_for("ack/unknown", 10);
    all_arrived(&line.summary());
    broker.assert_kept();
}

#[test]
fn whatever_a_command_holds_makes_the_line_break_no_rule() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = StrictBroker::start();
    let line = line(folder.path(), &broker, TRIGGERED);
    // A part of each name, and its heat map.
    for part_id in [
        "\\u0001",
        "\\uffff",
        "\\t",
        "\\u007f",
        "\u{fdd0}",
        "\u{10ffff}",
        "ä€😀",
    ] {
        let id = part_id.replace('\\', "");
        let now = Timestamp::now();
        let payload = format!(r#"{{"id":"t{id}","part_id":"{part_id}","at":"{now}"}}"#);
        broker.command("trigger", &payload);
        std::thread::sleep(std::time::Duration::from_millis(100)); // the pace of parts
    }

    broker.wait_for("ack/trigger", 7);
    let answer = |topic: &str| vec![(RESPONSE_TOPIC, PropertyValue::Text(topic.to_owned()))];
    for topic in [
        "plc/a",
        "",
        "plc/#",
        "plc/+/a",
        "plc/\u{1}",
        "plc/\u{ffff}",
        "plc/\u{fdd0}",
        "/",
        "$SYS/a",
    ] {
        let id = format!("{topic:?}").replace(['"', '\\'], "");
        let payload = format!(r#"{{"id":"r{id}"}}"#);
        broker.command_with("snapshot", payload.as_bytes(), answer(topic));
    }

    broker.command_with("trigger", b"{\"id\":\"\xff\"}", vec![]);
    broker.command("\u{1}", "{}");
    broker.command("pause", r#"{"id":"last"}"#);
    broker.wait_for("ack/pause", 1);
    // Heat maps name their part; they come beside the results.
    std::thread::sleep(std::time::Duration::from_secs(1));
    line.summary();
    broker.assert_kept();
}

/// The strict broker itself sees what it must not let pass.
#[test]
fn each_broken_rule_is_seen() {
    let publish = |topic: &[u8], rest: &[u8]| {
        let length = u16::try_from(topic.len()).expect("short");
        [&length.to_be_bytes(), topic, rest].concat()
    };

    let broken: [(u8, Vec<u8>, &str); 16] = [
        (0x36, publish(b"a", &[0, 1, 0]), "QoS 3"),
        (0x38, publish(b"a", &[0]), "repetition at QoS 0"),
        (0x32, publish(b"a", &[0, 0, 0]), "packet number 0"),
        (0x30, publish(b"", &[0]), "topic name"),
        (0x30, publish(b"a/+", &[0]), "topic name"),
        (0x30, publish(b"a\0", &[0]), "character"),
        (0x30, publish(b"a\t", &[0]), "character"),
        (0x30, publish("\u{ffff}".as_bytes(), &[0]), "character"),
        (0x30, publish(b"\xff", &[0]), "no UTF-8"),
        (0x30, publish(b"a", &[3, 0x23, 0, 1]), "topic alias"),
        (0x30, publish(b"a", &[4, 0x08, 0, 1, b'#']), "topic name"),
        (0x30, publish(b"a", &[4, 0x01, 1, 0x01, 1]), "twice"),
        (0x30, publish(b"a", &[2, 0x0b, 1]), "property 0x0b"),
        (0x30, publish(b"a", &[9]), "middle of a value"),
        (0x42, vec![0, 1], "flags"),
        (
            0x82,
            vec![0, 1, 0, 0, 3, b'a', b'#', b'b', 1],
            "topic filter",
        ),
    ];

    for (head, body, words) in broken {
        let violation = parse(head, &body).expect_err(words);
        assert!(
            violation.words.contains(words),
            "{words:?} is not in {violation:?}"
        );
    }

    let good = parse(0x32, &publish(b"a", &[0, 7, 0, b'x']));
    assert!(
        matches!(good, Ok(Packet::Publish { id: Some(7), .. })),
        "{good:?}"
    );
}
