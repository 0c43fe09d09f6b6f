//! `winspect engine`: build the plans that TensorRT runs, tell which there are.

use super::terminal::{Terminal, print, say};
use crate::base::exit::{Exit, Failure};
use crate::engine::cuda::device::Device;
use crate::engine::network::Precision;
use crate::engine::select::{Backend, Engines, LOOKS_MAX};
use crate::engine::tensorrt::{Library, Order, Plan, Plans, Progress, State, Target};
use crate::engine::{EncodePlan, EngineError};
use crate::model::ModelFolder;
use crate::recipe::prepare::Setting;
use crate::winclip::{MapKind, Preset, Recipe};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[derive(Debug, Subcommand)]
pub enum EngineCommand {
    /// Build what TensorRT runs on a GPU out of a model folder; it lies in the folder's plans/
    Build(BuildArguments),
    /// Say which plans a model folder has, for what, and whether they serve
    List { folder: PathBuf },
}

#[derive(Debug, Args)]
pub struct BuildArguments {
    /// An imported model folder
    folder: PathBuf,
    /// What the network's tensors hold
    #[arg(long, value_enum, default_value = "fp16")]
    precision: Precision,
    #[arg(long, value_enum, default_value_t)]
    preset: Preset,
    /// Input side in pixels; the model's own unless given
    #[arg(long, value_name = "PIXELS")]
    input_px: Option<usize>,
    /// Patches from the b-th block, counted from 1
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
    /// Where libonnxruntime is, which the new plan is compared with
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

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
    let model = open(&arguments.folder)?;
    let recipe = arguments.recipe();
    let encode = encode_plan(&recipe, &model)?;
    let engines = arguments.engines();
    let library = Library::load(arguments.tensorrt.as_deref()).map_err(failure)?;
    let device = match arguments.targets.is_empty() {
        false => None,
        true => Some(Device::open().map_err(|error| {
            Failure::words(
                Exit::Unavailable,
                format!("{error}; or name the GPU to build for: --for 86"),
            )
        })?),
    };
    if device.is_some() {
        engines.runtime().map_err(failure)?; // what compares the plan, before minutes are spent on it
    }
    let target = match &device {
        Some(device) => Target::of(device).map_err(failure)?,
        None => Target::Capabilities(arguments.targets.clone()),
    };
    let order = Order {
        model: &model,
        plan: &encode,
        precision: arguments.precision,
        looks_max: arguments.looks,
        target,
    };
    let bar = Bar::new();
    say(format!(
        "building with {} ({})",
        library.name(),
        library.file().display()
    ));
    let plans = Plans::of(&model);
    let _alone = plans.alone().map_err(failure)?; // until it was compared
    let plan = plans
        .build(&library, &order, &|progress| bar.show(progress))
        .map_err(failure)?;
    drop(bar);
    print(describe(&plan))?;
    let Some(device) = device else { return Ok(()) }; // another machine compares it when it first runs it
    let wrong_recipe = Exit::Usage;
    let setting = Setting {
        model: &model,
        recipe: &recipe,
        plan: &encode,
        engines: &engines,
        wrong_recipe,
    };
    print(setting.prove(&library, device, plan)?.to_string()).map(|_| ())
}

fn list(model: &ModelFolder) -> Result<(), Failure> {
    let (plans, problems) = Plans::of(model).list().map_err(failure)?;
    for plan in &plans {
        print(describe(plan))?;
    }
    if plans.is_empty() {
        let folder = model.path.display();
        print(format!(
            "no plans; build one with: winspect engine build {folder}"
        ))?;
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::words(Exit::Data, problems.join("\n"))),
    }
}

