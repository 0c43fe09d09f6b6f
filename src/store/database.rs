//! The store's file: SQLite in WAL mode. Everything that SQLite can say stays in here and in the files
//! that only this one uses: schema, migration, statements.
//!
//! A part is a row from its acceptance on, with what would be said of it if no verdict ever came; its
//! result replaces that. So after a crash nothing has to be made up: what was open is sent as it stands.

mod tidying;

use super::bounds::{ANSWERS_KEPT, ANSWERS_MAX, RUNS_KEPT, TIDIED_ROWS};
use super::error::{DatabaseError, Incident, is_broken};
use super::files::{identity_of, make_folder, move_aside, reason, with_end};
use super::history::HistoryClock;
use super::migration::{body, set_aside};
use super::row::{Page, Previous, Recovered, StoredResult, Write};
use super::schema::{self, WAITS};
use super::search::{self, Search, SearchPage, take_in_open_parts};
use super::settings::Sync;
use super::statements::Change;
use crate::data::result::ResultRow;
use rusqlite::{Connection, ffi, params};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An open file, or the memory in its place where there is none.
pub struct Database {
    pub(super) connection: Connection,
    /// True when there is no file: nothing can be written.
    is_left: bool,
    pub(super) running: RunningTime,
    /// Commands' answers in the file.
    answers: u64,
    /// Time by which delivered results grow old.
    history: HistoryClock,
    /// Device and number of the file, by which its removal is noticed. `None` without a file.
    identity: Option<(u64, u64)>,
    /// Time that each job takes longer.
    #[cfg(test)]
    pub(super) delay: Duration,
}

/// Time that winspect has run with this file: the age of an answer must not depend on a clock that is
/// set by people.
pub(super) struct RunningTime {
    /// Milliseconds before this process.
    pub(super) before: i64,
    since: Instant,
}

impl RunningTime {
    fn after(before: i64) -> Self {
        RunningTime {
            before,
            since: Instant::now(),
        }
    }

    /// Goes on from the newest answer. What an earlier run did after it is not counted, so that ids are
    /// rather known too long.
    fn go_on(connection: &Connection) -> rusqlite::Result<Self> {
        // Milliseconds are of running time, not of a clock: the newest answer is as old as the time
        // that has run since.
        let newest = "SELECT coalesce(max(at), 0) FROM answer";
        let before = connection.query_row(newest, [], |row| row.get(0))?;

        Ok(Self::after(before))
    }

    fn now(&self) -> i64 {
        self.before + self.since.elapsed().as_millis() as i64
    }

    /// Answers from before are forgotten.
    fn forgotten(&self) -> i64 {
        let kept = ANSWERS_KEPT.as_millis() as i64;
        self.now() - kept
    }
}

impl Database {
    /// Opens the file, or makes it. One that is no store, of an early version, or broken, is moved aside
    /// and told: a line must judge.
    ///
    /// # Errors
    /// When another process has it, a newer version made it, or it cannot be made.
    pub fn open(path: &Path, sync: Sync) -> Result<(Self, Option<Incident>), DatabaseError> {
        make_folder(path)?;

        // A broken file and one of an early build end the same way: beside, under another name, so
        // that a person may look into it.
        match Self::try_open(path, sync) {
            Err(DatabaseError::Sqlite(error)) if is_broken(&error) => {
                Self::anew(path, sync, &error.to_string())
            }
            Err(DatabaseError::Older { found, .. }) => {
                let words = format!("the store was an early winspect's (version {found})");
                Self::beside(path, sync, words)
            }
            opened => opened.map_err(|error| reason(path, error)),
        }
    }

    /// Memory instead of a file that cannot be used: nothing can be written until another one is opened.
    ///
    /// # Errors
    /// SQLite's.
    pub fn without_file() -> rusqlite::Result<Self> {
        Ok(Database {
            connection: Connection::open_in_memory()?,
            is_left: true,
            running: RunningTime::after(0),
            answers: 0,
            history: HistoryClock::new(),
            identity: None,
            #[cfg(test)]
            delay: Duration::ZERO,
        })
    }

    /// Moves a broken file aside and makes another one. The broken one must not be open: closing it
    /// later takes the log beside the new one away, by its name.
    ///
    /// # Errors
    /// When it cannot be moved, or another one cannot be made.
    pub fn anew(
        path: &Path,
        sync: Sync,
        why: &str,
    ) -> Result<(Self, Option<Incident>), DatabaseError> {
        Self::beside(path, sync, format!("the store was broken ({why})"))
    }

