//! The newest results of a store's file, read beside the line that writes it.
//!
//! A line holds its file alone (`locking_mode = EXCLUSIVE`), so that SQLite in another process gets no
//! answer, and a reader that had a lock would hold the line up. So file and log are copied as they are,
//! and the copy is opened: nothing is locked, written or made beside the line's file.
//!
//! The copy is whole although the line writes meanwhile. The log is copied after the file, and holds
//! every page that was taken over into the file since the log began. Its header is other once it has
//! begun anew, and then the copy is made again.
//!
//! Not for the process that has the store open: closing a file gives up all of a process's locks on it.

use super::error::DatabaseError;
use super::files::with_end;
use super::schema::VERSION;
use super::search::{self, Search, SearchPage};
use crate::data::result::ResultRow;
use rusqlite::Connection;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Tries to copy a file whose log begins anew each time.
const TRIES: usize = 5;
/// Rows that are looked at, at most.
const LOOKED_AT_MAX: i64 = 50_000;
/// Bytes of the header of a log, in which two numbers change whenever it begins anew.
const LOG_HEADER: u64 = 32;

/// Returns the newest results that `is_wanted`, the newest first, at most `count`. Parts that are still
/// open are none.
///
/// # Errors
/// When the file is not there, is no store of today's version, or cannot be copied.
pub fn newest_results(
    file: &Path,
    count: usize,
    is_wanted: &dyn Fn(&ResultRow) -> bool,
) -> Result<Vec<ResultRow>, DatabaseError> {
    let copy = StoreCopy::make(file)?;
    let connection = Connection::open(&copy.file)?;
    check_version(&connection, file)?;
    let newest = "SELECT body FROM part WHERE state > 0 ORDER BY key DESC LIMIT ?";
    let mut newest = connection.prepare(newest)?;
    let mut rows = newest.query([LOOKED_AT_MAX])?;
    let mut results = vec![];
    while let Some(row) = rows.next()? {
        let body: String = row.get(0)?;
        // A row that cannot be read is the line's to tell.
        let Ok(result) = ResultRow::from_stored(&body) else {
            continue;
        };

        if is_wanted(&result) {
            results.push(result);
        }

        if results.len() == count {
            break;
        }
    }

    Ok(results)
}

/// A copy of a line's file, in which its history is searched: for a line that does not run.
pub struct HistoryCopy {
    connection: Connection,
    // Dropped after the connection.
    _copy: StoreCopy,
}

impl HistoryCopy {
    /// Copies the file.
    ///
    /// # Errors
    /// When it is not there, is no store of today's version, or cannot be copied.
    pub fn make(file: &Path) -> Result<Self, DatabaseError> {
        let copy = StoreCopy::make(file)?;
        let connection = Connection::open(&copy.file)?;
        check_version(&connection, file)?;
        Ok(HistoryCopy {
            connection,
            _copy: copy,
        })
    }

    /// Takes one step of a search.
    ///
    /// # Errors
    /// SQLite's.
    pub fn search(&self, search: &Search) -> Result<SearchPage, DatabaseError> {
        Ok(search::search(&self.connection, search)?)
    }
}

fn check_version(connection: &Connection, file: &Path) -> Result<(), DatabaseError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let path = file.to_owned();
    let known = VERSION;
    if found > known {
        return Err(DatabaseError::Newer { path, found, known });
    }

    // A file of winspect 0.1 is brought to today's version by the line, not here; one that a line is
    // just making has none.
    if found < known {
        let words = format!("its version is {found}, not {known}; start its line once");
        let error = std::io::Error::other(words);
        return Err(DatabaseError::File { path, error });
    }

    Ok(())
}

/// A copy of a store, in a folder that goes with it.
struct StoreCopy {
    file: PathBuf,
    _folder: TempDir,
}

impl StoreCopy {
    fn make(file: &Path) -> Result<Self, DatabaseError> {
        let failed = |error| DatabaseError::File {
            path: file.to_owned(),
            error,
        };

        let folder = tempfile::tempdir().map_err(failed)?;
        let copy = folder.path().join("copy.db");
        for _ in 0..TRIES {
            if copied(file, &copy).map_err(failed)? {
                return Ok(StoreCopy {
                    file: copy,
                    _folder: folder,
                });
            }
        }

        Err(failed(std::io::Error::other(
            "the line wrote too much while it was copied; try again",
        )))
    }
}

/// Copies a store and its log; false where the log began anew meanwhile.
fn copied(file: &Path, copy: &Path) -> std::io::Result<bool> {
    let log = PathBuf::from(with_end(file, "-wal"));
    let log_copy = PathBuf::from(with_end(copy, "-wal"));
    // The log of an earlier try belongs to another copy.
    let _ = std::fs::remove_file(&log_copy);
    let before = beginning(&log)?;
    std::fs::copy(file, copy)?;
    match std::fs::copy(&log, &log_copy) {
        Ok(_) => {}
        // A line that has ended leaves none.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(before.is_empty()),
        Err(error) => return Err(error),
    }

    // The line's own log is looked at: the copy's header was written before the rest of it, which may be
    // of a log that began anew meanwhile. A new header comes before any new page.
    Ok(beginning(&log)? == before)
}

/// Returns the header of a log; empty where there is none.
fn beginning(log: &Path) -> std::io::Result<Vec<u8>> {
    let mut header = vec![];
    match File::open(log) {
        Ok(file) => file.take(LOG_HEADER).read_to_end(&mut header)?,
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };

    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::super::test_run::{Run, settings};
    use super::*;

    #[test]
    fn the_newest_results_are_read_whole_beside_the_writer() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = settings(folder.path());
        let file = settings.file.clone();
        let run = Run::start(settings, "01A");
        let mut newest_seq = 0;
        // The log is taken over into the file, and begins anew, several times.
        for _ in 0..60 {
            for part in run.accept(40) {
                run.pass(&part);
            }

            let newest = newest_results(&file, 10, &|_| true).expect("a whole copy");
            let seqs: Vec<u64> = newest.iter().map(|row| row.seq).collect();
            let first = seqs.first().copied().unwrap_or_default();
            assert!(seqs.is_sorted_by(|a, b| *a == b + 1), "{seqs:?}");
            assert!(first >= newest_seq, "{first} after {newest_seq}");
            newest_seq = first;
        }

        run.end();
        let odd = newest_results(&file, 3, &|row| row.seq % 2 == 1).expect("no log is left");
        let seqs: Vec<u64> = odd.iter().map(|row| row.seq).collect();
        assert_eq!(seqs, [2399, 2397, 2395]);
    }

    #[test]
    fn a_file_that_is_no_store_of_today_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let none = folder.path().join("none.db");
        let refused = newest_results(&none, 1, &|_| true).expect_err("nothing is there");
        assert!(refused.to_string().contains("none.db"), "{refused}");
        assert!(!none.exists());
        let empty = folder.path().join("empty.db");
        std::fs::write(&empty, "").expect("written");
        let refused = newest_results(&empty, 1, &|_| true).expect_err("no tables");
        assert!(
            refused.to_string().contains("start its line once"),
            "{refused}"
        );
        std::fs::write(&empty, "hello, hello").expect("written");
        assert!(newest_results(&empty, 1, &|_| true).is_err());
    }
}
