//! A revision that is to be made: the recipe's values, and where its pictures are now.

use super::bounds::{PICTURE_BYTES, PICTURES_MAX, REVISION_BYTES};
use super::choice_note::ChoiceNote;
use super::disk::{self, Content};
use super::error::LibraryError;
use super::manifest::{
    ChangeKind, FOLDERS, MANIFEST, Manifest, ModelNote, PictureEntry, PictureUse, ThresholdNote,
};
use super::revision::{RECIPE, Revision};
use super::table::{self, Table, TablePictures};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Longest suffix of a picture's name that is kept, and the suffix of a file that has none.
const SUFFIX_MAX: usize = 4;
const NO_SUFFIX: &str = "img";
/// Digits of a picture's hash by which it is named, at least.
const HASH_DIGITS_MIN: usize = 8;

/// A picture of a draft.
#[derive(Debug, Clone)]
pub struct DraftPicture {
    /// Its use.
    pub used_as: PictureUse,
    /// The file.
    pub file: PathBuf,
    /// Name of the file that it came from at first, for people.
    pub from: String,
    /// True for a file that the library holds already: it gets a second name in place of a copy.
    pub is_held: bool,
}

impl DraftPicture {
    /// A picture that is not the library's yet.
    pub fn new(used_as: PictureUse, file: PathBuf) -> Self {
        let name = file.file_name().unwrap_or_default();
        DraftPicture {
            used_as,
            from: name.to_string_lossy().into_owned(),
            file,
            is_held: false,
        }
    }
}

/// A revision that is to be made.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Name of the recipe.
    pub name: String,
    /// Number of the revision at least; it is above all that there are.
    pub least_number: u64,
    /// The recipe's values. Name, revision and paths are put in when it is written.
    pub table: Table,
    /// All pictures; references in the order in which they count.
    pub pictures: Vec<DraftPicture>,
    /// How it is made, in words.
    pub by: String,
    /// Kind of the change.
    pub change: ChangeKind,
    /// Revision that it is made of; `None` for the first.
    pub parent: Option<u64>,
    /// Hash of the table in a line's file that the recipe began as.
    pub origin: Option<String>,
    /// Model that it is taught with.
    pub model: Option<ModelNote>,
    /// Threshold of each region.
    pub thresholds: Vec<ThresholdNote>,
    /// How block, cells and top share were chosen; `None` where they were not.
    pub choice: Option<ChoiceNote>,
}

impl Draft {
    /// A draft that differs from a revision in nothing but `by`, yet.
    ///
    /// # Errors
    /// When the revision's recipe cannot be read.
    pub fn after(revision: &Revision, by: String) -> Result<Self, LibraryError> {
        let manifest = revision.manifest();
        let mut pictures = vec![];
        for entry in &manifest.pictures {
            pictures.push(DraftPicture {
                used_as: entry.used_as,
                file: revision.folder().join(&entry.file),
                from: entry.from.clone(),
                is_held: true,
            });
        }

        Ok(Draft {
            name: manifest.name.clone(),
            least_number: manifest.revision,
            table: revision.table()?,
            pictures,
            by,
            change: ChangeKind::Taught,
            parent: Some(manifest.revision),
            origin: manifest.origin.clone(),
            model: manifest.model.clone(),
            thresholds: manifest.thresholds.clone(),
            choice: manifest.choice.clone(),
        })
    }

    /// Sets the threshold of a region, or of the recipe; `how` says how it came about.
    ///
    /// # Errors
    /// When the recipe has no such region.
    pub fn set_threshold(
        &mut self,
        region: Option<&str>,
        value: f32,
        how: &str,
    ) -> Result<(), LibraryError> {
        if !table::set_threshold(&mut self.table, region, value) {
            let region = region.unwrap_or_default();
            let words = format!("recipe {} has no region {region:?}", self.name);
            return Err(LibraryError::Refused(words));
        }

        // Words on the other regions' thresholds stay.
        let mut fresh = table::thresholds(&self.table, how);
        for note in &mut fresh {
            if note.region.as_deref() == region {
                continue;
            }

            let mut known = self.thresholds.iter();
            if let Some(known) = known.find(|known| known.region == note.region) {
                *note = known.clone();
            }
        }

        // Calibration pictures serve a rate alone, and are refused without one.
        if !table::has_rate(&self.table) {
            let is_of_rate = |picture: &DraftPicture| picture.used_as == PictureUse::Calibration;
            self.pictures.retain(|picture| !is_of_rate(picture));
        }

        self.thresholds = fresh;
        self.change = ChangeKind::Threshold;

        Ok(())
    }

