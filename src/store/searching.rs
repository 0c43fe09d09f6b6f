//! The history beside the writer: what was said of parts is found and counted, whole, and leaves the file
//! with them.

use super::database::Database;
use super::search::{Search, SearchPage, candidates};
use super::test_run::{Run, as_killed, passed, settings};
use super::*;
use crate::data::history::{
    AuditQuery, GroupKey, HistoryPage, HistoryPart, HistoryQuery, PartLabel,
};
use crate::data::verdict::{Reason, Verdict};
use crossbeam::channel::bounded;
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

fn step(store: &Store, search: Search) -> SearchPage {
    let (reply, answer) = bounded(1);
    store.search(
        search,
        Box::new(move |page| reply.send(page).expect("awaited")),
    );

    answer.recv().expect("answered").expect("the disk works")
}

fn all_pages(
    mut take: impl FnMut(HistoryQuery) -> HistoryPage,
    query: HistoryQuery,
) -> HistoryPage {
    let mut query = query;
    let mut all = HistoryPage::default();

    loop {
        let page = take(query.clone());
        all.parts.extend(page.parts);
        all.groups.extend(page.groups);
        all.lacks_old_parts |= page.lacks_old_parts;
        query.before = page.next;

        if page.next.is_none() {
            return all;
        }
    }
}

fn found(store: &Store, query: HistoryQuery) -> HistoryPage {
    let take = |query| match step(store, Search::Parts(query)) {
        SearchPage::Parts(page) => page,
        other => panic!("{other:?}"),
    };

    all_pages(take, query)
}

fn found_in(file: &Path, query: HistoryQuery) -> HistoryPage {
    let copy = HistoryCopy::make(file).expect("a store");
    let take = |query| match copy.search(&Search::Parts(query)).expect("works") {
        SearchPage::Parts(page) => page,
        other => panic!("{other:?}"),
    };

    all_pages(take, query)
}

fn seqs(page: &HistoryPage) -> Vec<u64> {
    page.parts.iter().map(|part| part.row.seq).collect()
}

fn queries_for_nothing() -> [HistoryQuery; 5] {
    [
        HistoryQuery {
            camera: Some("side".into()),
            ..HistoryQuery::default()
        },
        HistoryQuery {
            reason: Some(Reason::Late),
            ..HistoryQuery::default()
        },
        HistoryQuery {
            since: Some("2100-01-01T00:00:00Z".parse().expect("a time")),
            ..HistoryQuery::default()
        },
        HistoryQuery {
            part_id: Some("A-1".into()),
            ..HistoryQuery::default()
        },
        HistoryQuery {
            label: Some("good".into()),
            ..HistoryQuery::default()
        },
    ]
}

#[test]
fn results_are_found_beside_the_writer_and_open_parts_are_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");
    let parts = run.accept(300);

    for part in &parts[..299] {
        if part.seq % 3 == 0 {
            let mut failed = passed(part);
            failed.verdict = Verdict::Fail;
            run.store.submit(vec![failed]);
        } else {
            run.pass(part);
        }
    }

    run.until(|count| count.results == 299);
    let all = found(&run.store, HistoryQuery::default());
    assert_eq!(seqs(&all), (1..300).rev().collect::<Vec<u64>>());
    let failed = HistoryQuery {
        verdict: Some(Verdict::Fail),
        limit: Some(7), // pages hold so many
        ..HistoryQuery::default()
    };

    let fails = found(&run.store, failed);
    assert_eq!(fails.parts.len(), 99);
    assert!(seqs(&fails).iter().all(|seq| seq % 3 == 0));
    let by = HistoryQuery {
        by: Some(GroupKey::Camera),
        ..HistoryQuery::default()
    };

    let counts = found(&run.store, by.clone()).groups;
    let of =
        |pick: fn(&crate::data::history::GroupCount) -> u64| counts.iter().map(pick).sum::<u64>();
    assert_eq!(
        (of(|g| g.pass), of(|g| g.fail), of(|g| g.undecided)),
        (200, 99, 0)
    );

    for nothing in queries_for_nothing() {
        let page = found(&run.store, nothing.clone());
        assert_eq!(seqs(&page), [] as [u64; 0], "{nothing:?}");
    }

    run.end();
}

