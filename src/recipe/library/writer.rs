//! The library's writer: one at a time, by a lock that ends with its process.

use super::disk;
use super::draft::Draft;
use super::error::LibraryError;
use super::folder::{Library, names_in};
use super::name::check_name;
use super::pointer::Pointer;
use super::promotion::{mark, unmark};
use super::prune::{Limits, prune};
use super::revision::Revision;
use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Name of the lock's file; no recipe's name begins with a dot.
const LOCK: &str = ".lock";
/// Beginning of the name of a revision that is being written.
const NEW: &str = ".new-";

/// Time for which a writer waits for another one, which may be about to end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// The library, locked for one writer. The lock ends when this is dropped, or its process ends.
#[derive(Debug)]
pub struct LibraryWriter {
    library: Library,
    limits: Limits,
    /// Held open for its lock.
    _lock: File,
}

impl LibraryWriter {
    /// Locks a library, whose folder is made where it is not there.
    ///
    /// # Errors
    /// When another process writes, or the folder cannot be made.
    pub fn lock(library: &Library) -> Result<Self, LibraryError> {
        let folder = library.folder();
        make_library(folder)?;
        let path = folder.join(LOCK);
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|error| LibraryError::file(&path, error))?;

        let until = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(LibraryError::Busy {
                        folder: folder.to_owned(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(LibraryError::file(&path, error)),
            }
        }

        Ok(LibraryWriter {
            library: library.clone(),
            limits: Limits::default(),
            _lock: lock,
        })
    }

    /// The library that is locked.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Writes a revision and makes it the current one. It is on the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written. The revision before is the current one then; the new one if only the
    /// very last sync failed.
    pub fn commit(&self, draft: &Draft) -> Result<Revision, LibraryError> {
        let revision = self.write(draft)?;
        self.make_current(&revision)?;

        Ok(revision)
    }

    /// Returns the number that the next revision of this draft gets.
    ///
    /// # Errors
    /// When the recipe's folder cannot be read.
    pub fn next_number(&self, draft: &Draft) -> Result<u64, LibraryError> {
        let numbers = self.library.numbers(&draft.name)?;
        let newest = numbers.last().copied();
        let next = newest.map_or(1, |newest| newest + 1);

        Ok(next.max(draft.least_number))
    }

    /// Writes a revision, which judges nothing yet: [`LibraryWriter::make_current`],
    /// [`LibraryWriter::keep_candidate`] or [`LibraryWriter::discard`] says what becomes of it.
    ///
    /// # Errors
    /// When it cannot be written; nothing of it stays then.
    pub fn write(&self, draft: &Draft) -> Result<Revision, LibraryError> {
        check_name(&draft.name)?;
        let recipe = self.library.folder().join(&draft.name);
        self.make_recipe(&recipe)?;
        clean(&recipe)?;
        let number = self.next_number(draft)?;

        // The whole revision first, under a name that no reader looks at.
        let fresh = recipe.join(format!("{NEW}{number}"));
        if let Err(error) = draft.write(&fresh, number) {
            take_back(&fresh);
            return Err(error);
        }

        let folder = recipe.join(number.to_string());
        let named = disk::rename(&fresh, &folder).and_then(|()| disk::sync_folder(&recipe));
        if let Err(error) = named {
            take_back(&fresh);
            take_back(&folder);
            return Err(error);
        }

        Revision::read(&folder, &draft.name, number)
    }

    /// Makes a revision that was just written the current one.
    ///
    /// # Errors
    /// When the disk refuses. The revision before is the current one then, and the new one is taken
    /// back; the new one stays if only the very last sync failed.
    pub fn make_current(&self, revision: &Revision) -> Result<(), LibraryError> {
        let manifest = revision.manifest();
        let recipe = self.library.folder().join(&manifest.name);
        let before = Pointer::read(&recipe)?;
        let pointer = Pointer {
            current: manifest.revision,
            before: before.map(|before| before.current),
        };

        if let Err(error) = pointer.write(&recipe) {
            // A pointer that may name it already keeps it.
            if !matches!(Pointer::read(&recipe), Ok(Some(now)) if now == pointer) {
                take_back(revision.folder());
            }

            return Err(error);
        }

        // The revision stands; what is too much may wait for the next commit.
        self.prune(&manifest.name, &[pointer.current], pointer.before);

        Ok(())
    }

