//! `winspect run line.toml`: the daemon. First signal drains, second exits at once. Ends with one JSON line of counters.

use super::prepare::{References, Setting};
use super::terminal::print;
use crate::base::exit::{Exit, Failure};
use crate::base::notify::Systemd;
use crate::base::{memory, notify};
use crate::config::{self, LineConfig};
use crate::line::{self, Line, Prepared};
use crate::model::ModelFolder;
use crate::quality::{Gate, shows_nothing};
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
    memory::bound_arenas();
    line::name_the_stage_that_panics();
    let stop = stop_flag()?;
    let config = configuration(&arguments.line)?;
    notify::starting("loading the model");
    let model = ModelFolder::open(&config.model).map_err(|error| Failure::new(Exit::Config, error))?;
    let prepared = prepare(&config, &model)?;
    let run_id = ulid::Ulid::generate().to_string();
    tracing::info!(
        "run {run_id}: model {}, backend {}, recipe {}",
        model.label(),
        prepared.inspector.backend(),
        config.recipe.name
    );

    let line = Line::start(&config, prepared, &model.label(), &run_id)?;
    let mut systemd = Systemd::ready(line.status(), Instant::now());
    line::wait(&line, || {
        systemd.look(Instant::now(), &line.pulses(), || line.status());
        stop.load(Ordering::Relaxed)
    });
    notify::stopping("what was captured is judged and delivered");
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

/// The inspector with its references learnt, and the gate before it.
pub fn prepare(config: &LineConfig, model: &ModelFolder) -> Result<Prepared, Failure> {
    let recipe = &config.recipe.winclip;
    let plan = recipe.encode_plan(&model.spec, !config.recipe.references.is_empty()).map_err(|problems| {
        Failure::words(
            Exit::Config,
            format!("recipe {}:\n  {}", config.recipe.name, problems.to_string().replace('\n', "\n  ")),
        )
    })?;
    let references = References::read(&config.recipe.references, &mut |words| tracing::warn!("{words}"))?;
    let empty = references.files.iter().zip(&references.pictures).filter(|(_, picture)| shows_nothing(picture));
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
        onnxruntime: config.onnxruntime.as_deref(),
        threads: config.threads,
        wrong_recipe: Exit::Config,
    };
    let inspector = setting.inspector(&references, &mut |done, of| {
        if done == of {
            tracing::info!("{of} references taught");
        }
    })?;
    let gate = Gate::new(config.recipe.bad_image, &references.pictures);
    Ok(Prepared { inspector, gate, references: references.files })
}