#[test]
fn what_a_killed_run_left_open_is_found_in_the_next_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");
    let parts = run.accept(3);
    run.pass(&parts[0]);
    run.until(|count| count.results == 1);
    let later = tempfile::tempdir().expect("a folder");
    as_killed(&folder.path().join("box.db"), &later.path().join("box.db"));
    run.end();
    let run = Run::start(settings(later.path()), "01B");
    let all = found(&run.store, HistoryQuery::default());
    assert_eq!(seqs(&all), [3, 2, 1]);
    assert_eq!(all.parts[0].row.reason, Some(Reason::Late));
    let key = |run_id: &str, seq| {
        let search = Search::Part {
            run_id: run_id.to_owned(),
            camera: "top".to_owned(),
            seq,
        };

        step(&run.store, search)
    };

    assert_eq!(
        key("01A", 2),
        SearchPage::Part(Some((parts[1].key, Verdict::Undecided)))
    );

    assert_eq!(key("01B", 2), SearchPage::Part(None));
    run.end();
}

/// A verdict after the deadline is a message of its own, and no second part.
#[test]
fn a_late_verdict_is_found_as_one_and_not_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");
    let asks = vec![crate::data::part::tests::ask("top", Duration::ZERO)];
    let parts = run.store.accept_durable(asks).expect("open");
    run.until(|count| count.undecided == 1);
    run.pass(&parts[0]);
    run.until(|count| count.late == 1);
    let all = found(&run.store, HistoryQuery::default());
    let said = |part: &HistoryPart| (part.row.verdict, part.late_verdict);
    let said: Vec<_> = all.parts.iter().map(said).collect();
    assert_eq!(said, [(Verdict::Pass, true), (Verdict::Undecided, false)]);
    let by = HistoryQuery {
        by: Some(GroupKey::Reason),
        ..HistoryQuery::default()
    };

    let groups = found(&run.store, by).groups;
    assert_eq!(groups.len(), 1);
    assert_eq!((groups[0].undecided, groups[0].pass), (1, 0));
    assert_eq!(groups[0].key.as_deref(), Some("camera_lost"));
    run.end();
}

#[test]
fn facts_leave_the_file_with_their_parts() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path());
    let run = Run::start(settings.clone(), "01A");

    for part in run.accept(20) {
        run.pass(&part);
    }

    for _ in 0..20 {
        let next = run.next().expect("waits");
        run.store.acked(next.key, true);
    }

    run.until(|count| count.acked == 20);
    run.end();
    let (mut database, _) = Database::open(&settings.file, Sync::Normal).expect("opens");
    let label = "INSERT INTO label VALUES (1, 'good', NULL, 'mqtt', '')";
    database.connection.execute(label, []).expect("works");
    let rows = |database: &Database, table: &str| -> i64 {
        let count = format!("SELECT count(*) FROM {table}");
        database
            .connection
            .query_row(&count, [], |row| row.get(0))
            .expect("a number")
    };

    assert_eq!(
        (rows(&database, "history"), rows(&database, "label")),
        (20, 1)
    );

    while database.tidy(Duration::ZERO, 0).expect("works") {}
    assert_eq!(rows(&database, "part"), 0);
    assert_eq!(
        (rows(&database, "history"), rows(&database, "label")),
        (0, 0)
    );
}

/// What few parts have is found without a look at the others, and nothing is sorted.
#[test]
fn few_parts_are_found_by_an_index() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = settings(folder.path()).file;
    let (database, _) = Database::open(&file, Sync::Normal).expect("opens");
    let plan = |query: &HistoryQuery| {
        let (sql, word) = candidates(query);
        let explained = format!("EXPLAIN QUERY PLAN {sql}");
        let mut statement = database.connection.prepare(&explained).expect("SQL");
        let words = [Some("9"), word].into_iter().flatten();
        let rows = statement.query_map(rusqlite::params_from_iter(words), |row| row.get(3));
        let rows: Result<Vec<String>, _> = rows.expect("a plan").collect();
        rows.expect("readable").join("; ")
    };

    let of_label = HistoryQuery {
        label: Some("good".into()),
        ..HistoryQuery::default()
    };

    let of_id = HistoryQuery {
        part_id: Some("A-1".into()),
        ..HistoryQuery::default()
    };

    let failed = HistoryQuery {
        verdict: Some(Verdict::Fail),
        ..HistoryQuery::default()
    };

    let all = HistoryQuery::default();
    for (query, index) in [
        (
            of_label,
            "SEARCH label USING COVERING INDEX label_label (label=? AND rowid<?)",
        ),
        (of_id, "USING INDEX history_part_id (part_id=? AND rowid<?)"),
        (
            failed,
            "USING INDEX history_not_passed (verdict=? AND rowid<?)",
        ),
        (all, "SEARCH history USING INTEGER PRIMARY KEY (rowid<?)"),
    ] {
        let plan = plan(&query);
        assert!(plan.contains(index) && !plan.contains("TEMP"), "{plan}");
    }
}

