//! Reasons why the library cannot give or take a revision.

use crate::base::exit::{Exit, Failure};
use std::io;
use std::path::{Path, PathBuf};

/// Reason why the library cannot give or take a revision.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The system refuses a file.
    #[error("{path}: {error}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// Another process writes.
    #[error("{folder}: another command is changing the recipes there; try again when it has ended")]
    Busy {
        /// The library.
        folder: PathBuf,
    },
    /// A name that cannot be a folder's.
    #[error("{name:?} cannot be a recipe's name in the library: {why}")]
    Name {
        /// The name.
        name: String,
        /// The rule that it breaks.
        why: String,
    },
    /// A recipe or a revision that is not there.
    #[error("{0}")]
    Missing(String),
    /// A file is not what was written.
    #[error("{path}: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The difference, with the way out.
        why: String,
    },
    /// A later version made it.
    #[error(
        "{path} was made by a newer winspect (format {found}, this one knows {known}); update winspect"
    )]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Today's format.
        known: u64,
    },
    /// Pictures or values that make no revision.
    #[error("{0}")]
    Refused(String),
}

impl LibraryError {
    /// The system's refusal of a file.
    pub fn file(path: &Path, error: io::Error) -> Self {
        LibraryError::File {
            path: path.to_owned(),
            error,
        }
    }

    /// A file that is not what was written.
    pub fn damaged(path: &Path, why: impl Into<String>) -> Self {
        LibraryError::Damaged {
            path: path.to_owned(),
            why: why.into(),
        }
    }

    /// The exit code of a command that ends with it.
    pub fn exit(&self) -> Exit {
        match self {
            LibraryError::File { .. } | LibraryError::Busy { .. } => Exit::Unavailable,
            LibraryError::Name { .. } => Exit::Usage,
            _ => Exit::Data,
        }
    }
}

impl From<LibraryError> for Failure {
    fn from(error: LibraryError) -> Self {
        Failure::new(error.exit(), error)
    }
}
