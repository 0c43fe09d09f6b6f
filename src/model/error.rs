//! Error of reading, writing and importing a model.

use std::path::Path;

/// Error of a model folder or its source.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file or folder.
        path: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file or folder.
        path: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// The content is wrong, in words.
    #[error("{0}")]
    Content(String),
}

impl ModelError {
    /// An error of reading `path`.
    pub(super) fn read(path: &Path, error: std::io::Error) -> Self {
        ModelError::Read {
            path: path.display().to_string(),
            error,
        }
    }

    /// An error of writing `path`.
    pub(super) fn write(path: &Path, error: std::io::Error) -> Self {
        ModelError::Write {
            path: path.display().to_string(),
            error,
        }
    }
}
