//! The library: the recipes of a folder, read without a lock.

use super::error::LibraryError;
use super::name::check_name;
use super::pointer::Pointer;
use super::revision::Revision;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The recipes of a folder, which need not be there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    folder: PathBuf,
}

impl Library {
    /// The library in that folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Library {
            folder: folder.into(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names of all recipes that have a revision, in order.
    ///
    /// # Errors
    /// When the folder cannot be read. A folder that is not there has none.
    pub fn names(&self) -> Result<Vec<String>, LibraryError> {
        let mut names = vec![];
        for name in names_in(&self.folder)? {
            // A recipe whose pointer is broken is there, and is told where it is read.
            let is_there = check_name(&name).is_ok() && !matches!(self.pointer(&name), Ok(None));
            if is_there {
                names.push(name);
            }
        }

        names.sort();
        Ok(names)
    }

    /// The numbers of a recipe's revisions, in order.
    ///
    /// # Errors
    /// When the name is none, or the folder cannot be read.
    pub fn numbers(&self, name: &str) -> Result<Vec<u64>, LibraryError> {
        check_name(name)?;
        numbers_in(&self.folder.join(name))
    }

    /// The pointer of a recipe; `None` where the library has no such recipe.
    ///
    /// # Errors
    /// When the name is none, or the pointer cannot be read.
    pub fn pointer(&self, name: &str) -> Result<Option<Pointer>, LibraryError> {
        check_name(name)?;
        Pointer::read(&self.folder.join(name))
    }

    /// The revision of a recipe that judges; `None` where the library has no such recipe.
    ///
    /// # Errors
    /// When the revision is not whole, or was made by a newer winspect.
    pub fn current(&self, name: &str) -> Result<Option<Revision>, LibraryError> {
        match self.pointer(name)? {
            Some(pointer) => self.revision(name, pointer.current).map(Some),
            None => Ok(None),
        }
    }

    /// One revision of a recipe.
    ///
    /// # Errors
    /// When there is none of that number, or it is not whole, or was made by a newer winspect.
    pub fn revision(&self, name: &str, number: u64) -> Result<Revision, LibraryError> {
        let numbers = self.numbers(name)?;
        if !numbers.contains(&number) {
            return Err(self.no_revision(name, number, &numbers));
        }

        let folder = self.folder.join(name).join(number.to_string());
        Revision::read(&folder, name, number)
    }

    /// The words for a recipe that is not there, with those that are.
    pub fn no_recipe(&self, name: &str) -> LibraryError {
        let names = self.names().unwrap_or_default();
        let folder = self.folder.display();

        // A crash, or a person, may have left revisions without a pointer.
        let numbers = self.numbers(name).unwrap_or_default();
        if let Some(newest) = numbers
            .last()
            .filter(|_| !names.iter().any(|known| known == name))
        {
            return LibraryError::Missing(format!(
                "none of the revisions of {name:?} in {folder} is current; roll back to one: --revision {newest}"
            ));
        }

        let there = match names.is_empty() {
            true => "it has none yet".to_owned(),
            false => format!("it has {}", names.join(", ")),
        };

        LibraryError::Missing(format!(
            "the recipe library {folder} has no recipe {name:?}; {there}"
        ))
    }

    fn no_revision(&self, name: &str, number: u64, numbers: &[u64]) -> LibraryError {
        if numbers.is_empty() {
            return self.no_recipe(name);
        }

        let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
        LibraryError::Missing(format!(
            "recipe {name} has no revision {number}; it has {}",
            numbers.join(", ")
        ))
    }
}

/// The numbers of the revisions in a recipe's folder, in order; none where it is not there.
pub(super) fn numbers_in(recipe: &Path) -> Result<Vec<u64>, LibraryError> {
    let mut numbers = vec![];
    for name in names_in(recipe)? {
        // `007` and `+7` are no names of ours.
        let number = name.parse::<u64>().ok();
        numbers.extend(number.filter(|number| number.to_string() == name));
    }

    numbers.sort_unstable();
    Ok(numbers)
}

/// The names in a folder; none where it is not there.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>, LibraryError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(LibraryError::file(folder, error)),
    };

    let mut names = vec![];
    for entry in entries {
        let entry = entry.map_err(|error| LibraryError::file(folder, error))?;
        names.extend(entry.file_name().into_string());
    }

    Ok(names)
}
