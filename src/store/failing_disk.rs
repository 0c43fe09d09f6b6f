//! Disks that are full or fail, and files that are broken or no store: the line goes on, it is told, and nothing is lost that
//! need not be.

use super::database::Database;
use super::row::Write;
use super::test_run::{DEADLINE, FakePolicy, Run, passed, settings};
use super::*;
use crate::base::health::{Diagnostics, Health};
use crate::data::part::tests::ask;
use crate::data::result::tests::row;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Most of its pages say nothing any more, as after a bad sector.
fn break_it(file: &Path) {
    use std::os::unix::fs::FileExt;
    let length = std::fs::metadata(file).expect("there").len();
    let file = std::fs::File::options()
        .write(true)
        .open(file)
        .expect("opens");

    file.write_all_at(&vec![0x5a; length as usize - 4096], 4096)
        .expect("written");
}

#[test]
fn a_full_disk_is_told_and_the_line_goes_on_until_it_is_mended() {
    let folder = tempfile::tempdir().expect("a folder");
    let causes = Diagnostics::default();
    let (store, mut opened, _) =
        Store::open(settings(folder.path()), "01A", causes.clone()).expect("opens");

    opened.database().fill_up(true);
    let mut writer = StoreWriter::new(opened, FakePolicy { filler: 2000 });
    let mut round = |store: &Store, full: Option<bool>| {
        full.into_iter().for_each(|full| writer.disk(full));
        let (asks, to) = (
            (0..20).map(|_| ask("top", DEADLINE)).collect(),
            store.clone(),
        );

        let asked = std::thread::spawn(move || to.accept_durable(asks));
        while !asked.is_finished() {
            writer.once();
        }

        asked.join().expect("no panic").expect("open").len()
    };

    assert_eq!(round(&store, None), 20);
    let (health, told) = causes.all();
    assert_eq!(health, Health::OffSpec);
    assert!(told[0].contains("database or disk is full"), "{told:?}");
    assert_eq!(round(&store, Some(false)), 20);
    assert_eq!(causes.all().0, Health::Normal);
    drop(writer);
    let run = Run::start(settings(folder.path()), "01B");
    assert_eq!(
        (run.found.backlog, run.found.previous[0].last_seq),
        (40, 40)
    );

    run.end();
}

#[test]
fn a_disk_that_is_full_when_the_line_starts_does_not_keep_it_from_judging_and_is_used_once_there_is_room()
 {
    let settings = StoreSettings {
        file: layer::path("start.db").into(),
        ..settings(Path::new(""))
    };

    let run = Run::start(settings.clone(), "01A");
    let parts = run.accept(3);
    run.pass(&parts[0]);
    run.next().expect("settled");
    run.end();

    layer::fill("start.db", true);
    let run = Run::start(settings.clone(), "01B");
    let (health, told) = run.causes.all();
    assert_eq!(health, Health::OffSpec);
    assert!(
        told[0].contains("results are not on the disk: database or disk is full"),
        "{told:?}"
    );

    assert_eq!(
        run.found.previous,
        [Previous {
            run_id: "01A".into(),
            camera: "top".into(),
            last_seq: 3
        }]
    );

    let own = run.accept(2);
    assert_eq!((own[1].seq, own[0].key), (2, parts[2].key + 1));
    run.pass(&own[0]);
    let live = run.next().expect("settled");
    assert_eq!((live.key, live.until.is_some()), (own[0].key, true));
    assert!(run.store.outbox().next().is_none());

    layer::fill("start.db", false);
    let late: Vec<u64> = std::iter::from_fn(|| run.next())
        .map(|waiting| waiting.key)
        .collect();

    assert_eq!(
        late,
        parts.iter().map(|part| part.key).collect::<Vec<_>>(),
        "what the run before left, and not our own"
    );

    assert_eq!(run.causes.all().0, Health::Normal);
    run.end();
    let run = Run::start(settings, "01C");
    assert_eq!(
        run.found.previous,
        [Previous {
            run_id: "01B".into(),
            camera: "top".into(),
            last_seq: 2
        }]
    );

    assert_eq!(run.found.backlog, 5);
    run.end();
}

#[test]
fn a_store_that_is_broken_beyond_its_first_page_is_moved_aside_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");
    run.accept(50);
    run.end();
    break_it(&folder.path().join("box.db"));
    let run = Run::start(settings(folder.path()), "01B");
    assert!(run.causes.all().1[0].contains("the store was broken"));
    assert_eq!(run.accept(1)[0].seq, 1);
    run.end();
}

