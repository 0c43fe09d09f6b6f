//! Files of winspect 0.1 under today's store: every row arrives, what cannot be read is kept and told, and
//! a crash or a full disk in the middle leaves the old file.

use super::database::Database;
use super::layer;
use super::power_cut::cut;
use super::row::{Page, RowState};
use super::test_run::{Run, settings};
use super::*;
use crate::base::health::Health;
use crate::data::verdict::Defect;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::{Connection, params};
use std::path::Path;

/// The tables of 0.1.0.
const OLD_TABLES: &str = "
CREATE TABLE part (
  key INTEGER PRIMARY KEY, run_id TEXT NOT NULL, camera TEXT NOT NULL, seq INTEGER NOT NULL,
  at INTEGER NOT NULL, state INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX part_not_done ON part(state, key) WHERE state < 3;
CREATE INDEX part_done ON part(at) WHERE state >= 3;
CREATE TABLE run (run_id TEXT NOT NULL, camera TEXT NOT NULL, last_seq INTEGER NOT NULL,
  last_key INTEGER NOT NULL, PRIMARY KEY (run_id, camera)) WITHOUT ROWID;
CREATE TABLE answer (id TEXT PRIMARY KEY, at INTEGER NOT NULL, answer TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE kept (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE audit (at TEXT NOT NULL, run_id TEXT NOT NULL, what TEXT NOT NULL);
INSERT INTO run VALUES ('01OLD', 'top', 40, 40);
INSERT INTO answer VALUES ('a1', 1, '{\"schema\":1,\"id\":\"a1\"}');
INSERT INTO kept VALUES ('recipe', 'bolt');
INSERT INTO audit VALUES ('2026-11-29T00:00:00.000Z', '01OLD', 'recipe bolt@4 judges');
PRAGMA user_version = 2;
";

/// A body as 0.1.0 wrote it.
fn old_body(seq: u64) -> String {
    format!(
        "{{\"schema\":1,\"seq\":{seq},\"run_id\":\"01OLD\",\"part_id\":null,\"station\":\"box\",\
         \"camera\":\"top\",\"region\":null,\"verdict\":\"fail\",\"evaluation\":2,\"reject\":true,\
         \"score\":0.016069055,\"threshold\":0.0001,\"margin\":0.015969055,\
         \"captured_at\":\"2026-11-29T00:50:34.585Z\",\"captured_by\":\"arrival\",\
         \"latency_ms\":{{\"queue\":0.1,\"decode\":null,\"pixels\":0.4,\"encode\":3.2,\"score\":0.1,\"total\":4.0}},\
         \"deadline_ms\":20000,\"deadline_met\":true,\"reject_in_ms\":null,\"reject_at_count\":null,\
         \"count\":null,\"position\":0.30000000000000004,\"recipe\":\"bolt@4\",\"model\":\"m@1\",\
         \"backend\":\"onnx-fp32\",\"reason\":null,\"detail\":null,\"challenge\":null,\"views\":[],\
         \"regions\":[{{\"x\":1,\"y\":2,\"w\":3,\"h\":4,\"peak\":0.5}}],\
         \"map\":{{\"side\":1,\"scale\":0.7,\"u8\":\"/w==\"}}"
    )
}

/// A file of 0.1.0 with 40 parts: each fourth open, live, waiting, delivered.
fn write_old(path: &Path, body: impl Fn(u64) -> String) {
    let old = Connection::open(path).expect("made");
    old.pragma_update(None, "journal_mode", "WAL").expect("set");
    old.execute_batch(OLD_TABLES).expect("made");
    for seq in 1..=40u64 {
        old.execute(
            "INSERT INTO part VALUES (?, '01OLD', 'top', ?, 0, ?, ?)",
            params![seq as i64, seq as i64, (seq % 4) as i64, body(seq)],
        )
        .expect("written");
    }
}

fn open(path: &Path) -> (Database, Page) {
    let (mut database, _) = Database::open(path, Sync::Full).expect("opens");
    database.begin_run(1000).expect("works");
    let page = database.page(0, 1000).expect("works");
    (database, page)
}

#[test]
fn every_row_of_an_old_file_is_a_row_of_today() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("box.db");
    write_old(&path, old_body);
    let (database, page) = open(&path);
    let keys: Vec<u64> = page.results.iter().map(|stored| stored.key).collect();
    let waited: Vec<u64> = (1..=40).filter(|key| key % 4 != 3).collect();
    assert_eq!(keys, waited);
    let row = &page.results[0].row;
    let defect = Defect {
        x: 1,
        y: 2,
        w: 3,
        h: 4,
        peak: 0.5,
    };

    assert_eq!(row.defects, [defect]);
    let expected = old_body(1)
        .replacen("\"schema\":1", "\"schema\":2", 1)
        .replacen("\"regions\"", "\"defects\"", 1)
        // A key that 0.1 did not know.
        .replacen(
            "\"captured_by\":\"arrival\"",
            "\"captured_by\":\"arrival\",\"frame_offset_ms\":null",
            1,
        )
        // Keys that rows have since maps may be oblong.
        .replacen("\"side\":1", "\"side\":1,\"w\":1,\"h\":1", 1);

    assert_eq!(row.to_stored(), expected + "}");
    let delivered = database.state(3).expect("works");
    assert_eq!(delivered, Some(RowState::Acked as i64));
    let found = database.found().expect("works");
    assert_eq!(found.next_key, 41);
    assert_eq!(found.previous[0].last_seq, 40);
    assert_eq!(found.answers[0].1, "{\"schema\":1,\"id\":\"a1\"}");
    assert_eq!(found.kept["recipe"], "bolt");
    let audit = database.audit().expect("works");
    assert_eq!(audit[0].1, "recipe bolt@4 judges");
    assert_eq!(database.unreadable(), []);
    drop(database);
    let again = open(&path).1;
    assert_eq!(again.results.len(), waited.len());
}

#[test]
fn what_cannot_be_read_in_an_old_file_is_kept_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path());
    write_old(&settings.file, |seq| match seq {
        5 => "no JSON".to_owned(),
        6 => old_body(6).replacen("\"schema\":1", "\"schema\":7", 1),
        7 => "delivered, and history".to_owned(),
        8 => old_body(8).replacen("\"verdict\"", "\"verdikt\"", 1),
        _ => old_body(seq),
    });

    let run = Run::start(settings.clone(), "01B");
    assert_eq!(run.found.backlog, 27);
    let count = run.store.count();
    assert_eq!((count.earlier, count.given_up, count.waiting), (30, 3, 27));
    let (health, causes) = run.causes.all();
    assert_eq!(health, Health::OffSpec);
    assert!(
        causes[0].contains("3 results in the store could not be read"),
        "{causes:?}"
    );

    let first = run.next().expect("waits");
    assert_eq!(first.key, 1);
    run.end();
    let (database, _) = Database::open(&settings.file, Sync::Full).expect("opens");
    let kept = database.unreadable();
    let keys: Vec<u64> = kept.iter().map(|(key, ..)| *key).collect();
    assert_eq!(keys, [5, 6, 8]);
    assert_eq!(kept[0].1, "no JSON");
    assert_eq!(kept[1].2, "schema 7, not 2");
    let audit = database.audit().expect("works");
    assert!(audit.last().expect("told").1.contains("`unreadable`"));
}

