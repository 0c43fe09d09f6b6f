//! One mapped file of safetensors.

use crate::model::error::ModelError;
use memmap2::Mmap;
use safetensors::SafeTensors;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A mapped file of weights.
pub struct WeightsFile {
    map: Mmap,
    path: PathBuf,
}

impl WeightsFile {
    /// Maps the file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        // The file is mapped rather than read: it may have gigabytes, and each tensor is touched
        // once.
        let file = File::open(path).map_err(|error| ModelError::read(path, error))?;

        // SAFETY: the map is only read. A weights file that is truncated during its import ends the
        // process; nothing else of it is changed.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| ModelError::read(path, error))?;
        Ok(WeightsFile {
            map,
            path: path.to_owned(),
        })
    }

    /// The file's tensors.
    ///
    /// # Errors
    /// When the file is no whole safetensors file.
    pub fn tensors(&self) -> Result<SafeTensors<'_>, ModelError> {
        // The header is checked against the length of the file: a download that was cut short is
        // found here, before anything is written.
        SafeTensors::deserialize(&self.map).map_err(|error| {
            ModelError::Content(format!(
                "{}: not a whole safetensors file ({error:?}; {} bytes); fetch it again",
                self.path.display(),
                self.map.len()
            ))
        })
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The file's name in its folder.
    pub fn file_name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();

        name.to_string_lossy().into_owned()
    }
}
