//! `winspect engine`: build the plans that TensorRT runs, tell which there are.

use super::flags::as_flags;
use super::terminal::{Terminal, print, say};
use crate::base::exit::{Exit, Failure};
use crate::base::problems::Problems;
use crate::engine::cuda::device::Device;
use crate::engine::network::Precision;
use crate::engine::select::{Backend, Engines, LOOKS_MAX};
use crate::engine::tensorrt::{
    BuildOrder, BuildProgress, BuiltPlan, Library, PlanState, PlanTarget, Plans,
};
use crate::engine::{EncodePlan, EngineError};
use crate::model::ModelFolder;
use crate::recipe::default_block;
use crate::recipe::preparation::Preparation;
use crate::winclip::{MapKind, Preset, Recipe};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The commands of `winspect engine`.
#[derive(Debug, Subcommand)]
pub enum EngineCommand {
    /// Build what TensorRT runs on a GPU out of a model folder; it lies in the folder's plans/
    Build(BuildArguments),
    /// Say which plans a model folder has, for what, and whether they serve
    List {
        /// An imported model folder
        folder: PathBuf,
    },
}

/// The command line of `winspect engine build`.
#[derive(Debug, Args)]
pub struct BuildArguments {
    /// An imported model folder
    folder: PathBuf,
    /// Precision of the network's tensors
    #[arg(long, value_enum, default_value = "fp16")]
    precision: Precision,
    /// Parameters of the algorithm
    #[arg(long, value_enum, default_value_t)]
    preset: Preset,
    /// Input side in pixels; the model's own unless given
    #[arg(long, value_name = "PIXELS")]
    input_px: Option<usize>,
    /// Patches from the b-th block, counted from 1; the model's default unless given
    #[arg(long, value_name = "B")]
    block: Option<usize>,
    /// Visual maps to average: patch, or window scales; for example patch,2,3
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    maps: Vec<MapKind>,
    /// Window scales of the language map, for models with text
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "2,3"
    )]
    scales: Vec<usize>,
    /// Looks that are computed at once, at most; a line asks for as many as stand here
    #[arg(long, value_name = "N", default_value_t = LOOKS_MAX)]
    looks: usize,
    /// Build for GPUs of these compute capabilities, not for this machine's; needs TensorRT-RTX. For example 86,89
    #[arg(long = "for", value_name = "SM", value_delimiter = ',')]
    targets: Vec<u32>,
    /// The folder of TensorRT's library; looked for unless given
    #[arg(long, value_name = "FOLDER")]
    tensorrt: Option<PathBuf>,
    /// The file libonnxruntime, which the new plan is compared with
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

/// Runs one of the commands.
///
/// # Errors
/// A folder that is no model, a library or a GPU that is not there, a recipe that does not fit the model.
pub fn run(command: EngineCommand) -> Result<(), Failure> {
    match command {
        EngineCommand::Build(arguments) => build(&arguments),
        EngineCommand::List { folder } => list(&open(&folder)?),
    }
}

fn open(folder: &Path) -> Result<ModelFolder, Failure> {
    ModelFolder::open(folder).map_err(|error| Failure::new(Exit::Data, error))
}

fn build(arguments: &BuildArguments) -> Result<(), Failure> {
    // All that can fail fast is asked before the build, which takes minutes: the model, the recipe,
    // the library, the GPU.
    let model = open(&arguments.folder)?;
    let recipe = arguments.recipe();
    let encode = encode_plan(&recipe, &model)?;
    default_block::warn(&recipe, &model.spec, true);
    let engines = arguments.engines();
    let library = Library::load(arguments.tensorrt.as_deref()).map_err(failure)?;
    let device = arguments.device()?;
    if device.is_some() {
        engines.runtime().map_err(failure)?; // what compares the plan, before minutes are spent on it
    }

    // A plan for other machines' GPUs is built here and compared there, when it is first used.
    let target = match &device {
        Some(device) => PlanTarget::of(device).map_err(failure)?,
        None => PlanTarget::Capabilities(arguments.targets.clone()),
    };

    let order = BuildOrder {
        model: &model,
        plan: &encode,
        precision: arguments.precision,
        looks_max: arguments.looks,
        target,
    };

    // The lock on the folder is held over the comparison: a second builder would replace the plan
    // under it.
    let plans = Plans::of(&model);
    let _alone = plans.alone().map_err(failure)?; // until it was compared
    let plan = build_plan(&plans, &library, &order)?;
    print(describe(&plan))?;
    let Some(device) = device else {
        return Ok(()); // another machine compares it when it first runs it
    };

    // The comparison judges the same pictures on the CPU and on the GPU; it turns the candidate
    // into an accepted or a refused plan.
    let preparation = Preparation {
        model: &model,
        recipe: &recipe,
        plan: &encode,
        engines: &engines,
        wrong_recipe: Exit::Usage,
    };

    print(preparation.prove(&library, device, plan)?)?;
    Ok(())
}

