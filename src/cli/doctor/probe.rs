//! Trying one library in this process, as `winspect doctor` asks for it by `--probe`; the answer is one line of JSON.

use super::library::{Gpu, LibraryKind, LibraryPlaces, LibraryReport};
use super::stack::executable_stacks;
use crate::base::exit::{Exit, Failure, chain};
use crate::cli::terminal::print;
use crate::engine::cuda::device::Device;
use crate::engine::cuda::kernels::compile::{CompileTarget, compiled};
use crate::engine::cuda::kernels::nvrtc::Nvrtc;
use crate::engine::network::Precision;
use crate::engine::onnx::Runtime;
use crate::engine::tensorrt::{Edition, Library};
use cudarc::driver::{CudaContext, DriverError, result, sys};
use std::path::{Path, PathBuf};

/// Tries a library and tells what it said.
///
/// # Errors
/// When the answer cannot be written.
pub fn answer(kind: LibraryKind, places: &LibraryPlaces) -> Result<(), Failure> {
    // A process tries one library: a crash here is told by the parent.
    let report = match kind {
        LibraryKind::OnnxRuntime => onnxruntime(places),
        LibraryKind::Driver => driver(),
        LibraryKind::Nvrtc => nvrtc(),
        LibraryKind::TensorRt => tensorrt(places),
        LibraryKind::Gstreamer => gstreamer(),
    };

    let line = serde_json::to_string(&report);
    print(line.map_err(|error| Failure::new(Exit::Software, error))?)?;
    Ok(())
}

/// A report of a library that works, with the file that this process has loaded.
fn works(kind: LibraryKind, version: impl Into<String>) -> LibraryReport {
    LibraryReport::works(kind, version.into(), loaded_file(kind))
}

fn onnxruntime(places: &LibraryPlaces) -> LibraryReport {
    let kind = LibraryKind::OnnxRuntime;

    // One thread is enough to load the library and to ask it.
    let runtime = Runtime::load(places.onnxruntime.as_deref(), Some(1));
    let _loaded = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return LibraryReport::fails(kind, error.to_string()),
    };

    // Its own words are about its build; the file's name has the version.
    let file = loaded_file(kind).unwrap_or_default();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let version = name.strip_prefix("libonnxruntime.so.");
    works(kind, version.unwrap_or("of an unknown version"))
}

fn driver() -> LibraryReport {
    let kind = LibraryKind::Driver;
    // SAFETY: the call asks the loader for a file and keeps nothing of it.
    if !unsafe { sys::is_culib_present() } {
        return LibraryReport::fails(kind, why_no_driver());
    }

    // A driver without a GPU is broken for this purpose: a container without access looks so.
    let gpus = match all_gpus() {
        Ok(gpus) => gpus,
        Err(error) => {
            return LibraryReport {
                file: loaded_file(kind),
                ..LibraryReport::fails(kind, format!("it has no GPU: {error}"))
            };
        }
    };

    // Opening the device is what a line does first; it finds a driver whose kernel module is of
    // another version.
    let report = match Device::open() {
        Ok(_) => {
            let report = works(kind, driver_version());
            match too_old(cuda_version()) {
                Some(problem) => report.broken(problem),
                None => report,
            }
        }
        Err(error) => LibraryReport {
            file: loaded_file(kind),
            ..LibraryReport::fails(kind, error.to_string())
        },
    };

    // The tests' stand-in calls itself so: it must not be told as a GPU.
    let first = gpus.first();
    LibraryReport {
        stand_in: first.is_some_and(|gpu| gpu.name.starts_with("stand-in")),
        gpus,
        ..report
    }
}

/// The loader's words for a driver that it cannot load.
fn why_no_driver() -> String {
    // SAFETY: the loader refuses the file, as it has just refused it for cudarc; only its words are wanted.
    let loaded = unsafe { libloading::Library::new("libcuda.so.1") };
    let words = loaded.err().map(|error| chain(&error));
    words.unwrap_or_else(|| "libcuda.so.1 cannot be loaded".to_owned())
}

fn all_gpus() -> Result<Vec<Gpu>, DriverError> {
    let count = CudaContext::device_count()?;
    (0..count).map(gpu).collect()
}

