//! Old revisions that are beyond the bounds. The current one and the one before it stay always, and those that
//! are held.

use super::bounds::{RECIPE_BYTES, REVISIONS_MAX};
use super::disk;
use super::error::LibraryError;
use super::folder::numbers_in;
use super::hold::is_held;
use super::manifest::{ChangeKind, FOLDERS, MANIFEST, Manifest};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Beginning of the name under which a revision waits to be taken away.
const OLD: &str = ".old-";

/// Most that the revisions of a recipe may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Number of revisions.
    pub count: usize,
    /// Bytes of all of them; a file with several names counts once.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            count: REVISIONS_MAX,
            bytes: RECIPE_BYTES,
        }
    }
}

/// Takes revisions away until the rest is within the limits; those of `stays` stay.
pub fn prune(recipe: &Path, stays: &[u64], limits: Limits) -> Result<(), LibraryError> {
    let mut numbers = numbers_in(recipe)?;
    while numbers.len() > limits.count || bytes_of(recipe, &numbers) > limits.bytes {
        let Some(place) = first_to_go(recipe, &numbers, stays) else {
            return Ok(());
        };

        remove(recipe, numbers.remove(place))?;
    }

    Ok(())
}

/// The oldest one that changed a threshold alone; else the oldest. `None` when all have to stay.
fn first_to_go(recipe: &Path, numbers: &[u64], stays: &[u64]) -> Option<usize> {
    let mut oldest = None;
    for (place, number) in numbers.iter().enumerate() {
        let folder = recipe.join(number.to_string());
        if stays.contains(number) || is_held(&folder) {
            continue;
        }

        // A threshold alone is the least that can be lost: its pictures are those of another one.
        if change_of(recipe, *number) == Some(ChangeKind::Threshold) {
            return Some(place);
        }

        oldest = oldest.or(Some(place));
    }

    oldest
}

fn change_of(recipe: &Path, number: u64) -> Option<ChangeKind> {
    // A revision that cannot be read is an old one like all others.
    let folder = recipe.join(number.to_string());
    let path = folder.join(MANIFEST);
    let bytes = disk::read(&path).ok()?;
    let manifest = Manifest::decode(&bytes, &path).ok()?;

    Some(manifest.change)
}

/// Bytes of the pictures of these revisions.
fn bytes_of(recipe: &Path, numbers: &[u64]) -> u64 {
    let mut files = BTreeMap::new();
    for number in numbers {
        for folder in FOLDERS {
            let folder = recipe.join(number.to_string()).join(folder);

            // What cannot be read cannot be counted; reading the revision tells it.
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            for metadata in entries.filter_map(|entry| entry.metadata().ok()) {
                // Revisions share files by their names; a file counts once.
                let file = (metadata.dev(), metadata.ino());
                files.insert(file, metadata.len());
            }
        }
    }

    files.values().sum()
}

/// Takes a revision away: first its name, so that half a revision has none.
fn remove(recipe: &Path, number: u64) -> Result<(), LibraryError> {
    let folder = recipe.join(number.to_string());
    let old = recipe.join(format!("{OLD}{number}"));
    disk::rename(&folder, &old)?;

    disk::remove_folder(&old)
}
