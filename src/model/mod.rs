//! Layer 3: model folders. [`import`] turns an open_clip, transformers CLIP or transformers DINOv2 folder into ours,
//! [`fetch`] downloads a known one first; [`ModelFolder`] is an imported one, opened and checked.
//!
//! A model folder holds `model.toml` (what it is), `trunk.onnx`, `windows.onnx` and their shared `vision.weights`,
//! and for models with text `text.onnx` with `text.weights`. It appears whole or not at all.

pub mod catalogue;
mod fetch;
pub mod graph;
mod import;
pub mod proto;
pub mod tokenizer;
mod tower;
mod weights;

pub use fetch::{FetchError, Order, Progress, fetch};
pub use import::import;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a model is and can do.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    pub family: Family,
    /// The side in pixels that the model was trained for.
    pub side: usize,
    /// Patch side in pixels.
    pub patch: usize,
    /// Vision width D.
    pub width: usize,
    /// Blocks L of the vision tower.
    pub blocks: usize,
    pub heads: usize,
    /// Hidden width of a block's MLP.
    pub mlp: usize,
    /// Length E of the image (and window) embedding; D for a model without text.
    pub embed: usize,
    /// Pixel normalisation, RGB.
    pub mean: [f32; 3],
    pub std: [f32; 3],
    /// The text tower; nothing for DINOv2.
    pub text: Option<TextSpec>,
}

impl ModelSpec {
    /// Patches along one side of the native input.
    pub fn grid(&self) -> usize {
        self.side / self.patch
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    OpenClip,
    Clip,
    Dinov2,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// Tokens a prompt may have, start and end included: 77.
    pub context: usize,
    pub vocabulary: usize,
    pub width: usize,
}

/// `model.toml`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// Raised when the graphs change; an older folder must be imported again.
    format: u32,
    /// Hex SHA-256 of the source's weights.
    source_sha256: String,
    source: String,
    licence: String,
    /// Bytes of each file beside this one: a folder that was cut short is found at once.
    files: BTreeMap<String, u64>,
    /// Hex SHA-256 of each file that was fetched to make this folder.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    downloaded: BTreeMap<String, String>,
    model: ModelSpec,
}

#[derive(serde::Deserialize)]
struct Format {
    format: u32,
}

const FORMAT: u32 = 2;
const MANIFEST: &str = "model.toml";

/// An imported model: its folder, opened and checked.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    pub path: PathBuf,
    pub spec: ModelSpec,
    /// The folder's name, for people: `vit-b-16-plus-240`.
    pub name: String,
    /// Hex SHA-256 of the source's weights; the first four digits stand in results as `name@fa8e`.
    pub hash: String,
    /// Where it came from and under which licence, as far as the source said.
    pub source: String,
    pub licence: String,
    /// Name and size in bytes of its files.
    pub files: Vec<(String, u64)>,
    /// Name and hex SHA-256 of what was fetched to make it.
    pub downloaded: BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{path}: {error}")]
    Read { path: String, error: std::io::Error },
    #[error("cannot write {path}: {error}")]
    Write { path: String, error: std::io::Error },
    /// What is wrong with the content, in words.
    #[error("{0}")]
    Content(String),
}

impl ModelError {
    fn read(path: &Path, error: std::io::Error) -> Self {
        ModelError::Read {
            path: path.display().to_string(),
            error,
        }
    }

    fn write(path: &Path, error: std::io::Error) -> Self {
        ModelError::Write {
            path: path.display().to_string(),
            error,
        }
    }
}

impl ModelFolder {
    /// Opens an imported folder: the manifest is read, and every file must be there with its size.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let file = path.join(MANIFEST);
        let text = std::fs::read_to_string(&file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ModelError::Content(format!(
                "{}: no imported model is there ({MANIFEST} is missing); make one with: winspect model import SOURCE {}",
                path.display(),
                path.display()
            )),
            _ => ModelError::read(&file, error),
        })?;
        let unreadable =
            |error: toml::de::Error| ModelError::Content(format!("{}: {error}", file.display()));
        // First, because the rest of another format may be called otherwise.
        let Format { format } = toml::from_str(&text).map_err(unreadable)?;
        if format != FORMAT {
            return Err(ModelError::Content(format!(
                "{}: format {format} was written by another version, this one reads {FORMAT}; import the model again",
                file.display()
            )));
        }
        let manifest: Manifest = toml::from_str(&text).map_err(unreadable)?;
        for (name, size) in &manifest.files {
            let part = path.join(name);
            let found = std::fs::metadata(&part)
                .map_err(|error| ModelError::read(&part, error))?
                .len();
            if found != *size {
                let part = part.display();
                return Err(ModelError::Content(format!(
                    "{part}: {found} bytes, {size} were written; import the model again"
                )));
            }
        }
        let name = path
            .canonicalize()
            .ok()
            .and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
        Ok(ModelFolder {
            path: path.to_owned(),
            spec: manifest.model,
            name: name.unwrap_or_else(|| "model".to_owned()),
            hash: manifest.source_sha256,
            source: manifest.source,
            licence: manifest.licence,
            files: manifest.files.into_iter().collect(),
            downloaded: manifest.downloaded,
        })
    }

    /// `name@fa8e`: what a result says of its model.
    pub fn label(&self) -> String {
        format!("{}@{}", self.name, self.hash.get(..4).unwrap_or(&self.hash))
    }
}
