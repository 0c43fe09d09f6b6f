//! The line at rumqttd, a second broker that others wrote. Where it was not built (`tools/rumqttd`), the
//! tests are skipped.

use crate::harness::broker::{Broker, free_port};
use crate::harness::golden::imported;
use crate::harness::line::{FREE_RUNNING, LineConfig, TRIGGERED, all_arrived, write_line};
use crate::harness::plc::{Listener, publish};
use crate::harness::program::Running;
use crate::harness::{json, require};
use serde_json::Value;
use std::time::Duration;

const RESULTS: &[&str] = &["-V", "5", "-t", "plant/box/result/late"];

/// Number of a result.
fn seq(result: &Value) -> u64 {
    result["seq"].as_u64().expect("a number")
}

#[test]
fn each_trigger_has_one_answer_and_one_result_at_rumqttd() {
    if !require("rumqttd") {
        return;
    }

    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::rumqttd(free_port());
    let station = Listener::with(broker.port, "plant/box/#", &["-V", "5"]);
    let results = Listener::with(broker.port, "plant/box/result", RESULTS);
    LineConfig::new(broker.port, TRIGGERED).write(folder.path());
    let line = Running::line(folder.path());
    station.until("camera/top/status", "state", "online");
    for number in 1..=20 {
        let trigger = format!(r#"{{"id":"t{number}","part_id":"p{number}"}}"#);
        publish(broker.port, "cmd/trigger", &trigger, &[]);
        // A refused command between good ones: acknowledgements keep their order, or rumqttd cuts the link.
        publish(broker.port, "cmd/trigger", "no JSON", &[]);
        std::thread::sleep(Duration::from_millis(100)); // the pace of parts: a frame serves one
    }

    for number in 1..=20 {
        let result = results.next("box/result");
        assert_eq!(seq(&result), number, "{result}");
        assert_eq!(result["part_id"], format!("p{number}"), "{result}");
        assert_ne!(result["verdict"], "undecided", "{result}");
    }

    assert_eq!(all_arrived(&line.summary()), 20);
}

#[test]
fn a_rumqttd_that_is_killed_gets_what_waits_in_order() {
    if !require("rumqttd") {
        return;
    }

    let (folder, _model) = imported("dinov2-tiny");
    let port = free_port();
    let broker = Broker::rumqttd(port);
    let first = Listener::with(port, "plant/box/result", RESULTS);
    write_line(folder.path(), port, FREE_RUNNING);
    let line = Running::line(folder.path());
    let before = seq(&json(&first.wait_for("result", 10)[9]));
    drop(first);
    drop(broker);
    std::thread::sleep(Duration::from_secs(2)); // how long it is away is what is tested
    let _broker = Broker::rumqttd(port);
    let second = Listener::with(port, "plant/box/result", RESULTS);
    let after: Vec<u64> = second
        .wait_for("result", 20)
        .iter()
        .map(|result| seq(&json(result)))
        .collect();

    assert!(after.is_sorted_by(|one, next| one < next), "{after:?}");
    assert!(after[19] > before + 10, "{after:?} after {before}");
    all_arrived(&line.summary());
}
