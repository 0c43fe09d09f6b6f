//! Promises that a small fault in the wrong place would break, each by a test that was seen red with that
//! fault planted (docs/reliability.md): an answer before its commit, and a deadline that comes late.

use crate::harness::broker::Broker;
use crate::harness::disk::SlowDisk;
use crate::harness::golden::imported;
use crate::harness::line::{LineConfig, TRIGGERED, dead_camera};
use crate::harness::plc::{Listener, publish};
use crate::harness::program::Running;
use crate::harness::require;
use std::time::{Duration, Instant};

#[test]
fn an_answer_waits_until_its_number_is_on_the_disk() {
    if !require("cc") {
        return;
    }

    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let plc = Listener::station(broker.port);
    LineConfig::new(broker.port, TRIGGERED).write(folder.path());
    let disk = SlowDisk::make(folder.path());
    let line = disk.start_line(folder.path());
    plc.until("camera/top/status", "state", "online");
    // A disk that takes longer than half a second counts as one that fails, and is not waited for.
    let hang = Duration::from_millis(300);
    for number in 1..=3 {
        disk.set(hang);
        let asked = Instant::now();
        let trigger = format!(r#"{{"id":"t{number}"}}"#);
        publish(broker.port, "cmd/trigger", &trigger, &[]);
        let answer = plc.answered("trigger");
        let took = asked.elapsed();
        assert_eq!(answer["status"], "accepted", "{answer}");
        assert!(
            took >= hang,
            "answered after {took:?}, on a disk that takes {hang:?}"
        );
        disk.set(Duration::ZERO);
        plc.until_fits("box/result", |result| result["seq"] == number);
    }

    line.summary();
}

#[test]
fn a_part_is_undecided_when_its_deadline_comes() {
    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let plc = Listener::station(broker.port);
    let camera = format!(
        "{}\ntrigger = \"command\"\ndeadline_ms = 300",
        dead_camera()
    );
    LineConfig::new(broker.port, &camera).write(folder.path());
    let line = Running::line(folder.path());
    plc.next("box/birth");
    let mut late = vec![];
    for number in 1..=9 {
        let trigger = format!(r#"{{"id":"t{number}"}}"#);
        plc.ask("trigger", &trigger, "accepted");
        let result = plc.next("box/result");
        let total = result["latency_ms"]["total"].as_f64().expect("a number");
        late.push(total - 300.0);
    }

    // A busy machine makes some of them late; the middle one is not.
    late.sort_by(f64::total_cmp);
    assert!(late[0] >= 0.0, "before the deadline: {late:?} ms");
    assert!(late[4] < 100.0, "after the deadline: {late:?} ms");
    line.summary();
}
