//! Output of a command: lines for programs on standard output, words and a progress bar for people on standard error.
//!
//! A reader may leave at any time: `println!` and `eprintln!` panic when one such as `head -1` has left, these do not.

use crate::base::exit::{Exit, Failure};
use indicatif::{ProgressBar, ProgressStyle};
use std::borrow::Cow;
use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// The progress bar, with lines and words printed above it. Nothing is drawn when standard error is no terminal.
pub struct Terminal {
    bar: ProgressBar,
}

impl Terminal {
    /// No bar is shown yet.
    pub fn new() -> Self {
        Terminal {
            bar: ProgressBar::hidden(),
        }
    }

    /// A new bar of `steps` steps, in place of the last one.
    pub fn begin(&mut self, what: impl Into<Cow<'static, str>>, steps: usize) {
        // A bar that is left behind would stay on the terminal for good.
        self.bar.finish_and_clear();
        self.bar = ProgressBar::new(steps as u64)
            .with_style(style("{msg} {bar:40} {pos}/{len} {eta}"))
            .with_message(what);
    }

    /// A new bar of a download in bytes, `have` of which are there; of unknown length it only counts.
    pub fn begin_bytes(&mut self, have: u64, total: Option<u64>) {
        self.bar.finish_and_clear();

        // A server need not say how long a file is.
        let bar = match total {
            Some(bytes) => ProgressBar::new(bytes),
            None => ProgressBar::no_length(),
        };

        self.bar = bar
            .with_style(style(
                "{bar:40} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
            ))
            .with_position(have);

        self.bar.reset_eta();
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// Moves the bar to a step, or a byte.
    pub fn done(&self, steps: usize) {
        self.bar.set_position(steps as u64);
    }

    /// Says words to a person, above the bar.
    pub fn say(&self, words: impl Display) {
        self.bar.suspend(|| say(words));
    }

    /// Prints a line for a program, above the bar; see [`print`].
    ///
    /// # Errors
    /// As [`print`].
    pub fn print(&self, line: impl Display) -> Result<bool, Failure> {
        self.bar.suspend(|| print(line))
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is right")
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Says words to a person, on standard error.
pub fn say(words: impl Display) {
    // A failure is not told: standard error is where it would be.
    let _ = writeln!(std::io::stderr(), "winspect: {words}");
}

/// Prints a line for a program, on standard output; false when its reader has left and wants no more.
///
/// # Errors
/// When the line cannot be written for another reason: a full disk.
pub fn print(line: impl Display) -> Result<bool, Failure> {
    // The line is flushed at once: its reader may be a program that waits for it.
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::words(
            Exit::Unavailable,
            format!("standard output: {error}"),
        )),
    }
}