#[test]
fn a_row_that_is_spoilt_while_it_waits_is_moved_aside_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings(folder.path());
    let run = Run::start(settings.clone(), "01A");
    run.accept(3);
    run.end();
    let file = Connection::open(&settings.file).expect("opens");
    file.execute("UPDATE part SET body = '{}' WHERE seq = 1", [])
        .expect("works");

    drop(file);
    let run = Run::start(settings.clone(), "01B");
    let seqs: Vec<u64> = (0..2).map(|_| run.next().expect("waits").row.seq).collect();
    assert_eq!(seqs, [2, 3]);
    let count = run.store.count();
    assert!(count.balances() && count.given_up == 1, "{count:?}");
    let (_, causes) = run.causes.all();
    assert!(causes[0].contains("1 results in the store"), "{causes:?}");
    run.end();
    let (database, _) = Database::open(&settings.file, Sync::Full).expect("opens");
    assert_eq!(database.unreadable().len(), 1);
}

#[test]
fn a_power_cut_in_the_middle_of_a_migration_leaves_the_old_file_or_the_new_one() {
    let name = "migration.db";
    let path = layer::path(name);
    write_old(path.as_ref(), old_body);
    let made = layer::take(name);
    drop(open(path.as_ref()));
    let migrated = layer::take(name);
    assert!(migrated.len() > 5, "{}", migrated.len());
    let events: Vec<layer::Event> = made.iter().chain(&migrated).cloned().collect();
    let mut random = StdRng::seed_from_u64(5);
    for _ in 0..100 {
        let at = random.random_range(made.len()..=events.len());
        let folder = tempfile::tempdir().expect("a folder");
        cut(&events[..at], folder.path(), &mut random);
        let (database, page) = open(&folder.path().join("box.db"));
        assert_eq!(database.integrity(), "ok");
        assert_eq!(page.results.len(), 30, "cut after {at} events");
        assert_eq!(database.unreadable(), []);
    }
}

#[test]
fn an_old_file_on_a_full_disk_is_migrated_once_there_is_room() {
    let name = "migrated_later.db";
    let settings = StoreSettings {
        file: layer::path(name).into(),
        ..settings(Path::new(""))
    };

    write_old(&settings.file, old_body);
    layer::fill(name, true);
    let run = Run::start(settings, "01B");
    assert!(run.found.is_unread);
    assert!(run.store.outbox().next().is_none());
    layer::fill(name, false);
    run.until(|count| count.earlier == 30);
    let keys: Vec<u64> = std::iter::from_fn(|| run.next())
        .map(|entry| entry.key)
        .collect();

    assert_eq!(keys.len(), 30);
    assert!(keys.is_sorted());
    assert_eq!(run.causes.all().0, Health::Normal);
    run.end();
}
