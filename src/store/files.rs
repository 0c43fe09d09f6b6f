//! The store's file and those beside it, as the file system has them.

use super::error::DatabaseError;
use rusqlite::ErrorCode;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Device and number of the file at a path. `None` where there is none.
pub(super) fn identity_of(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Makes the folder of a file.
pub(super) fn make_folder(path: &Path) -> Result<(), DatabaseError> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };

    // A bare name lies in the working folder, which is there.
    if folder.as_os_str().is_empty() {
        return Ok(());
    }

    std::fs::create_dir_all(folder).map_err(|error| DatabaseError::File {
        path: folder.to_owned(),
        error,
    })
}

/// The system's reason where SQLite only says that it cannot.
pub(super) fn reason(path: &Path, error: DatabaseError) -> DatabaseError {
    let code = match &error {
        DatabaseError::Sqlite(error) => error.sqlite_error_code(),
        _ => None,
    };

    // Only these two hide a reason that the system would tell.
    if !matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)) {
        return error;
    }

    // Opening the file by hand gives the system's words: permission, read-only, no such folder.
    let tried = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path);

    match tried {
        Ok(_) => error,
        Err(error) => DatabaseError::File {
            path: path.to_owned(),
            error,
        },
    }
}

/// Renames a file that is of no use, with its log.
pub(super) fn move_aside(path: &Path) -> Result<PathBuf, DatabaseError> {
    // The name carries the time, so that a second broken file does not replace the first.
    let to = PathBuf::from(format!(
        "{}.broken-{}",
        path.display(),
        jiff::Timestamp::now().as_millisecond()
    ));
    std::fs::rename(path, &to).map_err(|error| DatabaseError::File {
        path: path.to_owned(),
        error,
    })?;

    // SQLite finds them by the name; they may not be there.
    for end in ["-wal", "-journal"] {
        let from = with_end(path, end);
        let to = with_end(&to, end);
        let _ = std::fs::rename(from, to);
    }

    Ok(to)
}

/// The path of a file beside it, such as its log.
pub(super) fn with_end(path: &Path, end: &str) -> String {
    format!("{}{end}", path.display())
}
