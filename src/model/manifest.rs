//! Manifest of a model folder: `model.toml`.

use crate::model::error::ModelError;
use crate::model::spec::ModelSpec;
use std::collections::BTreeMap;
use std::path::Path;

/// Version of the folder's format, raised when the graphs change; an older folder must be imported
/// again.
pub const FORMAT: u32 = 2;
/// Name of the manifest in a model folder.
pub const MANIFEST: &str = "model.toml";

/// Content of `model.toml`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// [`FORMAT`] of the winspect that wrote it.
    pub format: u32,
    /// Hex SHA-256 of the source's weights.
    pub source_sha256: String,
    /// Origin, as far as the source says.
    pub source: String,
    /// Licence, as far as the source says.
    pub licence: String,
    /// Bytes of each file beside the manifest: a folder that was cut short is found at once.
    pub files: BTreeMap<String, u64>,
    /// Hex SHA-256 of each file beside the manifest. Empty in a folder of winspect 0.2.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
    /// Hex SHA-256 of each file that was fetched to make this folder.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub downloaded: BTreeMap<String, String>,
    /// The model's specification.
    pub model: ModelSpec,
}

/// The one key that a manifest of every format has.
#[derive(serde::Deserialize)]
struct ManifestFormat {
    format: u32,
}

impl ModelManifest {
    /// Reads the manifest of a model folder.
    ///
    /// # Errors
    /// When there is none, or it has another format.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let file = folder.join(MANIFEST);
        let shown = file.display();

        // A folder without a manifest is the usual mistake, such as a hub folder that was not
        // imported: the words then say how to make one.
        let text = std::fs::read_to_string(&file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => no_model(folder),
            _ => ModelError::read(&file, error),
        })?;

        let unreadable = |error: toml::de::Error| ModelError::Content(format!("{shown}: {error}"));

        // First, because the rest of another format may be called otherwise.
        let ManifestFormat { format } = toml::from_str(&text).map_err(unreadable)?;

        // Older and newer formats are refused alike: graphs are cheap to make again from the
        // source, and a conversion would be code that is used once.
        if format != FORMAT {
            return Err(ModelError::Content(format!(
                "{shown}: format {format} was written by another version, this one reads {FORMAT}; import the model again"
            )));
        }

        // Unknown keys are refused, as they are everywhere.
        toml::from_str(&text).map_err(unreadable)
    }
}

fn no_model(folder: &Path) -> ModelError {
    let folder = folder.display();
    ModelError::Content(format!(
        "{folder}: no imported model is there ({MANIFEST} is missing); make one with: winspect model import SOURCE {folder}"
    ))
}
