//! The TensorRT of this machine: looked for by file, loaded at run time, refused where its tables
//! are unknown.

use super::raw::{Loaded, Logger};
use crate::engine::EngineError;
use crate::engine::library_path::library_folders;
use crate::engine::tensorrt::vtable::{ELEVEN, RTX, RtxSlots, TEN, Vtable};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Full TensorRT, or TensorRT for RTX cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// TensorRT.
    Full,
    /// TensorRT-RTX.
    Rtx,
}

/// Version of a library: 10.3.0 or, for RTX, 1.7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LibraryVersion {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub patch: u32,
}

impl LibraryVersion {
    /// The version in a number of `getInferLibVersion`: since 10 `major * 10000 + minor * 100 +
    /// patch`, before `major * 1000 + ...`. RTX has the newer way.
    fn of(edition: Edition, number: u32) -> Self {
        // The two ways of counting do not overlap: 8.6.1 is 8601, 10.0.0 is 100000.
        let unit = if edition == Edition::Full && number < 10_000 {
            1000
        } else {
            10_000
        };

        LibraryVersion {
            major: number / unit,
            minor: number % unit / 100,
            patch: number % 100,
        }
    }
}

impl fmt::Display for LibraryVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LibraryVersion {
            major,
            minor,
            patch,
        } = self;

        write!(f, "{major}.{minor}.{patch}")
    }
}

/// A library that is loaded, and of a version whose tables are known.
#[derive(Debug, Clone)]
pub struct Library(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    loaded: Loaded,
    /// Path that was loaded, or a name that the loader knew.
    file: PathBuf,
    edition: Edition,
    version: LibraryVersion,
    number: u32,
    slots: &'static Vtable,
    logger: &'static Logger,
}

/// File names of libraries, newest first.
const NAMES: [(&str, Edition); 4] = [
    ("libnvinfer.so.11", Edition::Full),
    ("libnvinfer.so.10", Edition::Full),
    ("libnvinfer.so", Edition::Full),
    ("libtensorrt_rtx.so.1", Edition::Rtx),
];

/// Folders, below a folder of libraries, that are searched.
const FOLDERS: [&str; 3] = ["", "tensorrt", "tensorrt-rtx"];

const WAY_OUT: &str = "install TensorRT 10 or 11 (Jetson: it comes with JetPack, apt-get install tensorrt; else \
    NVIDIA's apt repository, apt-get install libnvinfer10 libnvonnxparsers10) or, for RTX cards, run \
    tools/gpu/fetch-tensorrt-rtx (PyPI's tensorrt-rtx-cu13-libs); backend = \"onnx\" needs none of it";

impl Library {
    /// Loads the library of the configured folder; else the first, full ones before RTX, of
    /// [`library_folders`] and the loader's own places.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with all places that were tried and the reason of each.
    pub fn load(configured: Option<&Path>) -> Result<Self, EngineError> {
        // Every failure is kept: a machine may have two libraries, and the message has to name both
        // reasons.
        let mut tried: Vec<String> = vec![];

        for (file, edition) in candidates(configured, &mut tried) {
            match Self::open(&file, edition) {
                Ok(library) => return Ok(library),
                Err(words) => tried.push(words),
            }
        }

        // Each place has a line, and the ways out follow.
        let tried = tried.join("\n  ");
        Err(EngineError::Unavailable(format!(
            "no TensorRT that can be used; tried\n  {tried}\n{WAY_OUT}"
        )))
    }

    /// Opens one file.
    ///
    /// # Errors
    /// The reason why it cannot be used, with its name.
    fn open(file: &Path, edition: Edition) -> Result<Self, String> {
        // The loader's words often name the file already, and naming it twice confuses.
        let named = |words: String| {
            if words.contains(&*file.to_string_lossy()) {
                words
            } else {
                format!("{}: {words}", file.display())
            }
        };

        // The version is asked of the library itself: its file name may be a link to another.
        let loaded = Loaded::open(file.as_os_str()).map_err(named)?;
        let number = loaded.version().map_err(named)?;
        let version = LibraryVersion::of(edition, number);

        // A version whose tables are unknown is refused, because a call through a wrong slot is
        // undefined behaviour.
        let slots = slots(edition, version).ok_or_else(|| named(unknown(edition, version)))?;
        Ok(Library(Arc::new(Inner {
            loaded,
            file: file.to_owned(),
            edition,
            version,
            number,
            slots,
            logger: Logger::of(slots.logger_log),
        })))
    }

    /// Full or RTX.
    pub fn edition(&self) -> Edition {
        self.0.edition
    }

    /// Version of the library.
    pub fn version(&self) -> LibraryVersion {
        self.0.version
    }

    /// Path that was loaded, or a name that the loader knew.
    pub fn file(&self) -> &Path {
        &self.0.file
    }

    /// Name in keys, in the log and in `birth`: `tensorrt-10.3.0` or `tensorrt-rtx-1.7.1`.
    pub fn name(&self) -> String {
        let version = self.0.version;

        match self.0.edition {
            Edition::Full => format!("tensorrt-{version}"),
            Edition::Rtx => format!("tensorrt-rtx-{version}"),
        }
    }

