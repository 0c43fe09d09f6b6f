//! Results over the runs of a real file: each has one, in order, by its deadline, and is counted.

use super::database::Database;
use super::row::{RowState, Write};
use super::test_run::{DEADLINE, FakePolicy, Run, as_killed, passed, settings};
use super::*;
use crate::base::health::Diagnostics;
use crate::base::systemd::Heartbeat;
use crate::data::part::tests::ask;
use crate::data::report::Report;
use crate::data::report::tests::judge;
use crate::data::result::tests::row;
use crate::data::verdict::{Reason, Verdict};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[test]
fn a_run_that_is_renamed_before_its_first_part_has_the_new_id_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, mut opened, _) =
        Store::open(settings(folder.path()), "01A", Diagnostics::default()).expect("opens");
    opened.rename_run("01B");
    let writer = StoreWriter::new(opened, FakePolicy::default());
    let writer = std::thread::spawn(move || writer.run(&Heartbeat::default()));
    let parts = store.accept_durable(vec![ask("top", DEADLINE)]);
    assert_eq!(&*parts.expect("open")[0].run_id, "01B");
    drop(store);
    drop(writer.join());
    let run = Run::start(settings(folder.path()), "01C");
    assert_eq!(run.found.previous[0].run_id, "01B");
    run.end();
}

#[test]
fn what_was_open_or_undelivered_is_sent_by_the_next_run_under_its_own_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");
    assert!(run.found.previous.is_empty());
    let parts = run.accept(3);
    run.pass(&parts[0]);
    run.pass(&parts[1]);
    let first = run.next().expect("settled");
    run.store.acked(first.key, true);
    run.until(|count| count.acked == 1);
    run.end(); // as a crash does, but for what the writer still had in its hands

    let run = Run::start(settings(folder.path()), "01B");
    assert_eq!(
        run.found.previous,
        [Previous {
            run_id: "01A".into(),
            camera: "top".into(),
            last_seq: 3
        }]
    );

    let late = [run.next().expect("waits"), run.next().expect("waits")];
    assert!(late.iter().all(|waiting| waiting.until.is_none()));
    let said = |entry: &OutboxEntry| (entry.row.seq, entry.row.verdict, entry.row.reason);
    assert_eq!(said(&late[0]), (2, Verdict::Pass, None));
    let open = (3, Verdict::Undecided, Some(Reason::Late));
    assert_eq!(said(&late[1]), open);
    assert!(run.accept(1)[0].key > parts[2].key);
    late.iter()
        .for_each(|waiting| run.store.acked(waiting.key, true));

    run.until(|count| count.waiting == 0);
    run.end();
    let run = Run::start(settings(folder.path()), "01C");

    // The third run begins with what the second left open.
    assert_eq!(
        run.next().map(|waiting| waiting.key),
        Some(parts[2].key + 1)
    );

    run.end();
}

#[test]
fn a_part_that_was_numbered_at_once_has_its_row_and_one_result_even_when_that_is_quicker() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");
    let part = run
        .store
        .accept(vec![ask("top", DEADLINE)])
        .expect("open")
        .remove(0);

    run.pass(&part);
    let due = run
        .store
        .accept(vec![ask("top", Duration::ZERO)])
        .expect("open")
        .remove(0);

    let said = [
        run.next().expect("settled"),
        run.next().expect("due at once"),
    ];

    assert_eq!(said.map(|waiting| waiting.key), [part.key, due.key]);
    run.store.accept(vec![ask("top", DEADLINE)]).expect("open");
    run.store.close();
    assert!(run.store.accept(vec![ask("top", DEADLINE)]).is_err());
    let count = run.store.count();
    assert_eq!((count.accepted, count.results, count.open), (3, 3, 0));
    run.end();
    let run = Run::start(settings(folder.path()), "01B");
    assert_eq!((run.found.backlog, run.found.previous[0].last_seq), (3, 3));
    run.end();
}

#[test]
fn a_deadline_is_kept_without_anybody_asking_and_the_verdict_comes_late() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");
    let part = run
        .store
        .accept_durable(vec![ask("top", Duration::from_millis(30))])
        .expect("open")
        .remove(0);

    let said = run.next().expect("at its deadline");
    assert!(part.due().elapsed() < Duration::from_secs(1));
    assert_eq!(said.row.reason, Some(Reason::CameraLost));
    run.pass(&part);
    let late = run.next().expect("for the record");
    assert!(late.until.is_none() && late.row.verdict == Verdict::Pass);
    let count = run.store.count();
    assert_eq!(
        (count.accepted, count.results, count.late, count.open),
        (1, 1, 1, 0)
    );

    run.end();
}

