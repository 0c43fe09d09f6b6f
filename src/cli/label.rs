//! `winspect label line.toml`: what a part is that a running line has judged, whatever its verdict was. It is kept
//! with the part, and the line's recipe learns it.

use super::live_command::{carry_out, run_of};
use crate::base::exit::Failure;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Arguments of `winspect label`.
#[derive(Debug, Args)]
pub struct LabelArguments {
    /// The line's configuration, as for `run`
    line: PathBuf,
    /// Camera of the part, or the name that several share
    #[arg(long, value_name = "NAME")]
    camera: String,
    /// Number of the part, as its result has it
    #[arg(long, value_name = "N")]
    seq: u64,
    /// What the part is
    #[arg(long = "as", value_name = "KIND", required_unless_present = "note")]
    label: Option<LabelKind>,
    /// Words on the part, which are kept with it
    #[arg(long, value_name = "WORDS")]
    note: Option<String>,
    /// Run of the part, as its result has it; the present one unless given
    #[arg(long, value_name = "RUN")]
    run_id: Option<String>,
    /// Name of the recipe; the one that judges unless given
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Make the revision a candidate: it does not judge until `recipe rollback` names it
    #[arg(long)]
    candidate: bool,
    /// Keep the label with the part, and teach nothing yet
    #[arg(long, conflicts_with = "candidate")]
    keep_only: bool,
}

/// What a part is.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum LabelKind {
    /// A good part
    Good,
    /// A bad part: it must fail from now on
    Bad,
    /// A reject that is really bad: the same as bad
    ReallyBad,
    /// A good part that failed
    FalseReject,
    /// A part of which nobody is sure: it is not taught
    NotSure,
}

/// Labels a part.
///
/// # Errors
/// When no line runs with that file, or it refuses.
pub fn run(arguments: &LabelArguments) -> Result<(), Failure> {
    // The words are those of the command, which a program sends over MQTT.
    let label = arguments.label.map(|label| match label {
        LabelKind::Good => "good",
        LabelKind::Bad => "bad",
        LabelKind::ReallyBad => "really_bad",
        LabelKind::FalseReject => "false_reject",
        LabelKind::NotSure => "not_sure",
    });

    // A number means a part of the run of now.
    let run_id = match &arguments.run_id {
        Some(run_id) => run_id.clone(),
        None => run_of(&arguments.line)?,
    };

    let payload = [
        ("run_id", Some(run_id.into())),
        ("camera", Some(arguments.camera.clone().into())),
        ("seq", Some(arguments.seq.into())),
        ("as", label.map(Into::into)),
        ("note", arguments.note.clone().map(Into::into)),
        ("recipe", arguments.recipe.clone().map(Into::into)),
        ("candidate", arguments.candidate.then_some(true.into())),
        ("teach", arguments.keep_only.then_some(false.into())),
    ];

    carry_out(&arguments.line, "label", &payload)
}
