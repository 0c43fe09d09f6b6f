//! Golden folders, imported once each, and comparison of tensors.

use ndarray::ArrayD;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use winspect::engine::onnx::Runtime;
use winspect::model::{self, ModelFolder};

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
