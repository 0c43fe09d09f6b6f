//! What `winspect doctor` asks of each library, in a process of its own: a broken driver, or a library of another world,
//! may end or hang that process, never the doctor. The answer is one line of JSON.

use crate::base::exit::{Exit, Failure, chain};
use crate::cli::doctor::stack::executable_stacks;
use crate::cli::terminal::print;
use crate::engine::cuda::device::Device;
use crate::engine::cuda::kernels::compile::{Target, compiled};
use crate::engine::cuda::kernels::nvrtc::Nvrtc;
use crate::engine::network::Precision;
use crate::engine::onnx::Runtime;
use crate::engine::tensorrt::{Kind, Library};
use cudarc::driver::{CudaContext, result, sys};
use std::ffi::OsString;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// The libraries, in the order in which they are told.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    OnnxRuntime,
    Driver,
    Nvrtc,
    TensorRt,
    Gstreamer,
}

impl Which {
    pub const ALL: [Which; 5] = [
        Which::OnnxRuntime,
        Which::Driver,
        Which::Nvrtc,
        Which::TensorRt,
        Which::Gstreamer,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Which::OnnxRuntime => "ONNX Runtime",
            Which::Driver => "NVIDIA driver",
            Which::Nvrtc => "NVRTC",
            Which::TensorRt => "TensorRT",
            Which::Gstreamer => "GStreamer",
        }
    }

    /// How the file of the library that was loaded begins.
    fn file_start(self) -> &'static str {
        match self {
            Which::OnnxRuntime => "libonnxruntime.so",
            Which::Driver => "libcuda.so",
            Which::Nvrtc => "libnvrtc.so",
            Which::TensorRt => "libnvinfer.so",
            Which::Gstreamer => "libgstreamer-1.0.so",
        }
    }

    /// What this program's `--probe` takes.
    fn argument(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self).expect("none is skipped");
        value.get_name().to_owned()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Works,
    /// It is not on this machine.
    Missing,
    /// It is there and cannot be used.
    Broken,
}

/// One GPU, as its driver tells.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Gpu {
    pub name: String,
    /// Compute capability without the dot: 87, 90.
    pub sm: u32,
    pub memory_bytes: u64,
}

/// A library, and what it said.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    pub part: Which,
    pub state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<Gpu>,
    /// The tests' stand-in for a driver, no GPU.
    #[serde(default)]
    pub stand_in: bool,
    /// Why it does not work, or what a part that works does not do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The command or package that mends it, where the problem does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Part {
    fn works(part: Which, version: String) -> Self {
        let file = loaded_file(part);
        Part {
            part,
            state: State::Works,
            version: Some(version),
            file,
            gpus: vec![],
            stand_in: false,
            problem: None,
            mend: None,
        }
    }

    /// Missing where the words say that there is no such file, else broken.
    fn not(part: Which, problem: String) -> Self {
        let state = if is_missing(&problem) {
            State::Missing
        } else {
            State::Broken
        };
        Part {
            part,
            state,
            version: None,
            file: None,
            gpus: vec![],
            stand_in: false,
            problem: Some(problem),
            mend: None,
        }
    }

    pub fn is_well(&self) -> bool {
        self.state == State::Works
    }
}

/// Whether words tell of nothing but files that are not there: the loader's, or ours with a line for each place.
fn is_missing(words: &str) -> bool {
    let absent = |line: &str| line.contains("No such file") || line.ends_with("none there");
    let mut places = words
        .lines()
        .filter(|line| line.starts_with("  "))
        .peekable();
    match places.peek() {
        _ if words.starts_with("no libonnxruntime") || words.contains("(looked for ") => true,
        Some(_) => places.all(absent),
        None => absent(words),
    }
}

/// Where a line says that its libraries are; looked for unless given.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Places {
    /// Where libonnxruntime is
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// The folder of TensorRT's libraries
    #[arg(long, value_name = "DIR")]
    tensorrt: Option<PathBuf>,
}

