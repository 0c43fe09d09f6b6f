//! `[recipe.locate]`: the master picture by which the part is found in each picture.

use super::regions::area;
use super::table::TableReader;
use crate::base::problems::Problems;
use crate::data::picture::Area;
use crate::image::locate::LocateLimits;
use crate::recipe::locate::LocateSpec;
use serde_json::Value;
use std::path::Path;

/// Reads the table.
pub fn locate(value: Value, base: &Path, problems: &mut Problems) -> LocateSpec {
    let mut table = TableReader::new("recipe.locate", value, problems);
    let master = base.join(table.required("master"));
    if !master.is_file() {
        let words = format!("{} is not a picture that is there", master.display());
        table.note("master", words);
    }

    if !table.has("area") {
        table.note(
            "area",
            "missing: [x, y, width, height] of the part on the master picture",
        );
    }

    // A table without an area is refused; this one stands in for it.
    let area = area(&mut table, "area").unwrap_or(Area::whole(1, 1));
    let usual = LocateLimits::new(area);
    let turn_max = table.number("turn_max", 0.0, 180.0);
    let move_max = table.number("move_max", 0.0, 1.0);
    let likeness = table.number("likeness", 0.1, 1.0);
    table.finish();
    LocateSpec {
        master,
        limits: LocateLimits {
            area,
            turn_max_deg: turn_max.map_or(usual.turn_max_deg, |degrees| degrees as f32),
            move_max: move_max.map_or(usual.move_max, |share| share as f32),
            likeness_min: likeness.map_or(usual.likeness_min, |least| least as f32),
        },
    }
}