/// Builds under a progress bar.
fn build_plan(plans: &Plans, library: &Library, order: &BuildOrder) -> Result<BuiltPlan, Failure> {
    // The library calls back from threads of its own, which is why the bar lies behind a lock.
    let name = library.name();
    let file = library.file().display();
    say(format!("building with {name} ({file})"));
    let bar = BuildBar::default();
    let plan = plans.build(library, order, &|progress| bar.show(progress));
    plan.map_err(failure)
}

fn list(model: &ModelFolder) -> Result<(), Failure> {
    // Plans that can be read are told first, even if others cannot.
    let (plans, problems) = Plans::of(model).list().map_err(failure)?;
    for plan in &plans {
        print(describe(plan))?;
    }

    // No plan is no fault: the CPU needs none.
    if plans.is_empty() {
        let folder = model.path.display();
        print(format!(
            "no plans; build one with: winspect engine build {folder}"
        ))?;
    }

    if problems.is_empty() {
        Ok(())
    } else {
        Err(Failure::words(Exit::Data, problems.join("\n")))
    }
}

impl BuildArguments {
    /// The GPU to build for; `None` where other machines' are named.
    fn device(&self) -> Result<Option<Device>, Failure> {
        // GPUs that were named need not be in this machine.
        if !self.targets.is_empty() {
            return Ok(None);
        }

        Device::open().map(Some).map_err(|error| {
            Failure::words(
                Exit::Unavailable,
                format!("{error}; or name the GPU to build for: --for 86"),
            )
        })
    }

    /// The engine that judges with the new plan, and the one that it is compared with.
    // The comparison runs on TensorRT alone; a fallback would compare the CPU with itself.
    fn engines(&self) -> Engines {
        Engines {
            backend: Backend::Tensorrt,
            precision: self.precision,
            tensorrt: self.tensorrt.clone(),
            onnxruntime: self.onnxruntime.clone(),
            ..Engines::default()
        }
    }

    fn recipe(&self) -> Recipe {
        Recipe {
            preset: self.preset,
            input_px: self.input_px,
            block: self.block,
            maps: (!self.maps.is_empty()).then(|| self.maps.clone()),
            scales: self.scales.clone(),
            // A plan holds no words: those of the part do not matter.
            ..Recipe::new(Some("part".to_owned()))
        }
    }
}

/// Outputs that recipes of this kind need, with references and without.
fn encode_plan(recipe: &Recipe, model: &ModelFolder) -> Result<EncodePlan, Failure> {
    // The outputs with references are the base, to which those are added that only recipes without
    // them need.
    let plan = recipe.encode_plan(&model.spec, true);
    let mut plan = plan.map_err(wrong_recipe)?;

    // A model without text has no recipe without references.
    if model.spec.text.is_some() {
        let words_alone = recipe.encode_plan(&model.spec, false);
        let words_alone = words_alone.map_err(wrong_recipe)?;
        plan.image |= words_alone.image;
        for scale in words_alone.scales {
            if !plan.scales.contains(&scale) {
                plan.scales.push(scale);
            }
        }
    }

    Ok(plan)
}

fn wrong_recipe(problems: Problems) -> Failure {
    Failure::words(Exit::Usage, as_flags(&problems).join("\n"))
}

/// One bar, of the phase that the library is in; shown from the library's threads.
#[derive(Default)]
struct BuildBar(Mutex<ShownPhase>);

/// The bar of a phase, and the phase's name.
struct ShownPhase {
    terminal: Terminal,
    name: String,
}

impl Default for ShownPhase {
    fn default() -> Self {
        ShownPhase {
            terminal: Terminal::new(),
            name: String::new(),
        }
    }
}