    /// Puts `auto` in the place of thresholds that are numbers; `why` says why they mean nothing any more. Returns a
    /// line of words on each.
    pub fn numbers_to_auto(&mut self, why: &str) -> Vec<String> {
        let values = table::numbers_to_auto(&mut self.table);
        for note in &mut self.thresholds {
            if note.value.parse::<f64>().is_ok() {
                note.how = format!("in place of {}: {why}", note.value);
                note.value = "auto".to_owned();
            }
        }

        let words = |value| format!("the threshold {value} becomes \"auto\": {why}");
        values.into_iter().map(words).collect()
    }

    /// Takes the picture out whose hash begins like that.
    ///
    /// # Errors
    /// When there is none, or more than one, or the recipe needs it.
    pub fn forget(&mut self, sha256: &str) -> Result<DraftPicture, LibraryError> {
        let sha256 = sha256.to_lowercase();
        if sha256.len() < HASH_DIGITS_MIN {
            let words = format!(
                "give at least {HASH_DIGITS_MIN} digits of the picture's sha256, got {sha256:?}"
            );
            return Err(LibraryError::Refused(words));
        }

        let is_it = |picture: &DraftPicture| {
            // A picture of the library is called by its hash.
            let stem = picture.file.file_stem().unwrap_or_default();
            picture.is_held && stem.to_string_lossy().starts_with(&sha256)
        };

        let taught = |picture: &&DraftPicture| {
            !matches!(
                picture.used_as,
                PictureUse::TestGood | PictureUse::TestBad | PictureUse::Master
            )
        };

        let mut found = self.pictures.iter().filter(|picture| is_it(picture));
        let words = match (found.clone().filter(taught).count(), found.next()) {
            (0, Some(held)) if held.used_as == PictureUse::Master => {
                "is the master picture; give recipe.locate another".to_owned()
            }
            (0, Some(_)) => "is of the self-test; give recipe.self_test another".to_owned(),
            (0, None) => "is none of its pictures; winspect recipe show lists them".to_owned(),
            (1, _) => String::new(),
            (several, _) => format!("begins the hashes of {several} pictures; give more digits"),
        };

        if !words.is_empty() {
            let words = format!("recipe {}: {sha256} {words}", self.name);
            return Err(LibraryError::Refused(words));
        }

        let place = self
            .pictures
            .iter()
            .position(|picture| is_it(picture) && taught(&picture));

        let forgotten = self.pictures.remove(place.expect("one was found"));
        let has_references = self
            .pictures
            .iter()
            .any(|picture| picture.used_as == PictureUse::Good);

        if forgotten.used_as == PictureUse::Good && !has_references {
            let words = format!(
                "recipe {}: {sha256} is its last reference; teach others first, or roll back",
                self.name
            );

            return Err(LibraryError::Refused(words));
        }

        self.change = ChangeKind::Taught;
        Ok(forgotten)
    }

    /// Writes the revision into a new folder, to the last byte.
    pub(super) fn write(&self, folder: &Path, number: u64) -> Result<(), LibraryError> {
        if self.pictures.len() > PICTURES_MAX {
            let words = format!(
                "a revision has at most {PICTURES_MAX} pictures, got {}",
                self.pictures.len()
            );

            return Err(LibraryError::Refused(words));
        }

        disk::make_folder(folder)?;
        for name in FOLDERS {
            disk::make_folder(&folder.join(name))?;
        }

        let pictures = self.write_pictures(folder)?;
        let recipe = self.recipe_text(&pictures, number)?;
        disk::write(&folder.join(RECIPE), recipe.as_bytes())?;
        let manifest = Manifest {
            name: self.name.clone(),
            revision: number,
            made: Timestamp::now(),
            by: self.by.clone(),
            change: self.change,
            parent: self.parent,
            origin: self.origin.clone(),
            model: self.model.clone(),
            recipe_sha256: disk::sha256(recipe.as_bytes()),
            thresholds: self.thresholds.clone(),
            choice: self.choice.clone(),
            pictures,
        };

        disk::write(&folder.join(MANIFEST), &manifest.encode())?;
        for name in FOLDERS {
            disk::sync_folder(&folder.join(name))?;
        }

        disk::sync_folder(folder)
    }

