//! Parts that cannot be judged: what is said of them, when, and what the gate does.

use crate::harness::broker::Broker;
use crate::harness::golden::imported;
use crate::harness::line::{LineConfig, dead_camera};
use crate::harness::plc::Listener;
use crate::harness::program::Running;
use crate::harness::station::Station;
use serde_json::{Value, json};

/// A camera that is dead, and whose parts have this deadline.
fn dead(deadline_ms: u32) -> String {
    let camera = dead_camera();
    format!("{camera}\ntrigger = \"command\"\ndeadline_ms = {deadline_ms}")
}

#[test]
fn parts_of_a_dead_camera_are_undecided_at_their_deadline() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let plc = Listener::station(broker.port);
    LineConfig::new(broker.port, &dead(300)).write(folder.path());
    let line = Running::line(folder.path());
    plc.next("box/birth");
    plc.tell("trigger", r#"{"id":"a"}"#);
    let result = plc.next("box/result");
    for (key, value) in [
        ("verdict", json!("undecided")),
        ("reason", json!("camera_lost")),
        ("reject", json!(true)),
        ("captured_by", json!("trigger")),
    ] {
        assert_eq!(result[key], value, "{key} in {result}");
    }

    let total = result["latency_ms"]["total"].as_f64().expect("a number");
    assert!((300.0..5000.0).contains(&total), "{total}");
    line.summary();
}

#[test]
fn one_bad_view_is_enough_beside_a_dead_camera() {
    let joined = "trigger = \"command\"\ndeadline_ms = 1500\njoin = \"station\"";
    let sees = format!("{}\n{joined}", crate::harness::line::FREE_RUNNING);
    let blind = format!("{}\n{joined}", dead_camera());
    let station = Station::configured(&sees, |config, _| {
        config
            .recipe("on_undecided = \"pass\"")
            .camera("side", &blind)
    });

    let plc = &station.plc;
    // Every picture fails, then every picture passes.
    for (threshold, verdict, reject) in [(0, "fail", true), (2, "undecided", false)] {
        let set = json!({"id": format!("set {threshold}"), "value": threshold});
        plc.ask("set_threshold", &set.to_string(), "done");
        let answer = plc.tell("trigger", &json!({"id": verdict}).to_string());
        let parts = answer["parts"].as_array().map(Vec::len);
        assert_eq!(parts, Some(1), "{answer}");
        let result = plc.next("box/result");
        assert_eq!(result["verdict"], verdict, "{result}");
        assert_eq!(result["reject"], reject, "{result}");
        assert_eq!(result["camera"], "station");
        let side = view(&result, "side");
        assert_eq!(side["verdict"], "undecided", "{result}");
        assert_eq!(side["reason"], "camera_lost", "{result}");
        assert!(view(&result, "top")["score"].is_f64(), "{result}");
    }

    station.summary();
}

fn view<'a>(result: &'a Value, camera: &str) -> &'a Value {
    let views = result["views"].as_array().expect("a list");
    let view = views.iter().find(|view| view["camera"] == camera);
    view.expect("both are told")
}

/// A line with a dead camera, whose recipe says what the gate does.
struct Gate {
    word: &'static str,
    reject: bool,
    plc: Listener,
    broker: Broker,
    folder: tempfile::TempDir,
}

impl Gate {
    fn new(word: &'static str, reject: bool) -> Self {
        let (folder, _model) = imported("dinov2-tiny");
        let broker = Broker::anywhere();
        Gate {
            word,
            reject,
            plc: Listener::station(broker.port),
            broker,
            folder,
        }
    }

    /// Starts the line, and asks for a part.
    fn trigger(&self, deadline_ms: u32, id: &str) -> Running {
        LineConfig::new(self.broker.port, &dead(deadline_ms))
            .recipe(&format!("on_undecided = {:?}", self.word))
            .write(self.folder.path());

        let line = Running::line(self.folder.path());
        self.plc.next("box/birth");
        let trigger = json!({"id": id, "part_id": id}).to_string();
        self.plc.ask("trigger", &trigger, "accepted");
        line
    }

    fn assert_told(&self, result: &Value, id: &str, reason: &str) {
        for (key, value) in [
            ("part_id", json!(id)),
            ("verdict", json!("undecided")),
            ("evaluation", json!(3)),
            ("reason", json!(reason)),
            ("reject", json!(self.reject)),
        ] {
            assert_eq!(result[key], value, "{key} in {result}");
        }
    }
}

const GATES: [(&str, bool); 2] = [("pass", false), ("fail", true)];

#[test]
fn the_recipe_says_what_the_gate_does() {
    for (word, reject) in GATES {
        let gate = Gate::new(word, reject);
        let line = gate.trigger(300, "due");
        gate.assert_told(&gate.plc.next("box/result"), "due", "camera_lost");
        line.summary();
    }
}

/// What is said of a part that nobody judged is on the disk before anybody can.
#[test]
fn the_gate_does_the_same_after_a_crash() {
    for (word, reject) in GATES {
        let gate = Gate::new(word, reject);
        drop(gate.trigger(600_000, "crash"));
        let line = Running::line(gate.folder.path());
        gate.assert_told(&gate.plc.next("result/late"), "crash", "late");
        line.summary();
    }
}
