//! `[evidence]`: the folder where pictures of parts are kept, its bounds, and which parts go there.

use super::table::TableReader;
use crate::base::problems::Problems;
use crate::evidence::EvidenceSettings;
use crate::evidence::rule::Rule;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Reads `[evidence]`; `None` where there is no such table: nothing is kept.
pub fn settings(
    value: Option<Value>,
    base: &Path,
    problems: &mut Problems,
) -> Option<EvidenceSettings> {
    let mut table = TableReader::new("evidence", value?, problems);
    let folder = table.required("folder");
    let megabytes = table.whole("mb", 1, 100_000_000).unwrap_or(1000);
    let days = table.whole("days", 1, 36_500).unwrap_or(30);
    let format = table.choice("format", "\"png\", \"jpeg\"");
    let pass_every = table.whole("pass_every", 0, 1_000_000_000).unwrap_or(1000);
    let near = table.number("near", 0.0, 1.0).unwrap_or(0.05);
    let least_interval = table.number("least_interval_s", 0.0, 86_400.0);
    table.finish();
    Some(EvidenceSettings {
        folder: base.join(folder),
        bytes_max: megabytes << 20,
        age_max: DAY * days as u32,
        format: format.unwrap_or_default(),
        rule: Rule {
            pass_every,
            near: near as f32,
            least_interval: Duration::from_secs_f64(least_interval.unwrap_or(0.0)),
        },
    })
}

/// Refuses the keys by which a line of 0.2 kept heat maps in a folder.
pub fn refuse_overlays(table: &mut TableReader) {
    for (old, new) in [
        ("overlays", "folder in [evidence]"),
        ("overlays_mb", "mb in [evidence]"),
        ("overlays_days", "days in [evidence]"),
    ] {
        table.renamed_in("0.3", old, new);
    }
}
