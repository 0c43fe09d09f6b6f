//! A program that ends with its test, also with one that fails, which then shows what it said.

use crate::line;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Output};

/// Killed when it is let go.
pub struct Running(Option<Child>);

impl Running {
    pub fn of(child: Child) -> Self {
        Running(Some(child))
    }

    /// The line of this folder.
    pub fn line(folder: &Path) -> Self {
        Self::of(line::start(folder))
    }

    pub fn child(&self) -> &Child {
        self.0.as_ref().expect("it is let go only at its end")
    }

    /// What it said, after an orderly stop of a line.
    pub fn stop(mut self) -> Output {
        line::ask_to_stop(self.child());
        let child = self.0.take().expect("it is let go only at its end");
        child.wait_with_output().expect("ends")
    }

    /// An orderly stop, and the line's summary.
    #[track_caller]
    pub fn summary(self) -> Value {
        line::summary(&self.stop())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else {
            return;
        };
        let _ = child.kill();
        let output = child.wait_with_output();
        if std::thread::panicking() {
            let errors = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
            eprintln!("what was running said: {}", errors.unwrap_or_default());
        }
    }
}