impl BuildBar {
    fn show(&self, progress: BuildProgress) {
        // A poisoned lock means that a bar's drawing panicked; the build itself goes on.
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let BuildProgress { part, step } = progress;

        // Phases come one after the other, each with a count of its own, and begin a new bar.
        let name = format!("{}: {}", part.file(), step.phase);
        if shown.name != name {
            shown.terminal.begin(name.clone(), step.of);
            shown.name = name;
        }

        shown.terminal.done(step.done);
    }
}

/// All that is known of a plan, in lines for people.
fn describe(plan: &BuiltPlan) -> String {
    // A plan is tied to the library's version, the GPU's capability, the precision and the input
    // size. All of them are told, since each can be why it does not serve.
    let key = &plan.key;
    let gpu = key.gpu.as_ref();
    let built_on = gpu.map_or(String::new(), |gpu| format!(" ({gpu})"));
    let mut lines = vec![
        format!("plan       {}", plan.path.display()),
        format!("state      {}", describe_state(&plan.state)),
        format!(
            "built      by {} for {}{built_on}, {}",
            key.library,
            key.gpus(),
            key.precision.name()
        ),
        format!(
            "takes      {0} x {0} pixels, {1} at once at most",
            key.side, key.looks_max
        ),
        format!(
            "computes   {}; windows of {}",
            key.outputs.join(", "),
            describe_scales(&key.scales)
        ),
    ];

    // The files are told with their sizes: they are what a person copies or removes.
    for (name, file) in plan.files() {
        lines.push(format!(
            "file       {name}, {:.1} MB, built in {:.1} s",
            file.bytes as f64 / 1e6,
            file.built_s
        ));
    }

    lines.join("\n")
}

fn describe_state(state: &PlanState) -> String {
    match state {
        PlanState::Candidate => {
            "candidate: serves once it was compared with the CPU on its GPU".to_owned()
        }
        PlanState::Accepted => "accepted".to_owned(),
        PlanState::Refused(reason) => format!("refused: {reason}"),
    }
}

fn describe_scales(scales: &[usize]) -> String {
    // DINOv2 recipes have no windows at all unless they are asked for.
    if scales.is_empty() {
        return "none".to_owned();
    }

    let texts: Vec<String> = scales.iter().map(usize::to_string).collect();
    texts.join(", ")
}

fn failure(error: EngineError) -> Failure {
    // A plan that cannot be built for these flags is the command line's fault (64).
    let exit = match &error {
        EngineError::Unavailable(_) => Exit::Unavailable,
        EngineError::Plan(_) => Exit::Usage,
        EngineError::Model(_) => Exit::Data,
        EngineError::Run(_) => Exit::Software,
    };

    Failure::new(exit, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::build_command::build_command;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Winspect {
        #[command(subcommand)]
        command: EngineCommand,
    }

    #[test]
    fn the_command_for_a_recipe_builds_what_the_recipe_needs() {
        let plain = Recipe::new(Some("part".to_owned()));
        let maps = Some(vec![MapKind::Patch, MapKind::Windows(4)]);
        let other = Recipe {
            preset: Preset::Zqhang,
            input_px: Some(336),
            block: Some(9),
            maps,
            ..plain.clone()
        };

        let [tensorrt, onnxruntime] =
            ["/opt/trt", "/usr/lib/libonnxruntime.so"].map(|path| Some(PathBuf::from(path)));

        let engines = Engines {
            precision: Precision::Fp32,
            tensorrt,
            onnxruntime,
            ..Engines::default()
        };

        for recipe in [
            plain.clone(),
            Recipe {
                scales: vec![4],
                ..plain
            },
            other,
        ] {
            let command = build_command(&engines, &recipe, Path::new("/var/lib/my-model"));
            let words = command.replace("winspect engine", "winspect");
            let parsed = Winspect::try_parse_from(words.split_whitespace())
                .expect("it is one of ours")
                .command;

            let EngineCommand::Build(arguments) = parsed else {
                panic!("{command}")
            };

            assert_eq!(arguments.recipe(), recipe, "{command}");
            let wanted = arguments.engines();
            assert_eq!(
                (wanted.precision, &wanted.tensorrt),
                (engines.precision, &engines.tensorrt)
            );

            assert_eq!(wanted.onnxruntime, engines.onnxruntime);
            assert_eq!(
                (arguments.folder, arguments.looks),
                (PathBuf::from("/var/lib/my-model"), LOOKS_MAX)
            );
        }
    }
}
