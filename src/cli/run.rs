//! `winspect run line.toml`: the daemon. The first SIGINT or SIGTERM drains, the second exits at once. SIGHUP
//! reads the line's file again; where it says that the terminal has gone, it drains too. Ends with one JSON
//! line of counters.

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
    let hang_up = HangUp::caught()?;
    let config = configuration(&arguments.line)?;
    systemd::starting("loading the model");
    let model =
        ModelFolder::open(&config.model).map_err(|error| Failure::new(Exit::Config, error))?;

    // The store opens under the new run's id: parts that the last run left without a result get one
    // here.
    let (opening, run_id) = Opening::of_new_run(config.store.clone())?;

    for words in &config.warnings {
        tracing::warn!("{words}");
    }

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
        hang_up.serve(&line, &stop);
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

/// SIGHUP, and what it means.
struct HangUp {
    came: Arc<AtomicBool>,
    /// True if the process was started in a terminal, whose end tells itself by the same signal.
    has_terminal: bool,
}

impl HangUp {
    fn caught() -> Result<Self, Failure> {
        let came = Arc::new(AtomicBool::new(false));

        // `nohup` starts a process with SIGHUP ignored, so that it outlives its terminal.
        if !is_ignored(SIGHUP) {
            signal_hook::flag::register(SIGHUP, came.clone())
                .map_err(|error| Failure::new(Exit::Software, error))?;
        }

        Ok(HangUp {
            came,
            has_terminal: has_terminal(),
        })
    }

    /// Lets the line read its file again after a signal. One that comes while the line is still at the file before
    /// waits for that.
    fn serve(&self, line: &Line, stop: &AtomicBool) {
        if !line.can_reload() || !self.came.swap(false, Ordering::Relaxed) {
            return;
        }

        // Nobody can read a file again for a person who has gone: a line that was started by hand ends with
        // its terminal, as it always did.
        if self.has_terminal && !has_terminal() {
            return stop.store(true, Ordering::Relaxed);
        }

        line.reload();
    }
}

/// True while the process has a terminal.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Returns a flag that the first SIGINT or SIGTERM sets; the second ends the process at once.
fn stop_flag() -> Result<Arc<AtomicBool>, Failure> {
    // The flag is polled by the main thread: a signal handler may do nothing more.
    let stop = Arc::new(AtomicBool::new(false));

    for signal in [SIGINT, SIGTERM] {
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
