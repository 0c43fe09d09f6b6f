//! `winspect doctor`: what this machine can judge with, what is missing, and what mends it. One line each on standard
//! output, or one JSON object. Ends with 0 when the best engine that this machine can have works, with 69 when it does
//! not, or when nothing does.

mod probe;
mod stack;

use super::terminal::{print, say};
use crate::base::exit::{Exit, Failure};
use crate::cli::doctor::probe::{Gpu, Part, Places, State, Which, answer, ask};
use crate::engine::tensorrt::{Key, Plans, State as PlanState};
use crate::model::ModelFolder;
use clap::Args;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// A model folder: tell its plans for this machine too
    model: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
    /// Try one library and answer in JSON; doctor starts itself so
    #[arg(long, hide = true, value_enum, value_name = "LIBRARY")]
    probe: Option<Which>,
}

/// What judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Judge {
    Onnx,
    Tensorrt,
}

#[derive(Debug, serde::Serialize)]
struct Report {
    /// What can judge as things are.
    backend: Option<Judge>,
    /// The best that this machine can have.
    best: Judge,
    /// NVIDIA hardware that the system sees, whether or not a driver does.
    hardware: Vec<String>,
    parts: Vec<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plans: Option<Vec<Planned>>,
    /// Folders of the model that a GPU's plans and kernels are kept in and that this user cannot write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unwritable: Vec<PathBuf>,
}

/// A plan of the model folder.
#[derive(Debug, serde::Serialize)]
struct Planned {
    path: PathBuf,
    state: &'static str,
    precision: &'static str,
    /// Why it does not serve here; empty when it does.
    unfit: Vec<String>,
}

pub fn run(arguments: &DoctorArguments) -> Result<(), Failure> {
    if let Some(which) = arguments.probe {
        return answer(which, &arguments.places);
    }
    let model = arguments
        .model
        .as_deref()
        .map(ModelFolder::open)
        .transpose();
    let model = model.map_err(|error| Failure::new(Exit::Data, error))?;
    let report = examine(model.as_ref(), &arguments.places)?;
    match arguments.json {
        true => print(
            serde_json::to_string(&report).map_err(|error| Failure::new(Exit::Software, error))?,
        )
        .map(drop)?,
        false => report.tell(model.as_ref())?,
    }
    report.end()
}

/// All libraries at once: each takes its time in a process of its own.
fn examine(model: Option<&ModelFolder>, places: &Places) -> Result<Report, Failure> {
    let mut parts: Vec<Part> = std::thread::scope(|scope| {
        let asked: Vec<_> = Which::ALL
            .into_iter()
            .map(|which| scope.spawn(move || ask(which, places)))
            .collect();
        asked
            .into_iter()
            .map(|part| part.join().expect("asking does not panic"))
            .collect()
    });
    for part in parts.iter_mut().filter(|part| !part.is_well()) {
        part.mend = mend(part.part).map(str::to_owned);
    }
    let hardware = hardware(Path::new("/"));
    let (backend, best) = judges(&parts, !hardware.is_empty());
    let plans = model.map(|model| plans(model, &parts)).transpose()?;
    let unwritable = model.map(unwritable).unwrap_or_default();
    Ok(Report {
        backend,
        best,
        hardware,
        parts,
        plans,
        unwritable,
    })
}

fn part(parts: &[Part], which: Which) -> &Part {
    parts
        .iter()
        .find(|part| part.part == which)
        .expect("every library was asked")
}

/// The GPU that would judge: the driver's first, which is no stand-in.
fn first_gpu(parts: &[Part]) -> Option<&Gpu> {
    let driver = part(parts, Which::Driver);
    driver.gpus.first().filter(|_| !driver.stand_in)
}

/// What can judge now, and the best that could. Prompts are encoded with ONNX Runtime, whatever judges.
fn judges(parts: &[Part], has_hardware: bool) -> (Option<Judge>, Judge) {
    let works = |which| part(parts, which).is_well();
    let has_gpu = first_gpu(parts).is_some();
    let best = if has_gpu || has_hardware {
        Judge::Tensorrt
    } else {
        Judge::Onnx
    };
    let on_gpu = has_gpu
        && [Which::Driver, Which::Nvrtc, Which::TensorRt]
            .into_iter()
            .all(works);
    let backend =
        works(Which::OnnxRuntime).then_some(if on_gpu { Judge::Tensorrt } else { Judge::Onnx });
    (backend, best)
}

