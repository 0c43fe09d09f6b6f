//! From a hub folder to a model folder: check, convert, write beside the target, rename.

mod source;

use super::graph::WeightFile;
use super::weights::WeightsFile;
use super::{FORMAT, MANIFEST, Manifest, ModelError, ModelFolder, proto, tower};
use crate::base::hex::hex;
use crate::model::import::source::Layout;
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

/// What a model folder says of where it came from.
#[derive(Debug)]
pub struct Origin {
    pub source: String,
    pub licence: String,
    /// Hex SHA-256 of each downloaded file; empty for a folder that was there.
    pub sha256: BTreeMap<String, String>,
}

/// Imports `source` into `folder`, which must not exist or be an imported model (then it is replaced). `progress` is
/// told what begins.
///
/// # Errors
/// [`ModelError`] with every key or tensor that does not fit; `folder` is then as it was.
pub fn import(
    source: &Path,
    folder: &Path,
    progress: &dyn Fn(&str),
) -> Result<ModelFolder, ModelError> {
    let name = source
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let origin = Origin {
        source: name,
        licence: licence(source),
        sha256: BTreeMap::new(),
    };
    import_from(source, origin, folder, progress)
}

/// Whether a model may be written there: nothing, or another imported one.
pub fn vacant(folder: &Path) -> Result<(), ModelError> {
    if folder.exists() && !folder.join(MANIFEST).exists() {
        let folder = folder.display();
        return Err(ModelError::Content(format!(
            "{folder} exists and is no imported model; give another folder"
        )));
    }
    Ok(())
}

/// [`import`] of a folder whose origin is known better than its name and its README say.
pub fn import_from(
    source: &Path,
    origin: Origin,
    folder: &Path,
    progress: &dyn Fn(&str),
) -> Result<ModelFolder, ModelError> {
    vacant(folder)?;
    let layout = source::layout(source)?;
    let weights = WeightsFile::open(&source.join(layout.weights))?;

    let partial = folder.with_extension(format!("importing-{}", std::process::id()));
    let result = write(origin, &layout, &weights, &partial, progress)
        .and_then(|()| replace(&partial, folder));
    if result.is_err() {
        // Best effort: what is left is named so that nobody takes it for a model.
        let _ = std::fs::remove_dir_all(&partial);
    }
    result?;
    ModelFolder::open(folder)
}

fn replace(partial: &Path, folder: &Path) -> Result<(), ModelError> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|error| ModelError::write(folder, error))?;
    }
    std::fs::rename(partial, folder).map_err(|error| ModelError::write(folder, error))
}

fn write(
    origin: Origin,
    layout: &Layout,
    weights: &WeightsFile,
    folder: &Path,
    progress: &dyn Fn(&str),
) -> Result<(), ModelError> {
    let mut reader = weights.reader()?;
    progress("reading the vision tower");
    let vision = layout.vision(&mut reader);
    progress("reading the text tower");
    let text = layout.text(&mut reader);
    reader.finish()?;

    std::fs::create_dir_all(folder).map_err(|error| ModelError::write(folder, error))?;
    progress("writing the graphs");
    let (trunk, windows) = with_weights(folder, "vision.weights", |file| {
        tower::write_vision(&vision, file)
    })?;
    put(folder, "trunk.onnx", &trunk.encode_to_vec())?;
    put(folder, "windows.onnx", &windows.encode_to_vec())?;
    if let Some(text) = &text {
        let graph: proto::Model =
            with_weights(folder, "text.weights", |file| tower::write_text(text, file))?;
        put(folder, "text.onnx", &graph.encode_to_vec())?;
    }
    progress("hashing the weights");
    let manifest = Manifest {
        format: FORMAT,
        source_sha256: hex(&Sha256::digest(weights.bytes())),
        source: origin.source,
        licence: origin.licence,
        files: sizes(folder)?,
        downloaded: origin.sha256,
        model: layout.spec.clone(),
    };
    let toml = toml::to_string(&manifest).expect("a manifest is plain values");
    put(folder, MANIFEST, toml.as_bytes())
}

/// The `license:` line of the source's README, as hub folders have it.
fn licence(source: &Path) -> String {
    let readme = std::fs::read_to_string(source.join("README.md")).unwrap_or_default();
    let line = readme
        .lines()
        .take(40)
        .find_map(|line| line.strip_prefix("license:"));
    line.map_or_else(
        || "not stated by the source".to_owned(),
        |words| words.trim().to_owned(),
    )
}

fn with_weights<T>(
    folder: &Path,
    name: &str,
    write: impl FnOnce(&mut WeightFile<BufWriter<File>>) -> std::io::Result<T>,
) -> Result<T, ModelError> {
    let path = folder.join(name);
    let wrapped = || {
        let mut file = WeightFile::new(BufWriter::new(File::create(&path)?), name);
        let made = write(&mut file)?;
        file.finish()?;
        Ok(made)
    };
    wrapped().map_err(|error| ModelError::write(&path, error))
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), ModelError> {
    let path = folder.join(name);
    std::fs::write(&path, bytes).map_err(|error| ModelError::write(&path, error))
}

fn sizes(folder: &Path) -> Result<BTreeMap<String, u64>, ModelError> {
    let listed = || -> std::io::Result<BTreeMap<String, u64>> {
        std::fs::read_dir(folder)?
            .map(|entry| {
                let entry = entry?;
                Ok((
                    entry.file_name().to_string_lossy().into_owned(),
                    entry.metadata()?.len(),
                ))
            })
            .collect()
    };
    listed().map_err(|error| ModelError::read(folder, error))
}