/// A file as winspect 0.2 leaves it.
fn as_of_0_2(file: &Path) {
    let old = Connection::open(file).expect("opens");
    old.execute_batch(
        "DROP TRIGGER part_gone; DROP TABLE history; DROP TABLE label; PRAGMA user_version = 3;",
    )
    .expect("works");
}

#[test]
fn parts_of_an_earlier_version_are_taken_into_the_history() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path());
    let run = Run::start(settings.clone(), "01A");

    for part in run.accept(1200) {
        run.pass(&part);
    }

    run.until(|count| count.results == 1200);
    run.end();
    as_of_0_2(&settings.file);
    let (mut database, _) = Database::open(&settings.file, Sync::Normal).expect("opens");
    drop(std::mem::replace(
        &mut database,
        Database::without_file().expect("memory"),
    ));

    let lacking = found_in(&settings.file, HistoryQuery::default());
    assert!(lacking.lacks_old_parts && lacking.parts.is_empty());

    // A line that runs meanwhile has its own parts in it at once.
    let run = Run::start(settings.clone(), "01B");
    let own = run.accept(1);
    run.pass(&own[0]);
    run.until(|count| count.results == 1);
    assert_eq!(seqs(&found(&run.store, HistoryQuery::default())), [1]);
    run.end();
    let (mut database, _) = Database::open(&settings.file, Sync::Normal).expect("opens");
    let hour = Duration::from_secs(3600);

    while database.tidy(hour, 1 << 40).expect("works") {}
    drop(database);
    let all = found_in(&settings.file, HistoryQuery::default());
    assert!(!all.lacks_old_parts);
    assert_eq!(all.parts.len(), 1201);
    assert_eq!(seqs(&all)[1..], (1..=1200).rev().collect::<Vec<u64>>());
}

#[test]
fn an_empty_file_of_an_earlier_version_lacks_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path());
    Run::start(settings.clone(), "01A").end();
    as_of_0_2(&settings.file);
    Run::start(settings.clone(), "01B").end();
    assert!(!found_in(&settings.file, HistoryQuery::default()).lacks_old_parts);
}

#[test]
fn the_audit_log_is_read_by_time_the_newest_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");

    for line in 0..300 {
        run.store.audit(format!("line {line}"));
    }

    let mut query = AuditQuery::default();
    let mut lines = vec![];

    loop {
        let SearchPage::Audit(page) = step(&run.store, Search::Audit(query.clone())) else {
            panic!("another answer");
        };

        lines.extend(page.lines);
        query.before = page.next;

        if page.next.is_none() {
            break;
        }
    }

    let what: Vec<&str> = lines.iter().map(|line| &*line.what).collect();
    let expected: Vec<String> = (0..300).rev().map(|line| format!("line {line}")).collect();
    assert_eq!(what, expected);
    assert_eq!(lines[0].run_id, "01A");
    let before = AuditQuery {
        until: Some("2020-01-01T00:00:00Z".parse().expect("a time")),
        ..AuditQuery::default()
    };

    let empty = step(&run.store, Search::Audit(before));
    assert!(matches!(empty, SearchPage::Audit(page) if page.lines.is_empty()));
    run.end();
}

#[test]
fn the_last_label_counts_and_a_note_stays_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = Run::start(settings(folder.path()), "01A");
    let parts = run.accept(2);

    for part in &parts {
        run.pass(part);
    }

    run.until(|count| count.results == 2);
    let word = |label: Option<&str>, note: Option<&str>| PartLabel {
        label: label.map(str::to_owned),
        note: note.map(str::to_owned),
        who: "mqtt".to_owned(),
        at: "2026-11-30T00:00:00.000Z".to_owned(),
    };

    run.store.label(parts[0].key, word(Some("not_sure"), None));
    run.store.label(parts[0].key, word(None, Some("a scratch")));
    run.store
        .label(parts[0].key, word(Some("really_bad"), None));
    // Nobody has such a part.
    run.store.label(parts[1].key + 1, word(Some("good"), None));
    let labelled = HistoryQuery {
        label: Some("really_bad".into()),
        ..HistoryQuery::default()
    };

    let found = found(&run.store, labelled);
    assert_eq!(seqs(&found), [1]);
    let expected = word(Some("really_bad"), Some("a scratch"));
    assert_eq!(found.parts[0].label, Some(expected));
    let file = settings(folder.path()).file;
    run.end();
    let all = found_in(&file, HistoryQuery::default());
    let labels = all.parts.iter().filter(|part| part.label.is_some());
    assert_eq!(labels.count(), 1);
}