impl Places {
    /// As this program's command line.
    fn arguments(&self) -> Vec<OsString> {
        let given = [
            ("--onnxruntime", &self.onnxruntime),
            ("--tensorrt", &self.tensorrt),
        ];
        let words =
            |(flag, path): (&str, &Option<PathBuf>)| Some([flag.into(), path.as_ref()?.into()]);
        given.into_iter().filter_map(words).flatten().collect()
    }
}

/// What this process is for: probes, and tells it in one line.
pub fn answer(which: Which, places: &Places) -> Result<(), Failure> {
    let part = match which {
        Which::OnnxRuntime => onnxruntime(places),
        Which::Driver => driver(),
        Which::Nvrtc => nvrtc(),
        Which::TensorRt => tensorrt(places),
        Which::Gstreamer => gstreamer(),
    };
    let line = serde_json::to_string(&part).map_err(|error| Failure::new(Exit::Software, error))?;
    print(line).map(drop)
}

fn onnxruntime(places: &Places) -> Part {
    let part = Which::OnnxRuntime;
    let runtime = match Runtime::load(places.onnxruntime.as_deref(), Some(1)) {
        Ok(runtime) => runtime,
        Err(error) => return Part::not(part, error.to_string()),
    };
    // Its own words are about its build; the file's name has the version.
    let name =
        loaded_file(part).and_then(|file| Some(file.file_name()?.to_string_lossy().into_owned()));
    let version = name
        .as_deref()
        .and_then(|name| name.strip_prefix("libonnxruntime.so."))
        .unwrap_or("of an unknown version");
    let found = Part::works(part, version.to_owned());
    drop(runtime);
    found
}

fn driver() -> Part {
    let part = Which::Driver;
    // SAFETY: only asks the loader.
    if !unsafe { sys::is_culib_present() } {
        // SAFETY: the loader refuses it, as it just has; only its words are wanted.
        let words = unsafe { libloading::Library::new("libcuda.so.1") }
            .err()
            .map(|error| chain(&error));
        return Part::not(
            part,
            words.unwrap_or_else(|| "libcuda.so.1 cannot be loaded".to_owned()),
        );
    }
    let gpus = match CudaContext::device_count()
        .and_then(|count| (0..count).map(gpu).collect::<Result<Vec<_>, _>>())
    {
        Ok(gpus) => gpus,
        Err(error) => {
            return Part {
                file: loaded_file(part),
                ..Part::not(part, format!("it has no GPU: {error}"))
            };
        }
    };
    let stand_in = gpus
        .first()
        .is_some_and(|gpu| gpu.name.starts_with("stand-in"));
    let found = match (Device::open(), too_old(cuda_version())) {
        (Ok(_), None) => Part::works(part, driver_version()),
        (Ok(_), Some(problem)) => {
            let found = Part::works(part, driver_version());
            Part {
                state: State::Broken,
                problem: Some(problem),
                ..found
            }
        }
        (Err(error), _) => Part {
            file: loaded_file(part),
            ..Part::not(part, error.to_string())
        },
    };
    Part {
        gpus,
        stand_in,
        ..found
    }
}

fn gpu(ordinal: i32) -> Result<Gpu, cudarc::driver::DriverError> {
    let device = result::device::get(ordinal)?;
    // SAFETY: the device was just given.
    let memory_bytes = unsafe { result::device::total_mem(device) }? as u64;
    let of = |attribute| {
        // SAFETY: the same.
        unsafe { result::device::get_attribute(device, attribute) }
    };
    let major = of(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = of(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(Gpu {
        name: result::device::get_name(device)?,
        sm: (10 * major + minor) as u32,
        memory_bytes,
    })
}

/// 12060 for 12.6; nothing where the driver does not say.
fn cuda_version() -> Option<i32> {
    let mut number = 0;
    // SAFETY: a place for a number.
    unsafe { sys::cuDriverGetVersion(&mut number) }
        .result()
        .ok()
        .map(|()| number)
}

/// The oldest whose functions winspect calls.
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
    let is_number =
        |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    let release = kernel
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().find(is_number));
    release.map_or(cuda.clone(), |release| format!("{release}, {cuda}"))
}