    fn write_pictures(&self, folder: &Path) -> Result<Vec<PictureEntry>, LibraryError> {
        let mut entries: Vec<PictureEntry> = vec![];
        let mut known = BTreeSet::new();
        let mut bytes = 0;
        for picture in &self.pictures {
            // The hash comes first: it is the name.
            let content = disk::content_of(&picture.file)?;
            check_uses(&known, &content.sha256, picture)?;
            if !known.insert((content.sha256.clone(), picture.used_as)) {
                continue; // the same file twice for the same use counts once
            }

            bytes += content.bytes;
            check_bytes(&picture.file, content.bytes, bytes)?;
            entries.push(write_picture(picture, content, folder)?);
        }

        Ok(entries)
    }

    /// The text of recipe.toml.
    fn recipe_text(&self, pictures: &[PictureEntry], number: u64) -> Result<String, LibraryError> {
        let mut table = self.table.clone();
        table.insert("name".to_owned(), self.name.clone().into());
        table.insert("revision".to_owned(), number.into());

        // The manifest names the pictures; the table says the same in its own keys.
        let paths = TablePictures::of_manifest(pictures);
        paths.put(&mut table);

        let text = toml::to_string(&table);
        text.map_err(|error| {
            let words = format!("recipe {} cannot be written: {error}", self.name);
            LibraryError::Refused(words)
        })
    }
}

/// Refuses one picture as good and as bad. A self-test's picture may be a reference too.
fn check_uses(
    known: &BTreeSet<(String, PictureUse)>,
    sha256: &str,
    picture: &DraftPicture,
) -> Result<(), LibraryError> {
    let is_bad = picture.used_as.is_bad();
    let is_both = known
        .iter()
        .any(|(known, used_as)| known == sha256 && used_as.is_bad() != is_bad);

    if !is_both {
        return Ok(());
    }

    let words = format!(
        "{} is given as a good part and as a bad one; take one of them out",
        picture.file.display()
    );

    Err(LibraryError::Refused(words))
}

fn check_bytes(file: &Path, bytes: u64, all: u64) -> Result<(), LibraryError> {
    if bytes > PICTURE_BYTES {
        let words = format!(
            "{}: a picture has at most {PICTURE_BYTES} bytes",
            file.display()
        );
        return Err(LibraryError::Refused(words));
    }

    if all > REVISION_BYTES {
        let words = format!("the pictures of a revision have at most {REVISION_BYTES} bytes");
        return Err(LibraryError::Refused(words));
    }

    Ok(())
}

fn write_picture(
    picture: &DraftPicture,
    content: Content,
    folder: &Path,
) -> Result<PictureEntry, LibraryError> {
    let suffix = suffix_of(&picture.file);
    let file = format!("{}/{}.{suffix}", picture.used_as.folder(), content.sha256);
    let to = folder.join(&file);
    if picture.is_held {
        disk::link(&picture.file, &to)?;
    } else if disk::copy(&picture.file, &to)? != content {
        let why = "it changed while it was copied; give it again";
        return Err(LibraryError::damaged(&picture.file, why));
    }

    Ok(PictureEntry {
        used_as: picture.used_as,
        file,
        sha256: content.sha256,
        bytes: content.bytes,
        from: picture.from.clone(),
    })
}

/// A picture's suffix in small letters, for people; its content says what it is.
fn suffix_of(file: &Path) -> String {
    let suffix = file.extension().unwrap_or_default().to_string_lossy();
    let is_plain = suffix.chars().all(|c| c.is_ascii_alphanumeric());
    if suffix.is_empty() || suffix.len() > SUFFIX_MAX || !is_plain {
        return NO_SUFFIX.to_owned();
    }

    suffix.to_lowercase()
}
