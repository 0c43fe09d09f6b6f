//! Tables of the store's file, and their version.
//!
//! ```text
//! no table      made
//! version 1     an early build's: refused, and moved aside by who opens the file
//! version 2     winspect 0.1: migrated, in one transaction (migration.rs)
//! version 3     winspect 0.2: a part's body is a row of schema 2 as JSON (data/result.rs); the tables of
//!               the history are added, and filled by the running line (search.rs)
//! version 4     today's
//! above         refused
//! ```

use super::error::{DatabaseError, Incident};
use super::migration::{Migrated, migrate};
use rusqlite::{Connection, ErrorCode};
use std::path::Path;

/// Version of the tables. Raised when they, or the bodies in them, change.
pub(super) const VERSION: i64 = 4;
/// The version of winspect 0.1, whose bodies are migrated.
const MIGRATED: i64 = 2;
/// The version of winspect 0.2, which lacks the tables of the history.
const WITHOUT_HISTORY: i64 = 3;

const TABLES: &str = "
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
";
/// Rows that could not be read, as they were, with the reason.
pub(super) const UNREADABLE: &str = "
CREATE TABLE unreadable (key INTEGER, run_id TEXT, camera TEXT, seq INTEGER, at INTEGER,
  state INTEGER, body, why TEXT NOT NULL);
";
/// Few facts of each result, by which parts are found and counted without reading their bodies; and
/// persons' words on parts. Both leave the file with their part. `kind` is that of [`RowKind`](super::facts::RowKind).
const HISTORY: &str = "
CREATE TABLE history (
  key INTEGER PRIMARY KEY, seq INTEGER NOT NULL, at INTEGER NOT NULL, camera TEXT NOT NULL, region TEXT,
  verdict TEXT NOT NULL, reason TEXT, recipe TEXT NOT NULL, part_id TEXT, spot TEXT, kind INTEGER NOT NULL);
CREATE INDEX history_seq ON history(seq);
CREATE TABLE label (
  key INTEGER PRIMARY KEY, label TEXT, note TEXT, who TEXT NOT NULL, at TEXT NOT NULL);
CREATE TRIGGER part_gone AFTER DELETE ON part BEGIN
  DELETE FROM history WHERE key = old.key;
  DELETE FROM label WHERE key = old.key;
END;
";
/// The key in the table `kept` below which parts have no row in `history` yet.
pub(super) const LACKS_BELOW: &str = "history.lacks_below";
/// Finds old answers without reading them all. Beside the tables, because files without it are as good.
const ANSWERS_BY_TIME: &str = "CREATE INDEX IF NOT EXISTS answer_at ON answer(at)";
/// Find parts that are asked for by what few of them have; parts that passed, and parts without an id or a label, cost nothing. Beside the
/// tables too: a disk that has no room for them is no reason not to read the file.
const FINDERS: &str = "
CREATE INDEX IF NOT EXISTS history_not_passed ON history(verdict) WHERE verdict <> 'pass';
CREATE INDEX IF NOT EXISTS history_part_id ON history(part_id) WHERE part_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS label_label ON label(label) WHERE label IS NOT NULL;
";
/// Condition of the parts that did not pass, as their index has it.
pub(super) const NOT_PASSED: &str = "verdict <> 'pass'";
/// Condition of rows that wait in the file. SQLite uses an index with a condition only where the query
/// repeats it.
pub(super) const WAITS: &str = "state < 3 AND state = 2";

/// Makes the tables, or brings them to today's version.
///
/// # Errors
/// When another version or another process made or has them; SQLite's.
pub(super) fn prepare(
    connection: &mut Connection,
    path: &Path,
) -> Result<Option<Incident>, DatabaseError> {
    let path = path.to_owned();
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let migrated = match version {
        // Another program's file has none, and no table of ours either.
        0 => {
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE; {TABLES} {UNREADABLE} {HISTORY} PRAGMA user_version = {VERSION}; COMMIT;"
            ))?;

            Migrated::default()
        }

        MIGRATED => {
            let tables = format!("{UNREADABLE} {HISTORY} {}", lacks_all());
            let migrated = migrate(connection, &tables, VERSION)?;
            tracing::info!(
                "the store {} was of winspect 0.1; {} rows are taken over",
                path.display(),
                migrated.rows
            );

            migrated
        }

        WITHOUT_HISTORY => {
            // The time of this is not that of the parts in the file: they are taken in later.
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE; {HISTORY} {} PRAGMA user_version = {VERSION}; COMMIT;",
                lacks_all()
            ))?;

            Migrated::default()
        }

        VERSION => Migrated::default(),
        found if found > VERSION => {
            let known = VERSION;
            return Err(DatabaseError::Newer { path, found, known });
        }

        found => {
            let known = VERSION;
            return Err(DatabaseError::Older { path, found, known });
        }
    };

    connection.execute_batch(ANSWERS_BY_TIME)?;
    if let Err(error) = connection.execute_batch(FINDERS) {
        tracing::warn!("searches in the history are slower until a start with room: {error}");
    }

    Ok(migrated
        .first_reason
        .map(|reason| Incident::rows_moved(migrated.unreadable, &reason)))
}

/// Notes that no part of the file has a row in `history`.
fn lacks_all() -> String {
    format!(
        "INSERT OR REPLACE INTO kept
           SELECT '{LACKS_BELOW}', 1 + max(key) FROM part HAVING max(key) IS NOT NULL;"
    )
}

/// Names the file where SQLite says that another process has it.
pub(super) fn or_busy(error: DatabaseError, path: &Path) -> DatabaseError {
    match &error {
        DatabaseError::Sqlite(inner) => match inner.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DatabaseError::Busy {
                path: path.to_owned(),
            },
            _ => error,
        },
        _ => error,
    }
}
