//! Bounds of a real file, and what happens beyond them: results that wait, history, answers, the log.

use super::database::Database;
use super::row::Write;
use super::test_run::{DEADLINE, FakePolicy, Run, as_killed, settings};
use super::*;
use crate::base::health::Diagnostics;
use crate::data::part::Part;
use crate::data::part::tests::ask;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[test]
fn a_backlog_that_will_be_given_up_is_told_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let causes = Diagnostics::default();
    let bounded = StoreSettings {
        waiting_max: 100,
        ..settings(folder.path())
    };

    let (_store, opened, _) = Store::open(bounded, "01A", causes.clone()).expect("opens");
    let mut writer = StoreWriter::new(opened, FakePolicy::default());
    let mut told = |waiting| {
        writer.foresee(waiting);
        causes
            .all()
            .1
            .into_iter()
            .find(|cause| cause.starts_with("backlog"))
    };

    assert_eq!(told(50), None);
    assert!(told(51).is_some_and(|cause| cause.contains("51 results wait for the broker; of more than 100")));
    assert_eq!(told(0), None);
}

#[test]
fn beyond_the_bound_the_oldest_are_given_up_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(
        StoreSettings {
            waiting_max: 10,
            ..settings(folder.path())
        },
        "01A",
    );

    let parts = run.accept(50);
    drop(parts); // all open
    run.end();
    let run = Run::start(
        StoreSettings {
            waiting_max: 10,
            ..settings(folder.path())
        },
        "01B",
    );

    run.until(|count| count.given_up == 40);
    let told = || run.causes.all().1.join("; ");
    let end = Instant::now() + Duration::from_secs(30);
    while !told().contains("results given up: 40 in this run") {
        assert!(Instant::now() < end, "{}", told());
        std::thread::sleep(Duration::from_millis(20));
    }

    // Room for one more.
    let first = run.next().expect("waits");
    run.store.acked(first.key, true);
    run.until(|count| count.acked == 1);
    let part = run.accept(1).remove(0);
    run.pass(&part);
    let told: Vec<OutboxEntry> = std::iter::from_fn(|| run.next()).take(10).collect();
    let live = told
        .iter()
        .find(|waiting| waiting.until.is_some())
        .expect("the new one");

    assert_eq!((live.given_up_before, told.len()), (40, 10));
    run.end();
}

#[test]
fn more_live_results_than_memory_holds_wait_in_the_file_and_none_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");
    let parts: Vec<Part> = (0..10).flat_map(|_| run.accept(500)).collect();
    parts.iter().for_each(|part| run.pass(part));
    run.until(|count| count.results == 5000);
    let mut keys = std::collections::BTreeSet::new();
    while keys.len() < 5000 {
        let waiting = run
            .next()
            .unwrap_or_else(|| panic!("{} of 5000, {:?}", keys.len(), run.store.count()));

        assert!(keys.insert(waiting.key), "twice");
        run.store.acked(waiting.key, true);
    }

    run.until(|count| count.waiting == 0);
    assert_eq!(run.store.count().acked, 5000);
    run.end();
}

#[test]
fn more_results_than_there_is_room_for_aside_rest_in_the_file_and_none_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");
    let parts = run.accept(200);
    parts.iter().for_each(|part| run.pass(part));
    run.until(|count| count.results == 200);
    for _ in 0..200 {
        let entry = run.next().expect("settled");
        assert!(run.store.outbox().put_aside(entry.key, true));
    }

    // The others go on.
    let part = run.accept(1).remove(0);
    run.pass(&part);
    let entry = run.next().expect("it is not held up");
    run.store.acked(entry.key, true);
    run.until(|count| (count.waiting, count.aside) == (200, 200));
    assert!(run.store.outbox().next().is_none());
    run.store.outbox().queues().end_rest();
    let mut keys = BTreeSet::new();
    while keys.len() < 136 {
        let entry = run.next().expect("it comes again");
        assert!(keys.insert(entry.key), "twice");
        run.store.acked(entry.key, true);
    }

    run.until(|count| (count.waiting, count.acked) == (64, 137));
    run.end();
    let run = Run::start(settings(folder.path()), "01B");
    assert_eq!(run.store.count().waiting, 64, "the next run has the others");
    run.end();
}

#[test]
fn old_results_go_when_they_are_too_old_or_too_many() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");
    let parts = run.accept(100);
    parts.iter().for_each(|part| run.pass(part));
    for _ in &parts {
        let waiting = run.next().expect("settled");
        run.store.acked(waiting.key, true);
    }

    run.until(|count| count.acked == 100);
    run.store.audit("threshold 0.5");
    run.end();
    let (mut database, _) =
        Database::open(&folder.path().join("box.db"), Sync::Normal).expect("opens");

    assert!(
        !database
            .tidy(Duration::from_secs(3600), 1 << 40)
            .expect("works")
    );

    assert_eq!(database.state(parts[0].key).expect("works"), Some(3));
    database.tidy(Duration::from_secs(3600), 0).expect("works");
    assert_eq!(database.state(parts[0].key).expect("works"), None);
    assert_eq!(database.audit().expect("works")[0].1, "threshold 0.5");
}

