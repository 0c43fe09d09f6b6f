//! The reject gate: which parts it is told of, when, and at which count of the belt.

use crate::harness::contrary::{ContraryBroker, Rules};
use crate::harness::golden::imported;
use crate::harness::line::{FREE_RUNNING, LineConfig, TRIGGERED, assert_refused};
use crate::harness::plc::Listener;
use crate::harness::program::Running;
use crate::harness::station::Station;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::time::Duration;

fn time(value: &Value) -> Timestamp {
    value
        .as_str()
        .and_then(|at| at.parse().ok())
        .unwrap_or_else(|| panic!("{value} is no time"))
}

fn set_threshold(plc: &Listener, value: f64) {
    let command = json!({"id": format!("limit {value}"), "value": value});
    plc.ask("set_threshold", &command.to_string(), "done");
}

/// Asks for a part, and returns its result.
fn judged(plc: &Listener, id: &str) -> Value {
    let trigger = json!({"id": id, "part_id": id});
    plc.ask("trigger", &trigger.to_string(), "accepted");
    plc.next("box/result")
}

#[test]
fn timed_rejects_need_a_camera_that_knows_its_gate() {
    let (folder, _model) = imported("dinov2-tiny");
    LineConfig::new(1, TRIGGERED)
        .mqtt("timed_reject = true")
        .write(folder.path());

    let words = "mqtt.timed_reject: no camera says when a part is at the gate";
    assert_refused(folder.path(), 78, &[words]);
}

#[test]
fn a_rejected_part_is_told_at_the_gate() {
    let camera = TRIGGERED.replace(
        "5000",
        "2000\nreject_after_ms = 2500\nreject_late_ms = 1000",
    );
    let station = Station::configured(&camera, |config, _| config.mqtt("timed_reject = true"));
    let plc = &station.plc;
    set_threshold(plc, 2.0);
    assert_eq!(judged(plc, "good")["reject"], false);
    set_threshold(plc, 0.000_001);
    let bad = judged(plc, "bad");
    assert_eq!(bad["reject"], true, "{bad}");
    let told = plc.next("box/reject");
    let at = time(&told["at"]);
    assert!(Timestamp::now() >= at, "{told}");
    let way = at.duration_since(time(&bad["captured_at"]));
    assert_eq!(way.as_millis(), 2500, "{told}");
    for key in [
        "run_id", "seq", "part_id", "station", "camera", "region", "schema",
    ] {
        assert_eq!(told[key], bad[key], "{key} in {told}");
    }

    let gone_by = judged(plc, "gone by");
    let Station {
        line,
        plc: _plc,
        broker,
        folder: _folder,
    } = station;

    drop(broker);
    // It passes the gate while there is no broker: a moment that nobody is told of.
    let gate = time(&gone_by["captured_at"]) + SignedDuration::from_millis(2500);
    let left = gate.duration_since(Timestamp::now()).unsigned_abs();
    std::thread::sleep(left + Duration::from_millis(500));
    let summary = line.summary();
    assert_eq!(summary["rejects_told"], 1, "{summary}");
    assert_eq!(summary["rejects_missed"], 1, "{summary}");
}

