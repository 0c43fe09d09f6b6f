//! `winspect label line.toml`: a part that a running line has judged is good or bad, whatever its verdict was; the
//! line's recipe learns it.

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
    #[arg(long = "as", value_name = "KIND")]
    label: LabelKind,
    /// Name of the recipe; the one that judges unless given
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Make the revision a candidate: it does not judge until `recipe rollback` names it
    #[arg(long)]
    candidate: bool,
}

/// What a part is.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum LabelKind {
    /// A good part
    Good,
    /// A bad part: it must fail from now on
    Bad,
    /// A good part that failed
    FalseReject,
}

/// Labels a part.
///
/// # Errors
/// When no line runs with that file, or it refuses.
pub fn run(arguments: &LabelArguments) -> Result<(), Failure> {
    let label = match arguments.label {
        LabelKind::Good => "good",
        LabelKind::Bad => "bad",
        LabelKind::FalseReject => "false_reject",
    };

    // A number means a part of the run of now.
    let payload = [
        ("run_id", Some(run_of(&arguments.line)?.into())),
        ("camera", Some(arguments.camera.clone().into())),
        ("seq", Some(arguments.seq.into())),
        ("as", Some(label.into())),
        ("recipe", arguments.recipe.clone().map(Into::into)),
        ("candidate", arguments.candidate.then_some(true.into())),
    ];

    carry_out(&arguments.line, "label", &payload)
}
