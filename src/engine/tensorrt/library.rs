//! Which TensorRT is on this machine: looked for by file, loaded at run time, refused where its tables are unknown.

use super::raw::{Loaded, Logger};
use crate::engine::EngineError;
use crate::engine::library_path::library_folders;
use crate::engine::tensorrt::vtable::{ELEVEN, RTX, RtxSlots, TEN, Vtable};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Full TensorRT, or TensorRT for RTX cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Full,
    Rtx,
}

/// 10.3.0 or, for RTX, 1.7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl Version {
    /// Out of `getInferLibVersion`: since 10 `major * 10000 + minor * 100 + patch`, before `major * 1000 + ...`. RTX
    /// has the newer way.
    fn of(kind: Kind, number: u32) -> Self {
        let unit = if kind == Kind::Full && number < 10_000 {
            1000
        } else {
            10_000
        };
        Version {
            major: number / unit,
            minor: number % unit / 100,
            patch: number % 100,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Loaded, and of a version whose tables are known.
#[derive(Debug, Clone)]
pub struct Library(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    loaded: Loaded,
    /// What was loaded: a path, or a name that the loader knew.
    file: PathBuf,
    kind: Kind,
    version: Version,
    number: u32,
    logger: &'static Logger,
}

/// Newest first.
const NAMES: [(&str, Kind); 4] = [
    ("libnvinfer.so.11", Kind::Full),
    ("libnvinfer.so.10", Kind::Full),
    ("libnvinfer.so", Kind::Full),
    ("libtensorrt_rtx.so.1", Kind::Rtx),
];

/// Where in a folder of libraries it may lie.
const FOLDERS: [&str; 3] = ["", "tensorrt", "tensorrt-rtx"];

const WAY_OUT: &str = "install TensorRT 10 or 11 (Jetson: it comes with JetPack, apt-get install tensorrt; else \
    NVIDIA's apt repository, apt-get install libnvinfer10 libnvonnxparsers10) or, for RTX cards, run \
    tools/gpu/fetch-tensorrt-rtx (PyPI's tensorrt-rtx-cu13-libs); backend = \"onnx\" needs none of it";

impl Library {
    /// Loads the library of the configured folder; else the first, full ones before RTX, of [`library_folders`] and the
    /// loader's own places.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with what was tried and what each place said.
    pub fn load(configured: Option<&Path>) -> Result<Self, EngineError> {
        let mut tried: Vec<String> = vec![];
        let folders = configured.map_or_else(folders, |folder| vec![folder.to_owned()]);
        let mut candidates: Vec<(PathBuf, Kind)> = vec![];
        for folder in &folders {
            let found = NAMES
                .iter()
                .map(|(name, kind)| (folder.join(name), *kind))
                .filter(|(file, _)| file.is_file());
            let before = candidates.len();
            candidates.extend(found);
            if candidates.len() == before {
                tried.push(format!("{}: none there", folder.display()));
            }
        }
        if configured.is_none() {
            candidates.extend(
                NAMES
                    .iter()
                    .map(|(name, kind)| (PathBuf::from(name), *kind)),
            );
        }
        // Where a machine has both, the full one: it is made for more GPUs and knows them better.
        candidates.sort_by_key(|(_, kind)| *kind == Kind::Rtx);
        for (file, kind) in candidates {
            match Self::open(&file, kind) {
                Ok(library) => return Ok(library),
                Err(words) => tried.push(words),
            }
        }
        Err(EngineError::Unavailable(format!(
            "no TensorRT that can be used; tried\n  {}\n{WAY_OUT}",
            tried.join("\n  ")
        )))
    }

    /// # Errors
    /// Why it cannot be used, with its name.
    fn open(file: &Path, kind: Kind) -> Result<Self, String> {
        let told = |words: String| match words.contains(&*file.to_string_lossy()) {
            true => words,
            false => format!("{}: {words}", file.display()),
        };
        let loaded = Loaded::open(file.as_os_str()).map_err(told)?;
        let number = loaded.version().map_err(told)?;
        let version = Version::of(kind, number);
        let Some(slots) = slots(kind, version) else {
            let which = if kind == Kind::Rtx {
                "TensorRT-RTX"
            } else {
                "TensorRT"
            };
            return Err(told(format!(
                "{which} {version} is unknown here; 10.1 or newer, 11.x and RTX 1.5 or newer are known"
            )));
        };
        let logger = Logger::of(slots.logger_log);
        Ok(Library(Arc::new(Inner {
            loaded,
            file: file.to_owned(),
            kind,
            version,
            number,
            logger,
        })))
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub fn version(&self) -> Version {
        self.0.version
    }

    /// What was loaded: a path, or a name that the loader knew.
    pub fn file(&self) -> &Path {
        &self.0.file
    }

    /// `tensorrt-10.3.0` or `tensorrt-rtx-1.7.1`: in keys, in the log, in `birth`.
    pub fn name(&self) -> String {
        let kind = if self.0.kind == Kind::Rtx {
            "tensorrt-rtx"
        } else {
            "tensorrt"
        };
        format!("{kind}-{}", self.0.version)
    }

    /// Whether plans can be built: what reads the graphs is a library of its own.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with what was tried.
    pub fn reads_graphs(&self) -> Result<(), EngineError> {
        self.parser().map(drop)
    }

    /// The library that reads ONNX: beside this one, or in the loader's places.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with what was tried.
    pub(super) fn parser(&self) -> Result<Loaded, EngineError> {
        let name = match self.0.kind {
            Kind::Full => format!("libnvonnxparser.so.{}", self.0.version.major),
            Kind::Rtx => format!("libtensorrt_onnxparser_rtx.so.{}", self.0.version.major),
        };
        let beside = self.0.file.with_file_name(&name);
        let mut tried = vec![];
        for file in [beside, PathBuf::from(&name)] {
            match Loaded::open(file.as_os_str()) {
                Ok(loaded) => return Ok(loaded),
                Err(words) => tried.push(words),
            }
        }
        Err(EngineError::Unavailable(format!(
            "{} is there, but not {name}, which reads the graphs; tried\n  {}\nput it beside (package libnvonnxparsers{})",
            self.0.file.display(),
            tried.join("\n  "),
            self.0.version.major
        )))
    }

    pub(super) fn loaded(&self) -> &Loaded {
        &self.0.loaded
    }

    /// The version as the library's own functions take it.
    pub(super) fn number(&self) -> u32 {
        self.0.number
    }

    pub(super) fn logger(&self) -> &'static Logger {
        self.0.logger
    }

    pub(super) fn slots(&self) -> &'static Vtable {
        slots(self.0.kind, self.0.version).expect("asked when it was opened")
    }

    /// Only RTX builds for a GPU that is not there.
    pub(super) fn rtx(&self) -> Option<&'static RtxSlots> {
        (self.0.kind == Kind::Rtx).then_some(&RTX)
    }

    /// Numbers that 11 gave anew.
    pub(super) fn has_ten_flags(&self) -> bool {
        self.0.kind == Kind::Full && self.0.version.major == 10
    }
}