/// Asks for a part that is rejected and told in time, of a line at a contrary broker, which does `rule`
/// until it has heard a message to the gate. Gives the summary and the broker.
fn rejected_at(late_ms: u32, rule: impl FnOnce(&mut Rules), last: &str) -> (Value, ContraryBroker) {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(rule);
    let gate = format!("2000\nreject_after_ms = 2500\nreject_late_ms = {late_ms}");
    LineConfig::new(broker.port, &TRIGGERED.replace("5000", &gate))
        .recipe("threshold = 0.000001")
        .mqtt("timed_reject = true")
        .write(folder.path());

    let line = Running::line(folder.path());
    broker.wait_for("status", |status| status.payload.contains("\"online\""));
    broker.send(&[("cmd/trigger", r#"{"id":"bad","part_id":"bad"}"#)]);
    broker.wait_for("reject", |_| true);
    broker.set(|rules| *rules = Rules::default());
    let told = broker.wait_for(last, |heard| heard.topic == last && heard.is_taken);
    assert!(
        told.payload.contains("\"part_id\":\"bad\""),
        "{}",
        told.payload
    );
    if last == "reject/missed" {
        let words = "went by and no message said so in time";
        broker.wait_for("state", |state| state.payload.contains(words));
    }

    (line.summary(), broker)
}

fn assert_rejects(summary: &Value, told: u32, missed: u32) {
    assert_eq!(summary["rejects_told"], told, "{summary}");
    assert_eq!(summary["rejects_missed"], missed, "{summary}");
}

#[test]
fn a_reject_that_the_broker_refuses_is_a_missed_one() {
    let refuses = |rules: &mut Rules| rules.refuses = vec![("box/reject", 0x87)];
    let (summary, broker) = rejected_at(1000, refuses, "reject/missed");
    assert_rejects(&summary, 0, 1);
    assert_eq!(broker.taken("reject").len(), 0);
}

fn cuts_at_the_gate(rules: &mut Rules) {
    rules.cuts_at = Some("\"at\":".to_owned());
}

#[test]
fn a_reject_that_a_cut_link_may_have_lost_is_told_again_while_it_is_in_time() {
    let (summary, _broker) = rejected_at(5000, cuts_at_the_gate, "reject");
    assert_rejects(&summary, 1, 0);
}

#[test]
fn a_reject_that_a_cut_link_may_have_lost_is_a_missed_one_when_it_is_not_in_time() {
    let (summary, broker) = rejected_at(50, cuts_at_the_gate, "reject/missed");
    assert_rejects(&summary, 0, 1);
    assert_eq!(broker.heard("reject").len(), 1);
}

/// A belt whose gate is so many millimetres behind the camera.
fn belt(way_mm: u32) -> String {
    format!(
        "{FREE_RUNNING}\ntrigger = \"command\"\nwindow_ms = 1000\ndeadline_ms = 5000\nreject_late_ms = 1000\n\
         belt_mm_s = 250\nreject_mm = {way_mm}\nreject_counts = 4800"
    )
}

#[test]
fn a_deadline_after_the_gate_is_refused() {
    let (folder, _model) = imported("dinov2-tiny");
    LineConfig::new(1, &belt(500)).write(folder.path());
    let words = "camera[0].deadline_ms: the part is at the gate after 2000 ms";
    assert_refused(folder.path(), 78, &[words]);
}

#[test]
fn belt_and_encoder_say_when_a_part_is_there() {
    let station = Station::configured(&belt(1600), |config, _| config.mqtt("timed_reject = true"));
    let plc = &station.plc;
    // Every part is rejected.
    set_threshold(plc, 0.000_001);
    for (count, at_count) in [(json!(120_345), json!(125_145)), (json!(null), json!(null))] {
        let at = Timestamp::now();
        let id = format!("at {count}");
        let trigger = json!({"id": id, "at": at.to_string(), "count": count});
        plc.ask("trigger", &trigger.to_string(), "accepted");
        let result = plc.next("box/result");
        for (key, value) in [
            ("verdict", json!("fail")),
            ("reject", json!(true)),
            ("reject_at_count", at_count),
            ("count", count),
            // 1600 mm at 250 mm/s, from the picture on, which is the one nearest to the trigger.
            ("reject_in_ms", json!(6400.0)),
        ] {
            assert_eq!(result[key], value, "{key} in {result}");
        }

        let captured = time(&result["captured_at"]);
        let apart = captured.duration_since(at).abs();
        assert!(apart <= SignedDuration::from_millis(1001), "{at}: {result}");
        let gate = plc.next("box/reject");
        assert_eq!(gate["seq"], result["seq"], "{gate}");
        let way = time(&gate["at"]).duration_since(captured);
        assert_eq!(way.as_millis(), 6400, "{gate}");
    }

    let summary = station.summary();
    assert_eq!(summary["parts"], 2, "{summary}");
    assert_eq!(summary["rejects_told"], 2, "{summary}");
}
