//! One revision as it lies in the library, read and checked.

use super::disk::{self, Content};
use super::error::LibraryError;
use super::manifest::{MANIFEST, Manifest, PictureEntry, PictureUse};
use super::table::{Table, TablePictures};
use crate::base::text;
use std::path::{Component, Path, PathBuf};

/// Name of the recipe's file.
pub const RECIPE: &str = "recipe.toml";
/// Digits of a SHA-256 in hexadecimal.
const HASH_DIGITS: usize = 64;

/// One revision: its folder, and its manifest, which agree.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    folder: PathBuf,
    manifest: Manifest,
}

impl Revision {
    /// Reads the manifest and checks the recipe's hash. The pictures are left to [`Revision::verify`].
    pub(super) fn read(folder: &Path, name: &str, number: u64) -> Result<Self, LibraryError> {
        let path = folder.join(MANIFEST);
        let manifest = Manifest::decode(&disk::read(&path)?, &path)?;
        if manifest.name != name || manifest.revision != number {
            let why = format!("it is of {}, not of {name}@{number}", manifest.label());
            return Err(LibraryError::damaged(&path, why));
        }

        let revision = Revision {
            folder: folder.to_owned(),
            manifest,
        };

        revision.check_names()?;
        revision.check_recipe()?;

        Ok(revision)
    }

    /// The revision's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the revision is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The path of the recipe's file.
    pub fn recipe_file(&self) -> PathBuf {
        self.folder.join(RECIPE)
    }

    /// Reads the recipe's table.
    ///
    /// # Errors
    /// When the file cannot be read, or is not what was written.
    pub fn table(&self) -> Result<Table, LibraryError> {
        let path = self.recipe_file();
        let bytes = disk::read(&path)?;
        if disk::sha256(&bytes) != self.manifest.recipe_sha256 {
            let why = "it was changed; a change makes a new revision, so roll back to another";
            return Err(LibraryError::damaged(&path, why));
        }

        text::toml(&bytes).map_err(|why| LibraryError::damaged(&path, why))
    }

    /// The files of all pictures of one use.
    pub fn pictures(&self, used_as: PictureUse) -> Vec<PathBuf> {
        let pictures = self.manifest.pictures.iter();
        let of_use = pictures.filter(|picture| picture.used_as == used_as);
        of_use
            .map(|picture| self.folder.join(&picture.file))
            .collect()
    }

    /// Hashes every picture.
    ///
    /// # Errors
    /// The first picture that is missing or is not what was written.
    pub fn verify(&self) -> Result<(), LibraryError> {
        for picture in &self.manifest.pictures {
            let path = self.folder.join(&picture.file);
            let found = disk::content_of(&path).map_err(missing)?;
            let written = Content {
                sha256: picture.sha256.clone(),
                bytes: picture.bytes,
            };

            if found != written {
                let why = format!(
                    "its content is not what {} was taught with; roll back to another revision",
                    self.manifest.label()
                );

                return Err(LibraryError::damaged(&path, why));
            }
        }

        Ok(())
    }

    /// Checks that each picture's name is that of its content, in the folder of its use.
    fn check_names(&self) -> Result<(), LibraryError> {
        for picture in &self.manifest.pictures {
            if !is_own_name(picture) {
                let why = format!("{:?} is no name of a picture", picture.file);
                return Err(LibraryError::damaged(&self.folder.join(MANIFEST), why));
            }
        }

        Ok(())
    }

    /// Checks that the recipe is what was written, and names the manifest's pictures alone.
    fn check_recipe(&self) -> Result<(), LibraryError> {
        let table = self.table()?;
        let expected = TablePictures::of_manifest(&self.manifest.pictures);
        let name = table.get("name").and_then(|name| name.as_str());
        let number = table.get("revision").and_then(|number| number.as_u64());

        let is_named = name == Some(self.manifest.name.as_str());
        let is_numbered = number == Some(self.manifest.revision);

        let has_pictures = TablePictures::of(&table) == expected;
        if is_named && is_numbered && has_pictures {
            return Ok(());
        }

        let why = "its name, number or pictures are not those of the manifest";
        Err(LibraryError::damaged(&self.recipe_file(), why))
    }
}

/// True for the name that a picture of that content has: no path leads out of the revision.
fn is_own_name(picture: &PictureEntry) -> bool {
    let sha256 = picture.sha256.as_str();
    let are_digits = sha256.chars().all(|c| c.is_ascii_hexdigit());
    let is_hash = sha256.len() == HASH_DIGITS && are_digits;

    let path = Path::new(&picture.file);
    let are_plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));

    let folder = Path::new(picture.used_as.folder());
    let is_in_place = path.parent() == Some(folder);

    // The ending is the picture's own.
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let is_named = stem == Some(sha256);

    is_hash && are_plain && is_in_place && is_named
}

/// A picture that is not there: data that is not whole, rather than a system that refuses.
fn missing(error: LibraryError) -> LibraryError {
    match error {
        LibraryError::File { path, error } if error.kind() == std::io::ErrorKind::NotFound => {
            LibraryError::damaged(
                &path,
                "the picture is missing; roll back to another revision",
            )
        }
        other => other,
    }
}
