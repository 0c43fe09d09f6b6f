//! The writer at work on a real file: what survives, what is told, what a full disk does.

use super::database::Database;
use super::row::{RowState, Write};
use super::*;
use crate::base::health::Diagnostics;
use crate::base::systemd::Heartbeat;
use crate::data::part::Part;
use crate::data::part::tests::ask;
use crate::data::report::tests::judge;
use crate::data::report::{DecisionPolicy, Report};
use crate::data::result::ResultRow;
use crate::data::result::tests::row;
use crate::data::verdict::{Reason, Verdict};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) const DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Run {
    pub store: Store,
    pub causes: Diagnostics,
    writer: JoinHandle<()>,
    pub found: Recovered,
}

pub(super) fn settings(folder: &Path) -> StoreSettings {
    StoreSettings {
        file: folder.join("box.db"),
        sync: Sync::Normal,
        waiting_max: 1_000_000,
        keep: Duration::from_secs(3600),
        keep_bytes: 1 << 40,
        reject_window: Duration::from_secs(1),
    }
}

/// A line whose results say little: which part, which verdict and why, and so many bytes of filler.
#[derive(Default)]
pub(super) struct FakePolicy {
    pub filler: usize,
}

impl ResultPolicy for FakePolicy {
    fn policy_for(&self, part: &Part) -> DecisionPolicy {
        judge(part)
    }

    fn at_deadline(&self, undecided: Report) -> Report {
        undecided
    }

    fn on_result(&self, _: &Report) -> Vec<KeyValue> {
        vec![]
    }

    fn on_released(&self, _row: &ResultRow) {}

    fn encode(&self, report: &Report) -> ResultRow {
        let part = &report.part;
        ResultRow {
            run_id: part.run_id.to_string(),
            verdict: report.verdict,
            reason: report.reason,
            detail: Some("x".repeat(self.filler)),
            ..row(part.camera(), part.seq)
        }
    }

    fn reject_message(&self, _: &Report) -> Option<Reject> {
        None
    }
}

/// That verdict of a part.
pub(super) fn passed(part: &Part) -> Report {
    let mut report = Report::undecided(part.clone(), Reason::NotReady, &judge(part));
    (report.verdict, report.reason) = (Verdict::Pass, None);
    report
}

impl Run {
    pub fn start(settings: StoreSettings, run_id: &str) -> Self {
        let causes = Diagnostics::default();
        let (store, opened, found) = Store::open(settings, run_id, causes.clone()).expect("opens");
        let writer = StoreWriter::new(opened, FakePolicy::default());
        let writer = std::thread::spawn(move || writer.run(&Heartbeat::default()));
        Run {
            store,
            causes,
            writer,
            found,
        }
    }

    pub fn accept(&self, count: usize) -> Vec<Part> {
        self.store
            .accept_durable((0..count).map(|_| ask("top", DEADLINE)).collect())
            .expect("open")
    }

    pub fn pass(&self, part: &Part) {
        self.store.submit(vec![passed(part)]);
    }

    /// What comes out next, within a while.
    pub fn next(&self) -> Option<OutboxEntry> {
        let until = Instant::now() + Duration::from_secs(2);
        loop {
            match self.store.outbox().next() {
                None if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                next => return next,
            }
        }
    }

    pub fn until(&self, fits: impl Fn(StoreCount) -> bool) {
        let until = Instant::now() + Duration::from_secs(5);
        while !fits(self.store.count()) {
            assert!(Instant::now() < until, "{:?}", self.store.count());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn end(self) {
        drop(self.store);
        self.writer.join().expect("no panic");
    }
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

/// What a kill leaves of an open store: nothing is closed.
pub(super) fn as_killed(file: &Path, copy: &Path) {
    for end in ["", "-wal"] {
        let beside = |path: &Path| format!("{}{end}", path.display());
        std::fs::copy(beside(file), beside(copy)).expect("copied");
    }
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