/// Compiles our kernels for the GPU, where there is one: an NVRTC may be too old for it.
fn nvrtc() -> Part {
    let part = Which::Nvrtc;
    let device = Device::open().ok();
    let library = match device
        .as_ref()
        .map_or_else(Nvrtc::open, |device| Nvrtc::open_for(device.sm))
    {
        Ok(library) => library,
        Err(error) => return Part::not(part, error.to_string()),
    };
    let (major, minor) = library.version;
    let found = Part::works(part, format!("{major}.{minor}"));
    let Some(device) = device else { return found };
    match compiled(
        &library,
        &Target {
            precision: Precision::Fp16,
            sm: device.sm,
        },
    ) {
        Ok(_) => found,
        Err(error) => Part {
            state: State::Broken,
            problem: Some(error.to_string()),
            ..found
        },
    }
}

fn tensorrt(places: &Places) -> Part {
    let part = Which::TensorRt;
    let library = match Library::load(places.tensorrt.as_deref()) {
        Ok(library) => library,
        Err(error) => return Part::not(part, error.to_string()),
    };
    let found = Part {
        file: Some(library.file().to_owned()),
        ..Part::works(part, library.name())
    };
    let sm = Device::open()
        .ok()
        .filter(|device| !device.is_stand_in)
        .map(|device| device.sm);
    let broken = match (library.kind(), sm, library.reads_graphs()) {
        (Kind::Rtx, Some(sm), _) if !RTX_CARDS.contains(&sm) => Some(format!(
            "TensorRT-RTX is made for sm {RTX_CARDS:?}, and nobody has seen it run on sm_{sm}; install TensorRT"
        )),
        (_, _, Err(error)) => Some(error.to_string()),
        (_, _, Ok(())) => None,
    };
    match broken {
        Some(problem) => Part {
            state: State::Broken,
            problem: Some(problem),
            ..found
        },
        None => Part {
            problem: stacks(&found),
            ..found
        },
    }
}

/// What a hardened service refuses although a shell may not: a plan's builder comes in files of its own.
fn stacks(found: &Part) -> Option<String> {
    let folder = loaded_file(Which::TensorRt)
        .or(found.file.clone())?
        .parent()?
        .to_owned();
    let files = executable_stacks(&folder, &["libnvinfer", "libnvonnxparser", "libtensorrt"]);
    let listed: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    (!listed.is_empty()).then(|| {
        format!(
            "{}: asks for an executable stack, which a service with MemoryDenyWriteExecute=yes and glibc 2.41 or newer refuse; build plans beforehand in a shell (winspect engine build), or see systemd/README.md",
            listed.join(", ")
        )
    })
}

/// Compute capabilities that TensorRT-RTX accepts; 87, 90 and 110 it refuses by name.
const RTX_CARDS: [u32; 6] = [75, 80, 86, 89, 120, 121];

#[cfg(feature = "gstreamer")]
fn gstreamer() -> Part {
    use gstreamer as gst;
    let part = Which::Gstreamer;
    if let Err(error) = gst::init() {
        return Part {
            state: State::Broken,
            ..Part::not(part, error.to_string())
        };
    }
    let (major, minor, micro, _) = gst::version();
    let absent: Vec<String> = ELEMENTS
        .iter()
        .filter(|(element, ..)| gst::ElementFactory::find(element).is_none())
        .map(|(element, what, package)| {
            format!("no {element}, which {what} needs: apt-get install {package}")
        })
        .collect();
    let problem = (!absent.is_empty()).then(|| absent.join("; "));
    Part {
        problem,
        ..Part::works(part, format!("{major}.{minor}.{micro}"))
    }
}

