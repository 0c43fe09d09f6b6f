//! `winspect reload line.toml`: the running line reads its file again, as after a SIGHUP, and says what has changed.

use super::live_command::carry_out;
use crate::base::exit::Failure;
use crate::protocol::command::RELOAD;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `winspect reload`.
#[derive(Debug, Args)]
pub struct ReloadArguments {
    /// The line's configuration, as for `run`
    line: PathBuf,
}

/// Lets the line read its file again, and waits for what comes of it.
///
/// # Errors
/// When no line runs with that file, or the file is wrong: then all goes on as before.
pub fn run(arguments: &ReloadArguments) -> Result<(), Failure> {
    carry_out(&arguments.line, RELOAD, &[])
}
