//! Import of a hub folder as a model folder: check, convert, write beside the target, rename.
//!
//! Four layouts can be imported, one file each: open_clip's hub folders, transformers' `CLIPModel`,
//! transformers' `Dinov2Model` (with registers, too), and timm's DINOv2. A configuration becomes a
//! [`SourceLayout`] or a list of the keys that cannot be run.

mod clip;
mod dinov2;
mod keys;
mod layout;
mod open_clip;
mod timm;

use crate::model::catalogue;
use crate::model::default_block::DefaultBlock;
use crate::model::error::ModelError;
use crate::model::folder::{ModelFolder, sha256_of};
use crate::model::graph::WeightFile;
use crate::model::import::layout::{SourceLayout, WeightLayout};
use crate::model::manifest::{FORMAT, MANIFEST, ModelManifest};
use crate::model::spec::ModelSpec;
use crate::model::tower::{self, Text, Vision};
use crate::model::weights::{TensorReader, Weights};
use prost::Message;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

/// Lines of a README among which its licence is looked for.
const README_LINES: usize = 40;

/// Origin of a model, as its folder names it.
#[derive(Debug)]
pub struct Origin {
    /// The source's name.
    pub source: String,
    /// The source's licence.
    pub licence: String,
    /// Hex SHA-256 of each downloaded file; empty if none was downloaded.
    pub sha256: BTreeMap<String, String>,
    /// Default block of the model, as far as the source knows it.
    pub default_block: Option<DefaultBlock>,
}

/// Imports `source` into `folder`, which must not exist or be an imported model (then it is replaced).
/// `progress` is told each step when it begins.
///
/// # Errors
/// [`ModelError`] with every key or tensor that does not fit; `folder` is then as it was.
pub fn import(
    source: &Path,
    folder: &Path,
    progress: &dyn Fn(&str),
) -> Result<ModelFolder, ModelError> {
    // The folder's name stands for the origin, since a folder that was copied here has no other.
    let name = source.file_name().unwrap_or_default();
    let origin = Origin {
        source: name.to_string_lossy().into_owned(),
        licence: licence(source),
        sha256: BTreeMap::new(),
        default_block: None,
    };

    // The licence is what the README says, for people; nothing depends on it.
    import_from(source, origin, folder, progress)
}

/// Checks that a model may be written to `folder`: it does not exist, or is an imported model.
///
/// # Errors
/// When something else is there.
pub fn check_vacant(folder: &Path) -> Result<(), ModelError> {
    // The manifest is the sign of a model's folder: any other folder could hold a person's files,
    // which the replacement would remove.
    if folder.exists() && !folder.join(MANIFEST).exists() {
        return Err(ModelError::Content(format!(
            "{} exists and is no imported model; give another folder",
            folder.display()
        )));
    }

    Ok(())
}

/// [`import`] of a folder whose origin is known better than its name and its README say.
///
/// # Errors
/// Those of [`import`].
pub fn import_from(
    source: &Path,
    origin: Origin,
    folder: &Path,
    progress: &dyn Fn(&str),
) -> Result<ModelFolder, ModelError> {
    // All that is cheap is checked before the first byte is written.
    check_vacant(folder)?;

    // All keys of the configuration that cannot be run are told together.
    let layout = read_layout(source)?;

    // A missing file of weights is told before anything is written.
    let weights = Weights::open(&source.join(layout.weights))?;

    // The name is beside the target and of this process, so that two imports do not write into one
    // folder and the rename stays on one disk.
    let partial = folder.with_extension(format!("importing-{}", std::process::id()));

    // The model appears whole or not at all: the target is replaced only after the last file was
    // written.
    let result = write(origin, &layout, &weights, &partial, progress)
        .and_then(|()| replace(&partial, folder));

    if result.is_err() {
        // Best effort: what is left has a name that is not taken for a model's.
        let _ = std::fs::remove_dir_all(&partial);
    }

    result?;
    ModelFolder::open(folder)
}