/// NVIDIA's GPUs on the PCI bus, and a Jetson's name. `root` is the file system's.
fn hardware(root: &Path) -> Vec<String> {
    let text = |path: PathBuf| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .trim_matches(['\0', '\n'])
            .to_owned()
    };
    let is_display = |class: &str| class.starts_with("0x03");
    let mut found: Vec<String> = std::fs::read_dir(root.join("sys/bus/pci/devices"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|device| {
            text(device.path().join("vendor")) == "0x10de"
                && is_display(&text(device.path().join("class")))
        })
        .map(|device| {
            format!(
                "an NVIDIA GPU at PCI {}",
                device.file_name().to_string_lossy()
            )
        })
        .collect();
    found.sort();
    if text(root.join("proc/device-tree/compatible")).contains("nvidia,tegra") {
        found.push(text(root.join("proc/device-tree/model")));
    }
    found
}

fn plans(model: &ModelFolder, parts: &[Part]) -> Result<Vec<Planned>, Failure> {
    let (plans, broken) = Plans::of(model)
        .list()
        .map_err(|error| Failure::new(Exit::Data, error))?;
    broken.iter().for_each(say);
    let library = part(parts, Which::TensorRt).version.as_deref();
    let told = plans.into_iter().map(|plan| {
        let mut unfit = unfit(&plan.key, library, first_gpu(parts));
        let state = match plan.state {
            PlanState::Accepted => "accepted",
            PlanState::Candidate => "candidate",
            PlanState::Refused(why) => {
                unfit.push(format!("it was refused: {why}"));
                "refused"
            }
        };
        Planned {
            path: plan.path,
            state,
            precision: plan.key.precision.name(),
            unfit,
        }
    });
    Ok(told.collect())
}

/// Where plans and kernels are kept, or would be made: those that this user cannot write.
fn unwritable(model: &ModelFolder) -> Vec<PathBuf> {
    let folders = ["plans", "kernels"].map(|name| model.path.join(name));
    let mut folders = folders
        .map(|folder| {
            if folder.exists() {
                folder
            } else {
                model.path.clone()
            }
        })
        .to_vec();
    folders.dedup();
    folders.retain(|folder| !is_writable(folder));
    folders
}

