//! Disks that fail under a line: read-only, full from the start, or filling up.

use crate::harness::broker::Broker;
use crate::harness::disk::{on_the_disk_of, start_line};
use crate::harness::golden::imported;
use crate::harness::line::{FREE_RUNNING, LineConfig, all_arrived};
use crate::harness::plc::Listener;
use crate::harness::require;
use serde_json::Value;
use std::path::Path;

const FILL: &str = "dd if=/dev/zero of=disk/other bs=64k 2> dd || true";

/// A line whose store is on the disk.
fn write_line(folder: &Path, port: u16) {
    LineConfig::new(port, FREE_RUNNING)
        .tables("[store]\nfile = \"disk/box.db\"")
        .write(folder);
}

/// True if a state says that results are not on the disk.
fn is_told(state: &Value) -> bool {
    let causes = state["causes"].to_string();
    causes.contains("results are not on the disk")
}

/// A line whose disk is left by `prepare` in a state whose cause says `reason`, and mended later.
fn check_start(prepare: &str, mend: &str, reason: &str) {
    if !require("mount") {
        return;
    }

    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let plc = Listener::station(broker.port);
    write_line(folder.path(), broker.port);
    let line = start_line(folder.path(), prepare);
    let state = plc.until_fits("box/state", is_told);
    let causes = state["causes"].to_string();
    assert!(causes.contains(reason), "{state}");
    let judged = plc.next("box/result");
    assert_ne!(judged["verdict"], "undecided", "{judged}");
    on_the_disk_of(&line, folder.path(), mend);
    plc.until_fits("box/state", |state| !is_told(state));
    let seq = judged["seq"].as_u64();
    plc.until_fits("box/result", |result| result["seq"].as_u64() > seq);
    on_the_disk_of(&line, folder.path(), "test -s disk/box.db");
    all_arrived(&line.summary());
}

#[test]
fn a_read_only_disk_is_told_and_used_once_mended() {
    check_start(
        "mount -o remount,ro disk",
        "mount -o remount,rw disk",
        "Read-only file system",
    );
}

#[test]
fn a_full_disk_is_told_and_used_once_mended() {
    check_start(FILL, "rm disk/other", "full");
}

#[test]
fn a_disk_that_fills_up_is_told_and_nothing_lost() {
    if !require("mount") {
        return;
    }

    let (folder, _model) = imported("dinov2-tiny");
    let broker = Broker::anywhere();
    let results = Listener::results(broker.port);
    let states = Listener::start(broker.port, "plant/box/state");
    write_line(folder.path(), broker.port);
    let line = start_line(folder.path(), "true");
    let mut seqs: Vec<u64> = vec![];
    let mut hear_until = |seq: u64| {
        while seqs.last() < Some(&seq) {
            seqs.push(results.next("")["seq"].as_u64().expect("a number"));
        }

        seqs.clone()
    };

    let before = hear_until(5).len() as u64;
    on_the_disk_of(&line, folder.path(), FILL);
    let state = states.until_fits("box/state", is_told);
    assert_eq!(state["health"], "OFF_SPEC", "{state}");
    assert!(state["causes"].to_string().contains("full"), "{state}");
    hear_until(before + 40);
    on_the_disk_of(&line, folder.path(), "rm disk/other");
    states.until_fits("box/state", |state| {
        !is_told(state) && state["health"] == "NORMAL"
    });

    let parts = all_arrived(&line.summary());
    let seqs = hear_until(parts);
    assert!(seqs.iter().copied().eq(1..=parts), "{seqs:?}");
}
