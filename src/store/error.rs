//! Reasons why a store's file cannot be used.

use rusqlite::ErrorCode;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Reason why a store's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Another process has it.
    #[error("{path} is used by another winspect; give each line a store of its own (store.file)")]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses it.
    #[error("{path}: {error}")]
    File {
        /// The file or its folder.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// A later version made it.
    #[error(
        "{path} was made by a newer winspect (version {found}, this one knows {known}); update, or move it away"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its tables.
        found: i64,
        /// Today's version.
        known: i64,
    },
    /// A build before the first release made it.
    #[error(
        "{path} was made by an early winspect (version {found}, this one knows {known}); move it away"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The version of its tables.
        found: i64,
        /// Today's version.
        known: i64,
    },
    /// SQLite's reason.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl DatabaseError {
    /// True when the disk is full, read-only or failing: another time the same file would do.
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            DatabaseError::File { error, .. } => matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::ReadOnlyFilesystem
            ),
            DatabaseError::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::ReadOnly)
            ),
            _ => false,
        }
    }
}

/// True when the file itself is at fault: another one would do.
pub(super) fn is_broken(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}

/// An event that a person must know of, in words; told until `reset`.
#[derive(Debug, PartialEq, Eq)]
pub enum Incident {
    /// The file could not be used, and was moved aside with what waited in it.
    FileMoved(String),
    /// Rows could not be read, and were moved aside within the file.
    RowsMoved {
        /// Number of rows, all of which were still to be sent.
        count: usize,
        /// The event in words.
        words: String,
    },
}

impl Incident {
    /// The event in words.
    pub fn words(&self) -> &str {
        match self {
            Incident::FileMoved(words) | Incident::RowsMoved { words, .. } => words,
        }
    }

    /// `count` of the rows could not be read, the first one for this reason.
    pub(super) fn rows_moved(count: usize, reason: &str) -> Self {
        Incident::RowsMoved {
            count,
            words: format!(
                "{count} results in the store could not be read ({reason}); moved to its table \
                 `unreadable`, and lost to the broker"
            ),
        }
    }
}