#[test]
fn a_store_that_breaks_while_the_line_runs_is_moved_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("box.db");
    let causes = Diagnostics::default();
    let (store, mut opened, _) =
        Store::open(settings(folder.path()), "01B", causes.clone()).expect("opens");

    opened.database().forget_pages();
    break_it(&file);
    let mut writer = StoreWriter::new(opened, FakePolicy::default());
    let aside = || {
        let all = std::fs::read_dir(folder.path()).expect("there").flatten();
        all.filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("box.db.broken-")
        })
        .count()
    };

    store.audit("something");
    writer.once();
    assert_eq!(aside(), 1);
    store.audit("something else");
    writer.disk(false);
    writer.once();
    let (health, told) = causes.all();
    assert!(
        health == Health::OffSpec && told.len() == 1 && told[0].contains("moved to"),
        "{told:?}"
    );

    drop((store, writer));
    let (database, _) = Database::open(&file, Sync::Normal).expect("opens");
    assert!(
        database
            .audit()
            .expect("works")
            .iter()
            .any(|(_, what)| what.contains("the store was broken"))
    );
}

#[test]
fn what_waits_for_a_file_that_was_not_there_at_the_start_is_not_given_up_when_it_comes() {
    let settings = StoreSettings {
        file: layer::path("unread.db").into(),
        ..settings(Path::new(""))
    };

    layer::fill("unread.db", true);
    let run = Run::start(settings.clone(), "01A");
    assert!(run.found.is_unread);
    let part = run
        .store
        .accept_durable(vec![ask("top", Duration::from_millis(1))])
        .expect("open")
        .remove(0);

    run.until(|count| count.results == 1);
    run.pass(&part); // for the record
    run.until(|count| count.late == 1);
    drop((
        run.store.set_if_absent("taught", "new"),
        run.store.set("met", "now"),
        run.store.set("none", ""),
    ));

    layer::fill("unread.db", false);
    run.until(|_| run.causes.all().0 == Health::Normal);
    let keys: Vec<u64> = std::iter::from_fn(|| run.next())
        .map(|waiting| waiting.key)
        .collect();

    assert_eq!(keys.len(), 2, "{keys:?}");
    keys.iter().for_each(|key| run.store.acked(*key, true));
    run.until(|count| count.acked == 2);
    let count = run.store.count();
    assert!(
        count.balances() && (count.given_up, count.waiting) == (0, 0),
        "{count:?}"
    );

    run.end();
    let run = Run::start(settings, "01B");
    assert_eq!((run.found.backlog, run.found.is_unread), (0, false));
    let kept = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        run.found.kept,
        [kept("met", "now"), kept("taught", "new")].into()
    );

    // What stands there already stays, where it is only begun.
    drop((
        run.store.set_if_absent("taught", "newer"),
        run.store.set("met", ""),
    ));

    run.end();
    let (database, _) =
        Database::open(layer::path("unread.db").as_ref(), Sync::Normal).expect("opens");

    assert_eq!(
        database.found().expect("found").kept,
        [kept("taught", "new")].into()
    );
}

#[test]
fn a_result_whose_row_was_lost_with_another_file_waits_in_this_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut database, _) =
        Database::open(&folder.path().join("box.db"), Sync::Normal).expect("opens");

    let spilled = Write::Spill {
        key: 7,
        row: row("top", 1).into(),
    };

    database
        .write("01A", std::slice::from_ref(&spilled))
        .expect("written");

    database.write("01A", &[spilled]).expect("written");
    let waits: Vec<u64> = database
        .page(0, 10)
        .expect("works")
        .results
        .iter()
        .map(|row| row.key)
        .collect();

    assert_eq!(waits, [7]);
}

#[test]
fn what_was_given_up_while_the_disk_failed_is_not_sent_by_the_next_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, opened, _) =
        Store::open(settings(folder.path()), "01A", Diagnostics::default()).expect("opens");

    let mut writer = StoreWriter::new(opened, FakePolicy::default());
    let mut parts = vec![];
    for _ in 0..21 {
        parts.extend(
            store
                .accept((0..100).map(|_| ask("top", DEADLINE)).collect())
                .expect("open"),
        );

        writer.once();
    }

    writer.disk(true);
    for hundred in parts.chunks(100) {
        store.submit(hundred.iter().map(passed).collect());
        store.audit("x".repeat(50_000)); // for which there is no room
        writer.once();
    }

    let given_up = store.count().given_up;
    assert!(
        given_up > 0 && store.count().waiting + given_up == 2100,
        "{:?}",
        store.count()
    );

    writer.disk(false);
    for _ in 0..10 {
        store.audit("");
        writer.once();
    }

    drop(writer);
    let run = Run::start(settings(folder.path()), "01B");
    assert_eq!(run.found.backlog, 2100 - given_up);
    run.end();
}

