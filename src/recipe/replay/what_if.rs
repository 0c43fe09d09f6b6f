//! The effect of another recipe, revision or threshold on the last parts and on the known bad ones.

use super::{ReplaySummary, Replayer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What would have happened to the last parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    /// `name@revision` of the recipe that was asked about.
    pub recipe: String,
    /// Stored parts that were judged again.
    pub parts: usize,
    /// Parts of those that failed.
    pub failed: usize,
    /// Parts of those that would fail.
    pub would_fail: usize,
    /// Parts that would pass, and failed.
    pub passes_more: usize,
    /// Parts that would fail, and passed.
    pub fails_more: usize,
    /// Stored parts that could not be judged again.
    pub not_judged: usize,
    /// Known bad parts of the recipe that still fail.
    pub bad_found: usize,
    /// Known bad parts of the recipe.
    pub bad_parts: usize,
}

impl WhatIf {
    /// The effect of a recipe that has judged these parts again.
    pub fn of(replayer: &Replayer, summary: &ReplaySummary) -> Self {
        let (bad_found, bad_parts) = replayer.known_bad();

        WhatIf {
            recipe: replayer.recipe().to_owned(),
            parts: summary.parts - summary.not_judged(),
            failed: summary.failed,
            would_fail: summary.would_fail,
            passes_more: summary.passes_more,
            fails_more: summary.fails_more,
            not_judged: summary.not_judged(),
            bad_found,
            bad_parts,
        }
    }
}

impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "of the last {} parts {} would fail, {} did ({} would pass that failed, {} would fail that passed)",
            self.parts, self.would_fail, self.failed, self.passes_more, self.fails_more
        )?;

        if self.not_judged > 0 {
            write!(f, ", {} more could not be judged", self.not_judged)?;
        }

        match self.bad_parts {
            0 => write!(f, "; the recipe keeps no known bad part"),
            all => write!(f, "; bad parts still found: {} of {all}", self.bad_found),
        }
    }
}