/// The tables of a version; nothing where they are unknown.
fn slots(kind: Kind, version: Version) -> Option<&'static Vtable> {
    match (kind, version.major) {
        (Kind::Full, 10) if version.minor >= 1 => Some(&TEN),
        (Kind::Full, 11) => Some(&ELEVEN),
        (Kind::Rtx, 1) if version.minor >= 5 => Some(&ELEVEN),
        _ => None,
    }
}

fn folders() -> Vec<PathBuf> {
    let within = |folder: PathBuf| FOLDERS.map(|name| folder.join(name));
    library_folders()
        .into_iter()
        .flat_map(within)
        .filter(|folder| folder.is_dir())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_each_series_writes_them() {
        let words = |kind, number| Version::of(kind, number).to_string();
        assert_eq!(words(Kind::Full, 8601), "8.6.1");
        assert_eq!(words(Kind::Full, 100_300), "10.3.0");
        assert_eq!(words(Kind::Full, 110_401), "11.4.1");
        assert_eq!(words(Kind::Rtx, 10_701), "1.7.1");
    }

    #[test]
    fn versions_whose_tables_are_unknown_have_none() {
        let known = |kind, major, minor| {
            slots(
                kind,
                Version {
                    major,
                    minor,
                    patch: 0,
                },
            )
            .is_some()
        };
        assert!(known(Kind::Full, 10, 1) && known(Kind::Full, 11, 9) && known(Kind::Rtx, 1, 5));
        assert!(
            !known(Kind::Full, 8, 6)
                && !known(Kind::Full, 10, 0)
                && !known(Kind::Full, 12, 0)
                && !known(Kind::Rtx, 1, 4)
                && !known(Kind::Rtx, 2, 0)
        );
    }
}
