//! `winspect status line.toml`: how a running line is, for a person, or as one JSON line.

use super::running_line::{connect, failure, unexpected};
use super::terminal::print;
use crate::base::exit::Failure;
use crate::control::messages::{ControlReply, ControlRequest, LineStatus};
use crate::protocol::shadow::ShadowCounts;
use clap::Args;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct StatusArguments {
    /// The line's configuration, as for `run`
    line: PathBuf,
    /// Print one JSON line
    #[arg(long)]
    json: bool,
}

/// Time for the line to answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(arguments: &StatusArguments) -> Result<(), Failure> {
    // One request gets one reply; a line that is stopping may take a moment.
    let mut client = connect(&arguments.line)?;
    let request = ControlRequest {
        status: true,
        ..ControlRequest::default()
    };

    let reply = client
        .ask(&request, PATIENCE)
        .map_err(|error| failure(&error))?;

    let ControlReply::Status(status) = reply else {
        return Err(unexpected(&reply));
    };

    // The JSON form is the reply itself, so that both sides share one type.
    if arguments.json {
        let line = serde_json::to_string(&status).expect("a status is plain values");
        return print(line).map(|_| ());
    }

    print(describe(&status).trim_end()).map(|_| ())
}

/// A status for a person.
fn describe(status: &LineStatus) -> String {
    // Rows are a name in twelve columns and a value. Causes continue the row of the health.
    let mut text = String::new();
    let condition = &status.condition;
    let mut row = |name: &str, value: String| {
        writeln!(text, "{name:<12}{value}").expect("to memory");
    };

    // Identity comes first, then the condition, then counters: the order of a person's questions.
    row("line", format!("{}/{}", status.prefix, status.station));
    row(
        "run",
        format!("{}, winspect {}", status.run_id, status.version),
    );

    row("state", format!("{:?}", condition.state));
    row("health", condition.health.word().to_owned());
    for cause in &condition.causes {
        row("", cause.clone());
    }

    if condition.clock_synchronised == Some(false) {
        row("clock", "not synchronised".to_owned());
    }

    row(
        "recipe",
        format!("{}, {}", status.recipe, thresholds(status)),
    );

    if let Some(shadow) = &status.shadow {
        row("shadow", shadow_row(shadow));
    }

    // A camera without a state has not shown its first frame.
    let device = format!("{} on {}", status.backend, status.device);
    row("model", format!("{}, {device}", status.model));
    for (name, camera) in &status.cameras {
        let state = camera.state.map_or("starting", |state| state.word());
        let frames = camera.frames;
        let counts = format!(
            "{} frames, {} judged, {} replaced, {} skipped, {} failed",
            frames.captured, frames.judged, frames.replaced, frames.skipped, frames.failed
        );

        row("camera", format!("{name} {state}: {counts}"));
        // A clock that is off by less says nothing to a person: pictures take their time too.
        if let Some(offset) = camera.clock_offset_ms.filter(|ms| ms.abs() >= 1000) {
            let seconds = offset as f64 / 1e3;
            row("", format!("its clock is {seconds:+.1} s off ours"));
        }
    }

    // The counters are the store's, taken at one moment: they balance.
    let store = &status.store;
    let undecided = store.undecided;
    let counts = format!("{} parts, {} results", store.accepted, store.results);
    row(
        "parts",
        format!("{counts} ({undecided} undecided), {} late", store.late),
    );

    row(
        "broker",
        format!(
            "{} results acknowledged, {} wait",
            store.acked, store.waiting
        ),
    );

    text
}

/// The shadow's counters for a person.
fn shadow_row(shadow: &ShadowCounts) -> String {
    let beside = shadow.active.as_ref();
    format!(
        "{}{}: {} parts, {} differ ({} pass, {} fail in the shadow alone), {} not looked at",
        shadow.recipe,
        beside.map_or_else(String::new, |active| format!(" beside {active}")),
        shadow.parts,
        shadow.differ,
        shadow.passes_more,
        shadow.fails_more,
        shadow.dropped
    )
}

fn thresholds(status: &LineStatus) -> String {
    // A line without a threshold leaves every part undecided, which has to be seen here.
    let word = |threshold: Option<f32>| {
        threshold.map_or("no threshold".to_owned(), |value| {
            format!("threshold {value:.4}")
        })
    };

    if status.regions.is_empty() {
        return word(status.threshold);
    }

    // Regions have thresholds of their own, and the line none.
    let regions: Vec<String> = status
        .regions
        .iter()
        .map(|(name, threshold)| format!("{name}: {}", word(*threshold)))
        .collect();

    regions.join(", ")
}
