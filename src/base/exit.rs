//! Exit codes of the commands, after sysexits(3), and the one error type that reaches `main`.
//!
//! systemd does not restart on 64, 65 and 78: only a person can mend those.

use std::fmt;
use std::process::ExitCode;

/// The exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The command line does not make sense.
    Usage = 64,
    /// A file that was given is not what it has to be: a picture, weights, a model folder.
    Data = 65,
    /// A part of the outside is missing: broker, camera, library.
    Unavailable = 69,
    /// A bug of ours, or a stage that panicked.
    Software = 70,
    /// The configuration is wrong.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error on its way to the person at the terminal: the whole chain in words, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// One line for the person, causes included.
    pub message: String,
}

impl Failure {
    /// A failure whose message is the error and its chain of sources, joined by `: `.
    pub fn new(exit: Exit, error: impl std::error::Error) -> Self {
        Failure {
            exit,
            message: chain(&error),
        }
    }

    /// A failure with a message of its own.
    pub fn words(exit: Exit, message: impl Into<String>) -> Self {
        Failure {
            exit,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error and its sources in one line, outermost first. A source that its parent already quotes is
/// not repeated.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }

        source = cause.source();
    }

    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read weights")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn a_chain_names_every_cause_once() {
        let cause = "x".parse::<u8>().expect_err("not a number");
        assert_eq!(
            chain(&Outer(cause)),
            "cannot read weights: invalid digit found in string"
        );
    }
}