    fn beside(
        path: &Path,
        sync: Sync,
        words: String,
    ) -> Result<(Self, Option<Incident>), DatabaseError> {
        // The old file is out of the way before the new one is made; a crash in between leaves
        // none, and the next start makes one.
        let aside = move_aside(path)?;
        let words = format!("{words}; moved to {}", aside.display());
        let (database, _) = Self::try_open(path, sync)?;

        Ok((database, Some(Incident::FileMoved(words))))
    }

    /// Closes the file; nothing can be written until another one is opened.
    ///
    /// # Errors
    /// SQLite's.
    pub fn leave(&mut self) -> rusqlite::Result<()> {
        *self = Self::without_file()?;
        Ok(())
    }

    /// True when the open file is not the one at its path any more: it was removed or replaced, and
    /// what is written would be gone with this process.
    pub fn is_gone(&self, path: &Path) -> bool {
        self.identity.is_some() && identity_of(path) != self.identity
    }

    /// Writes the open file, which was removed, to its path again, and goes on with that.
    ///
    /// # Errors
    /// When it cannot be written there; everything goes on in the removed file then.
    pub fn put_back(&mut self, path: &Path, sync: Sync) -> Result<(), DatabaseError> {
        make_folder(path)?;

        // A half-written copy of an earlier try would be in the way. What stands at the path is not
        // ours, and is moved aside.
        let copy = PathBuf::from(with_end(path, ".back"));
        let _ = std::fs::remove_file(&copy);
        self.connection
            .execute("VACUUM INTO ?", [copy.display().to_string()])?;

        // The removed file is closed before the other is there: closing takes a log away by its name.
        self.leave()?;
        if path.exists() {
            move_aside(path)?;
        }

        let _ = std::fs::remove_file(with_end(path, "-wal"));
        std::fs::rename(&copy, path).map_err(|error| DatabaseError::File { path: copy, error })?;

        let (database, _) = Self::try_open(path, sync)?;
        *self = database;

        Ok(())
    }

    /// True when there is no file: nothing can be written.
    pub fn is_left(&self) -> bool {
        self.is_left
    }

    fn try_open(path: &Path, sync: Sync) -> Result<(Self, Option<Incident>), DatabaseError> {
        // SQLite opens lazily: the first statement, in `configure`, is the first that can fail on
        // the file.
        let mut connection = Connection::open(path)?;
        let prepared = match configure(&connection, sync) {
            Ok(()) => schema::prepare(&mut connection, path),
            Err(error) => Err(error.into()),
        };

        let incident = prepared.map_err(|error| schema::or_busy(error, path))?;
        let answers = count_answers(&connection)?;
        let mut database = Database {
            running: RunningTime::go_on(&connection)?,
            connection,
            is_left: false,
            answers,
            history: HistoryClock::new(),
            identity: identity_of(path),
            #[cfg(test)]
            delay: Duration::ZERO,
        };

        // What killed runs left in the log is not counted below, and each would leave some more. On a
        // disk that is full it stays there, and counts.
        let _ = database.checkpoint();

        Ok((database, incident))
    }

    /// Marks what earlier runs left, before that key, as waiting; returns how many results wait.
    ///
    /// # Errors
    /// SQLite's.
    pub fn begin_run(&mut self, first_key: u64) -> rusqlite::Result<u64> {
        // Rows that an earlier run left open or live have no one to send them: they wait in the
        // file from now on, and go out as late.
        let first_key = first_key as i64;
        let change = self.connection.transaction()?;
        take_in_open_parts(&change, first_key)?;
        let left = "UPDATE part SET state = 2 WHERE state < 3 AND state IN (0, 1) AND key < ?";
        change.execute(left, [first_key])?;

        // Only the last numbers of the newest runs are told in `birth`.
        let old = "DELETE FROM run WHERE run_id NOT IN
            (SELECT run_id FROM run GROUP BY run_id ORDER BY max(last_key) DESC LIMIT ?)";

        change.execute(old, [RUNS_KEPT])?;
        let forgotten = "DELETE FROM answer WHERE at < ?";
        let forgotten = change.execute(forgotten, [self.running.forgotten()])?;
        change.commit()?;

        // The counter saves a count of all rows in each search for old ones.
        self.answers = self.answers.saturating_sub(forgotten as u64);
        let waits = format!("SELECT count(*) FROM part WHERE {WAITS} AND key < ?");
        let waiting: i64 = self
            .connection
            .query_row(&waits, [first_key], |row| row.get(0))?;

        Ok(waiting as u64)
    }

