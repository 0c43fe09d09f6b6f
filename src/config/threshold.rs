//! `threshold`, of a recipe or of one of its regions.

use super::table::{TableReader, number, shown};
use crate::recipe::spec::Threshold;

/// Reads a table's own threshold; `None` where it has none, or a wrong one.
pub fn threshold(table: &mut TableReader, auto_factor: f32) -> Option<Threshold> {
    // The word comes first: it is text, which `number` would try to parse.
    let value = table.take("threshold")?;
    if value == "auto" {
        return Some(Threshold::Auto {
            factor: auto_factor,
        });
    }

    // Words and distances give at most 1 each, so that no score is beyond 2.
    let given = number(&value).filter(|given| (0.0..=2.0).contains(given));
    if given.is_none() {
        table.note(
            "threshold",
            format!(
                "must be \"auto\" or a number from 0 to 2, got {}",
                shown(&value)
            ),
        );
    }

    given.map(|given| Threshold::Fixed(given as f32))
}
