//! Golden folders, imported once each, and comparison of tensors.

use ndarray::ArrayD;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use winspect::data::picture::Picture;
use winspect::engine::onnx::{OnnxEncoder, Runtime};
use winspect::model::{self, ModelFolder};
use winspect::winclip::{Inspector, Recipe};

/// A folder in place of the project's, with `bin/winspect` and the files that the tests read: what
/// `tools/gpu-check` packs runs on a machine without the project.
pub fn unpacked() -> Option<PathBuf> {
    std::env::var_os("WINSPECT_TEST_ROOT").map(PathBuf::from)
}

/// Path of a golden folder or file.
pub fn golden(name: &str) -> PathBuf {
    unpacked()
        .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
        .join("tests/golden")
        .join(name)
}

/// A golden folder's tensors.
pub struct Golden(Vec<u8>);

impl Golden {
    /// Tensors of a golden folder.
    pub fn open(name: &str) -> Self {
        Self::read(&golden(name).join("golden.safetensors"))
    }

    /// Any file of tensors.
    pub fn read(file: &Path) -> Self {
        Golden(std::fs::read(file).expect("a file of tensors is there"))
    }

    /// One tensor by its name.
    pub fn tensor(&self, name: &str) -> ArrayD<f32> {
        let all = SafeTensors::deserialize(&self.0).expect("a whole file");
        let view = all
            .tensor(name)
            .unwrap_or_else(|_| panic!("no golden tensor {name}"));

        let values = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();

        ArrayD::from_shape_vec(view.shape(), values).expect("as the file says")
    }
}

/// The golden model, imported into a folder that lives as long as the guard.
pub fn imported(name: &str) -> (tempfile::TempDir, ModelFolder) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = model::import(&golden(name), &folder.path().join(name), &|_| ())
        .expect("golden models import");

    (folder, model)
}

/// A golden folder's copy, changed by `change` and imported: the model's hash, or the error's words, after which
/// nothing half-made may stay.
pub fn import_of(name: &str, change: impl FnOnce(&Path)) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let source = folder.path().join("source");
    std::fs::create_dir(&source).expect("new");
    for entry in std::fs::read_dir(golden(name)).expect("a golden folder") {
        let entry = entry.expect("readable");
        std::fs::copy(entry.path(), source.join(entry.file_name())).expect("copied");
    }

    change(&source);
    let target = folder.path().join("model");
    let made = model::import(&source, &target, &|_| ());
    if made.is_err() {
        let left = std::fs::read_dir(folder.path()).expect("there").count();
        assert_eq!(left, 1, "only the source may be left");
    }

    made.map(|model| model.hash)
        .map_err(|error| error.to_string())
}

/// The inspector of a recipe of patches on the CPU, with these references.
pub fn prepared(model: &ModelFolder, recipe: &Recipe, references: &[Picture]) -> Inspector {
    let recipe = recipe.for_pictures_like(references.first());
    let plan = recipe.encode_plan(&model.spec, true).expect("fits");
    let encoder = OnnxEncoder::open(&runtime(), model, &plan).expect("opened");
    let encoder = Box::new(encoder);
    Inspector::prepare(
        &recipe,
        &model.spec,
        &plan,
        encoder,
        None,
        references,
        &mut |_, _| (),
    )
    .expect("prepared")
}

/// ONNX Runtime with two threads.
pub fn runtime() -> Runtime {
    Runtime::load(None, Some(2)).expect("tools/setup puts libonnxruntime into engines/lib")
}

/// Largest absolute difference.
///
/// # Panics
/// If the shapes differ.
pub fn difference(ours: ArrayD<f32>, golden: &ArrayD<f32>) -> f32 {
    assert_eq!(ours.shape(), golden.shape());
    ours.iter()
        .zip(golden)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// Asserts that no value is off by more than `tolerance`.
#[track_caller]
pub fn assert_close(what: &str, ours: ArrayD<f32>, golden: &ArrayD<f32>, tolerance: f32) {
    let found = difference(ours, golden);
    assert!(
        found <= tolerance,
        "{what}: off by {found}, at most {tolerance} allowed"
    );
}