fn replace(partial: &Path, folder: &Path) -> Result<(), ModelError> {
    // The replacement is not atomic: between the two calls there is no model. A line that runs has
    // its files open and is not disturbed.
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|error| ModelError::write(folder, error))?;
    }

    std::fs::rename(partial, folder).map_err(|error| ModelError::write(folder, error))
}

/// Reads the configuration of a source folder.
fn read_layout(folder: &Path) -> Result<SourceLayout, ModelError> {
    // open_clip's file is asked for first: its hub folders often hold a `config.json` of
    // transformers as well, whose weights are in another file.
    let open_clip = folder.join("open_clip_config.json");

    if open_clip.exists() {
        return open_clip::layout(&read_json(&open_clip)?, &open_clip);
    }

    // transformers and timm keep their configurations under this name.
    let path = folder.join("config.json");

    if !path.exists() {
        return Err(ModelError::Content(format!(
            "{}: neither open_clip_config.json nor config.json is there; give a folder as the hub has it",
            folder.display()
        )));
    }

    let config = read_json(&path)?;

    // The file is optional: its absence is `Null`, which has no keys, so that the layout's defaults
    // are used.
    let preprocessor = folder.join("preprocessor_config.json");
    let preprocessor = if preprocessor.exists() {
        read_json(&preprocessor)?
    } else {
        Value::Null
    };

    if timm::is_timm(&config) {
        return timm::layout(&config, &path);
    }

    // The same file name holds hundreds of architectures; the type alone tells them apart.
    match config.get("model_type").and_then(Value::as_str) {
        // These types have a layout here.
        Some("clip") => clip::layout(&config, &preprocessor, &path),
        Some("dinov2" | dinov2::WITH_REGISTERS) => dinov2::layout(&config, &preprocessor, &path),
        other => Err(ModelError::Content(format!(
            "{}: model_type is {}; \"clip\", \"dinov2\" and {:?} can be imported, and timm's DINOv2 by its architecture",
            path.display(),
            other.map_or("missing".to_owned(), |other| format!("{other:?}")),
            dinov2::WITH_REGISTERS
        ))),
    }
}

fn read_json(path: &Path) -> Result<Value, ModelError> {
    // A configuration has a few kilobytes, so that it is read whole.
    let text = std::fs::read_to_string(path).map_err(|error| ModelError::read(path, error))?;
    serde_json::from_str(&text)
        .map_err(|error| ModelError::Content(format!("{}: {error}", path.display())))
}

/// The vision tower's weights, from tensors under the layout's names.
fn read_vision(layout: &SourceLayout, reader: &mut TensorReader) -> Vision {
    match layout.format {
        WeightLayout::OpenClip => open_clip::vision(layout, reader),
        WeightLayout::Clip => clip::vision(layout, reader),
        WeightLayout::Dinov2 => dinov2::vision(layout, reader),
        WeightLayout::TimmDinov2 { patches_alone } => timm::vision(layout, patches_alone, reader),
    }
}

/// The text tower's weights. `None` for a model without one.
fn read_text(layout: &SourceLayout, reader: &mut TensorReader) -> Option<Text> {
    let text = layout.text.as_ref()?;

    // Both are there or neither is: the layout set them together.
    let spec = layout.spec.text.as_ref()?;

    match layout.format {
        WeightLayout::OpenClip => Some(open_clip::text(layout, text, spec, reader)),
        WeightLayout::Clip => Some(clip::text(layout, text, spec, reader)),
        WeightLayout::Dinov2 | WeightLayout::TimmDinov2 { .. } => None,
    }
}

