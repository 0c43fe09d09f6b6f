//! A revision that is in use although it is not the current one, and must not be pruned meanwhile.

use super::error::LibraryError;
use super::manifest::MANIFEST;
use super::revision::Revision;
use std::fs::{File, TryLockError};
use std::path::Path;

/// Keeps a revision from being pruned, by this process and others, until it is dropped or the process ends: a
/// shared lock on its manifest.
#[derive(Debug)]
pub struct RevisionHold(#[expect(dead_code, reason = "held for its lock")] File);

impl RevisionHold {
    /// Holds a revision.
    ///
    /// # Errors
    /// When its manifest cannot be opened, or locked.
    pub fn of(revision: &Revision) -> Result<Self, LibraryError> {
        let path = revision.folder().join(MANIFEST);
        let refused = |error| LibraryError::file(&path, error);
        let file = File::open(&path).map_err(refused)?;
        file.lock_shared().map_err(refused)?;

        Ok(RevisionHold(file))
    }
}

/// True if the revision in that folder is held.
pub(super) fn is_held(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join(MANIFEST)) else {
        return false; // it is not whole, and judges nothing
    };

    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}
