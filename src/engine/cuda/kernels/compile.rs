//! From the sources of the kernels to machine code for one device, kept on disk.
//!
//! Machine code, not PTX: a driver loads it as it is, also when it is older than the compiler, and does not compile again
//! at each start. A kept file is named after all that it depends on, and sealed, so that one that was cut short or
//! changed is told apart:
//!
//! ```text
//! kernels-<source hash>-fp16-sm87-nvrtc12.6.cubin:  "winspect kernels 1\n", sha256 of what follows [32], machine code
//! ```

use super::nvrtc::{Nvrtc, Source};
use crate::engine::EngineError;
use crate::engine::network::Precision;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;

/// What is included by the kernels.
const REAL: (&str, &str) = ("real.cuh", include_str!("real.cuh"));

/// Each kernel's file; together they are one program.
const FILES: [(&str, &str); 5] = [
    ("pixels.cu", include_str!("pixels.cu")),
    ("gather.cu", include_str!("gather.cu")),
    ("language.cu", include_str!("language.cu")),
    ("nearest.cu", include_str!("nearest.cu")),
    ("scatter.cu", include_str!("scatter.cu")),
];

const MAGIC: &[u8] = b"winspect kernels 1\n";
const SEAL: usize = 32;

/// What the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub precision: Precision,
    /// Compute capability without the dot: 87, 90, 110.
    pub sm: u32,
}

impl Target {
    fn options(&self) -> Vec<String> {
        let half = u8::from(self.precision == Precision::Fp16);
        // No contraction of products and sums is forbidden, no denormal flushed: the defaults.
        vec![format!("--gpu-architecture=sm_{}", self.sm), format!("-DREAL_IS_HALF={half}"), "--std=c++17".to_owned()]
    }

    /// Up to the compiler's version.
    fn stem(&self) -> String {
        let mut hash = Sha256::new();
        for (name, text) in [REAL].into_iter().chain(FILES) {
            hash.update(format!("{name} {}\n{text}", text.len()));
        }
        hash.update(self.options().join("\n"));
        let hash: String = hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("kernels-{hash}-{}-sm{}-nvrtc", self.precision.name(), self.sm)
    }
}

/// Compiles the kernels.
///
/// # Errors
/// [`EngineError::Unavailable`]: the device's kind is unknown to this NVRTC, or the source wrong, with its words.
pub fn compiled(nvrtc: &Nvrtc, target: &Target) -> Result<Vec<u8>, EngineError> {
    let text: String = FILES.iter().map(|(name, _)| format!("#include \"{name}\"\n")).collect();
    let headers: Vec<(&str, &str)> = [REAL].into_iter().chain(FILES).collect();
    nvrtc.cubin(&Source { name: "kernels.cu", text: &text, headers: &headers }, &target.options())
}

/// What `load` makes of the machine code, kept or new. What it refuses of what is kept is made anew once.
///
/// # Errors
/// As [`compiled`], of [`Nvrtc::open`] when nothing is kept, and those of `load`.
pub fn loaded<T>(
    target: &Target,
    cache: Option<&Path>,
    load: impl Fn(&[u8]) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let nvrtc = Nvrtc::open();
    let version = nvrtc.as_ref().ok().map(|nvrtc| nvrtc.version);
    if let Some(found) = cache.and_then(|folder| kept(folder, &target.stem(), version, &load)) {
        return Ok(found);
    }
    let nvrtc = nvrtc?;
    let cubin = compiled(&nvrtc, target)?;
    let ready = load(&cubin)?;
    if let Some(folder) = cache
        && let Err(error) = keep(folder, &file_name(&target.stem(), nvrtc.version), &cubin)
    {
        tracing::warn!(folder = %folder.display(), %error, "the GPU's kernels cannot be kept and are compiled at each start");
    }
    Ok(ready)
}

fn file_name(stem: &str, (major, minor): (i32, i32)) -> String {
    format!("{stem}{major}.{minor}.cubin")
}

/// Of this compiler, or of any where there is none.
fn kept<T>(
    folder: &Path,
    stem: &str,
    version: Option<(i32, i32)>,
    load: impl Fn(&[u8]) -> Result<T, EngineError>,
) -> Option<T> {
    let wanted = |name: &str| match version {
        Some(version) => name == file_name(stem, version),
        None => name.starts_with(stem) && name.ends_with(".cubin"),
    };
    let mut paths: Vec<_> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(wanted));
    paths.sort();
    paths.iter().rev().find_map(|path| {
        let loaded = unsealed(&std::fs::read(path).ok()?).map(&load);
        if !matches!(loaded, Some(Ok(_))) {
            tracing::warn!(file = %path.display(), "kept kernels are broken or of another device");
        }
        loaded?.ok()
    })
}

/// The machine code of a kept file; nothing when a byte of it is not as it was written.
fn unsealed(file: &[u8]) -> Option<&[u8]> {
    let (seal, cubin) = file.strip_prefix(MAGIC)?.split_at_checked(SEAL)?;
    (Sha256::digest(cubin)[..] == *seal).then_some(cubin)
}

/// Appears whole or not at all.
fn keep(folder: &Path, name: &str, cubin: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let beside = folder.join(format!("{name}.{}", std::process::id()));
    let written = std::fs::File::create(&beside).and_then(|mut file| {
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(cubin))?;
        file.write_all(cubin)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| std::fs::rename(&beside, folder.join(name)));
    if moved.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Orin, Hopper, Thor, Blackwell.
    const DEVICES: [u32; 4] = [87, 90, 110, 120];

    /// `tools/nvrtc-check` brings the compiler and asks for this.
    #[test]
    fn every_kernel_compiles_for_every_device() {
        let library = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("engines/lib/nvrtc/libnvrtc.so.13");
        let Ok(nvrtc) = Nvrtc::open_at(std::slice::from_ref(&library)) else {
            assert!(std::env::var_os("WINSPECT_REQUIRE_NVRTC").is_none(), "no {}", library.display());
            println!("skipped: no {} (tools/nvrtc-check brings it)", library.display());
            return;
        };
        for precision in [Precision::Fp16, Precision::Fp32] {
            for sm in DEVICES {
                let cubin = compiled(&nvrtc, &Target { precision, sm }).expect("kernels that compile");
                println!("sm_{sm} {}: {} bytes", precision.name(), cubin.len());
            }
        }
        let unknown = compiled(&nvrtc, &Target { precision: Precision::Fp16, sm: 12 }).expect_err("no such device");
        assert!(unknown.to_string().contains("--gpu-architecture=sm_12"), "{unknown}");
    }
}
