//! The way from the sources of the kernels to machine code for one device, kept on disk.
//!
//! Machine code, not PTX: a driver loads it as it is, also when it is older than the compiler, and
//! does not compile again at each start. A kept file is named after all that it depends on, and
//! sealed, so that one that was cut short or changed is told apart:
//!
//! ```text
//! kernels-<source hash>-fp16-sm87-nvrtc12.6.cubin
//!     "winspect kernels 1\n", sha256 of the machine code [32], machine code
//! ```

use super::nvrtc::{CudaSource, Nvrtc};
use crate::base::hex::hex;
use crate::engine::EngineError;
use crate::engine::network::Precision;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// The file that the kernels include.
const REAL: (&str, &str) = ("real.cuh", include_str!("real.cuh"));

/// Each kernel's file; together they are one program.
const FILES: [(&str, &str); 6] = [
    ("pixels.cu", include_str!("pixels.cu")),
    ("gather.cu", include_str!("gather.cu")),
    ("language.cu", include_str!("language.cu")),
    ("nearest.cu", include_str!("nearest.cu")),
    ("scatter.cu", include_str!("scatter.cu")),
    ("paint.cu", include_str!("paint.cu")),
];

const MAGIC: &[u8] = b"winspect kernels 1\n";
const SEAL: usize = 32;

/// Precision and device that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileTarget {
    /// Precision of the network's tensors.
    pub precision: Precision,
    /// Compute capability without the dot: 87, 90, 110.
    pub sm: u32,
}

impl CompileTarget {
    fn options(&self) -> Vec<String> {
        let half = u8::from(self.precision == Precision::Fp16);

        // By its defaults the compiler keeps denormals and rounds divisions and roots; it may fuse
        // a product with a sum.
        vec![
            format!("--gpu-architecture=sm_{}", self.sm),
            format!("-DREAL_IS_HALF={half}"),
            "--std=c++17".to_owned(),
        ]
    }

    /// The end of a kept file's name but for the compiler's version.
    fn kind(&self) -> String {
        let precision = self.precision.name();

        format!("-{precision}-sm{}-nvrtc", self.sm)
    }

    /// The name up to the compiler's version.
    fn stem(&self) -> String {
        // The hash covers names, lengths and texts of all files and the options: a change of any of
        // them gives another name, and an old file is never taken for new code.
        let mut hash = Sha256::new();

        for (name, text) in files() {
            let length = text.len();
            hash.update(format!("{name} {length}\n{text}"));
        }

        hash.update(self.options().join("\n"));
        let digest = hash.finalize();
        let short = hex(&digest[..8]);

        format!("kernels-{short}{}", self.kind())
    }
}

/// All files by name, the included one first.
fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    [REAL].into_iter().chain(FILES)
}

/// Compiles the kernels.
///
/// # Errors
/// [`EngineError::Unavailable`]: the device's kind is unknown to this NVRTC, or the source wrong, with its words.
pub fn compiled(nvrtc: &Nvrtc, target: &CompileTarget) -> Result<Vec<u8>, EngineError> {
    // One program includes all files, so that one compilation and one module serve all kernels.
    let text: String = FILES
        .iter()
        .map(|(name, _)| format!("#include \"{name}\"\n"))
        .collect();

    let headers: Vec<(&str, &str)> = files().collect();
    let source = CudaSource {
        name: "kernels.cu",
        text: &text,
        headers: &headers,
    };

    nvrtc.cubin(&source, &target.options())
}

/// The result of `load` on the machine code, kept or new. Kept code that it refuses is made anew
/// once.
///
/// # Errors
/// [`EngineError::Unavailable`] as [`compiled`], and as [`Nvrtc::open_for`] when nothing is kept;
/// the errors of `load`.
pub fn loaded<T>(
    target: &CompileTarget,
    cache: Option<&Path>,
    load: impl Fn(&[u8]) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    // The compiler is opened even where kept code will do: its version is part of the name that is
    // looked for. A missing compiler is an error only when something has to be compiled.
    let nvrtc = Nvrtc::open_for(target.sm);
    let version = nvrtc.as_ref().ok().map(|nvrtc| nvrtc.version);
    let Some(folder) = cache else {
        return load(&compiled(&nvrtc?, target)?);
    };

    // Kept code comes first, because a compilation takes seconds and the start of a line waits for
    // it.
    if let Some(found) = kept(folder, &target.stem(), version, &load) {
        return Ok(found);
    }

    let nvrtc = nvrtc?;
    let cubin = compiled(&nvrtc, target)?;

    // New code is kept only after the driver took it. A folder that cannot be written to costs time
    // at each start, and is no reason not to run.
    let ready = load(&cubin)?;

    if let Err(error) = keep(folder, target, nvrtc.version, &cubin) {
        tracing::warn!(
            folder = %folder.display(),
            %error,
            "the GPU's kernels cannot be kept and are compiled at each start"
        );
    }

    Ok(ready)
}

