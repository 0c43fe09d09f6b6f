//! Each [`Write`] as SQL, within a transaction.

use super::facts::{RowKind, write_facts};
use super::row::{RowState, Write};
use crate::data::history::PartLabel;
use crate::data::result::ResultRow;
use rusqlite::{ToSql, Transaction, params};

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
            Write::Spill { key, row } => {
                let spill = "INSERT INTO part (key, run_id, camera, seq, at, state, body)
                    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state";

                self.insert(spill, *key, RowState::Backlog, row)?;
                let kind = RowKind::of_old(row);

                write_facts(&self.transaction, *key as i64, row, kind, false)
            }
            Write::Answer { id, answer } => {
                let put = "INSERT OR REPLACE INTO answer VALUES (?, ?, ?)";
                self.run(put, params![id, self.running_ms, answer])
            }
            Write::Label { key, label } => self.put_label(*key, label),
            Write::Note { what } => {
                let at = format!("{:.3}", jiff::Timestamp::now());
                let note = "INSERT INTO audit VALUES (?, ?, ?)";

                self.run(note, params![at, self.run_id, what])
            }
            Write::Set { key, value } if value.is_empty() => {
                self.run("DELETE FROM kept WHERE key = ?", params![key])
            }
            Write::Set { key, value } => {
                let set = "INSERT OR REPLACE INTO kept VALUES (?, ?)";
                self.run(set, params![key, value])
            }
            Write::SetIfAbsent { key, value } => {
                let set = "INSERT OR IGNORE INTO kept VALUES (?, ?)";
                self.run(set, params![key, value])
            }
        }
    }

    /// A part's row, and its number among those of the run.
    fn put(&self, key: u64, state: RowState, row: &ResultRow) -> rusqlite::Result<()> {
        // The open row is replaced by the result, under the same key.
        let put = "INSERT OR REPLACE INTO part (key, run_id, camera, seq, at, state, body)
            VALUES (?, ?, ?, ?, ?, ?, ?)";

        self.insert(put, key, state, row)?;
        // A part that is open has said nothing yet.
        if state != RowState::Open {
            let kind = RowKind::of(row, state == RowState::Backlog);
            write_facts(&self.transaction, key as i64, row, kind, true)?;
        }

        // Backlog rows written here are late verdicts, whose numbers are those of a result that
        // stands already.
        if state != RowState::Open && state != RowState::Live {
            return Ok(());
        }

        // Numbers only grow: a transaction that was held back must not set them back.
        let last = "INSERT INTO run VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
            SET last_seq = max(last_seq, excluded.last_seq),
            last_key = max(last_key, excluded.last_key)";

        let seq = row.seq as i64;
        let key = key as i64;

        self.run(last, params![row.run_id, row.camera, seq, key])
    }

    fn insert(
        &self,
        sql: &str,
        key: u64,
        state: RowState,
        row: &ResultRow,
    ) -> rusqlite::Result<()> {
        // The values are in the order of the columns that each statement lists.
        let values = params![
            key as i64,
            row.run_id,
            row.camera,
            row.seq as i64,
            self.now_ms,
            state as i64,
            row.to_stored(),
        ];

        self.run(sql, values)
    }

    fn put_label(&self, key: u64, label: &PartLabel) -> rusqlite::Result<()> {
        // A part may have left the file since it was found: its label would stay for good.
        let put = "INSERT INTO label SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS
            (SELECT 1 FROM part WHERE key = ?1)
            ON CONFLICT DO UPDATE SET label = coalesce(excluded.label, label),
            note = coalesce(excluded.note, note), who = excluded.who, at = excluded.at";

        let PartLabel {
            label,
            note,
            who,
            at,
        } = label;

        self.run(put, params![key as i64, label, note, who, at])
    }

    fn set_state(&self, key: u64, state: RowState) -> rusqlite::Result<()> {
        let set = "UPDATE part SET state = ? WHERE key = ?";
        self.run(set, params![state as i64, key as i64])
    }

    fn run(&self, sql: &str, values: &[&dyn ToSql]) -> rusqlite::Result<()> {
        // Statements are parsed once: the cache outlives the transaction.
        let mut statement = self.transaction.prepare_cached(sql)?;
        statement.execute(values)?;

        Ok(())
    }
}
