//! `winspect run line.toml`: the daemon. First signal drains, second exits at once. Ends with one JSON line of counters.

use super::engine::build_command;
use super::terminal::print;
use crate::base::exit::{Exit, Failure};
use crate::base::systemd::Systemd;
use crate::base::{allocator, systemd};
use crate::config::{self, LineConfig, RecipeConfig, SelfTestConfig};
use crate::engine::select::Engines;
use crate::image::file as image_file;
use crate::line::{self, ActiveRecipe, Line, Opening, Prepare, PrepareMode};
use crate::model::ModelFolder;
use crate::recipe::prepare::{References, Setting};
use crate::recipe::quality::{Gate, shows_nothing};
use crate::recipe::self_test::SelfTest;
use crate::winclip::Inspector;
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[derive(Debug, Args)]
pub struct RunArguments {
    /// The line's configuration
    line: PathBuf,
}

/// The shell's code for a process that a signal ended: 128 + SIGTERM.
const AT_ONCE: i32 = 143;

pub fn run(arguments: &RunArguments) -> Result<(), Failure> {
    allocator::bound_arenas();
    line::name_the_stage_that_panics();
    let stop = stop_flag()?;
    let config = configuration(&arguments.line)?;
    systemd::starting("loading the model");
    let model =
        ModelFolder::open(&config.model).map_err(|error| Failure::new(Exit::Config, error))?;
    let run_id = ulid::Ulid::generate().to_string();
    let opening = Opening::open(config.store.clone(), &run_id)?;
    let label = model.label();
    tracing::info!("run {run_id}: model {label}");
    let prepare: Prepare = {
        let (engines, batch) = (config.engines.clone(), config.batch);
        Box::new(move |recipe, moment| {
            let command = || build_command(&engines, &recipe.winclip, &model.path);
            let build_command = (moment == PrepareMode::Live).then(command);
            prepare(
                &Engines {
                    build_command,
                    ..engines.clone()
                },
                recipe,
                &model,
                batch,
            )
        })
    };
    let line = Line::start(&config, opening, prepare, &label, &run_id)?;
    let mut systemd = Systemd::ready(line.status(), Instant::now());
    line::wait(&line, || {
        systemd.update(Instant::now(), &line.pulses(), || line.status());
        stop.load(Ordering::Relaxed)
    });
    systemd::stopping("what was captured is judged and delivered");
    let (summary, outcome) = line.finish();
    let printed = print(serde_json::to_string(&summary).expect("counters are plain values"));
    outcome.and(printed.map(|_| ()))
}

/// Reads and checks a line's file.
pub fn configuration(path: &Path) -> Result<LineConfig, Failure> {
    config::load(path).map_err(|problems| {
        let words = problems.to_string().replace('\n', "\n  ");
        Failure::words(Exit::Config, format!("{}:\n  {words}", path.display()))
    })
}

/// Set by the first SIGINT or SIGTERM; the second ends the process at once.
fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag unset, arms it, and the second ends the process.
        let armed = signal_hook::flag::register_conditional_shutdown(signal, AT_ONCE, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()));
        armed.map_err(|error| Failure::new(Exit::Software, error))?;
    }
    Ok(stop)
}

/// The inspector with its references learnt, and the gate before it; `batch` pictures may be judged at once.
pub fn prepare(
    engines: &Engines,
    wanted: &RecipeConfig,
    model: &ModelFolder,
    batch: usize,
) -> Result<ActiveRecipe, Failure> {
    let recipe = &wanted.winclip;
    let plan = recipe
        .encode_plan(&model.spec, !wanted.references.is_empty())
        .map_err(|problems| {
            Failure::words(
                Exit::Config,
                format!(
                    "recipe {}:\n  {}",
                    wanted.name,
                    problems.to_string().replace('\n', "\n  ")
                ),
            )
        })?;
    let references = References::read(&wanted.references, &mut |words| tracing::warn!("{words}"))?;
    let empty = references
        .files
        .iter()
        .zip(&references.pictures)
        .filter(|(_, picture)| shows_nothing(picture));
    let empty: Vec<String> = empty.map(|(file, _)| file.display().to_string()).collect();
    if !empty.is_empty() {
        let words = format!(
            "{} of the references are black, white or flat from edge to edge, and such pictures would pass; take them out:\n  {}",
            empty.len(),
            empty.join("\n  ")
        );
        return Err(Failure::words(Exit::Data, words));
    }
    let setting = Setting {
        model,
        recipe,
        plan: &plan,
        engines,
        wrong_recipe: Exit::Config,
    };
    let mut inspector = setting.inspector(&references, &mut |done, of| {
        if done == of {
            tracing::info!("{of} references taught");
        }
    })?;
    if let Some(reference) = references.pictures.first() {
        inspector
            .warm(reference, batch)
            .map_err(|error| Failure::new(Exit::Software, error))?;
    }
    let self_test = wanted
        .self_test
        .as_ref()
        .map(|test| self_test(test, wanted, model, &references, &mut inspector))
        .transpose()?;
    Ok(ActiveRecipe {
        gate: Gate::new(wanted.bad_image, &references.pictures),
        frozen_frames: wanted.bad_image.frozen_frames,
        gallery: references.hash(),
        references: references.files,
        self_test,
        challenge_every: wanted.challenge_every,
        inspector,
    })
}

fn self_test(
    test: &SelfTestConfig,
    recipe: &RecipeConfig,
    model: &ModelFolder,
    references: &References,
    inspector: &mut Inspector,
) -> Result<SelfTest, Failure> {
    let read = |path| image_file::read(path).map_err(|error| Failure::new(Exit::Data, error));
    let pictures = References {
        pictures: vec![read(&test.good)?, read(&test.bad)?],
        files: vec![],
    };
    let by = [
        recipe.label(),
        format!("{:?}", recipe.winclip),
        references.hash().unwrap_or_default(),
        pictures.hash().unwrap_or_default(),
        model.label(),
        inspector.backend().to_owned(),
        inspector.device().to_owned(),
        env!("CARGO_PKG_VERSION").to_owned(),
    ];
    let [good, bad] = <[_; 2]>::try_from(pictures.pictures).expect("two were read");
    SelfTest::learn((good, bad), by.join("; "), test.every, inspector)
        .map_err(|error| Failure::new(Exit::Data, error))
}