    /// State of the store as earlier runs left it; how much waits is told by [`Database::begin_run`].
    ///
    /// # Errors
    /// SQLite's.
    pub fn found(&self) -> rusqlite::Result<Recovered> {
        // Delivered parts may be gone from the file.
        let next_key = "SELECT 1 + max(coalesce((SELECT max(key) FROM part), 0),
            coalesce((SELECT max(last_key) FROM run), 0))";

        // Keys are never used twice, also where their rows are gone: the order of keys is the order
        // of parts.
        let next_key: i64 = self.connection.query_row(next_key, [], |row| row.get(0))?;
        Ok(Recovered {
            next_key: next_key as u64,
            backlog: 0,
            previous: self.previous()?,
            answers: self.answers()?,
            kept: self.kept()?,
            is_unread: false,
        })
    }

    /// The values that earlier runs kept.
    fn kept(&self) -> rusqlite::Result<BTreeMap<String, String>> {
        let mut all = self.connection.prepare("SELECT key, value FROM kept")?;
        let mut rows = all.query([])?;
        let mut kept = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let key = row.get(0)?;
            let value = row.get(1)?;
            kept.insert(key, value);
        }

        Ok(kept)
    }

    /// The end of each camera's last run. Runs are in the order of their parts' keys, not of their
    /// names, which begin with the time: a box without a battery for its clock starts in the past.
    fn previous(&self) -> rusqlite::Result<Vec<Previous>> {
        let last = "SELECT run_id, camera, last_seq FROM run AS this WHERE last_key =
            (SELECT max(last_key) FROM run WHERE camera = this.camera) ORDER BY camera";

        let mut last = self.connection.prepare(last)?;
        let previous = last.query_map([], |row| {
            Ok(Previous {
                run_id: row.get(0)?,
                camera: row.get(1)?,
                last_seq: row.get::<_, i64>(2)? as u64,
            })
        })?;

        previous.collect()
    }

    /// The newest [`ANSWERS_MAX`], the oldest first. Sorted here: by the index each would be looked up by
    /// itself.
    fn answers(&self) -> rusqlite::Result<Vec<(String, String)>> {
        let all = "SELECT at, id, answer FROM answer NOT INDEXED";
        let mut all = self.connection.prepare(all)?;
        let mut rows = all.query([])?;
        let mut answers = vec![];
        while let Some(row) = rows.next()? {
            let at: i64 = row.get(0)?;
            let id = row.get(1)?;
            let answer = row.get(2)?;
            answers.push((at, (id, answer)));
        }

        answers.sort_by_key(|(at, _)| *at);

        // The file may hold more than are known by their ids, until the next search for old rows.
        let beyond = answers.len().saturating_sub(ANSWERS_MAX);
        let newest = answers.into_iter().skip(beyond);

        Ok(newest.map(|(_, answer)| answer).collect())
    }

    /// Writes all of them, or none.
    ///
    /// # Errors
    /// SQLite's: the disk is full, gone, read-only.
    pub fn write(&mut self, run_id: &str, writes: &[Write]) -> rusqlite::Result<()> {
        // All rows of the transaction have one moment: they became durable together.
        let change = Change {
            running_ms: self.running.now(),
            now_ms: now_ms(),
            run_id,
            transaction: self.connection.transaction()?,
        };

        for write in writes {
            change.execute(write)?;
        }

        change.transaction.commit()?;
        for write in writes {
            if let Write::Answer { .. } = write {
                self.answers += 1;
            }
        }

        Ok(())
    }

    /// Pages that were written to the log since [`Database::checkpoint`] was called.
    pub fn log_pages(&self) -> u64 {
        self.pages_written(false)
    }

    /// Takes the log over into the file: two fsyncs, whatever the policy.
    ///
    /// # Errors
    /// SQLite's: the disk is full, gone, read-only. What the log holds stays there, and counts.
    pub fn checkpoint(&mut self) -> rusqlite::Result<()> {
        self.pages_written(true); // one that fails is tried again after as many
        self.connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    fn pages_written(&self, begin_again: bool) -> u64 {
        // SQLite counts pages that it wrote from its cache; with a log that is all of them.
        let what = ffi::SQLITE_DBSTATUS_CACHE_WRITE;
        let mut pages = 0;
        let mut highest = 0;

        // SAFETY: the handle is open as long as `self`, and both numbers outlive the call.
        unsafe {
            ffi::sqlite3_db_status(
                self.connection.handle(),
                what,
                &mut pages,
                &mut highest,
                begin_again.into(),
            );
        }

        pages as u64
    }

    /// Results that wait in the file, the oldest first, after that key.
    ///
    /// # Errors
    /// SQLite's.
    pub fn page(&self, after: u64, limit: usize) -> rusqlite::Result<Page> {
        let sql =
            format!("SELECT key, body FROM part WHERE {WAITS} AND key > ? ORDER BY key LIMIT ?");

        // Keys ascend, so that the caller asks for the next page with the last key of this one.
        let mut select = self.connection.prepare_cached(&sql)?;
        let mut rows = select.query(params![after as i64, limit as i64])?;
        let mut page = Page::default();
        while let Some(row) = rows.next()? {
            let key: i64 = row.get(0)?;
            let key = key as u64;
            let body = body(row, 1)?;

            // A row that cannot be read must not stop those behind it: it is reported beside them.
            match ResultRow::from_stored(&body) {
                Ok(row) => {
                    let row = row.into();
                    page.results.push(StoredResult { key, row });
                }
                Err(error) => {
                    let why = error.to_string();
                    page.unreadable.push((key, why));
                }
            }
        }

        Ok(page)
    }

    /// Takes one step of a search.
    ///
    /// # Errors
    /// SQLite's.
    pub fn search(&self, search: &Search) -> rusqlite::Result<SearchPage> {
        search::search(&self.connection, search)
    }

    /// Moves rows that cannot be read into a table of their own, with the reason.
    ///
    /// # Errors
    /// SQLite's.
    pub fn set_aside(&mut self, rows: &[(u64, String)]) -> rusqlite::Result<()> {
        let change = self.connection.transaction()?;
        for (key, why) in rows {
            set_aside(&change, *key as i64, why)?;
        }

        change.commit()
    }

    /// Takes the oldest waiting results away, but for those keys, at most `count` and a search's worth;
    /// returns how many there were.
    ///
    /// # Errors
    /// SQLite's.
    pub fn give_up(&mut self, but: &[u64], count: u64) -> rusqlite::Result<u64> {
        // The keys go in as one JSON array: their number is not bounded by SQLite's limit of
        // parameters.
        let but = serde_json::json!(but).to_string();
        let sql = format!(
            "DELETE FROM part WHERE key IN (SELECT key FROM part
             WHERE {WAITS} AND key NOT IN (SELECT value FROM json_each(?)) ORDER BY key LIMIT ?)"
        );

        let most = count.min(TIDIED_ROWS) as i64;
        let gone = self.connection.execute(&sql, params![but, most])?;

        Ok(gone as u64)
    }

    /// Bytes of the file that hold something.
    ///
    /// # Errors
    /// SQLite's.
    pub fn used(&self) -> rusqlite::Result<u64> {
        let pages = self.pragma("page_count")?;

        // Free pages are filled again before the file grows, so that they do not count.
        let free = self.pragma("freelist_count")?;
        let bytes = self.pragma("page_size")?;

        Ok(((pages - free) * bytes) as u64)
    }

    fn pragma(&self, name: &str) -> rusqlite::Result<i64> {
        self.connection
            .pragma_query_value(None, name, |row| row.get(0))
    }
}

/// Alone on the file, with a log that is taken over by [`Database::checkpoint`] only.
fn configure(connection: &Connection, sync: Sync) -> rusqlite::Result<()> {
    // No other process, and so no file of shared memory either.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.busy_timeout(Duration::from_millis(500))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;

    // FULL syncs the log with each commit, NORMAL only when it is taken over into the file.
    let synchronous = match sync {
        Sync::Full => "FULL",
        Sync::Normal => "NORMAL",
    };

    connection.pragma_update(None, "synchronous", synchronous)?;

    // The log is cut to 16 MB when it begins anew. SQLite's own takeover is off, because it comes
    // in the middle of a commit.
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.set_prepared_statement_cache_capacity(32);

    Ok(())
}

fn count_answers(connection: &Connection) -> rusqlite::Result<u64> {
    let count = "SELECT count(*) FROM answer";
    let answers: i64 = connection.query_row(count, [], |row| row.get(0))?;

    Ok(answers as u64)
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
