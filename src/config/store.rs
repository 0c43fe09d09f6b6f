//! `[store]`: where parts and results are kept, and how long.

use super::table::TableReader;
use crate::base::problems::Problems;
use crate::store::StoreSettings;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Reads `[store]`; `reject_window` comes from `[mqtt]`.
pub fn settings(
    value: Option<Value>,
    station: &str,
    reject_window: Duration,
    base: &Path,
    problems: &mut Problems,
) -> StoreSettings {
    // 0 days keep nothing that was delivered. Results that wait for the broker are bounded by their
    // number, never by their age.
    let mut table = TableReader::new("store", value.unwrap_or_default(), problems);
    let file = table.path("file", base);
    let sync = table.choice("sync", "\"full\", \"normal\"");
    let waiting_max = table.whole("waiting_max", 1, 100_000_000);
    let keep_days = table.whole("keep_days", 0, 36_500).unwrap_or(30);
    let keep_mb = table.whole("keep_mb", 1, 10_000_000).unwrap_or(1000);
    table.finish();
    StoreSettings {
        file: file.unwrap_or_else(|| usual_file(station, base)),
        sync: sync.unwrap_or_default(),
        waiting_max: waiting_max.unwrap_or(1_000_000),
        keep: DAY * keep_days as u32,
        keep_bytes: keep_mb << 20,
        reject_window,
    }
}

/// The store's file alone, out of `[store]` as it stands in a line's file.
pub fn file(value: Option<&Value>, station: &str, base: &Path) -> PathBuf {
    let given = value.and_then(|store| store["file"].as_str());
    given.map_or_else(|| usual_file(station, base), |file| base.join(file))
}

/// The file in the service's state directory under systemd, else beside the line's file.
fn usual_file(station: &str, base: &Path) -> PathBuf {
    // A unit with StateDirectory= may write there, and often nowhere else.
    let service = std::env::var_os("STATE_DIRECTORY");
    let folder = service.map_or_else(|| base.to_owned(), PathBuf::from);
    folder.join(format!("{station}.db"))
}