    /// Keeps a revision that was just written as a candidate: it is not the current one, and may become that.
    ///
    /// # Errors
    /// When the recipe has no current revision: the line would have none to judge by. When the disk refuses.
    pub fn keep_candidate(&self, revision: &Revision) -> Result<(), LibraryError> {
        let manifest = revision.manifest();
        let recipe = self.library.folder().join(&manifest.name);
        let Some(pointer) = Pointer::read(&recipe)? else {
            take_back(revision.folder());
            let words = format!(
                "recipe {} has no revision that judges; let this one become the current one",
                manifest.name
            );

            return Err(LibraryError::Refused(words));
        };

        if let Err(error) = mark(revision) {
            take_back(revision.folder());
            return Err(error);
        }

        let stays = [pointer.current, manifest.revision];
        self.prune(&manifest.name, &stays, pointer.before);

        Ok(())
    }

    /// Takes revisions away that are beyond the bounds.
    fn prune(&self, name: &str, stays: &[u64], before: Option<u64>) {
        let recipe = self.library.folder().join(name);
        let mut stays = stays.to_vec();
        stays.extend(before);

        // What is too much harms nobody, so that a failure here fails no change.
        let pruned = prune(&recipe, &stays, self.limits);
        if let Err(error) = pruned {
            tracing::warn!("old revisions of recipe {name} stay: {error}");
        }
    }

    /// Takes a revision away that was just written and does not judge.
    pub fn discard(&self, revision: &Revision) {
        take_back(revision.folder());
    }

    /// Makes another revision the current one: `to`, or the one that judged before.
    ///
    /// # Errors
    /// When there is none, or it is not whole.
    pub fn roll_back(&self, name: &str, to: Option<u64>) -> Result<Revision, LibraryError> {
        check_name(name)?;
        let recipe = self.library.folder().join(name);

        // A pointer that cannot be read, or is missing, is replaced where the revision is named.
        let pointer = match (Pointer::read(&recipe), to) {
            (Ok(Some(pointer)), _) => Some(pointer),
            (_, Some(_)) => None,
            (Ok(None), None) => return Err(self.library.no_recipe(name)),
            (Err(error), None) => return Err(error),
        };

        let before = pointer.and_then(|pointer| pointer.before);
        let Some(to) = to.or(before) else {
            let words = format!("recipe {name} has no revision before the current one");
            return Err(LibraryError::Missing(words));
        };

        // A revision that is not whole must not become the current one.
        let revision = self.library.revision(name, to)?;
        revision.verify()?;

        let current = pointer.map(|pointer| pointer.current);
        if current != Some(to) {
            let pointer = Pointer {
                current: to,
                before: current,
            };

            clean(&recipe)?;
            pointer.write(&recipe)?;
            unmark(&revision);
        }

        Ok(revision)
    }

    /// Keeps so much of each recipe.
    #[cfg(test)]
    pub(super) fn limit(&mut self, count: usize, bytes: u64) {
        self.limits = Limits { count, bytes };
    }

    fn make_recipe(&self, recipe: &Path) -> Result<(), LibraryError> {
        if recipe.is_dir() {
            return Ok(());
        }

        disk::make_folder(recipe)?;
        disk::sync_folder(self.library.folder())
    }
}

/// Makes the library's folder where it is not there.
fn make_library(folder: &Path) -> Result<(), LibraryError> {
    if folder.is_dir() {
        return Ok(());
    }

    fs::create_dir_all(folder).map_err(|error| LibraryError::file(folder, error))?;

    // A bare name lies in the working folder.
    match folder.parent() {
        Some(parent) if parent != Path::new("") => disk::sync_folder(parent),
        _ => disk::sync_folder(Path::new(".")),
    }
}

/// Takes away what a crash left. No reader looks at it, and the lock says that it is not being written.
fn clean(recipe: &Path) -> Result<(), LibraryError> {
    for name in names_in(recipe)? {
        if name.starts_with('.') {
            remove_any(&recipe.join(name))?;
        }
    }

    Ok(())
}

fn remove_any(path: &Path) -> Result<(), LibraryError> {
    match path.is_dir() {
        true => disk::remove_folder(path),
        false => fs::remove_file(path).map_err(|error| LibraryError::file(path, error)),
    }
}

/// Takes away what a failed commit wrote. What stays is taken away by the next one.
fn take_back(folder: &Path) {
    if !folder.is_dir() {
        return;
    }

    // Under a name that no reader looks at, because half of it may stay.
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let gone = folder.with_file_name(format!(".gone-{}", name.trim_start_matches('.')));
    let _ = fs::rename(folder, &gone);
    let _ = fs::remove_dir_all(&gone);
}