/// What every kind of camera needs, and the Debian package that has it. A Jetson's and GenICam cameras' own are told when
/// such a camera is opened.
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
fn gstreamer() -> Part {
    let problem = "this winspect is built without it and reads folders of pictures only".to_owned();
    Part {
        state: State::Missing,
        ..Part::not(Which::Gstreamer, problem)
    }
}

/// The file of a library that this process has loaded.
fn loaded_file(which: Which) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = |line: &str| line.find('/').map(|at| PathBuf::from(&line[at..]));
    let is_it = |file: &PathBuf| {
        file.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(which.file_start()))
    };
    maps.lines().filter_map(path).find(is_it)
}

/// How long a library may take: the first use of a GPU after its start takes seconds, a hung driver for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks a process of our own; one that dies or hangs is an answer too.
pub fn ask(which: Which, places: &Places) -> Part {
    let broken = |problem: String| Part {
        state: State::Broken,
        ..Part::not(which, problem)
    };
    let Ok(program) = std::env::current_exe() else {
        return broken("this program cannot be found again".to_owned());
    };
    let mut command = Command::new(program);
    // Its last words are asked for, not where they were said.
    command
        .args(["doctor", "--probe", &which.argument()])
        .args(places.arguments());
    command.stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
    let mut child = match command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => return broken(format!("a process to try it in cannot be started: {error}")),
    };
    let (answers, errors) = (all_of(child.stdout.take()), all_of(child.stderr.take()));
    let Ok(answer) = answers.recv_timeout(PATIENCE) else {
        // Whether it dies or not: a process that hangs in a driver may outlive its killing.
        let _ = child.kill();
        return broken(format!(
            "it does not answer within {} s",
            PATIENCE.as_secs()
        ));
    };
    let status = child.wait();
    let told = answer
        .lines()
        .last()
        .and_then(|line| serde_json::from_str::<Part>(line).ok());
    told.unwrap_or_else(|| {
        broken(ended(
            status.ok(),
            &errors.recv_timeout(PATIENCE).unwrap_or_default(),
        ))
    })
}

/// All that a stream holds, read by a thread of its own.
fn all_of(stream: Option<impl Read + Send + 'static>) -> std::sync::mpsc::Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = vec![];
        let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

/// How the process that tried it ended, with what it said last.
fn ended(status: Option<ExitStatus>, said: &str) -> String {
    let status = status.map_or("an unknown end".to_owned(), |status| status.to_string());
    let is_note = |line: &&str| line.starts_with("note:") || line.trim().is_empty();
    let last = said
        .lines()
        .rev()
        .find(|line| !is_note(line))
        .map(|line| format!("; it said: {}", line.trim()));
    format!(
        "it ends the process that tries it: {status}{}",
        last.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_told_from_what_is_broken() {
        let state = |words: &str| Part::not(Which::Driver, words.to_owned()).state;
        let absent = "libcuda.so.1: cannot open shared object file: No such file or directory";
        assert_eq!(state(absent), State::Missing);
        assert_eq!(state("libcuda.so.1: invalid ELF header"), State::Broken);
        assert_eq!(
            state("it has no GPU: DriverError(CUDA_ERROR_NO_DEVICE)"),
            State::Broken
        );
        let places =
            "no TensorRT; tried\n  libnvinfer.so.11: No such file\n  /x: none there\ninstall it";
        assert_eq!(state(places), State::Missing);
        assert_eq!(
            state(&places.replace("/x: none there", "TensorRT 8.6.1 is unknown here")),
            State::Broken
        );
    }

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

    #[test]
    fn a_process_that_dies_is_told_with_its_last_words() {
        let said = "thread main panicked at x.rs\nMissing symbol cuInit\nnote: run with RUST_BACKTRACE=1\n";
        assert!(ended(None, said).ends_with("it said: Missing symbol cuInit"));
        assert!(ended(None, "").ends_with("an unknown end"));
    }
}
