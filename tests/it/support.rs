//! Golden folders, imported once each, and comparison of tensors.

use ndarray::ArrayD;
use safetensors::SafeTensors;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use winspect::engine::onnx::Runtime;
use winspect::model::{self, ModelFolder};

/// A folder in place of the project's, with `bin/winspect` and the files that the tests read: what `tools/gpu-check` packs
/// runs on a machine without the project.
fn unpacked() -> Option<PathBuf> {
    std::env::var_os("WINSPECT_TEST_ROOT").map(PathBuf::from)
}

pub fn golden(name: &str) -> PathBuf {
    unpacked()
        .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
        .join("tests/golden")
        .join(name)
}

/// The program that is tested. It ends with its test's thread: one that fails leaves nothing running.
pub fn winspect() -> Command {
    let program = unpacked().map_or_else(
        || env!("CARGO_BIN_EXE_winspect").into(),
        |root| root.join("bin/winspect"),
    );
    let mut command = Command::new(program);
    let ends_with_us = || match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: a system call and nothing else, which is allowed between fork and exec.
    unsafe { command.pre_exec(ends_with_us) };
    command
}

/// A golden folder's tensors.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn open(name: &str) -> Self {
        Self::read(&golden(name).join("golden.safetensors"))
    }

    /// Any file of tensors.
    pub fn read(file: &Path) -> Self {
        Golden(std::fs::read(file).expect("a file of tensors is there"))
    }

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

pub fn runtime() -> Runtime {
    Runtime::load(None, Some(2)).expect("tools/setup puts libonnxruntime into engines/lib")
}

/// The largest absolute difference; panics when the shapes differ.
pub fn difference(ours: ArrayD<f32>, golden: &ArrayD<f32>) -> f32 {
    assert_eq!(ours.shape(), golden.shape());
    ours.iter()
        .zip(golden)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[track_caller]
pub fn assert_close(what: &str, ours: ArrayD<f32>, golden: &ArrayD<f32>, tolerance: f32) {
    let found = difference(ours, golden);
    assert!(
        found <= tolerance,
        "{what}: off by {found}, at most {tolerance} allowed"
    );
}
