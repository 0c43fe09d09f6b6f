//! A disk that hangs: parts get their results in time, and all of it is written once the disk answers.

use super::test_run::{FakePolicy, Run, settings};
use super::*;
use crate::base::health::Diagnostics;
use crate::base::systemd::Heartbeat;
use crate::data::part::tests::ask;
use crate::data::verdict::Reason;
use std::time::{Duration, Instant};

/// Time for which the disk hangs.
const HANG: Duration = Duration::from_millis(1500);
/// Deadline of the parts, which is over before that.
const DUE: Duration = Duration::from_millis(700);

#[test]
fn a_disk_that_hangs_makes_no_result_late_and_loses_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, opened, _) =
        Store::open(settings(folder.path()), "01A", Diagnostics::default()).expect("opens");

    let mut writer = StoreWriter::new(opened, FakePolicy::default());
    let began = Instant::now();
    writer.hang(HANG);
    // A trigger that comes meanwhile gets its number, and its answer.
    let asked = store.accept_durable_async(vec![ask("top", DUE)], None, |_| String::new());
    writer.once_with_nothing();
    let (parts, _) = asked.wait().expect("open");
    let took = began.elapsed();
    assert!(took < DUE, "accepted after {took:?}");
    // Nobody judges it; the deadline does not wait for the disk.
    std::thread::sleep(parts[0].due().saturating_duration_since(Instant::now()));
    writer.once_with_nothing();
    let entry = store.outbox().next().expect("the result");
    assert!(began.elapsed() < HANG, "the disk still hangs");
    assert_eq!(entry.row.reason, Some(Reason::CameraLost));
    assert!(writer.pending() > 0, "nothing is written so far");
    let told = Duration::from_millis(1200).saturating_sub(began.elapsed());
    std::thread::sleep(told);
    assert!(store.outbox().is_commit_hanging(), "health tells of it");
    store.acked(entry.key, true);
    writer.once();
    assert_eq!(writer.pending(), 0);
    drop(writer);
    drop(store);
    let run = Run::start(settings(folder.path()), "01B");
    assert_eq!(run.found.backlog, 0, "the broker has it");
    assert_eq!(run.found.previous[0].last_seq, 1);
    run.end();
}

#[test]
fn a_commit_that_is_quick_is_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, opened, _) =
        Store::open(settings(folder.path()), "01A", Diagnostics::default()).expect("opens");

    let mut writer = StoreWriter::new(opened, FakePolicy::default());
    writer.hang(Duration::from_millis(60));
    let asked = store.accept_durable_async(vec![ask("top", HANG)], None, |_| String::new());
    writer.once_with_nothing();
    asked.wait().expect("open");
    assert_eq!(writer.pending(), 0, "it is on the disk");
}

#[test]
fn a_part_that_comes_while_a_commit_hangs_has_its_result_by_its_own_deadline() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, opened, _) =
        Store::open(settings(folder.path()), "01A", Diagnostics::default()).expect("opens");

    let mut writer = StoreWriter::new(opened, FakePolicy::default());
    writer.hang(HANG);
    let running = std::thread::spawn(move || writer.run(&Heartbeat::default()));
    // The commit of the first is waited for, for half a second.
    let first = store.accept_durable_async(vec![ask("top", HANG)], None, |_| String::new());
    std::thread::sleep(Duration::from_millis(30));
    let began = Instant::now();
    let quick = Duration::from_millis(200);
    let asked = store.accept_durable_async(vec![ask("side", quick)], None, |_| String::new());
    asked.wait().expect("open");
    first.wait().expect("open");
    while store.outbox().next().is_none() {
        assert!(began.elapsed() < quick * 2, "it is late");
        std::thread::sleep(Duration::from_millis(2));
    }

    drop(store);
    running.join().expect("no panic");
}

#[test]
fn no_work_on_a_slow_disk_makes_a_result_late() {
    let folder = tempfile::tempdir().expect("a folder");
    let bounded = StoreSettings {
        waiting_max: 20,
        ..settings(folder.path())
    };

    let run = Run::start(settings(folder.path()), "01A");
    run.accept(40);
    run.end(); // all of them wait for the next run
    let (store, opened, _) = Store::open(bounded, "01B", Diagnostics::default()).expect("opens");
    let mut writer = StoreWriter::new(opened, FakePolicy::default());
    // A page is read, results are given up, the file is looked after, each for so long.
    writer.delay(HANG);
    let running = std::thread::spawn(move || writer.run(&Heartbeat::default()));
    let due = Duration::from_millis(600);
    for seq in 1..=8 {
        let asked = store.accept_durable_async(vec![ask("top", due)], None, |_| String::new());
        let (parts, _) = asked.wait().expect("open");
        let result = loop {
            match store.outbox().next() {
                Some(entry) if entry.until.is_some() => break entry,
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        };

        let late = parts[0].due().elapsed();
        assert_eq!(result.row.seq, seq);
        assert!(late < Duration::from_millis(250), "late by {late:?}");
        store.acked(result.key, true);
    }

    drop(store);
    running.join().expect("no panic");
}

#[test]
fn a_panic_in_the_disk_ends_the_writer_with_its_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, opened, _) =
        Store::open(settings(folder.path()), "01A", Diagnostics::default()).expect("opens");

    let mut writer = StoreWriter::new(opened, FakePolicy::default());
    writer.panic_in_the_disk("no such page");
    let running = std::thread::spawn(move || writer.run(&Heartbeat::default()));
    let panic = running.join().expect_err("the writer ends");
    let words = panic.downcast_ref::<String>().expect("words");
    assert_eq!(words, "the store's disk thread: no such page");
    drop(store);
}