    /// Checks that plans can be built: the reader of graphs is a library of its own.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with the places that were tried.
    pub fn reads_graphs(&self) -> Result<(), EngineError> {
        self.parser().map(drop)
    }

    /// The library that reads ONNX: beside this one, or in the loader's places.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with the places that were tried.
    pub(super) fn parser(&self) -> Result<Loaded, EngineError> {
        // The parser has to be of the same major version as the library.
        let major = self.0.version.major;
        let name = match self.0.edition {
            Edition::Full => format!("libnvonnxparser.so.{major}"),
            Edition::Rtx => format!("libtensorrt_onnxparser_rtx.so.{major}"),
        };

        // The file beside the library goes first: a parser from elsewhere may be of another
        // release.
        let beside = self.0.file.with_file_name(&name);
        let mut tried = vec![];

        for file in [beside, PathBuf::from(&name)] {
            match Loaded::open(file.as_os_str()) {
                Ok(loaded) => return Ok(loaded),
                Err(words) => tried.push(words),
            }
        }

        let file = self.0.file.display();
        let tried = tried.join("\n  ");
        Err(EngineError::Unavailable(format!(
            "{file} is there, but not {name}, which reads the graphs; tried\n  {tried}\nput it beside (package libnvonnxparsers{major})"
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
        self.0.slots
    }

    /// The slots of RTX, which alone builds for a GPU that is not there; `None` for the full
    /// library.
    pub(super) fn rtx(&self) -> Option<&'static RtxSlots> {
        match self.0.edition {
            Edition::Full => None,
            Edition::Rtx => Some(&RTX),
        }
    }

    /// True for TensorRT 10, some of whose flags have other numbers since 11.
    pub(super) fn has_ten_flags(&self) -> bool {
        self.0.edition == Edition::Full && self.0.version.major == 10
    }
}

/// Files that may be the library, full ones first: where a machine has both, the full one is made
/// for more GPUs and knows them better. Folders without any are noted in `tried`.
fn candidates(configured: Option<&Path>, tried: &mut Vec<String>) -> Vec<(PathBuf, Edition)> {
    let folders = match configured {
        Some(folder) => vec![folder.to_owned()],
        None => folders(),
    };

    // A folder is searched for all names, so that one with both editions offers both.
    let mut candidates = vec![];

    for folder in &folders {
        let before = candidates.len();

        for (name, edition) in NAMES {
            let file = folder.join(name);

            if file.is_file() {
                candidates.push((file, edition));
            }
        }

        if candidates.len() == before {
            tried.push(format!("{}: none there", folder.display()));
        }
    }

    // Bare names are tried last. The loader then looks where the system keeps its libraries.
    if configured.is_none() {
        candidates.extend(NAMES.map(|(name, edition)| (PathBuf::from(name), edition)));
    }

    // The sort is stable: within an edition the order of the folders stays.
    candidates.sort_by_key(|(_, edition)| *edition == Edition::Rtx);

    candidates
}

fn unknown(edition: Edition, version: LibraryVersion) -> String {
    let library = match edition {
        Edition::Full => "TensorRT",
        Edition::Rtx => "TensorRT-RTX",
    };

    format!(
        "{library} {version} is unknown here; 10.1 or newer, 11.x and RTX 1.5 or newer are known"
    )
}

/// The tables of a version; `None` where they are unknown.
fn slots(edition: Edition, version: LibraryVersion) -> Option<&'static Vtable> {
    // 10.0 lacks a slot that is needed, and RTX before 1.5 has tables of a third kind.
    match (edition, version.major) {
        (Edition::Full, 10) if version.minor >= 1 => Some(&TEN),
        (Edition::Full, 11) => Some(&ELEVEN),
        (Edition::Rtx, 1) if version.minor >= 5 => Some(&ELEVEN),
        _ => None,
    }
}

/// Folders that are searched without a configured one.
fn folders() -> Vec<PathBuf> {
    // Each edition may lie in a folder of its own name, as the fetching tools put it.
    let mut folders = vec![];

    for parent in library_folders() {
        folders.extend(FOLDERS.map(|name| parent.join(name)));
    }

    folders.retain(|folder| folder.is_dir());
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_each_series_writes_them() {
        let words = |edition, number| LibraryVersion::of(edition, number).to_string();
        assert_eq!(words(Edition::Full, 8601), "8.6.1");
        assert_eq!(words(Edition::Full, 100_300), "10.3.0");
        assert_eq!(words(Edition::Full, 110_401), "11.4.1");
        assert_eq!(words(Edition::Rtx, 10_701), "1.7.1");
    }

    #[test]
    fn versions_whose_tables_are_unknown_have_none() {
        let known = |edition, major, minor| {
            slots(
                edition,
                LibraryVersion {
                    major,
                    minor,
                    patch: 0,
                },
            )
            .is_some()
        };

        assert!(
            known(Edition::Full, 10, 1) && known(Edition::Full, 11, 9) && known(Edition::Rtx, 1, 5)
        );

        assert!(
            !known(Edition::Full, 8, 6)
                && !known(Edition::Full, 10, 0)
                && !known(Edition::Full, 12, 0)
                && !known(Edition::Rtx, 1, 4)
                && !known(Edition::Rtx, 2, 0)
        );
    }
}
