//! `threshold` and `false_reject_rate`, of a recipe or of one of its regions.

use super::table::{TableReader, number, shown};
use crate::recipe::conformal::FalseRejectRate;
use crate::recipe::spec::Threshold;

/// Reads a table's own threshold; `None` where it has none, or a wrong one.
pub fn threshold(table: &mut TableReader, auto_factor: f32) -> Option<Threshold> {
    // A rate is a threshold of its own. Beside another one it is not known which of the two is meant.
    let has_both = table.has("threshold") && table.has("false_reject_rate");
    let by_rate = by_rate(table);
    let by_score = by_score(table, auto_factor);
    if has_both {
        table.note(
            "false_reject_rate",
            "cannot be had beside threshold, because the rate gives the threshold; take one of the two out",
        );
    }

    by_rate.or(by_score)
}

fn by_rate(table: &mut TableReader) -> Option<Threshold> {
    let value = table.take("false_reject_rate")?;
    let rate = number(&value).and_then(FalseRejectRate::new);
    if rate.is_none() {
        table.note(
            "false_reject_rate",
            format!(
                "must be between 0 and 1 (exclusive), such as 0.05 for 5 % of the good parts, got {}",
                shown(&value)
            ),
        );
    }

    rate.map(Threshold::Rate)
}

fn by_score(table: &mut TableReader, auto_factor: f32) -> Option<Threshold> {
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