fn gpu(ordinal: i32) -> Result<Gpu, DriverError> {
    let device = result::device::get(ordinal)?;
    // SAFETY: the driver has just given this device.
    let memory_bytes = unsafe { result::device::total_mem(device) }? as u64;
    let attribute = |attribute| {
        // SAFETY: the driver has just given this device.
        unsafe { result::device::get_attribute(device, attribute) }
    };

    let major = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(Gpu {
        name: result::device::get_name(device)?,
        sm: (10 * major + minor) as u32,
        memory_bytes,
    })
}

/// CUDA's version that the driver is for, as 12060 for 12.6; `None` where the driver does not say.
fn cuda_version() -> Option<i32> {
    let mut number = 0;
    // SAFETY: the driver writes one number to the place that it is given.
    let status = unsafe { sys::cuDriverGetVersion(&mut number) };
    status.result().ok()?;
    Some(number)
}

/// The oldest CUDA whose functions winspect calls.
const CUDA_LEAST: i32 = 12_060;

fn too_old(cuda: Option<i32>) -> Option<String> {
    let cuda = cuda.filter(|number| *number < CUDA_LEAST)?;
    Some(format!(
        "it is for {}, and winspect needs {} or newer",
        series(cuda),
        series(CUDA_LEAST)
    ))
}

/// `CUDA 12.6` of 12060
fn series(number: i32) -> String {
    format!("CUDA {}.{}", number / 1000, number % 1000 / 10)
}

/// `580.65.06, CUDA 13.0`
fn driver_version() -> String {
    let cuda = cuda_version().map_or("of an unknown version".to_owned(), series);
    let kernel = std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let first_line = kernel.lines().next().unwrap_or_default();
    let release = first_line.split_whitespace().find(|word| is_release(word));
    match release {
        Some(release) => format!("{release}, {cuda}"),
        None => cuda,
    }
}

fn is_release(word: &str) -> bool {
    word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit())
}

/// Compiles our kernels for the GPU, where there is one: an NVRTC may be too old for it.
fn nvrtc() -> LibraryReport {
    let kind = LibraryKind::Nvrtc;

    // Without a GPU the library is only loaded: there is nothing to compile for.
    let device = Device::open().ok();
    let library = match &device {
        Some(device) => Nvrtc::open_for(device.sm),
        None => Nvrtc::open(),
    };

    let library = match library {
        Ok(library) => library,
        Err(error) => return LibraryReport::fails(kind, error.to_string()),
    };

    let (major, minor) = library.version;
    let report = works(kind, format!("{major}.{minor}"));
    let Some(device) = device else {
        return report;
    };

    let target = CompileTarget {
        precision: Precision::Fp16,
        sm: device.sm,
    };

    match compiled(&library, &target) {
        Ok(_) => report,
        Err(error) => report.broken(error.to_string()),
    }
}

fn tensorrt(places: &LibraryPlaces) -> LibraryReport {
    let kind = LibraryKind::TensorRt;
    let library = match Library::load(places.tensorrt.as_deref()) {
        Ok(library) => library,
        Err(error) => return LibraryReport::fails(kind, error.to_string()),
    };

    // A library that loads may still refuse this GPU, or be unable to read a network.
    let file = library.file().to_owned();
    let warning = warning_of_stacks(&file);
    let report = LibraryReport {
        problem: warning,
        ..LibraryReport::works(kind, library.name(), Some(file))
    };

    if let Some(problem) = wrong_card(&library) {
        return report.broken(problem);
    }

    match library.reads_graphs() {
        Ok(()) => report,
        Err(error) => report.broken(error.to_string()),
    }
}

/// Compute capabilities that TensorRT-RTX accepts; 87, 90 and 110 it refuses by name.
const RTX_CARDS: [u32; 6] = [75, 80, 86, 89, 120, 121];

