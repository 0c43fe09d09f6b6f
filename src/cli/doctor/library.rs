//! The libraries that a line can need, and what each of them said.

use std::ffi::OsString;
use std::path::PathBuf;

/// The libraries, in the order in which they are told.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum LibraryKind {
    OnnxRuntime,
    Driver,
    Nvrtc,
    TensorRt,
    Gstreamer,
}

impl LibraryKind {
    /// All libraries.
    pub const ALL: [LibraryKind; 5] = [
        LibraryKind::OnnxRuntime,
        LibraryKind::Driver,
        LibraryKind::Nvrtc,
        LibraryKind::TensorRt,
        LibraryKind::Gstreamer,
    ];

    /// The library's name for people.
    pub fn name(self) -> &'static str {
        match self {
            LibraryKind::OnnxRuntime => "ONNX Runtime",
            LibraryKind::Driver => "NVIDIA driver",
            LibraryKind::Nvrtc => "NVRTC",
            LibraryKind::TensorRt => "TensorRT",
            LibraryKind::Gstreamer => "GStreamer",
        }
    }

    /// First letters of the name of the file that is loaded.
    pub fn file_start(self) -> &'static str {
        match self {
            LibraryKind::OnnxRuntime => "libonnxruntime.so",
            LibraryKind::Driver => "libcuda.so",
            LibraryKind::Nvrtc => "libnvrtc.so",
            LibraryKind::TensorRt => "libnvinfer.so",
            LibraryKind::Gstreamer => "libgstreamer-1.0.so",
        }
    }

    /// The value of this program's `--probe`.
    pub fn argument(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self).expect("none is skipped");
        value.get_name().to_owned()
    }

    /// The command or package that mends it, for Debian, Ubuntu and JetPack; `None` where the library's own words say it.
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            LibraryKind::Driver => Some(
                "Debian: apt-get install nvidia-driver (non-free); Ubuntu: ubuntu-drivers install; Jetson: it comes with JetPack, apt-get install nvidia-jetpack; then start again. In a container: give it the GPU (docker run --gpus all, nvidia-container-toolkit). nvidia-smi tells more",
            ),
            LibraryKind::Gstreamer => Some(
                "apt-get install gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav",
            ),
            LibraryKind::Nvrtc => Some(
                "Debian 13, Ubuntu 24.04: apt-get install libnvrtc12; NVIDIA's apt repository, JetPack 6: apt-get install cuda-nvrtc-12-6; JetPack 7: cuda-nvrtc-13-0",
            ),
            LibraryKind::OnnxRuntime | LibraryKind::TensorRt => None,
        }
    }
}

/// A library's state on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LibraryState {
    /// The library does what a line needs.
    Works,
    /// The library is not on this machine.
    Missing,
    /// The library is there and cannot be used.
    Broken,
}

/// One GPU, as its driver tells.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Gpu {
    /// The product's name.
    pub name: String,
    /// Compute capability without the dot: 87, 90.
    pub sm: u32,
    /// Memory of the GPU.
    pub memory_bytes: u64,
}

/// A library, and what it said.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LibraryReport {
    /// The library that was asked.
    #[serde(rename = "part")]
    pub kind: LibraryKind,
    /// The library's state on this machine.
    pub state: LibraryState,
    /// The version in the library's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The file that was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The driver's GPUs; empty for every other library.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
    /// True for the tests' stand-in for a driver, which is no GPU.
    #[serde(default)]
    pub stand_in: bool,
    /// The reason why the library does not work, or what one that works does not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The command or package that mends it, where the problem does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl LibraryReport {
    /// A library that works.
    pub fn works(kind: LibraryKind, version: String, file: Option<PathBuf>) -> Self {
        LibraryReport {
            version: Some(version),
            file,
            ..LibraryReport::bare(kind, LibraryState::Works)
        }
    }

    /// A library that does not work: missing where the words say that there is no such file, else broken.
    pub fn fails(kind: LibraryKind, problem: String) -> Self {
        let state = if is_missing(&problem) {
            LibraryState::Missing
        } else {
            LibraryState::Broken
        };

        LibraryReport {
            problem: Some(problem),
            ..LibraryReport::bare(kind, state)
        }
    }

    /// The same library, which turned out to be broken.
    pub fn broken(self, problem: String) -> Self {
        LibraryReport {
            state: LibraryState::Broken,
            problem: Some(problem),
            ..self
        }
    }

    /// A library in a state, nothing else being known.
    pub fn bare(kind: LibraryKind, state: LibraryState) -> Self {
        LibraryReport {
            kind,
            state,
            version: None,
            file: None,
            gpus: vec![],
            stand_in: false,
            problem: None,
            mend: None,
        }
    }

    /// True for a library that works.
    pub fn is_well(&self) -> bool {
        self.state == LibraryState::Works
    }
}

/// True for words that tell of nothing but files that are not there: the loader's, or ours with a line for each place.
fn is_missing(words: &str) -> bool {
    if words.starts_with("no libonnxruntime") || words.contains("(looked for ") {
        return true;
    }

    let places: Vec<&str> = words
        .lines()
        .filter(|line| line.starts_with("  "))
        .collect();

    if places.is_empty() {
        tells_absence(words)
    } else {
        places.into_iter().all(tells_absence)
    }
}

fn tells_absence(line: &str) -> bool {
    line.contains("No such file") || line.ends_with("none there")
}

/// Places of libraries as a line names them; looked for unless given.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LibraryPlaces {
    /// The file libonnxruntime
    #[arg(long, value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
    /// The folder of TensorRT's libraries
    #[arg(long, value_name = "DIR")]
    pub tensorrt: Option<PathBuf>,
}

impl LibraryPlaces {
    /// The same places on this program's command line.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![];
        if let Some(file) = &self.onnxruntime {
            words.extend(["--onnxruntime".into(), file.into()]);
        }

        if let Some(folder) = &self.tensorrt {
            words.extend(["--tensorrt".into(), folder.into()]);
        }

        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_from_what_is_broken() {
        let state = |words: &str| LibraryReport::fails(LibraryKind::Driver, words.to_owned()).state;
        let absent = "libcuda.so.1: cannot open shared object file: No such file or directory";
        assert_eq!(state(absent), LibraryState::Missing);
        assert_eq!(
            state("libcuda.so.1: invalid ELF header"),
            LibraryState::Broken
        );

        assert_eq!(
            state("it has no GPU: DriverError(CUDA_ERROR_NO_DEVICE)"),
            LibraryState::Broken
        );

        let places =
            "no TensorRT; tried\n  libnvinfer.so.11: No such file\n  /x: none there\ninstall it";

        assert_eq!(state(places), LibraryState::Missing);
        assert_eq!(
            state(&places.replace("/x: none there", "TensorRT 8.6.1 is unknown here")),
            LibraryState::Broken
        );
    }
}
