//! The pointer of a recipe: the file `current`, which names the revision that judges.

use super::disk;
use super::error::LibraryError;
use std::path::Path;

/// Name of the pointer's file.
const CURRENT: &str = "current";
/// Name of the file that replaces it.
const FRESH: &str = ".current";

/// The revision that judges, and the one that judged before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// Number of the revision that judges.
    pub current: u64,
    /// Number of the revision that judged before. `None` where there was none.
    pub before: Option<u64>,
}

impl Pointer {
    /// Reads the pointer in a recipe's folder. `None` without any: the recipe has no revision.
    pub(super) fn read(recipe: &Path) -> Result<Option<Self>, LibraryError> {
        let path = recipe.join(CURRENT);
        let bytes = match disk::read(&path) {
            Ok(bytes) => bytes,
            Err(LibraryError::File { error, .. }) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };

        let read = serde_json::from_slice(&bytes);
        read.map(Some).map_err(|error| {
            let why = format!("it does not name a revision ({error}); roll back to one");
            LibraryError::damaged(&path, why)
        })
    }

    /// Replaces the pointer. The old one stands until the new one does.
    pub(super) fn write(self, recipe: &Path) -> Result<(), LibraryError> {
        let text = serde_json::to_string(&self).expect("plain values") + "\n";
        let fresh = recipe.join(FRESH);
        disk::write(&fresh, text.as_bytes())?;

        // A new name for a whole file: a crash leaves the old pointer or the new one.
        let current = recipe.join(CURRENT);
        disk::rename(&fresh, &current)?;

        disk::sync_folder(recipe)
    }
}

/// True where there is no such file, or no folder that it would be in.
fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}
