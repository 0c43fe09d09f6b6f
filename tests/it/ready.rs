//! `state` says whether a part that came now would be judged, and what the broker keeps of an earlier
//! line does not mislead.

use crate::harness::broker::Broker;
use crate::harness::contrary::ContraryBroker;
use crate::harness::golden::imported;
use crate::harness::line::{FREE_RUNNING, LineConfig, TRIGGERED, dead_camera, write_line};
use crate::harness::plc::Listener;
use crate::harness::program::Running;
use crate::harness::station::Station;
use crate::harness::wait_until;
use std::time::Duration;

#[test]
fn a_line_is_ready_when_a_part_would_be_judged() {
    let station = Station::start(TRIGGERED);
    let states = station.listen("state");
    let ready = states.until_fits("box/state", |state| state["ready"] == true);
    assert_eq!(ready["state"], "Ready", "{ready}");
    station.plc.ask("pause", r#"{"id":"a"}"#, "done");
    let paused = states.until("box/state", "state", "Initialized");
    assert_eq!(paused["ready"], false, "{paused}");
    station.plc.ask("resume", r#"{"id":"b"}"#, "done");
    let resumed = states.until("box/state", "state", "Ready");
    assert_eq!(resumed["ready"], true, "{resumed}");
    station.summary();
}

#[test]
fn a_line_whose_only_camera_is_dead_is_not_ready() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let plc = Listener::station(broker.port);
    let camera = format!("{}\ntrigger = \"command\"", dead_camera());
    write_line(folder.path(), broker.port, &camera);
    let line = Running::line(folder.path());
    let state = plc.until("box/state", "state", "Error");
    assert_eq!(state["ready"], false, "{state}");
    assert_eq!(state["health"], "FAILURE", "{state}");
    line.summary();
}

#[test]
fn a_line_with_one_dead_camera_of_two_works_and_is_not_ready() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    // Each topic has a listener of its own: which of them speaks first is chance.
    let results = Listener::start(broker.port, "plant/box/result");
    let states = Listener::start(broker.port, "plant/box/state");
    LineConfig::new(broker.port, FREE_RUNNING)
        .camera("side", &dead_camera())
        .write(folder.path());

    let line = Running::line(folder.path());
    results.next("box/result");
    let state = states.until_fits("box/state", |state| {
        state["health"] == "FAILURE" && state["state"] == "ContinuousExecution"
    });

    assert_eq!(state["ready"], false, "{state}");
    line.summary();
}

#[test]
fn a_camera_whose_pictures_are_bad_is_not_ready() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let plc = Listener::station(broker.port);
    let camera = format!("{FREE_RUNNING}\npattern = \"black\"");
    write_line(folder.path(), broker.port, &camera);
    let line = Running::line(folder.path());
    let state = plc.until("box/state", "health", "FAILURE");
    assert_eq!(state["ready"], false, "{state}");
    line.summary();
}

#[test]
fn a_threshold_that_everything_passes_is_not_ready() {
    let station = Station::start(TRIGGERED);
    let states = station.listen("state");
    states.until_fits("box/state", |state| state["ready"] == true);
    let high = r#"{"id":"a","value":1.9}"#;
    station.plc.ask("set_threshold", high, "done");
    let state = states.until("box/state", "health", "FAILURE");
    assert_eq!(state["ready"], false, "{state}");
    station.summary();
}

#[test]
fn a_line_whose_results_are_refused_is_not_ready_until_they_are_taken() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    broker.set(|rules| rules.refuses = vec![("/result", 0x87)]);
    write_line(folder.path(), broker.port, FREE_RUNNING);
    let line = Running::line(folder.path());
    broker.wait_for("state", |heard| {
        heard.payload.contains(r#""results: "#) && heard.payload.contains(r#""ready":false"#)
    });

    broker.set(|rules| rules.refuses.clear());
    let before = broker.heard("state").len();
    wait_until("a line that is ready", Duration::from_secs(60), || {
        let states = broker.heard("state");
        let mut since = states.iter().skip(before);
        since.any(|heard| heard.payload.contains(r#""ready":true"#))
    });

    line.summary();
}

#[test]
fn an_area_beyond_the_pictures_is_told_and_the_line_is_not_ready() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let plc = Listener::station(broker.port);
    let area = "trigger = \"presence\"\npresence = { area = [0, 100, 160, 40] }";
    write_line(
        folder.path(),
        broker.port,
        &format!("{FREE_RUNNING}\n{area}"),
    );

    let line = Running::line(folder.path());
    let state = plc.until("box/state", "health", "FAILURE");
    assert_eq!(state["ready"], false, "{state}");
    let causes = state["causes"].to_string();
    let words = "presence of top: presence.area 0,100,160,40 is beyond";
    assert!(causes.contains(words), "{causes}");
    line.summary();
}

#[test]
fn what_the_broker_keeps_of_a_camera_that_is_gone_is_cleared() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    LineConfig::new(broker.port, FREE_RUNNING)
        .camera("side", FREE_RUNNING)
        .write(folder.path());

    let line = Running::line(folder.path());
    wait_until("verdicts of both", Duration::from_secs(60), || {
        ["top", "side"]
            .iter()
            .all(|name| !broker.heard(&format!("result/last/{name}")).is_empty())
    });

    line.summary();
    write_line(folder.path(), broker.port, FREE_RUNNING);
    let line = Running::line(folder.path());
    for topic in ["camera/side/status", "result/last/side"] {
        let cleared = broker.wait_for(topic, |heard| heard.payload.is_empty());
        assert!(cleared.is_retained, "{cleared:?}");
    }

    line.summary();
    for topic in ["camera/top/status", "result/last/top"] {
        let last = broker.heard(topic).pop().expect("told");
        assert!(!last.payload.is_empty(), "{topic}");
    }
}

#[test]
fn what_the_broker_keeps_of_a_region_that_is_gone_is_cleared() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = ContraryBroker::start();
    let line_of = |regions: &[&str]| {
        let tables = regions
            .iter()
            .map(|name| format!("[[recipe.region]]\nname = \"{name}\"\ncrop = [0, 0, 80, 80]\n"));

        LineConfig::new(broker.port, FREE_RUNNING)
            .tables(&tables.collect::<String>())
            .write(folder.path());
        Running::line(folder.path())
    };

    let told_of = |topic: &str| !broker.heard(&format!("result/last/{topic}")).is_empty();
    let line = line_of(&["rim", "thread"]);
    wait_until("verdicts of both", Duration::from_secs(60), || {
        told_of("top/rim") && told_of("top/thread")
    });

    line.summary();
    // One region is gone; then the camera has one part again, without regions.
    let line = line_of(&["rim"]);
    let cleared = broker.wait_for("result/last/top/thread", |heard| heard.payload.is_empty());
    assert!(cleared.is_retained, "{cleared:?}");
    line.summary();
    let line = line_of(&[]);
    broker.wait_for("result/last/top/rim", |heard| heard.payload.is_empty());
    wait_until("verdicts of the whole", Duration::from_secs(60), || {
        told_of("top")
    });

    line.summary();
    for (topic, is_kept) in [("top", true), ("top/rim", false), ("top/thread", false)] {
        let last = broker.heard(&format!("result/last/{topic}"));
        let last = last.last().expect("told");
        assert_eq!(!last.payload.is_empty(), is_kept, "{topic}");
    }
}
