//! Parts as a PLC meets them: triggers, commands and their answers, deadlines, and what a crash leaves.

use crate::broker::{Broker, Listener, free_port};
use crate::line::{ask_to_stop, command, folder_camera, start, summary, write_line};
use crate::support::imported;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

const CAMERA: &str = "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120\ntrigger = \"command\"\ndeadline_ms = 5000";

/// `mosquitto_pub` to the station's topic.
pub fn publish(port: u16, topic: &str, payload: &str, arguments: &[&str]) {
    let mut command = Command::new("mosquitto_pub");
    let topic = format!("plant/box/{topic}");
    command
        .args([
            "-V",
            "5",
            "-p",
            &port.to_string(),
            "-q",
            "1",
            "-t",
            &topic,
            "-m",
            payload,
        ])
        .args(arguments);
    assert!(
        command
            .status()
            .expect("mosquitto-clients is installed")
            .success()
    );
}

#[track_caller]
pub fn next(listener: &Listener, topic: &str) -> Value {
    serde_json::from_str(&listener.wait_for(topic, 1)[0]).expect("JSON")
}

/// Sends a command and gives its answer.
#[track_caller]
pub fn tell(listener: &Listener, port: u16, name: &str, payload: &str) -> Value {
    publish(port, &format!("cmd/{name}"), payload, &[]);
    answered(listener, name)
}

/// The next answer to such a command; what comes before it is there for later.
#[track_caller]
pub fn answered(listener: &Listener, name: &str) -> Value {
    serde_json::from_str(&listener.answer(&format!("ack/{name}"))).expect("JSON")
}

/// The next message that has this value there.
#[track_caller]
pub fn until(listener: &Listener, topic: &str, key: &str, value: &str) -> Value {
    loop {
        let message = next(listener, topic);
        if message[key] == value {
            return message;
        }
    }
}

fn kill(line: &mut Child) {
    line.kill().expect("it runs");
    line.wait().expect("it ends");
}

/// A line that hears commands, and who listens.
fn running(folder: &Path, camera: &str) -> (Broker, Listener, Child) {
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/#");
    write_line(folder, broker.port, camera);
    let line = start(folder);
    assert_eq!(next(&listener, "camera/top/status")["state"], "online");
    (broker, listener, line)
}

#[test]
fn a_trigger_is_answered_and_has_one_result_and_its_repetition_none() {
    let (folder, _model) = imported("dinov2-tiny");
    let (broker, listener, line) = running(
        folder.path(),
        &format!("{CAMERA}\nreject_after_ms = 6000\nreject_counts = 100"),
    );
    let trigger = r#"{"id":"t1","part_id":"A-77","count":42,"position":1.5}"#;
    let answer = tell(&listener, broker.port, "trigger", trigger);
    let part = &answer["parts"][0];
    assert_eq!(
        (&answer["status"], &part["camera"], &part["seq"]),
        (&json!("accepted"), &json!("top"), &json!(1))
    );
    let result = next(&listener, "box/result");
    for (key, value) in [
        ("seq", json!(1)),
        ("run_id", part["run_id"].clone()),
        ("part_id", json!("A-77")),
        ("count", json!(42)),
        ("reject_at_count", json!(142)),
        ("reject_in_ms", json!(6000.0)),
        ("position", json!(1.5)),
        ("historical", json!(false)),
        ("deadline_met", json!(true)),
    ] {
        assert_eq!(result[key], value, "{key} in {result}");
    }
    assert_ne!(result["verdict"], "undecided", "{result}");
    assert_eq!(result["reject"], json!(result["verdict"] == "fail"));
    assert_eq!(tell(&listener, broker.port, "trigger", trigger), answer);
    // Without an id nobody can know that it is a repetition.
    let second = tell(&listener, broker.port, "trigger", "{}");
    assert_eq!(
        (&second["parts"][0]["seq"], second["reason"].is_string()),
        (&json!(2), true)
    );
    assert_eq!(next(&listener, "box/result")["seq"], 2);
    ask_to_stop(&line);
    let summary = summary(&line.wait_with_output().expect("ends"));
    assert_eq!(
        (
            &summary["parts"],
            &summary["results"],
            &summary["acknowledged"]
        ),
        (&json!(2), &json!(2), &json!(2))
    );
    assert_eq!(summary["balanced"], true, "{summary}");
}

