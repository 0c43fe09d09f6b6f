//! The store's file: SQLite in WAL mode. Everything that SQLite can say stays in here.
//!
//! A part is a row from its acceptance on, with what would be said of it if nobody ever judged it; its result replaces
//! that. So after a crash nothing has to be made up: what was open is sent as it stands.

#[cfg(test)]
use rusqlite::OptionalExtension;
use rusqlite::{Connection, ErrorCode, ffi, params};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far a commit goes before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// To the disk (fsync): a power cut loses nothing.
    #[default]
    Full,
    /// To the system: `kill -9` loses nothing, a power cut the last seconds.
    Normal,
}

/// A part's row is in one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowState {
    /// Accepted, not judged; its body is what is said at its deadline.
    Open = 0,
    /// Its result waits in memory for the broker.
    Live = 1,
    /// Its result waits in the file: `result/late`.
    Backlog = 2,
    Acked = 3,
    /// The broker refused it, or there was no room while the disk failed.
    GivenUp = 4,
}

/// One change; many go into one transaction.
#[derive(Debug, Clone)]
pub enum Write {
    Part {
        key: u64,
        run_id: Arc<str>,
        camera: Arc<str>,
        seq: u64,
        state: RowState,
        body: Arc<str>,
    },
    Now {
        key: u64,
        state: RowState,
    },
    /// A result of this run waits in the file from now on, even if its row was lost with another file.
    Spill {
        key: u64,
        place: Arc<str>,
        body: Arc<str>,
    },
    /// A command's answer, by the sender's id.
    Answer {
        id: String,
        answer: String,
    },
    /// A line of the audit log.
    Note {
        what: String,
    },
    /// What a later run must know; an empty value is none.
    Keep {
        key: String,
        value: String,
    },
    /// The same where nothing stands yet.
    Begin {
        key: String,
        value: String,
    },
}

/// A result that waits in the file.
#[derive(Debug)]
pub struct StoredResult {
    pub key: u64,
    pub camera: Arc<str>,
    pub body: Arc<str>,
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Beyond every key in the file.
    pub next_key: u64,
    /// Results that wait.
    pub backlog: u64,
    pub previous: Vec<Previous>,
    /// Commands of the last hour and what was answered.
    pub answers: Vec<(String, String)>,
    /// What an earlier run kept for later ones.
    pub kept: BTreeMap<String, String>,
    /// The file could not be read: nobody knows.
    pub is_unread: bool,
}

/// Where a camera's last run ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Previous {
    pub run_id: String,
    pub camera: String,
    pub last_seq: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("{path} is used by another winspect; give each line a store of its own (store.file)")]
    Busy { path: PathBuf },
    #[error("{path}: {error}")]
    File {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error(
        "{path} was made by a newer winspect (version {found}, this one knows {known}); update, or move it away"
    )]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error(
        "{path} was made by an early winspect (version {found}, this one knows {known}); move it away"
    )]
    Older {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl DatabaseError {
    /// The disk is full, read-only or failing: another time the same file would do.
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            DatabaseError::File { error, .. } => {
                matches!(
                    error.kind(),
                    ErrorKind::StorageFull | ErrorKind::ReadOnlyFilesystem
                )
            }
            DatabaseError::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::ReadOnly)
            ),
            _ => false,
        }
    }
}

pub struct Database {
    connection: Connection,
    is_left: bool,
    running: Running,
    /// Commands' answers in the file.
    answers: u64,
}

/// Milliseconds that winspect has run with this file: how old an answer is must not depend on a clock that somebody sets.
struct Running {
    before: i64,
    since: Instant,
}

impl Running {
    /// From the newest answer on; what an earlier run did after it is not counted, so that ids are rather known too long.
    fn go_on(connection: &Connection) -> rusqlite::Result<Self> {
        let before =
            connection.query_row("SELECT coalesce(max(at), 0) FROM answer", [], |row| {
                row.get(0)
            })?;
        Ok(Running {
            before,
            since: Instant::now(),
        })
    }