/// The reason why TensorRT-RTX does not serve this machine's GPU.
fn wrong_card(library: &Library) -> Option<String> {
    // Compute capabilities are refused only where a list of them is known: TensorRT proper has
    // none.
    let device = Device::open().ok()?;
    let is_meant = library.edition() != Edition::Rtx || RTX_CARDS.contains(&device.sm);
    if is_meant || device.is_stand_in {
        return None;
    }

    Some(format!(
        "TensorRT-RTX is made for sm {RTX_CARDS:?}, and was not tried on sm_{}; install TensorRT",
        device.sm
    ))
}

/// Files that a hardened service refuses although a shell may not: a plan's builder comes in files of its own.
fn warning_of_stacks(library: &Path) -> Option<String> {
    // The files of a plan's builder lie beside the library, and are loaded later.
    let loaded = loaded_file(LibraryKind::TensorRt);
    let folder = loaded.as_deref().unwrap_or(library).parent()?;
    let files = executable_stacks(folder, &["libnvinfer", "libnvonnxparser", "libtensorrt"]);
    let listed: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();

    if listed.is_empty() {
        return None;
    }

    Some(format!(
        "{}: asks for an executable stack, which a service with MemoryDenyWriteExecute=yes and glibc 2.41 or newer refuse; build plans beforehand in a shell (winspect engine build), or see systemd/README.md",
        listed.join(", ")
    ))
}

#[cfg(feature = "gstreamer")]
fn gstreamer() -> LibraryReport {
    use super::library::LibraryState;
    use gstreamer as gst;
    let kind = LibraryKind::Gstreamer;
    if let Err(error) = gst::init() {
        return LibraryReport::bare(kind, LibraryState::Broken).broken(error.to_string());
    }

    // Missing elements are told with the camera that needs them: a line of USB cameras needs no
    // RTSP.
    let mut absent = vec![];
    for (element, camera, package) in ELEMENTS {
        if gst::ElementFactory::find(element).is_none() {
            absent.push(format!(
                "no {element}, which {camera} needs: apt-get install {package}"
            ));
        }
    }

    let (major, minor, micro, _) = gst::version();
    LibraryReport {
        problem: (!absent.is_empty()).then(|| absent.join("; ")),
        ..works(kind, format!("{major}.{minor}.{micro}"))
    }
}

/// Elements that every kind of camera needs, and the Debian package that has each. A Jetson's and GenICam cameras' own
/// are told when such a camera is opened.
#[cfg(feature = "gstreamer")]
const ELEMENTS: [(&str, &str, &str); 7] = [
    ("videoconvert", "every camera", "gstreamer1.0-plugins-base"),
    ("rtspsrc", "an RTSP camera", "gstreamer1.0-plugins-good"),
    (
        "rtph264depay",
        "an RTSP camera",
        "gstreamer1.0-plugins-good",
    ),
    ("h264parse", "an RTSP camera", "gstreamer1.0-plugins-bad"),
    ("avdec_h264", "an RTSP camera", "gstreamer1.0-libav"),
    ("v4l2src", "a USB camera", "gstreamer1.0-plugins-good"),
    ("jpegdec", "a USB camera", "gstreamer1.0-plugins-good"),
];

#[cfg(not(feature = "gstreamer"))]
fn gstreamer() -> LibraryReport {
    use super::library::LibraryState;
    let problem = "this winspect is built without it and reads folders of pictures only";
    LibraryReport {
        problem: Some(problem.to_owned()),
        ..LibraryReport::bare(LibraryKind::Gstreamer, LibraryState::Missing)
    }
}

/// The file of a library that this process has loaded.
fn loaded_file(kind: LibraryKind) -> Option<PathBuf> {
    // The kernel's list of mapped files says what was loaded, whatever path the loader took.
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let start = line.find('/')?;
        let file = Path::new(&line[start..]);
        let name = file.file_name()?.to_string_lossy();
        let is_it = name.starts_with(kind.file_start());
        is_it.then(|| file.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_is_too_old_for_our_calls_is_told_with_both_versions() {
        assert_eq!(
            too_old(Some(12_040)).as_deref(),
            Some("it is for CUDA 12.4, and winspect needs CUDA 12.6 or newer")
        );

        assert!(
            [None, Some(12_060), Some(13_000)]
                .into_iter()
                .all(|number| too_old(number).is_none())
        );
    }
}