impl BuildArguments {
    /// What judges with the new plan, and what it is compared with.
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

/// The command that builds what a recipe needs, for a shell.
pub fn build_command(engines: &Engines, recipe: &Recipe, model: &Path) -> String {
    let list = |values: &[String]| values.join(",");
    let texts = |scales: &[usize]| scales.iter().map(usize::to_string).collect::<Vec<_>>();
    let maps = recipe
        .maps
        .as_ref()
        .map(|maps| list(&maps.iter().map(MapKind::to_string).collect::<Vec<_>>()));
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| quoted(path));
    let flags = [
        ("precision", Some(engines.precision.name().to_owned())),
        ("preset", Some(recipe.preset.name().to_owned())),
        ("input-px", recipe.input_px.map(|side| side.to_string())),
        ("block", recipe.block.map(|block| block.to_string())),
        ("maps", maps),
        (
            "scales",
            (!recipe.scales.is_empty()).then(|| list(&texts(&recipe.scales))),
        ),
        ("tensorrt", path(&engines.tensorrt)),
        ("onnxruntime", path(&engines.onnxruntime)),
    ];
    let given = flags
        .into_iter()
        .filter_map(|(flag, value)| Some(format!(" --{flag} {}", value?)));
    format!(
        "winspect engine build {}{}",
        quoted(model),
        given.collect::<String>()
    )
}

/// As a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// What recipes of this kind need, with references and without.
fn encode_plan(recipe: &Recipe, model: &ModelFolder) -> Result<EncodePlan, Failure> {
    let wrong = |problems| {
        Failure::words(
            Exit::Usage,
            crate::recipe::prepare::as_flags(&problems).join("\n"),
        )
    };
    let mut plan = recipe.encode_plan(&model.spec, true).map_err(wrong)?;
    if model.spec.text.is_some() {
        let words_alone = recipe.encode_plan(&model.spec, false).map_err(wrong)?;
        plan.image |= words_alone.image;
        let new = words_alone
            .scales
            .into_iter()
            .filter(|scale| !plan.scales.contains(scale))
            .collect::<Vec<_>>();
        plan.scales.extend(new);
    }
    Ok(plan)
}

/// One bar, of the phase that the library is in.
struct Bar(Mutex<(Terminal, String)>);

impl Bar {
    fn new() -> Self {
        Bar(Mutex::new((Terminal::new(), String::new())))
    }

    /// From the library's threads.
    fn show(&self, progress: Progress) {
        let (Progress { part, step }, mut shown) = (
            progress,
            self.0.lock().unwrap_or_else(PoisonError::into_inner),
        );
        let (terminal, last) = &mut *shown;
        let what = format!("{}: {}", part.file(), step.phase);
        if *last != what {
            terminal.begin(what.clone(), step.of);
            *last = what;
        }
        terminal.done(step.done);
    }
}

fn describe(plan: &Plan) -> String {
    let key = &plan.key;
    let state = match &plan.state {
        State::Candidate => {
            "candidate: serves once it was compared with the CPU on its GPU".to_owned()
        }
        State::Accepted => "accepted".to_owned(),
        State::Refused(reason) => format!("refused: {reason}"),
    };
    let scales: Vec<String> = key.scales.iter().map(usize::to_string).collect();
    let windows = if scales.is_empty() {
        "none".to_owned()
    } else {
        scales.join(", ")
    };
    let gpu = key
        .gpu
        .as_ref()
        .map_or(String::new(), |gpu| format!(" ({gpu})"));
    let mut lines = vec![
        format!("plan       {}", plan.path.display()),
        format!("state      {state}"),
        format!(
            "built      by {} for {}{gpu}, {}",
            key.library,
            key.gpus(),
            key.precision.name()
        ),
        format!(
            "takes      {0} x {0} pixels, {1} at once at most",
            key.side, key.looks_max
        ),
        format!(
            "computes   {}; windows of {windows}",
            key.outputs.join(", ")
        ),
    ];
    for (name, file) in plan.files() {
        lines.push(format!(
            "file       {name}, {:.1} MB, built in {:.1} s",
            file.bytes as f64 / 1e6,
            file.built_s
        ));
    }
    lines.join("\n")
}

fn failure(error: EngineError) -> Failure {
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
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