fn file_name(stem: &str, (major, minor): (i32, i32)) -> String {
    format!("{stem}{major}.{minor}.cubin")
}

/// The kept kernels of this compiler's version, or of any version where there is no compiler.
fn kept<T>(
    folder: &Path,
    stem: &str,
    version: Option<(i32, i32)>,
    load: impl Fn(&[u8]) -> Result<T, EngineError>,
) -> Option<T> {
    // A compiler of another version makes other code, so that its files are passed over while there
    // is one to compile with.
    let mut paths = vec![];

    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_wanted = match version {
            Some(version) => name == file_name(stem, version),
            None => name.starts_with(stem) && name.ends_with(".cubin"),
        };

        if is_wanted {
            paths.push(entry.path());
        }
    }

    // The last by name is tried first, which is the newest version as long as minors have one
    // digit; a broken file makes way for the one before.
    paths.sort();

    paths.iter().rev().find_map(|path| load_kept(path, &load))
}

/// One kept file as `load` makes it; `None`, with a warning, when it is broken or refused.
fn load_kept<T>(path: &Path, load: impl Fn(&[u8]) -> Result<T, EngineError>) -> Option<T> {
    let file = std::fs::read(path).ok()?;

    if let Some(cubin) = unsealed(&file)
        && let Ok(loaded) = load(cubin)
    {
        return Some(loaded);
    }

    tracing::warn!(
        file = %path.display(),
        "kept kernels are broken or of another device"
    );

    None
}

/// The machine code of a kept file; `None` when a byte of it is not as it was written.
fn unsealed(file: &[u8]) -> Option<&[u8]> {
    // The layout is the magic line, 32 bytes of SHA-256, then the code that the digest is of.
    let sealed = file.strip_prefix(MAGIC)?;
    let (seal, cubin) = sealed.split_at_checked(SEAL)?;
    let digest = Sha256::digest(cubin);

    (digest[..] == *seal).then_some(cubin)
}

/// Writes a kept file, which appears whole or not at all. Files that were kept for the same
/// precision and device before are removed, so that a folder holds one of each.
fn keep(
    folder: &Path,
    target: &CompileTarget,
    version: (i32, i32),
    cubin: &[u8],
) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    remove_older(folder, target)?;
    let name = file_name(&target.stem(), version);

    // The file is written under another name and then moved: a reader, or a start after a power
    // cut, sees all of it or none. The identifier keeps two processes apart.
    let id = ulid::Ulid::generate();
    let beside = folder.join(format!(".{name}.{id}"));
    let kept = folder.join(name);
    let moved = write_sealed(&beside, cubin).and_then(|()| std::fs::rename(&beside, kept));

    // A failed write leaves no file behind; the error itself goes to the caller, who logs it.
    if moved.is_err() {
        let _ = std::fs::remove_file(&beside);
    }

    moved
}

fn remove_older(folder: &Path, target: &CompileTarget) -> io::Result<()> {
    let kind = target.kind();

    for entry in std::fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();

        if name.starts_with("kernels-") && name.contains(&kind) {
            // Another process may have been faster, and a file that stays is not used.
            let _ = std::fs::remove_file(entry.path());
        }
    }

    Ok(())
}

