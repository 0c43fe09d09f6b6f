//! The record of a choice in a revision's manifest: which values judge, by what they were chosen, and what is not known.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Values by which a recipe for a model without text judges.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Combination {
    /// Block whose patches are compared, counted from 1.
    pub block: usize,
    /// Cells of the map, at most, with `fit = "keep"`. `None` with another fit.
    pub cells: Option<usize>,
    /// Share of the highest cells whose mean is the score.
    pub top_share: f64,
}

impl Combination {
    /// True if it judges by as many cells as another.
    pub fn has_cells_of(&self, other: &Combination) -> bool {
        self.cells == other.cells
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}, top share {}", self.block, self.top_share)?;
        match self.cells {
            Some(cells) => write!(f, ", {cells} cells"),
            None => Ok(()),
        }
    }
}

/// How the values of a recipe were chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChoiceNote {
    /// The values that were taken.
    pub taken: Combination,
    /// The values without a choice, beside which all others were measured.
    pub baseline: Combination,
    /// By what they were chosen, with figures, in words.
    pub how: String,
    /// What the choice does not know, in words.
    pub unknown: String,
}