#[test]
fn what_is_open_when_the_line_stops_is_undecided_and_nothing_more_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");
    run.accept(1);
    run.store.close();
    assert_eq!(
        run.next().expect("closed").row.reason,
        Some(Reason::NotReady)
    );

    assert_eq!(
        run.store.accept_durable(vec![ask("top", DEADLINE)]).err(),
        Some(Closed)
    );

    run.end();
}

#[test]
fn the_last_run_is_the_last_one_even_when_the_clock_went_back() {
    let folder = tempfile::tempdir().expect("a folder");

    for run_id in ["01B", "01A"] {
        let run = Run::start(settings(folder.path()), run_id);
        run.accept(2);
        run.end();
    }

    let run = Run::start(settings(folder.path()), "01C");
    assert_eq!(
        run.found.previous,
        [Previous {
            run_id: "01A".into(),
            camera: "top".into(),
            last_seq: 2
        }]
    );

    run.end();
}

#[test]
fn what_waits_is_found_without_reading_what_is_delivered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (database, _) = Database::open(&folder.path().join("box.db"), Sync::Normal).expect("opens");
    let plan = database.plan_of_a_page();
    assert!(plan.contains("part_not_done"), "{plan}");
}

#[test]
fn the_next_run_finds_all_that_a_killed_one_left_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut settings, copy) = (settings(folder.path()), folder.path().join("killed.db"));
    let (mut database, _) = Database::open(&settings.file, Sync::Normal).expect("opens");
    let write = |key: u64, state| {
        let mut row = row(["a", "b"][key as usize % 2], key);
        row.detail = Some("x".repeat(200));
        Write::Part {
            key,
            state,
            row: row.into(),
        }
    };

    // Half of them delivered, half for a broker that was away, the last ones as they are while a line works.
    let state = |key| match key {
        0..5_000 => RowState::Acked,
        5_000..9_800 => RowState::Backlog,
        9_800..9_990 => RowState::Live,
        _ => RowState::Open,
    };

    for thousand in 0..10 {
        let mut writes: Vec<Write> = (thousand * 1000..(thousand + 1) * 1000)
            .map(|key| write(key + 1, state(key)))
            .collect();

        let answer = |n| Write::Answer {
            id: format!("{thousand}-{n}"),
            answer: "y".repeat(150),
        };

        writes.extend((0..100).map(answer));
        database.write("01A", &writes).expect("writes");
    }

    as_killed(&settings.file, &copy);
    settings.file = copy;
    let (_store, _opened, found) =
        Store::open(settings, "01B", Diagnostics::default()).expect("opens");

    assert_eq!(
        (found.backlog, found.next_key, found.answers.len()),
        (5_000, 10_001, 1_000)
    );
}

#[test]
fn what_the_broker_acknowledged_is_not_given_up_nor_read_again_before_the_file_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let causes = Diagnostics::default();
    let (store, opened, _) = Store::open(settings(folder.path()), "01A", causes).expect("opens");
    let mut writer = StoreWriter::new(opened, FakePolicy::default());
    let parts = store
        .accept((0..3).map(|_| ask("top", DEADLINE)).collect())
        .expect("open");

    for part in &parts {
        store.submit(vec![passed(part)]);
    }

    writer.once();
    writer.disk(true);
    let first = store.outbox().next().expect("settled");
    store.acked(first.key, true);
    store.audit("x".repeat(100_000)); // for which there is no room
    writer.once();
    assert_eq!(
        store.outbox().queues().forget_late(),
        [first.key],
        "not to be deleted as one that waits"
    );

    let read = OutboxEntry {
        until: None,
        ..first.clone()
    };

    store.outbox().queues().put_late(read);
    assert_eq!(store.count().waiting, 2, "not taken from the file again");
    writer.disk(false);
    store.audit("");
    writer.once();
    assert!(store.outbox().queues().acked.is_empty());
}

#[test]
fn results_that_come_back_when_the_link_is_lost_wait_in_the_file_and_none_is_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, opened, _) =
        Store::open(settings(folder.path()), "01A", Diagnostics::default()).expect("opens");

    let mut writer = StoreWriter::new(opened, FakePolicy::default());
    let judged = |writer: &mut StoreWriter| {
        let parts = store
            .accept((0..1500).map(|_| ask("top", DEADLINE)).collect())
            .expect("open");

        let reports = parts
            .into_iter()
            .map(|part| Report::undecided(part.clone(), Reason::NotReady, &judge(&part)));

        store.submit(reports.collect());
        writer.once();
    };

    judged(&mut writer);
    assert_eq!(std::iter::from_fn(|| store.outbox().next()).count(), 1500);
    judged(&mut writer);
    store.outbox().rewind();

    for _ in 0..2 {
        writer.once_with_nothing();
        assert_eq!(store.count().waiting, 3000);
    }
}

