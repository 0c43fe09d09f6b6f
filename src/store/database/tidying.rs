//! What is old leaves the store's file, a little at a time: answers, the audit log, delivered results.

use super::Database;
use super::now_ms;
use crate::store::bounds::{ANSWERS_MAX, AUDIT_KEPT, TIDIED_ROWS};
use crate::store::search::take_in_old_parts;
use std::time::Duration;

impl Database {
    /// One search for what is old: answers whose ids are forgotten or too many, and the oldest delivered
    /// results, those older than `age`, and while the file holds more than `bytes`. True when there may
    /// be more to do.
    ///
    /// # Errors
    /// SQLite's.
    pub fn tidy(&mut self, age: Duration, bytes: u64) -> rusqlite::Result<bool> {
        // What is bounded goes first: parts of an earlier version that cannot be taken in must not keep old
        // ones in the file.
        if self.tidy_old(age, bytes)? {
            return Ok(true);
        }

        take_in_old_parts(&mut self.connection)
    }

    /// [`Database::tidy`] but for parts of earlier versions.
    fn tidy_old(&mut self, age: Duration, bytes: u64) -> rusqlite::Result<bool> {
        // Each kind of row is bounded by itself, a few at a time: a long search would hold a
        // verdict up.
        let answers = self.tidy_answers()?;
        let audit = "DELETE FROM audit WHERE rowid <= (SELECT max(rowid) FROM audit) - ?";
        self.connection.execute(audit, [AUDIT_KEPT])?;
        if answers == TIDIED_ROWS {
            return Ok(true);
        }

        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let now = self.history.now(&self.connection, now_ms())?;

        let gone = self.tidy_delivered(now.saturating_sub(age_ms))?;
        if gone > 0 {
            return Ok(gone == TIDIED_ROWS);
        }

        // Age alone does not bound a busy line's file. Beyond the bytes the oldest delivered
        // results go, whatever their age.
        if self.used()? <= bytes {
            return Ok(false);
        }

        let gone = self.tidy_delivered(i64::MAX)?;
        Ok(gone > 0)
    }

    /// The oldest answers leave the file; returns how many.
    fn tidy_answers(&mut self) -> rusqlite::Result<u64> {
        // Those whose hour is over go first, then, if none was, those beyond the number.
        let forgotten = self.running.forgotten();
        let gone = self.delete_answers(forgotten, TIDIED_ROWS)?;

        let beyond = self.answers.saturating_sub(ANSWERS_MAX as u64);
        if gone > 0 || beyond == 0 {
            return Ok(gone);
        }

        let most = beyond.min(TIDIED_ROWS);
        self.delete_answers(i64::MAX, most)
    }

    /// The oldest answers from before that time, at most so many.
    fn delete_answers(&mut self, before_ms: i64, most: u64) -> rusqlite::Result<u64> {
        let sql = "DELETE FROM answer WHERE id IN
            (SELECT id FROM answer WHERE at < ? ORDER BY at LIMIT ?)";

        let bounds = [before_ms, most as i64];
        let gone = self.connection.execute(sql, bounds)?;
        let gone = gone as u64;
        self.answers = self.answers.saturating_sub(gone);

        Ok(gone)
    }

    /// The oldest delivered results from before that time leave the file; returns how many.
    fn tidy_delivered(&mut self, before_ms: i64) -> rusqlite::Result<u64> {
        let sql = "DELETE FROM part WHERE key IN
            (SELECT key FROM part WHERE state >= 3 AND at < ? ORDER BY at LIMIT ?)";

        let bounds = [before_ms, TIDIED_ROWS as i64];
        let gone = self.connection.execute(sql, bounds)?;

        Ok(gone as u64)
    }
}