#[test]
fn a_disk_that_fails_for_long_costs_neither_memory_nor_what_is_owed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, opened, _) =
        Store::open(settings(folder.path()), "01A", Diagnostics::default()).expect("opens");

    let mut writer = StoreWriter::new(opened, FakePolicy::default());
    writer.disk(true);
    let mut owed = 0;
    for n in 0..100 {
        let parts = store
            .accept((0..1000).map(|_| ask("top", DEADLINE)).collect())
            .expect("open");

        store.submit(parts.iter().map(passed).collect());
        (0..1000).for_each(|m| drop(store.answered(&format!("trigger {n} {m}"), "{}")));
        writer.once_with_nothing();
        for (at, waiting) in std::iter::from_fn(|| store.outbox().next()).enumerate() {
            if n < 10 && at == 7 {
                owed += 1;
            } else {
                store.acked(waiting.key, true);
            }
        }

        writer.disk(true); // and tries it at once
        writer.once_with_nothing();
        assert!(writer.pending() < 60_000, "{}", writer.pending());
    }

    assert!(
        store.count().balances() && store.count().waiting == owed,
        "{:?}",
        store.count()
    );

    writer.disk(false);
    writer.once_with_nothing();
    drop((writer, store));
    let run = Run::start(settings(folder.path()), "01B");
    assert_eq!(
        (run.found.backlog, run.found.previous[0].last_seq),
        (owed, 100_000)
    );

    assert!(
        run.found.answers.len() >= 20_000,
        "{}",
        run.found.answers.len()
    );

    assert_eq!(
        run.found.answers.last().map(|(id, _)| id.as_str()),
        Some("trigger 99 999")
    );

    run.end();
}

#[test]
fn a_file_that_is_no_store_is_moved_aside_and_a_second_process_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("box.db"),
        "garbage, and a lot of it. ".repeat(1000),
    )
    .expect("written");

    let run = Run::start(settings(folder.path()), "01A");
    assert!(run.causes.all().1[0].contains("the store was broken"));
    let aside = std::fs::read_dir(folder.path())
        .expect("there")
        .flatten()
        .map(|entry| entry.file_name());

    assert!(
        aside
            .into_iter()
            .any(|name| name.to_string_lossy().starts_with("box.db.broken-"))
    );

    let second = Store::open(settings(folder.path()), "01B", Diagnostics::default())
        .err()
        .expect("in use");

    assert!(
        second.to_string().contains("is used by another winspect"),
        "{second}"
    );

    run.end();
}

#[test]
fn a_store_of_an_early_build_is_moved_aside_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path());
    let early = rusqlite::Connection::open(&settings.file).expect("made");
    early
        .execute_batch("CREATE TABLE part (key INTEGER PRIMARY KEY); PRAGMA user_version = 1;")
        .expect("made");

    drop(early);
    let run = Run::start(settings, "01A");
    assert_eq!(run.accept(1)[0].seq, 1);
    let (health, causes) = run.causes.all();
    assert_eq!(health, Health::OffSpec);
    assert!(
        causes[0].contains("an early winspect's (version 1); moved to"),
        "{causes:?}"
    );

    run.end();
}

#[test]
fn a_disk_that_takes_a_commit_late_is_told_also_while_it_hangs() {
    let name = "slow.db";
    let settings = StoreSettings {
        file: layer::path(name).into(),
        ..settings(Path::new(""))
    };

    let run = Run::start(settings, "01A");
    let outbox = run.store.outbox().clone();
    let hung = Arc::new(AtomicBool::new(false));
    let seen = hung.clone();
    let is_slow = AtomicBool::new(true);
    // The disk stands still for a while, once; what others see meanwhile is what counts.
    layer::watch(
        name,
        Arc::new(move || {
            if is_slow.swap(false, Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1200));
                seen.store(outbox.is_commit_hanging(), Ordering::Relaxed);
            }
        }),
    );

    let parts = run.accept(1);
    run.pass(&parts[0]);
    run.until(|count| count.results == 1);
    assert!(!hung.load(Ordering::Relaxed), "the result does not wait");
    run.until(|count| count.longest_commit_ms >= 1200);
    assert!(hung.load(Ordering::Relaxed));
    assert!(!run.store.outbox().is_commit_hanging());
    while run.causes.all().0 == Health::Normal {
        std::thread::sleep(Duration::from_millis(5)); // it is told right after
    }

    let (health, causes) = run.causes.all();
    assert_eq!(health, Health::OffSpec);
    assert!(
        causes[0].starts_with("slow disk: a commit took 1."),
        "{causes:?}"
    );
    layer::take(name);
    run.end();
}