/// Looks at the counters all the time, until the flag is set; how often.
fn auditor(store: &Store, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let (outbox, stop) = (store.outbox().clone(), stop.clone());
    std::thread::spawn(move || {
        let mut looks = 0;

        while !stop.load(Ordering::Relaxed) {
            let count = outbox.count();
            assert!(count.balances(), "{count:?}");
            looks += 1;
        }

        looks
    })
}

#[test]
fn the_counters_balance_at_any_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let bounded = StoreSettings {
        waiting_max: 4000,
        ..settings(folder.path())
    };

    for (run_id, stays) in [("01A", 7), ("01B", 3)] {
        let run = Run::start(bounded.clone(), run_id);
        let stop = Arc::new(AtomicBool::new(false));
        let auditor = auditor(&run.store, &stop);
        let outbox = run.store.outbox();

        for round in 0..80 {
            // Some are too late before they are judged, some are numbered at once.
            let asks = (0..100).map(|n| {
                ask(
                    "top",
                    if n % 10 == 0 {
                        Duration::from_millis(1)
                    } else {
                        DEADLINE
                    },
                )
            });

            let parts = if round % 2 == 0 {
                run.store.accept_durable(asks.collect())
            } else {
                run.store.accept(asks.collect())
            };

            run.store
                .submit(parts.expect("open").iter().map(passed).collect());

            // The broker takes a part of them, and the link is lost now and then.
            for at in 0..90 {
                let Some(waiting) = outbox.next() else { break };

                if at % stays != 0 {
                    run.store.acked(waiting.key, at % 20 != 1);
                }
            }

            if round % 9 == 0 {
                outbox.rewind();
            }
        }

        run.until(|count| count.open == 0);
        stop.store(true, Ordering::Relaxed);
        let looks = auditor.join().expect("they balance");
        let count = run.store.count();
        assert!(
            looks > 1000 && count.late > 0 && count.given_up > 0 && count.acked > 0,
            "{looks} looks, {count:?}"
        );

        assert_eq!(count.earlier > 0, run_id == "01B");
        run.end();
    }
}

/// After a long outage thousands of triggers come at once, more than memory holds, and the publisher
/// takes longer than their time.
#[test]
fn a_burst_leaves_in_order_on_both_topics() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bounded = settings(folder.path());
    bounded.reject_window = Duration::from_millis(100);
    let run = Run::start(bounded, "01A");
    let outbox = run.store.outbox().clone();
    let store = run.store.clone();
    let total = 6000;
    let publisher = std::thread::spawn(move || {
        let mut live = vec![];
        let mut late = vec![];
        let mut seen = std::collections::HashSet::new();
        let mut waits = 0;

        while live.len() + late.len() < total && waits < 9000 {
            let Some(entry) = outbox.next() else {
                waits += 1;
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };

            let is_live = entry.until.is_some();
            if entry.until.is_some_and(|until| until <= Instant::now()) {
                outbox.give_back(entry.key);
                continue;
            }

            store.acked(entry.key, true);
            let place = (entry.row.camera.clone(), entry.row.seq);

            // A verdict that came after its part's deadline is for the record.
            if !seen.insert(place.clone()) {
                continue;
            }

            match is_live {
                true => live.push(place),
                false => late.push(place),
            }

            if entry.key % 2 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }

        (live, late)
    });

    for chunk in 0..total / 30 {
        let due = Duration::from_millis(250);
        let asks = (0..30).map(|n| ask(["top", "left", "right"][(n + chunk) % 3], due));
        let parts = run.store.accept_durable(asks.collect()).expect("open");
        let reports = parts.iter().map(passed).collect();
        run.store.submit(reports);
    }

    let (live, late) = publisher.join().expect("no panic");
    assert_eq!(live.len() + late.len(), total);

    for (name, topic) in [("live", live), ("late", late)] {
        for camera in ["top", "left", "right"] {
            let seqs: Vec<u64> = topic
                .iter()
                .filter(|(of, _)| of == camera)
                .map(|(_, seq)| *seq)
                .collect();
            let first = seqs.windows(2).find(|pair| pair[0] > pair[1]);
            assert_eq!(first, None, "{name} {camera} of {}", seqs.len());
        }
    }

    run.end();
}
