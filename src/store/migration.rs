//! Takes the tables of winspect 0.1 (version 2) over into today's.
//!
//! There, a body is a message of schema 1 without its last two keys and its closing brace. Each body
//! that is still to be sent becomes a row of schema 2: `regions` are `defects`. Delivered rows keep the
//! body that they have, which names its schema, so that the time and the room of a migration are those
//! of the waiting results and not of the history. Everything else stays as it is: keys, states, runs,
//! answers, values, audit. All in one transaction: a crash in the middle leaves the old file. A body
//! that cannot be read is kept in the table `unreadable` and told.

use super::bounds::{MIGRATED_ROWS, UNREADABLE_KEPT};
use crate::data::result::{ResultRow, RowError, schema_of};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The schema of the messages of winspect 0.1.
const OLD_SCHEMA: u32 = 1;

/// Outcome of a migration.
#[derive(Debug, Default)]
pub(super) struct Migrated {
    /// Rows in all.
    pub(super) rows: usize,
    /// Rows that could not be read.
    pub(super) unreadable: usize,
    /// Reason of the first of them.
    pub(super) first_reason: Option<String>,
}

/// Brings all rows to today's form, and the tables to `version`.
///
/// # Errors
/// SQLite's; the file is then as before.
pub(super) fn migrate(
    connection: &mut Connection,
    tables: &str,
    version: i64,
) -> rusqlite::Result<Migrated> {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    change.execute_batch(tables)?;
    let mut migrated = Migrated::default();
    let mut last = -1;
    loop {
        let page = old_rows(&change, last)?;
        let Some((highest, _)) = page.last() else {
            break;
        };

        last = *highest;
        for (key, body) in &page {
            migrate_row(&change, *key, body, &mut migrated)?;
        }
    }

    change.pragma_update(None, "user_version", version)?;
    change.commit()?;
    Ok(migrated)
}

/// The next rows above that key that are open or wait for the broker.
fn old_rows(change: &Transaction, above: i64) -> rusqlite::Result<Vec<(i64, String)>> {
    let sql = "SELECT key, body FROM part WHERE state < 3 AND key > ? ORDER BY key LIMIT ?";
    let mut select = change.prepare_cached(sql)?;
    let mut rows = select.query([above, MIGRATED_ROWS as i64])?;
    let mut page = Vec::with_capacity(MIGRATED_ROWS);
    while let Some(row) = rows.next()? {
        let key = row.get(0)?;
        let body = body(row, 1)?;
        page.push((key, body));
    }

    Ok(page)
}

fn migrate_row(
    change: &Transaction,
    key: i64,
    body: &str,
    migrated: &mut Migrated,
) -> rusqlite::Result<()> {
    migrated.rows += 1;
    match from_schema_1(body) {
        Ok(row) => {
            change
                .prepare_cached("UPDATE part SET body = ? WHERE key = ?")?
                .execute(params![row.to_stored(), key])?;
        }
        Err(error) => {
            let why = error.to_string();
            set_aside(change, key, &why)?;
            migrated.unreadable += 1;
            migrated.first_reason.get_or_insert(why);
        }
    }

    Ok(())
}

/// Moves a row out of the way of those that can be read.
pub(super) fn set_aside(connection: &Connection, key: i64, why: &str) -> rusqlite::Result<()> {
    let copy = "INSERT INTO unreadable
        SELECT key, run_id, camera, seq, at, state, body, ? FROM part WHERE key = ?";

    connection
        .prepare_cached(copy)?
        .execute(params![why, key])?;

    let delete = "DELETE FROM part WHERE key = ?";
    connection.prepare_cached(delete)?.execute([key])?;
    let bound = "DELETE FROM unreadable
        WHERE rowid <= (SELECT max(rowid) FROM unreadable) - ?";

    connection
        .prepare_cached(bound)?
        .execute([UNREADABLE_KEPT])?;

    Ok(())
}

/// Body in that column as text, whatever it is: what is no text is no row either.
pub(super) fn body(row: &Row, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        other => format!("{other:?}"),
    })
}

/// The row of a body of any version.
///
/// # Errors
/// When it is no row.
pub(super) fn readable(body: &str) -> Result<ResultRow, RowError> {
    // Delivered rows of winspect 0.1 keep the body that they had.
    ResultRow::from_stored(body).or_else(|error| from_schema_1(body).map_err(|_| error))
}

/// The row that a body of winspect 0.1 stands for.
fn from_schema_1(body: &str) -> Result<ResultRow, RowError> {
    let text = format!("{body}}}");
    let found = schema_of(&text)?;
    if found != OLD_SCHEMA {
        return Err(RowError::Schema { found });
    }

    let mut keys: Map<String, Value> = serde_json::from_str(&text)?;
    if let Some(defects) = keys.remove("regions") {
        keys.insert("defects".to_owned(), defects);
    }

    let keys = Value::Object(keys);
    let row = ResultRow::deserialize(keys)?;
    Ok(row)
}
