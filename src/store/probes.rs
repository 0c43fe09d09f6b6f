//! Looks into the file, and faults of its disk, for tests.

use super::database::Database;
use super::schema::WAITS;
use rusqlite::OptionalExtension;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl Database {
    /// The audit log, the newest last.
    pub(super) fn audit(&self) -> rusqlite::Result<Vec<(String, String)>> {
        let mut log = self
            .connection
            .prepare("SELECT at, what FROM audit ORDER BY rowid")?;

        let rows = log.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    /// SQLite's complaints about the file, or `ok`.
    pub(super) fn integrity(&self) -> String {
        self.connection
            .pragma_query_value(None, "integrity_check", |row| row.get(0))
            .expect("works")
    }

    /// The numbers of each camera's parts.
    pub(super) fn numbers(&self) -> BTreeMap<String, BTreeSet<u64>> {
        let mut all = self
            .connection
            .prepare("SELECT camera, seq FROM part")
            .expect("works");

        let all = all
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))
            .expect("works");

        let mut numbers = BTreeMap::<String, BTreeSet<u64>>::new();
        for (camera, seq) in all.flatten() {
            numbers.entry(camera).or_default().insert(seq);
        }

        numbers
    }

    /// SQLite's way to find what waits.
    pub(super) fn plan_of_a_page(&self) -> String {
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT key FROM part WHERE {WAITS} AND key > 0 ORDER BY key LIMIT 1"
        );

        self.connection
            .query_row(&sql, [], |row| row.get(3))
            .expect("works")
    }

    /// The pages in memory go: what is read next is read from the file.
    pub(super) fn forget_pages(&self) {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .expect("works");

        self.connection
            .execute_batch("PRAGMA shrink_memory")
            .expect("works");
    }

    /// The state of one part.
    pub(super) fn state(&self, key: u64) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT state FROM part WHERE key = ?";
        self.connection
            .query_row(sql, [key as i64], |row| row.get(0))
            .optional()
    }

    /// The rows that could not be read: key, body, reason.
    pub(super) fn unreadable(&self) -> Vec<(u64, String, String)> {
        let sql = "SELECT key, body, why FROM unreadable ORDER BY key";
        let mut all = self.connection.prepare(sql).expect("works");
        let rows = all
            .query_map([], |row| {
                Ok((row.get::<_, i64>(0)? as u64, row.get(1)?, row.get(2)?))
            })
            .expect("works");

        rows.flatten().collect()
    }

    /// Lets so much running time pass.
    pub(super) fn run_for(&mut self, more: Duration) {
        self.running.before += more.as_millis() as i64;
    }

    /// Behaves as a full disk does: the file grows no further.
    pub(super) fn fill_up(&self, full: bool) {
        let pages: i64 = self
            .connection
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .expect("a number");

        let most = if full { pages } else { 1 << 30 };
        self.connection
            .pragma_update(None, "max_page_count", most)
            .expect("set");
    }
}
