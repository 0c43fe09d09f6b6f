//! The manifest of a revision: what it is, how it came about, and the hash of each of its files.

use super::choice_note::ChoiceNote;
use super::disk;
use super::error::LibraryError;
use crate::base::text;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Version of the manifest, raised when an older winspect could not read it.
const FORMAT: u64 = 1;
/// Name of the manifest's file.
pub const MANIFEST: &str = "manifest.json";

/// Use of a picture in a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureUse {
    /// A reference: a picture of a good part.
    Good,
    /// A picture of a bad part.
    Bad,
    /// A picture of a good part by which a threshold at a rate is found.
    Calibration,
    /// The self-test's picture of a good part.
    TestGood,
    /// The self-test's picture of a bad part.
    TestBad,
    /// The picture of a part at its place, by which others are found.
    Master,
}

/// The folders of a revision's pictures.
pub const FOLDERS: [&str; 5] = ["good", "bad", "calibration", "test", "master"];

impl PictureUse {
    /// True for a picture of a bad part.
    pub fn is_bad(self) -> bool {
        matches!(self, PictureUse::Bad | PictureUse::TestBad)
    }

    /// The folder of the revision in which such pictures lie.
    pub fn folder(self) -> &'static str {
        match self {
            PictureUse::Good => "good",
            PictureUse::Bad => "bad",
            PictureUse::Calibration => "calibration",
            PictureUse::TestGood | PictureUse::TestBad => "test",
            PictureUse::Master => "master",
        }
    }
}

/// One picture of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureEntry {
    /// Its use.
    #[serde(rename = "use")]
    pub used_as: PictureUse,
    /// File below the revision's folder: `good/<sha256>.png`.
    pub file: String,
    /// Hex SHA-256 of the file.
    pub sha256: String,
    /// Length of the file.
    pub bytes: u64,
    /// Name of the file that it was copied from, for people.
    pub from: String,
}

/// The threshold of a region, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThresholdNote {
    /// The region; `None` in a recipe without regions.
    pub region: Option<String>,
    /// The value as the recipe has it: a number, `auto`, or `none`.
    pub value: String,
    /// How it came about, in words.
    pub how: String,
}

/// A model by name and weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelNote {
    /// Name of the model's folder.
    pub name: String,
    /// Hex SHA-256 of its weights.
    pub sha256: String,
}

/// Kind of the change that made a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Pictures or parameters.
    Taught,
    /// A threshold alone. Such revisions are the first that go when there are too many.
    Threshold,
}

/// What a revision is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name of the recipe.
    pub name: String,
    /// Number of the revision.
    pub revision: u64,
    /// Time when it was made.
    pub made: Timestamp,
    /// How it was made, in words.
    pub by: String,
    /// Kind of the change.
    pub change: ChangeKind,
    /// Revision that it was made of; `None` for the first.
    pub parent: Option<u64>,
    /// Hex SHA-256 of the table in a line's file that the recipe began as; `None` for others.
    pub origin: Option<String>,
    /// Model that it was taught with; `None` where that is not known.
    pub model: Option<ModelNote>,
    /// Hex SHA-256 of recipe.toml.
    pub recipe_sha256: String,
    /// Threshold of each region.
    pub thresholds: Vec<ThresholdNote>,
    /// How block, cells and top share were chosen; `None` where they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<ChoiceNote>,
    /// Its pictures; references in the order in which they count.
    pub pictures: Vec<PictureEntry>,
}

/// The one key that a manifest of every version has.
#[derive(Deserialize)]
struct ManifestFormat {
    format: u64,
}

/// A manifest as its file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestFile {
    format: u64,
    /// Hex SHA-256 of `manifest`, as compact JSON.
    sha256: String,
    manifest: Manifest,
}

impl Manifest {
    /// Returns the bytes of its file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let file = ManifestFile {
            format: FORMAT,
            sha256: self.hash(),
            manifest: self.clone(),
        };

        let mut text = serde_json::to_vec_pretty(&file).expect("plain values");
        text.push(b'\n');

        text
    }

    /// Reads the bytes of a manifest's file; `path` is for the words.
    pub(super) fn decode(bytes: &[u8], path: &Path) -> Result<Self, LibraryError> {
        let broken = |why: String| {
            let why = format!("it is cut short or was changed ({why}); roll back to another");
            LibraryError::damaged(path, why)
        };

        // The version first: the rest of a newer one may be called otherwise.
        let text = text::utf8(bytes).map_err(broken)?;
        let ManifestFormat { format } =
            serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;

        if format > FORMAT {
            return Err(LibraryError::Newer {
                path: path.to_owned(),
                found: format,
                known: FORMAT,
            });
        }

        let file: ManifestFile =
            serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;

        if file.sha256 != file.manifest.hash() {
            return Err(broken("its own sha256 is another".to_owned()));
        }

        Ok(file.manifest)
    }

    fn hash(&self) -> String {
        let compact = serde_json::to_vec(self).expect("plain values");
        disk::sha256(&compact)
    }

    /// Returns `name@revision`.
    pub fn label(&self) -> String {
        format!("{}@{}", self.name, self.revision)
    }

    /// Bytes of all pictures.
    pub fn bytes(&self) -> u64 {
        self.pictures.iter().map(|picture| picture.bytes).sum()
    }

    /// Number of pictures of one use.
    pub fn count(&self, used_as: PictureUse) -> usize {
        let pictures = self.pictures.iter();
        pictures
            .filter(|picture| picture.used_as == used_as)
            .count()
    }
}
