//! Each [`Write`] as SQL, within a transaction.

use super::row::{RowState, Write};
use crate::data::result::ResultRow;
use rusqlite::{Transaction, params};

/// An open transaction and what all of its rows share.
pub(super) struct Change<'a> {
    pub(super) transaction: Transaction<'a>,
    /// The run that writes.
    pub(super) run_id: &'a str,
    /// Milliseconds that winspect has run with this file.
    pub(super) running_ms: i64,
    /// Milliseconds since 1970.
    pub(super) now_ms: i64,
}

impl Change<'_> {
    /// Executes one write.
    ///
    /// # Errors
    /// SQLite's.
    pub(super) fn execute(&self, write: &Write) -> rusqlite::Result<()> {
        match write {
            Write::Part { key, state, row } => self.put(*key, *state, row),
            Write::State { key, state } => self.set_state(*key, *state),
            Write::Spill { key, row } => self.spill(*key, row),
            Write::Answer { id, answer } => self.put_answer(id, answer),
            Write::Note { what } => self.note(what),
            Write::Set { key, value } => self.set(key, value),
            Write::SetIfAbsent { key, value } => self.set_if_absent(key, value),
        }
    }

    fn put(&self, key: u64, state: RowState, row: &ResultRow) -> rusqlite::Result<()> {
        let put = "INSERT OR REPLACE INTO part (key, run_id, camera, seq, at, state, body)
            VALUES (?, ?, ?, ?, ?, ?, ?)";
        self.insert(put, key, state, row)?;
        if !matches!(state, RowState::Open | RowState::Live) {
            return Ok(());
        }
        let last = "INSERT INTO run VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
            SET last_seq = max(last_seq, excluded.last_seq), last_key = max(last_key, excluded.last_key)";
        self.transaction.prepare_cached(last)?.execute(params![
            row.run_id,
            row.camera,
            row.seq as i64,
            key as i64
        ])?;
        Ok(())
    }

    fn spill(&self, key: u64, row: &ResultRow) -> rusqlite::Result<()> {
        let spill = "INSERT INTO part (key, run_id, camera, seq, at, state, body)
            VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state";
        self.insert(spill, key, RowState::Backlog, row)
    }

    fn insert(
        &self,
        sql: &str,
        key: u64,
        state: RowState,
        row: &ResultRow,
    ) -> rusqlite::Result<()> {
        self.transaction.prepare_cached(sql)?.execute(params![
            key as i64,
            row.run_id,
            row.camera,
            row.seq as i64,
            self.now_ms,
            state as i64,
            row.to_stored(),
        ])?;
        Ok(())
    }

    fn set_state(&self, key: u64, state: RowState) -> rusqlite::Result<()> {
        let sql = "UPDATE part SET state = ? WHERE key = ?";
        self.transaction
            .prepare_cached(sql)?
            .execute(params![state as i64, key as i64])?;
        Ok(())
    }

    fn put_answer(&self, id: &str, answer: &str) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO answer VALUES (?, ?, ?)";
        self.transaction
            .prepare_cached(sql)?
            .execute(params![id, self.running_ms, answer])?;
        Ok(())
    }

    fn note(&self, what: &str) -> rusqlite::Result<()> {
        let at = format!("{:.3}", jiff::Timestamp::now());
        let sql = "INSERT INTO audit VALUES (?, ?, ?)";
        self.transaction
            .prepare_cached(sql)?
            .execute(params![at, self.run_id, what])?;
        Ok(())
    }

    fn set(&self, key: &str, value: &str) -> rusqlite::Result<()> {
        if value.is_empty() {
            let sql = "DELETE FROM kept WHERE key = ?";
            self.transaction.prepare_cached(sql)?.execute([key])?;
        } else {
            let sql = "INSERT OR REPLACE INTO kept VALUES (?, ?)";
            self.transaction
                .prepare_cached(sql)?
                .execute([key, value])?;
        }
        Ok(())
    }

    fn set_if_absent(&self, key: &str, value: &str) -> rusqlite::Result<()> {
        let sql = "INSERT OR IGNORE INTO kept VALUES (?, ?)";
        self.transaction
            .prepare_cached(sql)?
            .execute([key, value])?;
        Ok(())
    }
}