fn write_sealed(path: &Path, cubin: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(MAGIC)?;
    file.write_all(&Sha256::digest(cubin))?;
    file.write_all(cubin)?;

    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::testing::required;
    use super::*;
    use std::path::PathBuf;

    /// Orin, Hopper, Thor, Blackwell.
    const DEVICES: [u32; 4] = [87, 90, 110, 120];

    #[test]
    fn every_kernel_compiles_for_every_device() {
        let library =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("engines/lib/nvrtc/libnvrtc.so.13");

        let missing = format!("{} is not there", library.display());
        let found = library.exists().then_some(()).ok_or(missing);
        if required("nvrtc", found).is_none() {
            return;
        }

        let nvrtc = Nvrtc::open_at(&[library]).expect("NVIDIA's compiler can be loaded");
        for precision in [Precision::Fp16, Precision::Fp32] {
            for sm in DEVICES {
                let began = std::time::Instant::now();
                let target = CompileTarget { precision, sm };
                let cubin = compiled(&nvrtc, &target).expect("kernels that compile");
                println!(
                    "sm_{sm} {}: {} bytes in {:.1?}",
                    precision.name(),
                    cubin.len(),
                    began.elapsed()
                );
            }
        }

        let unknown = compiled(
            &nvrtc,
            &CompileTarget {
                precision: Precision::Fp16,
                sm: 12,
            },
        )
        .expect_err("no such device");

        assert!(
            unknown.to_string().contains("--gpu-architecture=sm_12"),
            "{unknown}"
        );
    }

    const TARGET: CompileTarget = CompileTarget {
        precision: Precision::Fp32,
        sm: 87,
    };

    /// A kept file as `keep` writes it.
    fn kept_file(folder: &Path, version: (i32, i32)) -> PathBuf {
        keep(folder, &TARGET, version, b"machine code").expect("a folder that takes it");
        folder.join(file_name(&TARGET.stem(), version))
    }

    fn found(folder: &Path, version: Option<(i32, i32)>) -> Option<Vec<u8>> {
        kept(folder, &TARGET.stem(), version, |cubin| Ok(cubin.to_vec()))
    }

    #[test]
    fn what_is_kept_is_found_by_its_compilers_version_or_by_any_where_there_is_no_compiler() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(found(folder.path(), None), None);
        kept_file(folder.path(), (12, 6));
        assert_eq!(
            found(folder.path(), Some((12, 6))),
            Some(b"machine code".to_vec())
        );

        assert_eq!(found(folder.path(), Some((13, 0))), None);
        assert_eq!(found(folder.path(), None), Some(b"machine code".to_vec()));
        kept_file(folder.path(), (13, 0));
        let files = std::fs::read_dir(folder.path()).expect("readable").count();
        assert_eq!(files, 1, "the newest alone is kept");
    }

    #[test]
    fn a_kept_file_that_is_cut_changed_or_refused_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = kept_file(folder.path(), (12, 6));
        let whole = std::fs::read(&path).expect("readable");
        let mut changed = whole.clone();
        *changed.last_mut().expect("not empty") ^= 1;
        for broken in [
            &whole[..whole.len() - 1],
            &whole[..MAGIC.len() + 5],
            b"",
            &changed,
            b"something else",
        ] {
            std::fs::write(&path, broken).expect("writable");
            assert_eq!(
                found(folder.path(), Some((12, 6))),
                None,
                "{} bytes",
                broken.len()
            );
        }

        std::fs::write(&path, &whole).expect("writable");
        let foreign =
            |_: &[u8]| Err::<(), _>(EngineError::Unavailable("another device's".to_owned()));

        assert_eq!(
            kept(folder.path(), &TARGET.stem(), Some((12, 6)), foreign),
            None
        );
    }

    #[test]
    fn precision_and_device_have_files_of_their_own() {
        let stem = |precision, sm| CompileTarget { precision, sm }.stem();
        assert_ne!(stem(Precision::Fp16, 87), stem(Precision::Fp32, 87));
        assert_ne!(stem(Precision::Fp16, 87), stem(Precision::Fp16, 90));
        assert!(stem(Precision::Fp16, 87).ends_with("-fp16-sm87-nvrtc"));
    }

    #[test]
    fn a_missing_compiler_is_told_with_where_it_was_looked_for_and_where_it_comes_from() {
        let missing = Nvrtc::open_at(&["nowhere/libnvrtc.so".into()])
            .err()
            .expect("not there")
            .to_string();

        assert!(
            missing.contains("looked for nowhere/libnvrtc.so")
                && missing.contains("nvidia-cuda-nvrtc"),
            "{missing}"
        );
    }

    #[test]
    fn kernels_that_were_kept_broken_are_made_anew_on_the_device() {
        let Some(device) = super::super::testing::device() else {
            return;
        };

        let folder = tempfile::tempdir().expect("a folder");
        let load =
            || super::super::Kernels::load(&device.context, Precision::Fp16, Some(folder.path()));

        load().expect("compiled");
        let only = || {
            std::fs::read_dir(folder.path())
                .expect("readable")
                .next()
                .expect("kept")
                .expect("an entry")
                .path()
        };

        let whole = std::fs::read(only()).expect("readable");
        std::fs::write(only(), &whole[..whole.len() / 2]).expect("writable");
        load().expect("compiled again");
        assert_eq!(std::fs::read(only()).expect("readable"), whole);
    }
}
