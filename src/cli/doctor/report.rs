//! The doctor's report: what can judge on this machine, what is missing, and what mends it.

use super::library::{Gpu, LibraryKind, LibraryReport, LibraryState};
use super::machine::{is_writable, nvidia_hardware};
use super::plan::{PlanReport, plans_of};
use crate::base::exit::{Exit, Failure};
use crate::cli::terminal::{print, say};
use crate::model::ModelFolder;
use std::path::{Path, PathBuf};

/// The engine that judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JudgingEngine {
    /// ONNX Runtime on the CPU.
    Onnx,
    /// TensorRT on the GPU.
    Tensorrt,
}

/// The doctor's findings; their JSON is `doctor --json`.
#[derive(Debug, serde::Serialize)]
pub struct DoctorReport {
    /// The engine that can judge as things are; `None` where none can.
    backend: Option<JudgingEngine>,
    /// The best that this machine can have.
    best: JudgingEngine,
    /// NVIDIA hardware that the system sees, whether or not a driver does.
    hardware: Vec<String>,
    #[serde(rename = "parts")]
    libraries: Vec<LibraryReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plans: Option<Vec<PlanReport>>,
    /// Folders of the model that a GPU's plans and kernels are kept in and that this user cannot write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unwritable: Vec<PathBuf>,
}

impl DoctorReport {
    /// Concludes from what every library said, in any order.
    ///
    /// # Errors
    /// When the model's plans cannot be listed.
    pub fn new(
        mut libraries: Vec<LibraryReport>,
        model: Option<&ModelFolder>,
    ) -> Result<Self, Failure> {
        // A remedy is told only for what does not work.
        for library in libraries.iter_mut().filter(|library| !library.is_well()) {
            library.mend = library.kind.remedy().map(str::to_owned);
        }

        // The best engine follows from the hardware, the working one from the libraries: their
        // difference is the advice.
        let hardware = nvidia_hardware(Path::new("/"));
        let best = best_engine(&libraries, !hardware.is_empty());

        // Plans are tied to TensorRT's version and to a GPU.
        let version = find(&libraries, LibraryKind::TensorRt).version.as_deref();
        let plans = model
            .map(|model| plans_of(model, version, first_gpu(&libraries)))
            .transpose()?;

        Ok(DoctorReport {
            backend: working_engine(&libraries),
            best,
            hardware,
            libraries,
            plans,
            unwritable: model.map(unwritable).unwrap_or_default(),
        })
    }

    /// Prints a line or some for each thing that was found.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn tell(&self, model: Option<&ModelFolder>) -> Result<(), Failure> {
        for line in self.lines(model) {
            print(line)?;
        }

        Ok(())
    }

    fn lines(&self, model: Option<&ModelFolder>) -> Vec<String> {
        // The order is that of a repair: hardware, libraries, folders, plans.
        let mut lines = vec![];
        if self.hardware.is_empty() {
            lines.push("none  NVIDIA GPU: the system sees none".to_owned());
        }

        for found in &self.hardware {
            lines.push(format!("ok    {found}"));
        }

        for library in &self.libraries {
            lines.extend(self.lines_of(library));
        }

        if self.best == JudgingEngine::Tensorrt {
            for folder in &self.unwritable {
                lines.push(format!(
                    "warn  {} cannot be written by this user: plans and kernels must be made by another",
                    folder.display()
                ));
            }
        }

        if let (Some(plans), Some(model)) = (&self.plans, model) {
            lines.extend(plans.iter().map(PlanReport::line));
            lines.extend(self.warning_of_no_plan(plans, model));
        }

        lines
    }

    fn warning_of_no_plan(&self, plans: &[PlanReport], model: &ModelFolder) -> Option<String> {
        // A machine without a GPU needs no plan.
        let is_wanted = self.best == JudgingEngine::Tensorrt;
        if !is_wanted || plans.iter().any(PlanReport::serves) {
            return None;
        }

        let folder = model.path.display();
        Some(format!(
            "warn  {folder} has no plan for this GPU: winspect engine build {folder}"
        ))
    }

    /// Lines of one library; without a GPU, those of the GPU are not missed.
    fn lines_of(&self, library: &LibraryReport) -> Vec<String> {
        let name = library.kind.name();
        let problem = indented(library.problem.as_deref().unwrap_or_default());
        let mend = match &library.mend {
            Some(mend) => format!("\n      mend: {mend}"),
            None => String::new(),
        };

        // What the best engine needs is a FAIL. Without that need a broken library is a warning,
        // and a missing one is only told.
        match library.state {
            LibraryState::Works => working_lines(library),
            _ if self.is_missed(library.kind) => vec![format!("FAIL  {name}: {problem}{mend}")],
            LibraryState::Broken => vec![format!("warn  {name}: {problem}{mend}")],
            LibraryState::Missing if library.kind == LibraryKind::Gstreamer => {
                vec![format!("none  {name}: {problem}")]
            }
            LibraryState::Missing => {
                vec![format!("none  {name}: not here; only a GPU needs it")]
            }
        }
    }

    fn is_missed(&self, kind: LibraryKind) -> bool {
        match kind {
            LibraryKind::OnnxRuntime => true,
            LibraryKind::Driver | LibraryKind::Nvrtc | LibraryKind::TensorRt => {
                self.best == JudgingEngine::Tensorrt
            }
            LibraryKind::Gstreamer => false,
        }
    }

    /// The conclusion: fine when the best engine that this machine can have works.
    ///
    /// # Errors
    /// When it does not, or when nothing does.
    pub fn end(&self) -> Result<(), Failure> {
        let words = match (self.backend, self.best) {
            (Some(JudgingEngine::Onnx), JudgingEngine::Tensorrt) => {
                "this machine judges on its CPU (onnx), although it has a GPU: mend what failed above"
            }
            (None, _) => "nothing can judge on this machine: mend what failed above",
            (Some(JudgingEngine::Onnx), JudgingEngine::Onnx) => {
                say("this machine judges on its CPU (onnx), the best that it can have");
                return Ok(());
            }
            (Some(JudgingEngine::Tensorrt), _) => {
                say("this machine judges on its GPU (tensorrt)");
                return Ok(());
            }
        };

        Err(Failure::words(Exit::Unavailable, words))
    }
}

