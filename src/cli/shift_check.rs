//! `winspect shift-check line.toml`: a person proves that a running line sees: known bad and good parts, the
//! gate, a signature. Earlier checks are listed and printed.

use super::live_command::carry_out;
use super::running_line::{connect, failure, unexpected};
use super::terminal::print;
use crate::base::exit::{Exit, Failure};
use crate::control::messages::{ControlReply, ControlRequest};
use crate::protocol::check_report::{LIST_HEAD, report, row};
use crate::protocol::shift_check::{SHIFT_CHECK, ShiftCheck};
use clap::{Args, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// More checks than a line keeps.
const ALL: u16 = u16::MAX;

/// Arguments of `winspect shift-check`.
#[derive(Debug, Args)]
pub struct ShiftCheckArguments {
    /// The line's configuration, as for `run`
    line: PathBuf,
    #[command(subcommand)]
    step: ShiftCheckStep,
}

/// The steps of a check, with the keys of the command, and what was before.
#[derive(Debug, Subcommand, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
enum ShiftCheckStep {
    /// Begin: the next parts are known, the bad ones first; waits until all have come
    Start {
        /// Why the line is checked
        #[arg(long, value_name = "WHY")]
        why: Why,
        /// Number of known bad parts, which must fail
        #[arg(long, value_name = "N")]
        bad: u32,
        /// Number of known good parts behind them, which must pass
        #[arg(long, value_name = "N", default_value_t = 0)]
        good: u32,
        /// Camera of the parts, or the name that several share; any unless given
        #[arg(long, value_name = "NAME")]
        camera: Option<String>,
        /// Your name; the user of this machine unless given
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Say whether the gate removed the bad parts, and no other
    Gate {
        /// The answer
        #[serde(serialize_with = "as_bool")]
        removed: YesNo,
        /// Your name; the user of this machine unless given
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Sign: the check has passed
    Sign {
        /// Your name
        #[arg(long, value_name = "NAME")]
        name: String,
    },
    /// End the check without a signature: it has failed
    Abort {
        /// Why
        #[arg(long, value_name = "WORDS")]
        note: Option<String>,
        /// Your name; the user of this machine unless given
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Say that you have seen failed checks, and what was done
    Acknowledge {
        /// Your name
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What was done
        #[arg(long, value_name = "WORDS")]
        note: String,
        /// Number of the check; all failed ones unless given
        #[arg(long, value_name = "CHECK")]
        check: Option<String>,
    },
    /// List the last checks, the newest first
    List {
        /// Number of checks
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: u16,
        /// One JSON line a check
        #[arg(long)]
        json: bool,
    },
    /// Print a check as a record: the newest unless another is named
    Print {
        /// Number of the check, as `list` has it
        check: Option<String>,
    },
}

/// Why a line is checked.
#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Why {
    /// A shift begins
    Start,
    /// Another product runs from now on
    Changeover,
    /// Somebody has cleaned or adjusted the line
    Maintenance,
    /// Somebody has mended the line
    Repair,
}

/// Answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum YesNo {
    /// It did
    Yes,
    /// It did not
    No,
}

/// Does a step, or shows what was before.
///
/// # Errors
/// When no line runs with that file, or it refuses, or a known part got another verdict than it must.
pub fn run(arguments: &ShiftCheckArguments) -> Result<(), Failure> {
    let line = &arguments.line;

    match &arguments.step {
        ShiftCheckStep::List { limit, json } => list(line, *limit, *json),
        ShiftCheckStep::Print { check } => print_record(line, check.as_deref()),
        step => carry_out_step(line, step),
    }
}

/// Sends a step to the line, and prints what comes of it.
fn carry_out_step(line: &Path, step: &ShiftCheckStep) -> Result<(), Failure> {
    // A value that was not given is null, which is as good as none.
    let values = serde_json::to_value(step).expect("plain values");
    let values = values.as_object().into_iter().flatten();

    let payload: Vec<_> = values
        .map(|(key, value)| (key.as_str(), Some(value.clone())))
        .collect();

    carry_out(line, SHIFT_CHECK, &payload)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn as_bool<S: Serializer>(answer: &YesNo, to: S) -> Result<S::Ok, S::Error> {
    let is_yes = *answer == YesNo::Yes;

    to.serialize_bool(is_yes)
}

fn list(line: &Path, limit: u16, is_json: bool) -> Result<(), Failure> {
    let checks = newest(line, limit)?;

    if checks.is_empty() && !is_json {
        return print("no shift check is kept").map(|_| ());
    }

    let zone = TimeZone::system();
    let mut lines = vec![];

    if !is_json {
        lines.push(LIST_HEAD.to_owned());
    }

    for check in &checks {
        lines.push(match is_json {
            true => serde_json::to_string(check).expect("plain values"),
            false => row(check, &zone),
        });
    }

    print(lines.join("\n")).map(|_| ())
}

fn print_record(line: &Path, number: Option<&str>) -> Result<(), Failure> {
    let checks = newest(line, ALL)?;
    let mut checks = checks.iter();

    let found = match number {
        None => checks.next(),
        Some(number) => checks.find(|check| check.check == number),
    };

    let Some(check) = found else {
        let number = number.unwrap_or_default();
        let words =
            format!("no shift check {number} is kept; list has the numbers of those that are");

        return Err(Failure::words(Exit::Data, words));
    };

    let zone = TimeZone::system();
    let record = report(check, &zone);

    print(record).map(|_| ())
}

/// The newest checks of the line that runs with that file.
fn newest(line: &Path, most: u16) -> Result<Vec<ShiftCheck>, Failure> {
    let request = ControlRequest {
        shift_checks: Some(most),
        ..ControlRequest::default()
    };

    let reply = connect(line)?.ask(&request, PATIENCE);

    match reply.map_err(|error| failure(&error))? {
        ControlReply::ShiftChecks(checks) => Ok(checks),
        other => Err(unexpected(&other)),
    }
}