#[test]
fn an_answer_goes_when_winspect_has_run_for_an_hour_whatever_the_clock_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("box.db");
    let (mut database, _) = Database::open(&file, Sync::Normal).expect("opens");
    let answer = |id: &str| Write::Answer {
        id: id.to_owned(),
        answer: "{}".to_owned(),
    };

    database.write("01A", &[answer("old")]).expect("written");
    database.run_for(Duration::from_secs(3000));
    database.write("01A", &[answer("new")]).expect("written");
    let left = |database: &mut Database| -> Vec<String> {
        database
            .tidy(Duration::from_secs(3600), 1 << 40)
            .expect("works");

        let left = database
            .found()
            .expect("works")
            .answers
            .into_iter()
            .map(|(id, _)| id);

        left.collect::<BTreeSet<_>>().into_iter().collect()
    };

    assert_eq!(left(&mut database), ["new", "old"]);
    database.run_for(Duration::from_secs(601));
    assert_eq!(left(&mut database), ["new"]);
    // Stamped by a clock that is years ahead: an hour from now on.
    drop(database);
    let ahead = rusqlite::Connection::open(&file).expect("opens");
    ahead
        .execute("UPDATE answer SET at = at + 100000000000", [])
        .expect("works");

    drop(ahead);
    let (mut database, _) = Database::open(&file, Sync::Normal).expect("opens");
    database.write("01B", &[answer("after")]).expect("written");
    database.run_for(Duration::from_secs(3590));
    assert_eq!(left(&mut database), ["after", "new"]);
    database.run_for(Duration::from_secs(20));
    assert_eq!(left(&mut database), Vec::<String>::new());
}

#[test]
fn the_log_is_taken_over_into_the_file_between_two_parts_and_has_a_bound_where_there_is_no_between()
{
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path());
    let file = settings.file.clone();
    let (store, opened, _) = Store::open(settings, "01A", Diagnostics::default()).expect("opens");
    let mut writer = StoreWriter::new(opened, FakePolicy::default());
    let in_file = || std::fs::metadata(&file).map_or(0, |file| file.len());
    let mut write = |bytes: usize| {
        store.audit("x".repeat(bytes));
        writer.once();
    };

    let before = in_file();
    write(1 << 20);
    assert_eq!(in_file(), before, "not yet");
    write(2 << 20);
    assert!(in_file() >= before + (3 << 20), "nobody waits");
    let (before, _open) = (
        in_file(),
        store.accept(vec![ask("top", DEADLINE)]).expect("open"),
    );

    for _ in 0..6 {
        write(2 << 20);
    }

    assert_eq!(in_file(), before, "a part is open");
    for _ in 0..3 {
        write(2 << 20);
    }

    assert!(in_file() >= before + (16 << 20), "the bound");
}

#[test]
fn the_log_has_its_bound_also_when_every_run_is_killed_before_it_takes_it_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path());
    let logs = (0..4).map(|run| {
        let (mut database, _) = Database::open(&settings.file, Sync::Normal).expect("opens");
        let notes = (0..10).map(|_| Write::Note {
            what: "x".repeat(100_000),
        });

        database
            .write("01A", &notes.collect::<Vec<_>>())
            .expect("written");

        let copy = folder.path().join(format!("killed-{run}.db"));
        as_killed(&settings.file, &copy);
        settings.file = copy;
        std::fs::metadata(format!("{}-wal", settings.file.display()))
            .expect("there")
            .len()
    });

    let logs: Vec<u64> = logs.collect();
    assert!(logs.iter().all(|log| *log < 2 << 20), "{logs:?}");
    let (database, _) = Database::open(&settings.file, Sync::Normal).expect("opens");
    assert_eq!(database.audit().expect("works").len(), 40);
}

#[test]
fn of_too_many_answers_the_oldest_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut database, _) =
        Database::open(&folder.path().join("box.db"), Sync::Normal).expect("opens");

    let answers = |from: u64, to: u64| -> Vec<Write> {
        (from..to)
            .map(|n| Write::Answer {
                id: n.to_string(),
                answer: "{}".to_owned(),
            })
            .collect()
    };

    database.write("01A", &answers(0, 1)).expect("written");
    std::thread::sleep(Duration::from_millis(5)); // older than the others, by the time that it has run
    database
        .write("01A", &answers(1, 180_001))
        .expect("written");

    while database.tidy(Duration::MAX, 1 << 40).expect("works") {}
    let found = database.found().expect("found");
    assert_eq!(
        (
            found.answers.len(),
            found.answers.iter().any(|(id, _)| id == "0")
        ),
        (180_000, false)
    );
}
