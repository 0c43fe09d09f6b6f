//! The whole line as a user runs it: the binary, a real broker, a foreign client.

use crate::harness::broker::Broker;
use crate::harness::golden::imported;
use crate::harness::json;
use crate::harness::line::{assert_refused, command, folder_camera, summary, write_line};
use crate::harness::plc::Listener;
use crate::harness::program::Running;
use serde_json::{Value, json};
use std::path::Path;

#[test]
fn a_folder_ends_in_order_and_every_picture_is_judged() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let listener = Listener::station(broker.port);
    write_line(folder.path(), broker.port, &folder_camera());
    let cache = folder.path().join("cache");
    let mut command = command(folder.path());
    let line = Running::start(command.env("XDG_CACHE_HOME", &cache));
    let summary = summary(&line.end());
    let counted = json!({
        "captured": 4, "judged": 4, "replaced": 0, "skipped": 0, "failed": 0, "stopped": 0
    });

    assert_eq!(summary["cameras"]["top"], counted);
    assert_eq!(summary["balanced"], true, "{summary}");
    assert_eq!(summary["acknowledged"], 4, "{summary}");
    let results = listener.wait_for("box/result", 4);
    let results: Vec<Value> = results.iter().map(|line| json(line)).collect();
    let seqs: Vec<_> = results
        .iter()
        .map(|result| result["seq"].as_u64())
        .collect();

    assert_eq!(seqs, [Some(1), Some(2), Some(3), Some(4)]);
    // The two references score nothing against themselves.
    assert_eq!(results[1]["part_id"], "good_a.png");
    assert_eq!(results[1]["verdict"], "pass");
    for result in &results {
        assert!(result["part_id"].is_string() && result["verdict"].is_string());
    }

    listener.wait_for("availability", 1);
    // Where ONNX Runtime collects what it reports to its maker.
    assert!(!cache.join("Microsoft").exists(), "something is reported");
}

#[cfg(feature = "gstreamer")]
#[test]
fn dead_and_fast_cameras_do_not_touch_a_slow_one() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let listener = Listener::station(broker.port);
    // Frames that wait together are looked at together; the order stays.
    crate::harness::line::LineConfig::new(broker.port, &crate::harness::line::dead_camera())
        .head("batch = 4")
        .camera("fast", "kind = \"test\"\nfps = 60")
        .camera("slow", "kind = \"test\"\nfps = 4")
        .write(folder.path());

    let line = Running::line(folder.path());
    let mut slow = 0;
    while slow < 12 {
        let result = listener.next("box/result");
        slow += u64::from(result["camera"] == "slow");
        // Every frame of the slow one: none was replaced while the fast one was served.
        let is_next = result["camera"] != "slow" || result["seq"] == slow;
        assert!(is_next, "{result}");
    }

    let summary = line.summary();
    let cameras = &summary["cameras"];
    let count = |camera: &str, key: &str| cameras[camera][key].as_u64().expect("a number");
    assert_eq!(count("top", "captured"), 0, "{summary}");
    assert_eq!(count("slow", "replaced"), 0, "{summary}");
    assert!(count("fast", "captured") > count("slow", "captured"));
    assert_eq!(summary["balanced"], true);
}

#[test]
fn a_line_that_cannot_run_says_why() {
    let (folder, _model) = imported("dinov2-tiny");
    let cases = [
        ("kind = \"rstp\"", "did you mean \"rtsp\"?"),
        (
            "kind = \"file\"\nlocation = \"none.mp4\"",
            "none.mp4 is not there",
        ),
        (
            "kind = \"test\"\nfps = \"many\"",
            "camera[0].fps: must be a whole number",
        ),
    ];

    for (camera, words) in cases {
        write_line(folder.path(), 1, camera);
        assert_refused(folder.path(), 78, &[words]);
    }
}

#[test]
fn the_example_configuration_has_no_unknown_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/line.example.toml");
    let problems = winspect::config::load(&path)
        .err()
        .map(|problems| problems.to_string())
        .unwrap_or_default();

    // Its references are the user's to bring; nothing else may be wrong.
    for line in problems.lines() {
        assert!(line.starts_with("recipe.references: "), "{problems}");
    }
}
