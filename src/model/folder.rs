//! An imported model: its folder, opened and checked.

use crate::base::hex::hex;
use crate::model::catalogue;
use crate::model::error::ModelError;
use crate::model::manifest::{MANIFEST, ModelManifest};
use crate::model::spec::ModelSpec;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes that are read and hashed at once.
const PIECE: usize = 256 << 10;

/// A model folder whose files are whole.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    /// The folder.
    pub path: PathBuf,
    /// The model's specification.
    pub spec: ModelSpec,
    /// The folder's name, for people: `vit-b-16-plus-240`.
    pub name: String,
    /// Hex SHA-256 of the source's weights; the first four digits stand in results as `name@fa8e`.
    pub hash: String,
    /// Origin of the model, as far as the source said.
    pub source: String,
    /// Licence of the model, as far as the source said.
    pub licence: String,
    /// Name and size in bytes of its files.
    pub files: Vec<(String, u64)>,
    /// Name and hex SHA-256 of each file that was fetched to make it.
    pub downloaded: BTreeMap<String, String>,
}

impl ModelFolder {
    /// Opens an imported folder.
    ///
    /// # Errors
    /// When the manifest cannot be read, or a file is missing or has another size or content.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        // Sizes are compared first: a file that was cut short while it was copied is found without
        // reading it.
        let manifest = ModelManifest::read(path)?;

        // Every file that the import wrote is looked at, also those that a given recipe does not
        // need.
        for (name, size) in &manifest.files {
            check_size(&path.join(name), *size)?;
        }

        // Then their content: a bit that flipped on the disk, or a file of another model under the
        // same name, would judge every part otherwise. It costs a second for a gigabyte or two.
        for (name, written) in &manifest.sha256 {
            check_content(&path.join(name), written)?;
        }

        let mut spec = manifest.model;

        // A folder that an earlier version imported does not say which block is compared by default.
        if spec.default_block.is_none() {
            spec.default_block = catalogue::known_block(&manifest.source_sha256);
        }

        check_block(&path.join(MANIFEST), &spec)?;

        // The name is that of the folder that the path leads to, through symbolic links, so that a
        // link such as `current` does not hide it in results.
        Ok(ModelFolder {
            path: path.to_owned(),
            spec,
            name: folder_name(path).unwrap_or_else(|| "model".to_owned()),
            hash: manifest.source_sha256,
            source: manifest.source,
            licence: manifest.licence,
            files: manifest.files.into_iter().collect(),
            downloaded: manifest.downloaded,
        })
    }

    /// The model's name in results: `name@fa8e`.
    pub fn label(&self) -> String {
        // A hash of fewer than four digits, as a test's manifest may have, is taken as it is.
        let digits = self.hash.get(..4).unwrap_or(&self.hash);

        format!("{}@{digits}", self.name)
    }
}

/// Checks the default block, which a person may have written.
fn check_block(file: &Path, spec: &ModelSpec) -> Result<(), ModelError> {
    let Some(default) = &spec.default_block else {
        return Ok(());
    };

    if (1..=spec.blocks).contains(&default.number) {
        return Ok(());
    }

    Err(ModelError::Content(format!(
        "{}: default_block.number: must be 1 to {}, got {}",
        file.display(),
        spec.blocks,
        default.number
    )))
}

fn check_size(file: &Path, written: u64) -> Result<(), ModelError> {
    // A missing file is the system's error, with its path.
    let metadata = std::fs::metadata(file).map_err(|error| ModelError::read(file, error))?;

    // `written` is the size that the import saw when it had written the file.
    let found = metadata.len();

    if found == written {
        return Ok(());
    }

    Err(ModelError::Content(format!(
        "{}: {found} bytes, {written} were written; import the model again",
        file.display()
    )))
}

fn check_content(file: &Path, written: &str) -> Result<(), ModelError> {
    let found = sha256_of(file).map_err(|error| ModelError::read(file, error))?;

    if found == written {
        return Ok(());
    }

    Err(ModelError::Content(format!(
        "{}: its content is not what was written (sha256 {found}, {written} was written); import the model again",
        file.display()
    )))
}

/// Hex SHA-256 of a file.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_of(path: &Path) -> std::io::Result<String> {
    // In pieces: a file of weights may be larger than the memory.
    let mut file = File::open(path)?;
    let mut sum = Sha256::new();
    let mut piece = vec![0; PIECE];

    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&sum.finalize())),
            count => sum.update(&piece[..count]),
        }
    }
}

fn folder_name(path: &Path) -> Option<String> {
    // `.` and `..` have a name only after they were followed.
    let whole = path.canonicalize().ok()?;
    let name = whole.file_name()?;

    Some(name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BlockBasis;
    use crate::model::manifest::FORMAT;
    use crate::model::spec::tests::spec;

    #[test]
    fn a_folder_of_an_earlier_version_gets_the_default_block_of_its_weights() {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = |sha256: &str| ModelManifest {
            format: FORMAT,
            source_sha256: sha256.to_owned(),
            source: "made up".to_owned(),
            licence: "none".to_owned(),
            files: BTreeMap::new(),
            sha256: BTreeMap::new(),
            downloaded: BTreeMap::new(),
            model: spec(12),
        };

        let opened = |sha256: &str| {
            let text = toml::to_string(&manifest(sha256)).expect("plain values");
            assert!(!text.contains("default_block"), "{text}");
            std::fs::write(folder.path().join(MANIFEST), text).expect("written");
            let model = ModelFolder::open(folder.path()).expect("whole");
            model.spec.block_by_default().basis
        };

        // The tuned DINOv2 and another one of the same sizes.
        let tuned = "6eb9d96aee8d8b0bfbcdf48f526b62b8ea8a17dd30a38be161ade810c333e554";
        assert_eq!(opened(tuned), BlockBasis::Measured);
        assert_eq!(opened("00"), BlockBasis::Rule);
    }
}
