//! `winspect run line.toml`: the daemon. The first signal (SIGHUP, SIGINT, SIGTERM) drains, the second exits
//! at once. Ends with one JSON line of counters.

use super::terminal::print;
use crate::base::exit::{Exit, Failure};
use crate::base::systemd::Systemd;
use crate::base::{allocator, systemd};
use crate::config::{self, LineConfig};
use crate::line::{self, Line, Opening};
use crate::model::ModelFolder;
use crate::recipe::prepare::RecipePreparer;
use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Arguments of `winspect run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// The line's configuration
    line: PathBuf,
}

/// Exit code of a process that a signal ended, as shells give it: 128 + SIGTERM.
const AT_ONCE: i32 = 143;

/// Runs a line until it ends or a signal stops it.
///
/// # Errors
/// When the line cannot start, and after its end: the first failure of a stage.
pub fn run(arguments: &RunArguments) -> Result<(), Failure> {
    // The allocator is bounded before any thread starts, and the panic hook stands before anything
    // can panic.
    allocator::bound_arenas();
    line::end_process_on_panic();

    // Signals are caught before the model is loaded, which takes seconds: systemd may stop the
    // service meanwhile.
    let stop = stop_flag()?;
    let config = configuration(&arguments.line)?;
    systemd::starting("loading the model");
    let model =
        ModelFolder::open(&config.model).map_err(|error| Failure::new(Exit::Config, error))?;

    // The store opens under the new run's id: parts that the last run left without a result get one
    // here.
    let run_id = ulid::Ulid::generate().to_string();
    let opening = Opening::open(config.store.clone(), &run_id)?;
    tracing::info!("run {run_id}: model {}", model.label());
    let preparer = RecipePreparer {
        model,
        engines: config.engines.clone(),
        batch: config.batch,
    };

    // READY=1 goes out when the line runs; from then on this thread only watches the stages and the
    // signal.
    let line = Line::start(&config, opening, preparer, &run_id)?;
    let mut systemd = Systemd::ready(line.status(), Instant::now());
    line::wait(&line, || {
        systemd.update(Instant::now(), &line.pulses(), || line.status());
        stop.load(Ordering::Relaxed)
    });

    // The order of the end: sources stop, parts are judged, results are delivered, then the
    // counters are printed. A failure of a stage wins over one of standard output.
    systemd::stopping("what was captured is judged and delivered");
    let (summary, outcome) = line.finish();
    let counters = serde_json::to_string(&summary).expect("counters are plain values");
    let printed = print(counters);
    outcome.and(printed.map(|_| ()))
}

/// Reads and checks a line's file.
///
/// # Errors
/// All problems of the file, under its path.
pub fn configuration(path: &Path) -> Result<LineConfig, Failure> {
    config::load(path).map_err(|problems| {
        // The problems stand indented under the file's path.
        let words = problems.to_string().replace('\n', "\n  ");
        Failure::words(Exit::Config, format!("{}:\n  {words}", path.display()))
    })
}

/// Returns a flag that the first SIGINT, SIGTERM or SIGHUP sets; the second ends the process at once.
fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    // The flag is polled by the main thread: a signal handler may do nothing more.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        // `nohup` starts a process with SIGHUP ignored, so that it outlives its terminal.
        if signal == SIGHUP && is_ignored(signal) {
            continue;
        }

        // The order matters: the first signal finds the flag unset and sets it, the second ends the
        // process.
        signal_hook::flag::register_conditional_shutdown(signal, AT_ONCE, stop.clone())
            .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
            .map_err(|error| Failure::new(Exit::Software, error))?;
    }

    Ok(stop)
}

/// True for a signal that this process was started to ignore.
fn is_ignored(signal: i32) -> bool {
    // SAFETY: a sigaction is plain numbers and pointers, and zeros are a valid one.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action the call only writes the present one into `now`, which outlives
    // it.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}
