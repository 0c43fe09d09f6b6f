//! The settings of a line's store.

use std::path::PathBuf;
use std::time::Duration;

/// Place of the file, and how much it keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreSettings {
    /// The SQLite file; it is made when it is not there.
    pub file: PathBuf,
    /// Reach of a commit.
    pub sync: Sync,
    /// Results that may wait for the broker; beyond, the oldest are given up, counted and reported.
    pub waiting_max: u64,
    /// Age from which delivered results leave the file.
    pub keep: Duration,
    /// Bytes of the file beyond which the oldest delivered results leave it.
    pub keep_bytes: u64,
    /// Time after its deadline for which a verdict is still of use to the gate.
    pub reject_window: Duration,
}

/// Reach of a commit before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// The disk (fsync): a power cut loses nothing.
    #[default]
    Full,
    /// The system: `kill -9` loses nothing, a power cut the last seconds.
    Normal,
}