fn is_writable(folder: &Path) -> bool {
    let Ok(name) = CString::new(folder.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: a terminated text.
    unsafe { libc::access(name.as_ptr(), libc::W_OK) == 0 }
}

/// Why a plan does not run on this machine.
fn unfit(key: &Key, library: Option<&str>, gpu: Option<&Gpu>) -> Vec<String> {
    let mut reasons = vec![];
    match library {
        None => reasons.push(format!(
            "it needs {}, and there is no TensorRT",
            key.library
        )),
        Some(library) if library != key.library => {
            reasons.push(format!("it was built by {}, not {library}", key.library))
        }
        Some(_) => {}
    }
    match gpu {
        None => reasons.push(format!("it is for {}, and there is no GPU", key.gpus())),
        Some(gpu) if !key.sm.contains(&gpu.sm) => {
            reasons.push(format!("it is for {}, not sm_{}", key.gpus(), gpu.sm))
        }
        Some(gpu)
            if key
                .gpu
                .as_ref()
                .is_some_and(|built_on| *built_on != gpu.name) =>
        {
            reasons.push(format!(
                "it was built on {}, not {}",
                key.gpu.as_deref().unwrap_or_default(),
                gpu.name
            ))
        }
        Some(_) => {}
    }
    reasons
}

impl Report {
    fn tell(&self, model: Option<&ModelFolder>) -> Result<(), Failure> {
        let mut lines = vec![];
        match self.hardware.is_empty() {
            true => lines.push("none  NVIDIA GPU: the system sees none".to_owned()),
            false => lines.extend(self.hardware.iter().map(|found| format!("ok    {found}"))),
        }
        lines.extend(self.parts.iter().flat_map(|part| self.lines(part)));
        if self.best == Judge::Tensorrt {
            lines.extend(self.unwritable.iter().map(|folder| {
                format!(
                    "warn  {} cannot be written by this user: plans and kernels must be made by another",
                    folder.display()
                )
            }));
        }
        if let (Some(plans), Some(model)) = (&self.plans, model) {
            lines.extend(plans.iter().map(Planned::line));
            if self.best == Judge::Tensorrt && !plans.iter().any(Planned::serves) {
                let folder = model.path.display();
                lines.push(format!(
                    "warn  {folder} has no plan for this GPU: winspect engine build {folder}"
                ));
            }
        }
        lines.into_iter().try_for_each(|line| print(line).map(drop))
    }

    /// Of a library; without a GPU, those of the GPU are not missed.
    fn lines(&self, part: &Part) -> Vec<String> {
        let name = part.part.name();
        let missed = match part.part {
            Which::OnnxRuntime => true,
            Which::Driver | Which::Nvrtc | Which::TensorRt => self.best == Judge::Tensorrt,
            Which::Gstreamer => false,
        };
        let problem = indented(part.problem.as_deref().unwrap_or_default());
        let mend = part
            .mend
            .as_ref()
            .map_or(String::new(), |mend| format!("\n      mend: {mend}"));
        match (part.state, missed) {
            (State::Works, _) => working(part),
            (State::Missing, false) if part.part == Which::Gstreamer => {
                vec![format!("none  {name}: {problem}")]
            }
            (State::Missing, false) => vec![format!("none  {name}: not here; only a GPU needs it")],
            (State::Broken, false) => vec![format!("warn  {name}: {problem}{mend}")],
            (_, true) => vec![format!("FAIL  {name}: {problem}{mend}")],
        }
    }

    fn end(&self) -> Result<(), Failure> {
        let words = match (self.backend, self.best) {
            (Some(Judge::Onnx), Judge::Tensorrt) => {
                "this machine judges on its CPU (onnx), although it has a GPU: mend what failed above"
            }
            (None, _) => "nothing can judge on this machine: mend what failed above",
            (Some(Judge::Onnx), Judge::Onnx) => {
                say("this machine judges on its CPU (onnx), the best that it can have");
                return Ok(());
            }
            (Some(Judge::Tensorrt), _) => {
                say("this machine judges on its GPU (tensorrt)");
                return Ok(());
            }
        };
        Err(Failure::words(Exit::Unavailable, words))
    }
}

impl Planned {
    fn serves(&self) -> bool {
        self.state == "accepted" && self.unfit.is_empty()
    }

    fn line(&self) -> String {
        let level = if self.serves() { "ok   " } else { "warn " };
        let unfit: String = self
            .unfit
            .iter()
            .map(|reason| format!("; {reason}"))
            .collect();
        format!(
            "{level} plan {}: {}, {}{unfit}",
            self.path.display(),
            self.precision,
            self.state
        )
    }
}

fn working(part: &Part) -> Vec<String> {
    let (name, version) = (
        part.part.name(),
        part.version.as_deref().unwrap_or_default(),
    );
    let file = part
        .file
        .as_ref()
        .map_or(String::new(), |file| format!(", {}", file.display()));
    let stand_in = if part.stand_in {
        "; the stand-in of the tests, no GPU"
    } else {
        ""
    };
    let mut lines = vec![format!("ok    {name}: {version}{file}{stand_in}")];
    lines.extend(part.gpus.iter().map(|gpu| {
        let gib = gpu.memory_bytes as f64 / f64::from(1 << 30);
        format!("ok    GPU: {}, sm_{}, {gib:.1} GiB", gpu.name, gpu.sm)
    }));
    lines.extend(
        part.problem
            .as_ref()
            .map(|problem| format!("warn  {name}: {}", indented(problem))),
    );
    lines
}

fn indented(words: &str) -> String {
    words.trim_end().replace('\n', "\n      ")
}

/// The command or package, for Debian, Ubuntu and JetPack; nothing where the part's own words say it.
fn mend(which: Which) -> Option<&'static str> {
    match which {
        Which::Driver => Some(
            "Debian: apt-get install nvidia-driver (non-free); Ubuntu: ubuntu-drivers install; Jetson: it comes with JetPack, apt-get install nvidia-jetpack; then start again. In a container: give it the GPU (docker run --gpus all, nvidia-container-toolkit). nvidia-smi tells more",
        ),
        Which::Gstreamer => Some(
            "apt-get install gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav",
        ),
        Which::Nvrtc => Some(
            "Debian 13, Ubuntu 24.04: apt-get install libnvrtc12; NVIDIA's apt repository, JetPack 6: apt-get install cuda-nvrtc-12-6; JetPack 7: cuda-nvrtc-13-0",
        ),
        Which::OnnxRuntime | Which::TensorRt => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(works: &[Which], gpu: Option<Gpu>, stand_in: bool) -> Vec<Part> {
        let part = |which: Which| Part {
            part: which,
            state: if works.contains(&which) {
                State::Works
            } else {
                State::Missing
            },
            version: None,
            file: None,
            gpus: if which == Which::Driver {
                gpu.iter().cloned().collect()
            } else {
                vec![]
            },
            stand_in: stand_in && which == Which::Driver,
            problem: None,
            mend: None,
        };
        Which::ALL.into_iter().map(part).collect()
    }

    #[test]
    fn the_best_engine_is_the_gpus_where_there_is_one_and_needs_all_of_its_libraries() {
        use Which::{Driver, Nvrtc, OnnxRuntime, TensorRt};
        let gpu = || {
            Some(Gpu {
                name: "Orin".to_owned(),
                sm: 87,
                memory_bytes: 1 << 33,
            })
        };
        let all = [OnnxRuntime, Driver, Nvrtc, TensorRt];
        let cases = [
            (
                machine(&all, gpu(), false),
                true,
                (Some(Judge::Tensorrt), Judge::Tensorrt),
            ),
            (
                machine(&[OnnxRuntime, Driver, Nvrtc], gpu(), false),
                true,
                (Some(Judge::Onnx), Judge::Tensorrt),
            ),
            (
                machine(&[Driver, Nvrtc, TensorRt], gpu(), false),
                true,
                (None, Judge::Tensorrt),
            ),
            (
                machine(&all, gpu(), true),
                false,
                (Some(Judge::Onnx), Judge::Onnx),
            ),
            (
                machine(&[OnnxRuntime], None, false),
                false,
                (Some(Judge::Onnx), Judge::Onnx),
            ),
            (
                machine(&[OnnxRuntime], None, false),
                true,
                (Some(Judge::Onnx), Judge::Tensorrt),
            ),
            (machine(&[], None, false), false, (None, Judge::Onnx)),
        ];
        for (at, (parts, has_hardware, expected)) in cases.into_iter().enumerate() {
            assert_eq!(judges(&parts, has_hardware), expected, "case {at}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_seen() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(is_writable(folder.path()));
        // Root may write everywhere but there.
        assert!(!is_writable(Path::new("/proc/none")) && !is_writable(&folder.path().join("none")));
    }

    #[test]
    fn hardware_is_seen_without_a_driver() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let put = |path: &str, text: &str| {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().expect("in a folder")).expect("made");
            std::fs::write(file, text).expect("written");
        };
        assert!(hardware(root.path()).is_empty());
        for (slot, vendor, class) in [
            ("01", "0x10de", "0x030000"),
            ("02", "0x10de", "0x040300"),
            ("03", "0x8086", "0x030000"),
        ] {
            put(
                &format!("sys/bus/pci/devices/{slot}/vendor"),
                &format!("{vendor}\n"),
            );
            put(
                &format!("sys/bus/pci/devices/{slot}/class"),
                &format!("{class}\n"),
            );
        }
        put(
            "proc/device-tree/compatible",
            "nvidia,p3701\0nvidia,tegra234\0",
        );
        put("proc/device-tree/model", "NVIDIA Jetson AGX Orin\0");
        assert_eq!(
            hardware(root.path()),
            ["an NVIDIA GPU at PCI 01", "NVIDIA Jetson AGX Orin"]
        );
    }
}
