//! `winspect cleaned line.toml`: somebody has cleaned a camera's lens. The running line forgets its drift, and says
//! what the lens showed before and shows after the next parts.

use super::live_command::carry_out;
use crate::base::exit::Failure;
use crate::protocol::command::CLEANED;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `winspect cleaned`.
#[derive(Debug, Args)]
pub struct CleanedArguments {
    /// The line's configuration, as for `run`
    line: PathBuf,
    /// The camera whose lens, window or lamp was cleaned; the only one unless given
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
}

/// Says that a lens was cleaned, and waits for the comparison.
///
/// # Errors
/// When no line runs with that file, or it refuses.
pub fn run(arguments: &CleanedArguments) -> Result<(), Failure> {
    let camera = arguments.camera.clone();
    let payload = [("camera", camera.map(Into::into))];

    carry_out(&arguments.line, CLEANED, &payload)
}