    fn now(&self) -> i64 {
        self.before + self.since.elapsed().as_millis() as i64
    }

    /// Answers from before are forgotten.
    fn forgotten(&self) -> i64 {
        self.now() - ANSWERS_KEPT.as_millis() as i64
    }
}

/// Raised when the tables change. A file of an older version is moved aside: no release had another one.
const VERSION: i64 = 2;
const TABLES: &str = "
CREATE TABLE part (
  key INTEGER PRIMARY KEY, run_id TEXT NOT NULL, camera TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL,
  state INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX part_not_done ON part(state, key) WHERE state < 3;
CREATE INDEX part_done ON part(at) WHERE state >= 3;
CREATE TABLE run (run_id TEXT NOT NULL, camera TEXT NOT NULL, last_seq INTEGER NOT NULL, last_key INTEGER NOT NULL,
  PRIMARY KEY (run_id, camera)) WITHOUT ROWID;
CREATE TABLE answer (id TEXT PRIMARY KEY, at INTEGER NOT NULL, answer TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE kept (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE audit (at TEXT NOT NULL, run_id TEXT NOT NULL, what TEXT NOT NULL);
";
/// Those that wait in the file; SQLite uses an index with a condition only where the query repeats it.
const WAITS: &str = "state < 3 AND state = 2";
/// A command's id is remembered so long, by the time that winspect runs.
const ANSWERS_KEPT: Duration = Duration::from_secs(3600);
/// Of those, so many, the newest: an hour of 50 a second.
pub const ANSWERS_MAX: usize = 180_000;
/// Runs whose last numbers are kept.
const RUNS_KEPT: i64 = 100;
/// Finds old answers without reading them all; beside the tables, because files without it are as good.
const ANSWERS_BY_TIME: &str = "CREATE INDEX IF NOT EXISTS answer_at ON answer(at)";
/// Lines of the audit log that are kept.
const AUDIT_KEPT: i64 = 100_000;
/// Rows that one round of tidying takes away: a round must not hold a verdict up.
const TIDIED: u64 = 2000;

impl Database {
    /// Opens the file, or makes it. One that is no store, of an older version, or broken, is moved aside and told: a line must judge.
    ///
    /// # Errors
    /// When another process has it, or it cannot be made.
    pub fn open(path: &Path, sync: Sync) -> Result<(Self, Option<String>), DatabaseError> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(|error| DatabaseError::File {
                path: folder.to_owned(),
                error,
            })?;
        }
        match Self::try_open(path, sync) {
            Err(DatabaseError::Sqlite(error)) if is_broken(&error) => {
                Self::anew(path, sync, &error).map(|(database, words)| (database, Some(words)))
            }
            Err(DatabaseError::Older { found, .. }) => {
                let aside = move_aside(path)?;
                let words = format!(
                    "the store was an early winspect's (version {found}); moved to {}",
                    aside.display()
                );
                Self::try_open(path, sync).map(|database| (database, Some(words)))
            }
            opened => opened
                .map_err(|error| Self::reason(path, error))
                .map(|database| (database, None)),
        }
    }

    /// What the system says where SQLite only says that it cannot.
    fn reason(path: &Path, error: DatabaseError) -> DatabaseError {
        let code = if let DatabaseError::Sqlite(error) = &error {
            error.sqlite_error_code()
        } else {
            None
        };
        let asked = matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly));
        let tried = asked.then(|| {
            std::fs::File::options()
                .append(true)
                .create(true)
                .open(path)
        });
        match tried {
            Some(Err(error)) => DatabaseError::File {
                path: path.to_owned(),
                error,
            },
            _ => error,
        }
    }

    /// Instead of a file that cannot be used: nothing can be written until another one is opened.
    ///
    /// # Errors
    /// SQLite's.
    pub fn without_file() -> rusqlite::Result<Self> {
        let running = Running {
            before: 0,
            since: Instant::now(),
        };
        Ok(Database {
            connection: Connection::open_in_memory()?,
            is_left: true,
            running,
            answers: 0,
        })
    }

    /// Moves a broken file aside and makes another one; what is to be told. Nobody may have the broken one open: who
    /// closes it takes the log beside it away, by its name.
    ///
    /// # Errors
    /// When it cannot be moved, or another one cannot be made.
    pub fn anew(
        path: &Path,
        sync: Sync,
        error: &rusqlite::Error,
    ) -> Result<(Self, String), DatabaseError> {
        let aside = move_aside(path)?;
        let words = format!(
            "the store was broken ({error}); moved to {}",
            aside.display()
        );
        Self::try_open(path, sync).map(|database| (database, words))
    }

    /// Closes the file; nothing can be written until another one is opened.
    ///
    /// # Errors
    /// SQLite's.
    pub fn leave(&mut self) -> rusqlite::Result<()> {
        *self = Self::without_file()?;
        Ok(())
    }

    pub fn is_left(&self) -> bool {
        self.is_left
    }

    fn try_open(path: &Path, sync: Sync) -> Result<Self, DatabaseError> {
        let connection = Connection::open(path)?;
        // Alone: no other process, and so no file of shared memory either.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        let busy = |error: rusqlite::Error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => DatabaseError::Busy {
                path: path.to_owned(),
            },
            _ => DatabaseError::Sqlite(error),
        };
        connection.busy_timeout(Duration::from_millis(500))?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(busy)?;
        connection.pragma_update(
            None,
            "synchronous",
            if sync == Sync::Full { "FULL" } else { "NORMAL" },
        )?;
        connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?; // see `Clerk::checkpoint`
        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(busy)?;
        if version > VERSION {
            return Err(DatabaseError::Newer {
                path: path.to_owned(),
                found: version,
                known: VERSION,
            });
        }
        // Another program's file has none, and no table of ours either.
        if (1..VERSION).contains(&version) {
            return Err(DatabaseError::Older {
                path: path.to_owned(),
                found: version,
                known: VERSION,
            });
        }
        if version == 0 {
            let make =
                format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;");
            connection.execute_batch(&make).map_err(busy)?;
        }
        connection.execute_batch(ANSWERS_BY_TIME).map_err(busy)?;
        connection.set_prepared_statement_cache_capacity(32);
        let running = Running::go_on(&connection)?;
        let answers = connection.query_row("SELECT count(*) FROM answer", [], |row| {
            row.get::<_, i64>(0)
        })? as u64;
        let mut database = Database {
            connection,
            is_left: false,
            running,
            answers,
        };
        // What killed runs left in the log is not counted below, and each would leave some more. A disk that is full: it
        // stays there, and counts.
        let _ = database.checkpoint();
        Ok(database)
    }

    /// What earlier runs left, before that key, waits for the broker from now on; how many results those are.
    ///
    /// # Errors
    /// SQLite's.
    pub fn begin_run(&mut self, first_key: u64) -> rusqlite::Result<u64> {
        let change = self.connection.transaction()?;
        change.execute(
            "UPDATE part SET state = 2 WHERE state < 3 AND state IN (0, 1) AND key < ?",
            [first_key as i64],
        )?;
        let old = "DELETE FROM run WHERE run_id NOT IN
            (SELECT run_id FROM run GROUP BY run_id ORDER BY max(last_key) DESC LIMIT ?)";
        change.execute(old, [RUNS_KEPT])?;
        let forgotten = change.execute(
            "DELETE FROM answer WHERE at < ?",
            [self.running.forgotten()],
        )?;
        change.commit()?;
        self.answers = self.answers.saturating_sub(forgotten as u64);
        let waits = format!("SELECT count(*) FROM part WHERE {WAITS} AND key < ?");
        let waiting: i64 = self
            .connection
            .query_row(&waits, [first_key as i64], |row| row.get(0))?;
        Ok(waiting as u64)
    }

    /// What earlier runs left; what of it waits is told by [`Database::begin_run`]. Runs are in the order of their parts'
    /// keys, not of their names, which begin with the time: a box without a battery for its clock starts in the past.
    ///
    /// # Errors
    /// SQLite's.
    pub fn found(&self) -> rusqlite::Result<Recovered> {
        // Delivered parts may be gone from the file.
        let next_key: i64 = self.connection.query_row(
            "SELECT max(coalesce((SELECT max(key) FROM part), 0), coalesce((SELECT max(last_key) FROM run), 0)) + 1",
            [],
            |row| row.get(0),
        )?;
        let mut last = self.connection.prepare(
            "SELECT run_id, camera, last_seq FROM run AS this
             WHERE last_key = (SELECT max(last_key) FROM run WHERE camera = this.camera) ORDER BY camera",
        )?;
        let previous = last.query_map([], |row| {
            Ok(Previous {
                run_id: row.get(0)?,
                camera: row.get(1)?,
                last_seq: row.get::<_, i64>(2)? as u64,
            })
        })?;
        let previous = previous.collect::<rusqlite::Result<_>>()?;
        let answers = self.answers()?;
        let mut kept = self.connection.prepare("SELECT key, value FROM kept")?;
        let kept = kept.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let kept = kept.collect::<rusqlite::Result<_>>()?;
        Ok(Recovered {
            next_key: next_key as u64,
            backlog: 0,
            previous,
            answers,
            kept,
            is_unread: false,
        })
    }

    /// The newest [`ANSWERS_MAX`], the oldest first. Sorted here: by the index each would be looked up by itself.
    fn answers(&self) -> rusqlite::Result<Vec<(String, String)>> {
        let mut all = self
            .connection
            .prepare("SELECT at, id, answer FROM answer NOT INDEXED")?;
        let all = all.query_map([], |row| {
            Ok((row.get::<_, i64>(0)?, (row.get(1)?, row.get(2)?)))
        })?;
        let mut all: Vec<(i64, (String, String))> = all.collect::<rusqlite::Result<_>>()?;
        all.sort_by_key(|(at, _)| *at);
        let beyond = all.len().saturating_sub(ANSWERS_MAX);
        Ok(all
            .into_iter()
            .skip(beyond)
            .map(|(_, answer)| answer)
            .collect())
    }

    /// All of them, or none.
    ///
    /// # Errors
    /// SQLite's: the disk is full, gone, read-only.
    pub fn write(&mut self, run_id: &str, writes: &[Write]) -> rusqlite::Result<()> {
        let running = self.running.now();
        let change = self.connection.transaction()?;
        {
            let put = "INSERT OR REPLACE INTO part (key, run_id, camera, seq, at, state, body) VALUES (?, ?, ?, ?, ?, ?, ?)";
            let mut put = change.prepare_cached(put)?;
            let mut now = change.prepare_cached("UPDATE part SET state = ? WHERE key = ?")?;
            let last = "INSERT INTO run VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
                SET last_seq = max(last_seq, excluded.last_seq), last_key = max(last_key, excluded.last_key)";
            let mut last = change.prepare_cached(last)?;
            for write in writes {
                match write {
                    Write::Part {
                        key,
                        run_id,
                        camera,
                        seq,
                        state,
                        body,
                    } => {
                        let (key, seq) = (*key as i64, *seq as i64);
                        put.execute(params![
                            key,
                            run_id,
                            camera,
                            seq,
                            now_ms(),
                            *state as i64,
                            body
                        ])?;
                        if matches!(state, RowState::Open | RowState::Live) {
                            last.execute(params![run_id, camera, seq, key])?;
                        }
                    }
                    Write::Now { key, state } => {
                        drop(now.execute(params![*state as i64, *key as i64])?)
                    }
                    Write::Spill { key, place, body } => {
                        let sql = "INSERT INTO part (key, run_id, camera, seq, at, state, body)
                            VALUES (?, ?, ?, 0, ?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state";
                        let row = params![
                            *key as i64,
                            run_id,
                            place,
                            now_ms(),
                            RowState::Backlog as i64,
                            body
                        ];
                        change.prepare_cached(sql)?.execute(row)?;
                    }
                    Write::Answer { id, answer } => {
                        let sql = "INSERT OR REPLACE INTO answer VALUES (?, ?, ?)";
                        change
                            .prepare_cached(sql)?
                            .execute(params![id, running, answer])?;
                    }
                    Write::Keep { key, value } if value.is_empty() => {
                        change
                            .prepare_cached("DELETE FROM kept WHERE key = ?")?
                            .execute([key])?;
                    }
                    Write::Begin { key, value } => {
                        change
                            .prepare_cached("INSERT OR IGNORE INTO kept VALUES (?, ?)")?
                            .execute([key, value])?;
                    }
                    Write::Keep { key, value } => {
                        change
                            .prepare_cached("INSERT OR REPLACE INTO kept VALUES (?, ?)")?
                            .execute([key, value])?;
                    }
                    Write::Note { what } => {
                        let at = format!("{:.3}", jiff::Timestamp::now());
                        change
                            .prepare_cached("INSERT INTO audit VALUES (?, ?, ?)")?
                            .execute(params![at, run_id, what])?;
                    }
                }
            }
        }
        change.commit()?;
        self.answers += writes
            .iter()
            .filter(|write| matches!(write, Write::Answer { .. }))
            .count() as u64;
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
        let (mut pages, mut highest) = (0, 0);
        // SAFETY: the handle is open as long as `self`, and both numbers outlive the call.
        unsafe {
            let (handle, what) = (self.connection.handle(), ffi::SQLITE_DBSTATUS_CACHE_WRITE);
            ffi::sqlite3_db_status(handle, what, &mut pages, &mut highest, begin_again.into());
        }
        pages as u64
    }

    /// Results that wait in the file, the oldest first, after that key.
    ///
    /// # Errors
    /// SQLite's.
    pub fn page(&self, after: u64, limit: usize) -> rusqlite::Result<Vec<StoredResult>> {
        let sql = format!(
            "SELECT key, camera, body FROM part WHERE {WAITS} AND key > ? ORDER BY key LIMIT ?"
        );
        let mut page = self.connection.prepare_cached(&sql)?;
        let rows = page.query_map(params![after as i64, limit as i64], |row| {
            let (key, camera, body): (i64, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(StoredResult {
                key: key as u64,
                camera: camera.into(),
                body: body.into(),
            })
        })?;
        rows.collect()
    }

    /// Takes the oldest waiting results but those away, at most `count` and a round's worth; how many there were.
    ///
    /// # Errors
    /// SQLite's.
    pub fn give_up(&mut self, but: &[u64], count: u64) -> rusqlite::Result<u64> {
        let but = serde_json::json!(but).to_string();
        let sql = format!(
            "DELETE FROM part WHERE key IN (SELECT key FROM part
             WHERE {WAITS} AND key NOT IN (SELECT value FROM json_each(?)) ORDER BY key LIMIT ?)"
        );
        let gone = self
            .connection
            .execute(&sql, params![but, count.min(TIDIED) as i64])?;
        Ok(gone as u64)
    }

    /// One round of taking away what is old: answers whose ids are forgotten or too many, and the oldest delivered results,
    /// those older than `age`, and while the file holds more than `bytes`. True when there may be more to do.
    ///
    /// # Errors
    /// SQLite's.
    pub fn tidy(&mut self, age: Duration, bytes: u64) -> rusqlite::Result<bool> {
        let forgotten = self.running.forgotten();
        let sql = "DELETE FROM answer WHERE id IN (SELECT id FROM answer WHERE at < ? ORDER BY at LIMIT ?)";
        let mut answers = self
            .connection
            .execute(sql, params![forgotten, TIDIED as i64])? as u64;
        self.answers = self.answers.saturating_sub(answers);
        let beyond = self.answers.saturating_sub(ANSWERS_MAX as u64).min(TIDIED);
        if answers == 0 && beyond > 0 {
            answers = self
                .connection
                .execute(sql, params![i64::MAX, beyond as i64])? as u64;
            self.answers -= answers;
        }
        let sql = "DELETE FROM audit WHERE rowid <= (SELECT max(rowid) FROM audit) - ?";
        self.connection.execute(sql, [AUDIT_KEPT])?;
        if answers == TIDIED {
            return Ok(true);
        }
        let old = now_ms().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let sql = "DELETE FROM part WHERE key IN (SELECT key FROM part WHERE state >= 3 AND at < ? ORDER BY at LIMIT ?)";
        let gone = self.connection.execute(sql, params![old, TIDIED as i64])?;
        if gone > 0 || self.used()? <= bytes {
            return Ok(gone as u64 == TIDIED);
        }
        let gone = self
            .connection
            .execute(sql, params![i64::MAX, TIDIED as i64])?;
        Ok(gone > 0)
    }

    /// Bytes of the file that hold something.
    ///
    /// # Errors
    /// SQLite's.
    pub fn used(&self) -> rusqlite::Result<u64> {
        let number = |name| {
            self.connection
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
        };
        Ok(((number("page_count")? - number("freelist_count")?) * number("page_size")?) as u64)
    }

    /// The audit log, the newest last.
    #[cfg(test)]
    pub(super) fn audit(&self) -> rusqlite::Result<Vec<(String, String)>> {
        let mut log = self
            .connection
            .prepare("SELECT at, what FROM audit ORDER BY rowid")?;
        let rows = log.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    /// What SQLite finds wrong with the file, or `ok`.
    #[cfg(test)]
    pub(super) fn integrity(&self) -> String {
        self.connection
            .pragma_query_value(None, "integrity_check", |row| row.get(0))
            .expect("works")
    }

    /// The numbers of each camera's parts.
    #[cfg(test)]
    pub(super) fn numbers(&self) -> BTreeMap<String, std::collections::BTreeSet<u64>> {
        let mut all = self
            .connection
            .prepare("SELECT camera, seq FROM part")
            .expect("works");
        let all = all
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))
            .expect("works");
        let mut numbers = BTreeMap::<String, std::collections::BTreeSet<u64>>::new();
        for (camera, seq) in all.flatten() {
            numbers.entry(camera).or_default().insert(seq);
        }
        numbers
    }

    /// How SQLite finds what waits.
    #[cfg(test)]
    pub(super) fn plan_of_a_page(&self) -> String {
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT key FROM part WHERE {WAITS} AND key > 0 ORDER BY key LIMIT 1"
        );
        self.connection
            .query_row(&sql, [], |row| row.get(3))
            .expect("works")
    }

    /// What is read next is read from the file.
    #[cfg(test)]
    pub(super) fn forget_pages(&self) {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .expect("works");
        self.connection
            .execute_batch("PRAGMA shrink_memory")
            .expect("works");
    }

    /// The state of one part.
    #[cfg(test)]
    pub(super) fn state(&self, key: u64) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT state FROM part WHERE key = ?";
        self.connection
            .query_row(sql, [key as i64], |row| row.get(0))
            .optional()
    }

    /// It has run for so much longer.
    #[cfg(test)]
    pub(super) fn run_for(&mut self, more: Duration) {
        self.running.before += more.as_millis() as i64;
    }

    /// As a full disk behaves: the file grows no further.
    #[cfg(test)]
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

/// The file itself is at fault: another one would do.
pub fn is_broken(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}

fn move_aside(path: &Path) -> Result<PathBuf, DatabaseError> {
    let to = PathBuf::from(format!("{}.broken-{}", path.display(), now_ms()));
    std::fs::rename(path, &to).map_err(|error| DatabaseError::File {
        path: path.to_owned(),
        error,
    })?;
    // SQLite finds them by the name; they may not be there.
    for end in ["-wal", "-journal"] {
        let beside = |path: &Path| format!("{}{end}", path.display());
        let _ = std::fs::rename(beside(path), beside(&to));
    }
    Ok(to)
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
