//! Facts of a line for people who help it: its files, its configuration and its status.

use std::path::PathBuf;

/// The facts of one line.
pub struct LineFacts {
    /// The line's file.
    pub line: PathBuf,
    /// What is kept and for how long, in sentences.
    pub kept: Vec<String>,
    /// The store's file.
    pub store: PathBuf,
    /// The configuration that is in force, one key a line, without secrets.
    pub configuration: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// The status, as `winspect status --json` tells it.
    pub status: Box<dyn Fn() -> String + Send + Sync>,
}
