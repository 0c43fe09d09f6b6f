//! The thin binary: parse the command line, set up telemetry, run one command, turn its outcome into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    winspect::cli::main()
}
