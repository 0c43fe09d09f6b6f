//! Arguments of `winspect bench parts`.

use crate::store::Sync;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `winspect bench parts`.
#[derive(Debug, Args)]
pub struct PartsArguments {
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    #[arg(long, default_value_t = 1883)]
    pub port: u16,
    /// Triggers a second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub rate: u16,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub seconds: u16,
    /// Results that an earlier run left
    #[arg(long, default_value_t = 100_000)]
    pub backlog: usize,
    /// Milliseconds between two frames of the camera
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub frame_ms: u64,
    /// A folder on the disk that is measured; the store is made in it, and taken away
    #[arg(long, default_value = ".")]
    pub folder: PathBuf,
    /// Survive a power cut (fsync), or kill -9 only
    #[arg(long, default_value = "full", value_parser = ["full", "normal"])]
    pub sync: String,
}

impl PartsArguments {
    /// Returns the store's `sync` that is measured.
    pub fn sync(&self) -> Sync {
        match self.sync.as_str() {
            "full" => Sync::Full,
            _ => Sync::Normal,
        }
    }
}
