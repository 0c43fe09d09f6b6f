//! Pictures of parts that a line keeps: found by their keys, bit for bit, and never in a verdict's way.

use crate::harness::broker::Broker;
use crate::harness::disk::{on_the_disk_of, start_line};
use crate::harness::golden::{golden, imported};
use crate::harness::line::{
    FREE_RUNNING, LineConfig, all_arrived, dead_camera, folder_camera, run_to_its_end,
};
use crate::harness::plc::Listener;
use crate::harness::program::Running;
use crate::harness::require;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};
use winspect::evidence::kept::{KeptPart, find, stems};
use winspect::image::file;

/// A line that keeps each part in `evidence`.
const EACH: &str = "[evidence]\nfolder = \"evidence\"\npass_every = 1";

/// The kept part of a result. The folder is written beside the line, after the result.
#[track_caller]
fn kept(folder: &Path, result: &Value) -> KeptPart {
    let text = |key: &str| result[key].as_str().expect("text");
    let seq = result["seq"].as_u64().expect("a number");
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match find(folder, text("run_id"), text("camera"), seq) {
            Ok(kept) => return kept,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }

        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn each_part_is_found_by_its_key_as_the_camera_gave_it() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let results = Listener::results(broker.port);
    let evidence = folder.path().join("evidence");
    let camera = format!("{}\ndeadline_ms = 60000", folder_camera());
    let config = LineConfig::new(broker.port, &camera);
    config.write(folder.path());
    run_to_its_end(folder.path());
    assert!(!evidence.exists(), "nobody asked for evidence");
    results.wait_for("box/result", 4);

    config.tables(EACH).write(folder.path());
    assert_eq!(all_arrived(&run_to_its_end(folder.path())), 4);
    assert_eq!(stems(&evidence).expect("read").len(), 4);
    for _ in 0..4 {
        let result = results.next("box/result");
        let kept = kept(&evidence, &result);
        let file = golden("open-clip-tiny").join(result["part_id"].as_str().expect("a name"));
        let wanted = file::read(&file).expect("a golden picture");
        assert_eq!(kept.picture().expect("whole"), wanted, "{result}");
        let facts = &kept.facts;
        let as_json = |value: Option<f32>| serde_json::to_value(value).expect("a number");
        assert_eq!(
            serde_json::to_value(facts.verdict).expect("a word"),
            result["verdict"]
        );
        let near = |a: &Value, b: &Value| {
            let apart = a.as_f64().expect("a number") - b.as_f64().expect("a number");
            assert!(apart.abs() < 1e-3, "{a} is not {b}");
        };

        near(&as_json(facts.score), &result["score"]);
        near(&as_json(facts.threshold), &result["threshold"]);
        assert!(facts.map.is_some() && kept.part_picture().exists());
    }
}

#[test]
fn a_part_without_a_picture_has_a_picture_that_says_so() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let plc = Listener::station(broker.port);
    let camera = format!(
        "{}\ntrigger = \"command\"\ndeadline_ms = 300",
        dead_camera()
    );
    LineConfig::new(broker.port, &camera)
        .tables("[evidence]\nfolder = \"evidence\"")
        .write(folder.path());

    let line = Running::line(folder.path());
    plc.next("box/birth");
    plc.tell("trigger", r#"{"id":"1"}"#);
    let result = plc.next("box/result");
    assert_eq!(result["reason"], "camera_lost", "{result}");
    let kept = kept(&folder.path().join("evidence"), &result);
    assert!(kept.part_picture().exists() && kept.facts.picture.is_none());
    let refused = kept.picture().expect_err("none came").to_string();
    assert!(refused.contains("camera_lost"), "{refused}");
    line.summary();
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_bad_picture_is_kept_with_its_flaw() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let results = Listener::results(broker.port);
    LineConfig::new(broker.port, "kind = \"test\"\npattern = \"black\"\nfps = 2")
        .tables("[evidence]\nfolder = \"evidence\"")
        .write(folder.path());

    let line = Running::line(folder.path());
    let result = results.next("box/result");
    assert_eq!(result["reason"], "bad_image", "{result}");
    let kept = kept(&folder.path().join("evidence"), &result);
    let picture = kept.picture().expect("the black one");
    assert!(picture.rgb().iter().all(|value| *value < 20));
    assert!(kept.facts.map.is_none() && kept.part_picture().exists());
    let detail = kept.facts.detail.as_deref().unwrap_or_default();
    assert!(detail.contains("black"), "{detail}");
    line.summary();
}

#[test]
fn a_full_disk_costs_pictures_alone_and_is_told() {
    if !require("mount") {
        return;
    }

    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let plc = Listener::station(broker.port);
    LineConfig::new(broker.port, FREE_RUNNING)
        .mqtt("heatmaps = \"none\"")
        .tables("[evidence]\nfolder = \"disk/evidence\"\npass_every = 1\nmb = 1")
        .write(folder.path());

    let is_told = |state: &Value| state["causes"].to_string().contains("evidence: ");
    let line = start_line(folder.path(), "true");
    plc.next("box/result");
    let fill = "dd if=/dev/zero of=disk/other bs=64k 2> dd || true";
    on_the_disk_of(&line, folder.path(), fill);
    let state = plc.until_fits("box/state", is_told);
    assert_eq!(state["health"], "MAINTENANCE_REQUIRED", "{state}");
    let judged = plc.next("box/result");
    assert_ne!(judged["verdict"], "undecided", "{judged}");
    on_the_disk_of(&line, folder.path(), "rm disk/other");
    plc.until_fits("box/state", |state| !is_told(state));
    on_the_disk_of(
        &line,
        folder.path(),
        "ls disk/evidence/*_part.jpg > /dev/null",
    );
    all_arrived(&line.summary());
}