#[test]
fn commands_do_what_they_say_or_say_why_not() {
    let (folder, _model) = imported("dinov2-tiny");
    let (broker, listener, line) = running(folder.path(), CAMERA);
    let port = broker.port;
    // Of their own: which of these comes first is nobody's promise.
    let listen = |topic: &str| Listener::start(port, &format!("plant/box/{topic}"));
    let (states, births, answers) = (listen("state"), listen("birth"), listen("plc/answers"));
    let refused = |name: &str, payload: &str, words: &str| {
        let answer = tell(&listener, port, name, payload);
        let reason = answer["reason"].as_str().unwrap_or_default();
        assert_eq!(answer["status"], "rejected", "{answer}");
        assert!(reason.contains(words), "{words:?} is not in {answer}");
    };
    refused("trigger", "{", "EOF");
    refused("trigger", r#"{"id":"a","prat":1}"#, "unknown field `prat`");
    refused("trigger", r#"{"id":"b","camera":"side"}"#, "there are top");
    refused(
        "trigger",
        r#"{"id":"c","at":"2099-01-01T00:00:00Z"}"#,
        "ahead of our clock",
    );
    refused("pause", "{}", "id is missing");
    refused(
        "trigger",
        &format!(r#"{{"id":"{}"}}"#, "x".repeat(9000)),
        "at most 4096 are read",
    );
    publish(port, "cmd/erase", r#"{"id":"d"}"#, &[]);
    assert!(
        next(&listener, "ack/unknown")["reason"]
            .as_str()
            .expect("words")
            .contains("no command \"erase\"")
    );
    publish(port, "cmd/pause", r#"{"id":"e"}"#, &["-r"]);
    assert!(
        next(&listener, "ack/pause")["reason"]
            .as_str()
            .expect("words")
            .contains("without retain")
    );
    publish(port, "cmd/pause", "", &["-r"]); // takes it from the broker

    assert_eq!(
        tell(&listener, port, "pause", r#"{"id":"f"}"#)["status"],
        "done"
    );
    refused("trigger", r#"{"id":"g"}"#, "the line is paused");
    let paused = until(&states, "box/state", "state", "Initialized");
    assert_eq!(paused["health"], "CHECK_FUNCTION");
    assert!(
        paused
            .get("clock_synchronised")
            .is_some_and(|told| told.is_boolean() || told.is_null()),
        "{paused}"
    );
    assert_eq!(
        tell(&listener, port, "resume", r#"{"id":"h"}"#)["status"],
        "done"
    );

    let answer = tell(&listener, port, "set_threshold", r#"{"id":"i","value":2}"#);
    assert!(
        answer["reason"]
            .as_str()
            .expect("words")
            .starts_with("was 0.18"),
        "{answer}"
    );
    while next(&births, "box/birth")["threshold"] != 2.0 {}
    tell(&listener, port, "trigger", r#"{"id":"j"}"#);
    assert_eq!(next(&listener, "box/result")["verdict"], "pass");

    // With that threshold nothing is caught, and the line knows it now.
    assert_eq!(
        tell(
            &listener,
            port,
            "challenge",
            r#"{"id":"k","parts":1,"expect":"fail"}"#
        )["status"],
        "accepted"
    );
    tell(&listener, port, "trigger", r#"{"id":"l"}"#);
    let ended = answered(&listener, "challenge");
    assert_eq!(
        (&ended["id"], &ended["status"]),
        (&json!("k"), &json!("rejected")),
        "{ended}"
    );
    assert_eq!(next(&listener, "box/result")["challenge"], "k");
    until(&states, "box/state", "health", "FAILURE");
    assert_eq!(
        tell(&listener, port, "reset", r#"{"id":"m"}"#)["status"],
        "done"
    );
    until(&states, "box/state", "health", "NORMAL");

    // Where the sender wants it, the answer comes there, with what he sent along.
    publish(
        port,
        "cmd/snapshot",
        r#"{"id":"n"}"#,
        &["-D", "publish", "response-topic", "plant/box/plc/answers"],
    );
    assert_eq!(next(&answers, "plc/answers")["reason"], "snapshot/top");
    assert!(next_bytes(&listener, "snapshot/top").contains("PNG"));
    next(&listener, "box/heartbeat");
    ask_to_stop(&line);
    summary(&line.wait_with_output().expect("ends"));
    until(&states, "box/state", "state", "Halted");
}

fn next_bytes(listener: &Listener, topic: &str) -> String {
    listener.wait_for(topic, 1).remove(0)
}

#[test]
fn a_part_whose_camera_shows_nothing_is_undecided_at_its_deadline() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/#");
    let nobody = format!(
        "kind = \"rtsp\"\nlocation = \"rtsp://127.0.0.1:{}/none\"",
        free_port()
    );
    write_line(
        folder.path(),
        broker.port,
        &format!("{nobody}\ntrigger = \"command\"\ndeadline_ms = 300"),
    );
    let line = start(folder.path());
    next(&listener, "box/birth");
    tell(&listener, broker.port, "trigger", r#"{"id":"a"}"#);
    let result = next(&listener, "box/result");
    assert_eq!(
        (&result["verdict"], &result["reason"]),
        (&json!("undecided"), &json!("camera_lost")),
        "{result}"
    );
    assert_eq!(
        (&result["reject"], &result["captured_by"]),
        (&json!(true), &json!("trigger"))
    );
    let total = result["latency_ms"]["total"].as_f64().expect("a number");
    assert!((300.0..5000.0).contains(&total), "{total}");
    ask_to_stop(&line);
    summary(&line.wait_with_output().expect("ends"));
}

#[test]
fn a_part_that_one_camera_saw_to_be_bad_fails_also_when_the_other_is_dead() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/#");
    let joined = "trigger = \"command\"\ndeadline_ms = 1500\njoin = \"station\"";
    let sees = format!("kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120\n{joined}");
    let dead = format!(
        "kind = \"rtsp\"\nlocation = \"rtsp://127.0.0.1:{}/none\"\n{joined}",
        free_port()
    );
    write_line(
        folder.path(),
        broker.port,
        &format!("{sees}\n[[camera]]\nname = \"side\"\n{dead}"),
    );
    let file = folder.path().join("line.toml");
    let text = std::fs::read_to_string(&file).expect("written");
    std::fs::write(
        &file,
        text.replace("[recipe]\n", "[recipe]\non_undecided = \"pass\"\n"),
    )
    .expect("written");
    let line = start(folder.path());
    while next(&listener, "camera/top/status")["state"] != "online" {}
    // Every picture fails, then every picture passes.
    for (threshold, verdict, reject) in [(0, "fail", true), (2, "undecided", false)] {
        let set = format!(r#"{{"id":"set {threshold}","value":{threshold}}}"#);
        assert_eq!(
            tell(&listener, broker.port, "set_threshold", &set)["status"],
            "done"
        );
        let answer = tell(
            &listener,
            broker.port,
            "trigger",
            &format!(r#"{{"id":"{verdict}"}}"#),
        );
        assert_eq!(
            answer["parts"].as_array().map(Vec::len),
            Some(1),
            "{answer}"
        );
        let result = next(&listener, "box/result");
        assert_eq!(
            (&result["verdict"], &result["reject"]),
            (&json!(verdict), &json!(reject)),
            "{result}"
        );
        assert_eq!(result["camera"], "station");
        let views = result["views"].as_array().expect("a list");
        let of = |camera: &str| {
            views
                .iter()
                .find(|view| view["camera"] == camera)
                .expect("both are told")
        };
        assert_eq!(
            (&of("side")["verdict"], &of("side")["reason"]),
            (&json!("undecided"), &json!("camera_lost"))
        );
        assert!(of("top")["score"].is_f64(), "{result}");
    }
    ask_to_stop(&line);
    summary(&line.wait_with_output().expect("ends"));
}

#[test]
fn triggers_sent_while_the_daemon_is_dead_are_answered_and_no_part_is_forgotten() {
    let (folder, _model) = imported("dinov2-tiny");
    let (broker, listener, mut line) = running(folder.path(), CAMERA);
    let port = broker.port;
    let first = tell(&listener, port, "trigger", r#"{"id":"a"}"#);
    next(&listener, "box/result");
    kill(&mut line);
    assert_eq!(listener.wait_for("box/availability", 1), ["offline"]);
    publish(
        port,
        "cmd/trigger",
        r#"{"id":"b","part_id":"while away"}"#,
        &[],
    );
    publish(port, "cmd/trigger", r#"{"id":"a"}"#, &[]);
    let line = start(folder.path());
    let birth = next(&listener, "box/birth");
    let run_id = &first["parts"][0]["run_id"];
    assert_eq!(
        birth["previous"],
        json!([{"run_id": run_id, "camera": "top", "last_seq": 1}])
    );
    let answer = answered(&listener, "trigger"); // its result may come before the second answer
    assert_eq!(
        (&answer["id"], &answer["status"]),
        (&json!("b"), &json!("accepted"))
    );
    // The id of the first run's trigger is known to the second.
    assert_eq!(answered(&listener, "trigger"), first);
    let result = next(&listener, "box/result");
    assert_eq!(
        (&result["part_id"], &result["reason"]),
        (&json!("while away"), &json!("not_ready")),
        "{result}"
    );
    ask_to_stop(&line);
    let summary = summary(&line.wait_with_output().expect("ends"));
    assert_eq!(
        (&summary["parts"], &summary["undelivered"]),
        (&json!(1), &json!(0)),
        "{summary}"
    );
}

#[test]
fn what_waits_when_the_daemon_is_killed_comes_late_in_order_and_once() {
    let (folder, _model) = imported("dinov2-tiny");
    let port = free_port();
    let broker = Broker::start(port);
    let listener = Listener::start(port, "plant/box/#");
    write_line(
        folder.path(),
        port,
        "kind = \"test\"\nfps = 50\nwidth = 160\nheight = 120",
    );
    let mut line = start(folder.path());
    let last: Value = serde_json::from_str(&listener.wait_for("box/result", 3)[2]).expect("JSON");
    drop(listener);
    drop(broker);
    std::thread::sleep(Duration::from_secs(2));
    kill(&mut line);
    let broker = Broker::start(port);
    let listener = Listener::start(port, "plant/box/#");
    let line = start(folder.path());
    let birth = next(&listener, "box/birth");
    let until = birth["previous"][0]["last_seq"].as_u64().expect("a number");
    let heard = last["seq"].as_u64().expect("a number");
    assert!(until > heard + 10, "{birth}");
    let mut seqs = vec![];
    while seqs.last() != Some(&until) {
        let late = next(&listener, "result/late");
        assert_eq!(
            (&late["historical"], &late["run_id"]),
            (&json!(true), &birth["previous"][0]["run_id"])
        );
        seqs.push(late["seq"].as_u64().expect("a number"));
    }
    // A few after the third may have gone out while the first listener was being ended.
    assert!(
        seqs[0] <= heard + 10 && seqs.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{heard} {seqs:?}"
    );
    drop(broker);
    ask_to_stop(&line);
    let output = line.wait_with_output().expect("ends");
    assert!(
        output.status.success(),
        "a broker that is away is no fault of the line's"
    );
}

#[test]
fn every_nth_frame_and_each_frame_of_a_triggered_camera_are_parts() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    for (trigger, parts, skipped) in [("every_n\"\nevery = 3", 2, 2), ("frame\"\nqueue = 4", 4, 0)]
    {
        write_line(
            folder.path(),
            broker.port,
            &format!("{}\ntrigger = \"{trigger}", folder_camera()),
        );
        let summary = summary(&command(folder.path()).output().expect("ends"));
        let camera = &summary["cameras"]["top"];
        let counted = (
            &summary["parts"],
            &summary["results"],
            &camera["judged"],
            &camera["skipped"],
        );
        assert_eq!(
            counted,
            (&json!(parts), &json!(parts), &json!(parts), &json!(skipped)),
            "{summary}"
        );
    }
}

#[test]
fn a_web_is_judged_in_stretches_that_say_where_they_are() {
    let (folder, _model) = imported("dinov2-tiny");
    let web = "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120\ntrigger = \"distance\"\nbelt_mm_s = 100\nstretch_mm = 25\noverlap_mm = 5";
    let (_broker, listener, line) = running(folder.path(), web);
    let results: Vec<Value> = (0..4).map(|_| next(&listener, "box/result")).collect();
    let at: Vec<f64> = results
        .iter()
        .filter_map(|result| result["position"].as_f64())
        .collect();
    assert_eq!(at.len(), 4, "{results:?}");
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] > 10.0), "{at:?}");
    ask_to_stop(&line);
    let summary = summary(&line.wait_with_output().expect("ends"));
    assert!(
        summary["cameras"]["top"]["skipped"].as_u64() > Some(0),
        "{summary}"
    );
}

#[test]
fn a_trigger_that_cannot_be_is_told_with_the_way_out() {
    let (folder, _model) = imported("dinov2-tiny");
    let cases = [
        (
            "trigger = \"sometimes\"",
            "camera[0].trigger: must be one of \"continuous\", \"frame\"",
        ),
        ("trigger = \"every_n\"", "camera[0].every: missing"),
        (
            "trigger = \"distance\"\nstretch_mm = 10",
            "camera[0].stretch_mm: and belt_mm_s are needed",
        ),
        (
            "trigger = \"distance\"\nstretch_mm = 9\nbelt_mm_s = 5\noverlap_mm = 9",
            "camera[0].overlap_mm: must be less",
        ),
        (
            "trigger = \"frame\"\nwindow_ms = 5",
            "camera[0].window_ms: belongs to trigger = \"command\"",
        ),
        (
            "trigger = \"presence\"\npresence = { share = 2.0 }",
            "camera[0].presence.share: must be from 0.001 to 1",
        ),
        (
            "reject_after_ms = 500",
            "camera[0].deadline_ms: the part is at the gate after 500 ms",
        ),
        (
            "belt_mm_s = 500",
            "camera[0].belt_mm_s: and reject_mm belong together",
        ),
        (
            "triggered = true",
            "camera[0].triggered: is trigger = \"frame\" now",
        ),
    ];
    for (camera, words) in cases {
        write_line(folder.path(), 1, &format!("kind = \"test\"\n{camera}"));
        let output = start(folder.path()).wait_with_output().expect("ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{errors}");
        assert!(errors.contains(words), "{words:?} is not in {errors}");
    }
}

#[test]
fn a_rejected_part_is_told_when_it_is_at_the_gate_and_not_afterwards() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let port = broker.port;
    let listener = Listener::start(port, "plant/box/#");
    let camera = CAMERA.replace("5000", "2000");
    let timed = |camera: &str| {
        write_line(folder.path(), port, camera);
        let file = folder.path().join("line.toml");
        let line = std::fs::read_to_string(&file).expect("written");
        std::fs::write(&file, line.replace("[mqtt]", "[mqtt]\ntimed_reject = true"))
            .expect("written");
        start(folder.path())
    };
    let output = timed(&camera).wait_with_output().expect("ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{errors}");
    assert!(
        errors.contains("mqtt.timed_reject: no camera says when a part is at the gate"),
        "{errors}"
    );

    let line = timed(&format!("{camera}\nreject_after_ms = 2500"));
    assert_eq!(next(&listener, "camera/top/status")["state"], "online");
    let limit = |id: &str, value: f32| {
        let command = format!(r#"{{"id":"{id}","value":{value}}}"#);
        assert_eq!(
            tell(&listener, port, "set_threshold", &command)["status"],
            "done"
        );
    };
    let judged = |id: &str| {
        tell(
            &listener,
            port,
            "trigger",
            &format!(r#"{{"id":"{id}","part_id":"{id}"}}"#),
        );
        next(&listener, "box/result")
    };
    limit("l1", 2.0);
    assert_eq!(judged("good")["reject"], false);
    limit("l2", 0.000001);
    let bad = judged("bad");
    assert_eq!(bad["reject"], true, "{bad}");
    let told = next(&listener, "box/reject");
    let at = |value: &Value| {
        value
            .as_str()
            .and_then(|at| at.parse::<Timestamp>().ok())
            .expect("a time")
    };
    assert!(Timestamp::now() >= at(&told["at"]), "{told}");
    assert_eq!(
        at(&told["at"])
            .duration_since(at(&bad["captured_at"]))
            .as_millis(),
        2500,
        "{told}"
    );
    for key in [
        "run_id", "seq", "part_id", "station", "camera", "region", "schema",
    ] {
        assert_eq!(told[key], bad[key], "{key} in {told}");
    }
    judged("gone by");
    drop(broker);
    std::thread::sleep(Duration::from_secs(3));
    ask_to_stop(&line);
    let summary = summary(&line.wait_with_output().expect("ends"));
    assert_eq!(
        (&summary["rejects_told"], &summary["rejects_missed"]),
        (&json!(1), &json!(1)),
        "{summary}"
    );
}

#[test]
fn two_lines_cannot_have_one_store() {
    let (folder, _model) = imported("dinov2-tiny");
    let (_broker, _listener, line) = running(folder.path(), CAMERA);
    let output = start(folder.path()).wait_with_output().expect("ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("is used by another winspect; give each line a store of its own"),
        "{errors}"
    );
    assert_eq!(output.status.code(), Some(69));
    ask_to_stop(&line);
    summary(&line.wait_with_output().expect("ends"));
}

#[test]
fn several_cameras_see_one_part_and_the_worst_view_speaks_for_it() {
    let (folder, _model) = imported("dinov2-tiny");
    let other = CAMERA.replace("160", "200");
    let join = format!(
        "{CAMERA}\njoin = \"station\"\n[[camera]]\nname = \"side\"\n{other}\njoin = \"station\""
    );
    let (broker, listener, line) = running(folder.path(), &join);
    std::thread::sleep(Duration::from_secs(1)); // the other camera
    let answer = tell(
        &listener,
        broker.port,
        "trigger",
        r#"{"id":"a","camera":"station"}"#,
    );
    assert_eq!(
        answer["parts"].as_array().map(Vec::len),
        Some(1),
        "{answer}"
    );
    let result = next(&listener, "box/result");
    assert_eq!(
        (&result["camera"], &result["seq"]),
        (&json!("station"), &json!(1))
    );
    let views = result["views"].as_array().expect("a list");
    let mut cameras: Vec<&str> = views
        .iter()
        .filter_map(|view| view["camera"].as_str())
        .collect();
    cameras.sort_unstable();
    assert_eq!(cameras, ["side", "top"], "{result}");
    let scores: Vec<f64> = views
        .iter()
        .filter_map(|view| view["score"].as_f64())
        .collect();
    assert_eq!(
        result["score"].as_f64(),
        scores.iter().copied().reduce(f64::max)
    );
    ask_to_stop(&line);
    summary(&line.wait_with_output().expect("ends"));

    let another = |n| format!("\n[[camera]]\nname = \"side{n}\"\n{CAMERA}\njoin = \"station\"");
    let many = format!(
        "{CAMERA}\njoin = \"station\"{}",
        (0..8).map(another).collect::<String>()
    );
    for (camera, words) in [
        (
            format!("{CAMERA}\njoin = \"station\""),
            "has one camera only",
        ),
        (
            "kind = \"test\"\njoin = \"station\"".to_owned(),
            "camera[0].join: needs trigger = \"command\"",
        ),
        (join.replace("side", "station"), "is a camera's name"),
        (
            join.replacen("5000", "400", 1),
            "must have the same deadline_ms",
        ),
        (many, "has 9 cameras; at most 8 have room"),
    ] {
        write_line(folder.path(), 1, &camera);
        let output = start(folder.path()).wait_with_output().expect("ends");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(words), "{words:?} is not in {errors}");
    }
}

#[test]
fn a_recipe_is_selected_while_parts_come_and_is_still_there_after_a_crash() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::start(free_port());
    let listener = Listener::start(broker.port, "plant/box/#");
    write_line(
        folder.path(),
        broker.port,
        "kind = \"test\"\nfps = 20\nwidth = 160\nheight = 120",
    );
    let (line_file, other) = (
        folder.path().join("line.toml"),
        folder.path().join("bolt.toml"),
    );
    let text = std::fs::read_to_string(&line_file).expect("just written");
    std::fs::write(&line_file, format!("recipes = [\"bolt.toml\"]\n{text}")).expect("written");
    let references = text
        .lines()
        .find(|line| line.starts_with("references"))
        .expect("it has some");
    let recipe =
        format!("name = \"bolt\"\nrevision = 4\ninput_px = 98\nthreshold = 1.5\n{references}\n");
    std::fs::write(&other, &recipe).expect("written");
    let mut line = start(folder.path());
    assert_eq!(next(&listener, "box/result")["recipe"], "nut@1");
    let births = Listener::start(broker.port, "plant/box/birth");
    let port = broker.port;
    let refused = tell(
        &listener,
        port,
        "select_recipe",
        r#"{"id":"a","recipe":"screw"}"#,
    );
    assert!(
        refused["reason"]
            .as_str()
            .expect("words")
            .contains("there are bolt@4, nut@1"),
        "{refused}"
    );
    let refused = tell(
        &listener,
        port,
        "select_recipe",
        r#"{"id":"b","recipe":"bolt","revision":3}"#,
    );
    assert!(
        refused["reason"]
            .as_str()
            .expect("words")
            .contains("has revision 4 here, not 3"),
        "{refused}"
    );
    assert_eq!(
        tell(
            &listener,
            port,
            "select_recipe",
            r#"{"id":"c","recipe":"bolt"}"#
        )["status"],
        "accepted"
    );
    let outcome = next(&listener, "ack/select_recipe");
    assert_eq!(
        (&outcome["id"], &outcome["status"], &outcome["reason"]),
        (&json!("c"), &json!("done"), &json!("bolt@4"))
    );
    let result = until(&listener, "box/result", "recipe", "bolt@4");
    assert_eq!(
        (&result["threshold"], &result["verdict"]),
        (&json!(1.5), &json!("pass"))
    );
    let first = until(&births, "box/birth", "recipe", "nut@1");
    let bolt = until(&births, "box/birth", "recipe", "bolt@4");
    assert!(
        bolt["gallery"]
            .as_str()
            .is_some_and(|hash| hash.len() == 16),
        "{bolt}"
    );
    assert_eq!(
        first["gallery"], bolt["gallery"],
        "both are taught with the same pictures"
    );
    kill(&mut line);
    let fewer = recipe.lines().map(|line| match line.split_once(", ") {
        Some((first, _)) if line.starts_with("references") => format!("{first}]\n"),
        _ => format!("{line}\n"),
    });
    std::fs::write(&other, fewer.collect::<String>()).expect("written");
    let line = start(folder.path());
    let again = loop {
        let birth = next(&births, "box/birth");
        if birth["run_id"] != result["run_id"] {
            break birth;
        }
    };
    assert!(
        again["gallery"].is_string() && again["gallery"] != bolt["gallery"],
        "{again}"
    );
    assert_eq!(next(&listener, "box/result")["recipe"], "bolt@4");
    // One is being prepared and one waits when the line stops: both are told how it ended.
    let outcomes = Listener::start(port, "plant/box/ack/select_recipe");
    publish(
        port,
        "cmd/select_recipe",
        r#"{"id":"d","recipe":"nut"}"#,
        &[],
    );
    publish(
        port,
        "cmd/select_recipe",
        r#"{"id":"e","recipe":"bolt"}"#,
        &[],
    );
    let mut ended = std::collections::HashSet::new();
    let mut hear = || {
        let answer = next(&outcomes, "select_recipe");
        if answer["status"] != "accepted" {
            ended.insert(answer["id"].to_string());
        }
        ended.len()
    };
    hear();
    hear();
    ask_to_stop(&line);
    while hear() < 2 {}
    summary(&line.wait_with_output().expect("ends"));
}