fn write(
    origin: Origin,
    layout: &SourceLayout,
    weights: &Weights,
    folder: &Path,
    progress: &dyn Fn(&str),
) -> Result<(), ModelError> {
    // All tensors are read before a folder is made: a model that does not fit leaves no trace.
    let mut reader = weights.reader()?;

    // The tensors are copied, since a few of them are turned or scaled on the way.
    progress("reading the vision tower");
    let vision = read_vision(layout, &mut reader);
    progress("reading the text tower");
    let text = read_text(layout, &mut reader);
    reader.finish()?;

    // From here on the disk may be full: every error names its file.
    std::fs::create_dir_all(folder).map_err(|error| ModelError::write(folder, error))?;

    // Graphs are small, and refer to the weights by the name of their file in the same folder.
    progress("writing the graphs");

    // The weights come first, because a graph holds offsets into their file.
    let graphs = with_weights(folder, "vision.weights", |file| {
        tower::write_vision(&vision, file)
    })?;

    write_file(folder, "trunk.onnx", &graphs.trunk.encode_to_vec())?;

    // There are two files, since a recipe without windows needs the first one alone.
    write_file(folder, "windows.onnx", &graphs.windows.encode_to_vec())?;

    // The text tower has weights of its own, as it runs on the processor and only when prompts
    // change.
    if let Some(text) = &text {
        let graph = with_weights(folder, "text.weights", |file| tower::write_text(text, file))?;
        write_file(folder, "text.onnx", &graph.encode_to_vec())?;
    }

    // Every file is hashed as it stands, so that each start can see that it still does. The model's
    // own hash is that of the source's weights: it stays the same when the graphs change.
    progress("hashing the weights");
    let files = sizes(folder).map_err(|error| ModelError::read(folder, error))?;
    let mut sha256 = BTreeMap::new();

    for name in files.keys() {
        let file = folder.join(name);
        let sum = sha256_of(&file).map_err(|error| ModelError::read(&file, error))?;
        sha256.insert(name.clone(), sum);
    }

    // The block that judges by default is kept with the model: a later version that knows a better one
    // does not judge by it in silence.
    let source_sha256 = weights.sha256();
    let default_block = origin.default_block;
    let model = ModelSpec {
        default_block: default_block.or_else(|| catalogue::known_block(&source_sha256)),
        ..layout.spec.clone()
    };

    let manifest = ModelManifest {
        format: FORMAT,
        source_sha256,
        source: origin.source,
        licence: origin.licence,
        // The sizes are those of all that was written so far; the manifest itself is not among
        // them.
        files,
        sha256,
        downloaded: origin.sha256,
        model,
    };

    // The manifest comes last: its presence says that all the others are whole.
    let toml = toml::to_string(&manifest).expect("a manifest is plain values");

    write_file(folder, MANIFEST, toml.as_bytes())
}

/// The `license:` line of the source's README, as hub folders have it.
fn licence(source: &Path) -> String {
    // The front matter of a hub's README is YAML; of it only this one line is needed.
    let readme = std::fs::read_to_string(source.join("README.md")).unwrap_or_default();
    let mut lines = readme.lines().take(README_LINES);

    match lines.find_map(|line| line.strip_prefix("license:")) {
        Some(licence) => licence.trim().to_owned(),
        None => "not stated by the source".to_owned(),
    }
}

/// Creates a file of weights and lets `write` fill it.
fn with_weights<T>(
    folder: &Path,
    name: &str,
    write: impl FnOnce(&mut WeightFile<BufWriter<File>>) -> std::io::Result<T>,
) -> Result<T, ModelError> {
    // Every error names the file that could not be written.
    let path = folder.join(name);
    let failed = |error| ModelError::write(&path, error);
    let file = File::create(&path).map_err(failed)?;

    // The writer has a buffer, since norms are written as vectors of a few kilobytes.
    let mut file = WeightFile::new(BufWriter::new(file), name);

    // What `write` made, the graphs, is returned only after the file was flushed.
    let made = write(&mut file).map_err(failed)?;
    file.finish().map_err(failed)?;

    Ok(made)
}

fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), ModelError> {
    let path = folder.join(name);

    std::fs::write(&path, bytes).map_err(|error| ModelError::write(&path, error))
}

/// Names and sizes in bytes of a folder's files.
fn sizes(folder: &Path) -> std::io::Result<BTreeMap<String, u64>> {
    let mut sizes = BTreeMap::new();

    // The folder was made a moment ago, and holds plain files only.
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        sizes.insert(name, entry.metadata()?.len());
    }

    Ok(sizes)
}