fn find(libraries: &[LibraryReport], kind: LibraryKind) -> &LibraryReport {
    libraries
        .iter()
        .find(|library| library.kind == kind)
        .expect("every library was asked")
}

/// The GPU that would judge: the driver's first, which is no stand-in.
fn first_gpu(libraries: &[LibraryReport]) -> Option<&Gpu> {
    let driver = find(libraries, LibraryKind::Driver);
    driver.gpus.first().filter(|_| !driver.stand_in)
}

/// The engine that can judge now. Prompts are encoded with ONNX Runtime, whatever judges.
fn working_engine(libraries: &[LibraryReport]) -> Option<JudgingEngine> {
    // ONNX Runtime encodes prompts and compares plans, so that a GPU alone is not enough.
    let works = |kind| find(libraries, kind).is_well();
    if !works(LibraryKind::OnnxRuntime) {
        return None;
    }

    let has_gpu = first_gpu(libraries).is_some();
    let has_libraries =
        works(LibraryKind::Driver) && works(LibraryKind::Nvrtc) && works(LibraryKind::TensorRt);

    Some(if has_gpu && has_libraries {
        JudgingEngine::Tensorrt
    } else {
        JudgingEngine::Onnx
    })
}

/// The best engine that could judge, were everything installed.
fn best_engine(libraries: &[LibraryReport], has_hardware: bool) -> JudgingEngine {
    if has_hardware || first_gpu(libraries).is_some() {
        JudgingEngine::Tensorrt
    } else {
        JudgingEngine::Onnx
    }
}

/// Folders where plans and kernels are kept, or would be made, and that this user cannot write.
fn unwritable(model: &ModelFolder) -> Vec<PathBuf> {
    // A folder that is not there yet would be made inside the model's.
    let mut folders = vec![];
    for name in ["plans", "kernels"] {
        let own = model.path.join(name);
        let folder = if own.exists() {
            own
        } else {
            model.path.clone()
        };

        if !is_writable(&folder) {
            folders.push(folder);
        }
    }

    folders.dedup();
    folders
}

fn working_lines(library: &LibraryReport) -> Vec<String> {
    let name = library.kind.name();
    let version = library.version.as_deref().unwrap_or_default();
    let file = match &library.file {
        Some(file) => format!(", {}", file.display()),
        None => String::new(),
    };

    let stand_in = if library.stand_in {
        "; the stand-in of the tests, no GPU"
    } else {
        ""
    };

    // The first line is the library's; GPUs and warnings follow it.
    let mut lines = vec![format!("ok    {name}: {version}{file}{stand_in}")];
    for gpu in &library.gpus {
        let gib = gpu.memory_bytes as f64 / f64::from(1 << 30);
        lines.push(format!(
            "ok    GPU: {}, sm_{}, {gib:.1} GiB",
            gpu.name, gpu.sm
        ));
    }

    if let Some(problem) = &library.problem {
        lines.push(format!("warn  {name}: {}", indented(problem)));
    }

    lines
}

fn indented(words: &str) -> String {
    words.trim_end().replace('\n', "\n      ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(works: &[LibraryKind], gpu: Option<Gpu>, stand_in: bool) -> Vec<LibraryReport> {
        let report = |kind: LibraryKind| {
            let state = if works.contains(&kind) {
                LibraryState::Works
            } else {
                LibraryState::Missing
            };

            let mut report = LibraryReport::bare(kind, state);
            if kind == LibraryKind::Driver {
                report.gpus = gpu.iter().cloned().collect();
                report.stand_in = stand_in;
            }

            report
        };

        LibraryKind::ALL.into_iter().map(report).collect()
    }

    #[test]
    fn the_best_engine_is_the_gpus_where_there_is_one_and_needs_all_of_its_libraries() {
        use LibraryKind::{Driver, Nvrtc, OnnxRuntime, TensorRt};
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
                (Some(JudgingEngine::Tensorrt), JudgingEngine::Tensorrt),
            ),
            (
                machine(&[OnnxRuntime, Driver, Nvrtc], gpu(), false),
                true,
                (Some(JudgingEngine::Onnx), JudgingEngine::Tensorrt),
            ),
            (
                machine(&[Driver, Nvrtc, TensorRt], gpu(), false),
                true,
                (None, JudgingEngine::Tensorrt),
            ),
            (
                machine(&all, gpu(), true),
                false,
                (Some(JudgingEngine::Onnx), JudgingEngine::Onnx),
            ),
            (
                machine(&[OnnxRuntime], None, false),
                false,
                (Some(JudgingEngine::Onnx), JudgingEngine::Onnx),
            ),
            (
                machine(&[OnnxRuntime], None, false),
                true,
                (Some(JudgingEngine::Onnx), JudgingEngine::Tensorrt),
            ),
            (
                machine(&[], None, false),
                false,
                (None, JudgingEngine::Onnx),
            ),
        ];

        for (at, (libraries, has_hardware, expected)) in cases.into_iter().enumerate() {
            let found = (
                working_engine(&libraries),
                best_engine(&libraries, has_hardware),
            );

            assert_eq!(found, expected, "case {at}");
        }
    }
}
