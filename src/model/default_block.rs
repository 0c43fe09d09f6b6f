//! Block of the vision tower whose patches are compared where a recipe names none.
//!
//! Which block tells good parts from bad ones best differs from model to model, and nothing
//! in a model's sizes says which it is: a tuned DINOv2 has those of the plain one. A known model is therefore known by the
//! SHA-256 of its weights (`engines/catalogue.toml`), which every imported folder has. A folder's own words in `model.toml`,
//! from a catalogue or a person, come before that; without either there is a rule.

use serde::{Deserialize, Serialize};

/// A block, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefaultBlock {
    /// The block, counted from 1.
    pub number: usize,
    /// Kind of its source.
    pub basis: BlockBasis,
    /// The source in words: what was measured and where that stands, or which paper.
    pub source: String,
}

/// Kind of a default block's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockBasis {
    /// It was measured with these weights.
    Measured,
    /// It is the layer of a published algorithm, kept for parity with its figures.
    Published,
    /// Papers on models of this kind, nothing measured with winspect.
    Literature,
    /// The rule for models that nobody has measured.
    Rule,
}

impl BlockBasis {
    /// True if somebody has measured how well it judges.
    pub fn is_measured(self) -> bool {
        matches!(self, BlockBasis::Measured | BlockBasis::Published)
    }

    /// The kind in words.
    pub fn words(self) -> &'static str {
        match self {
            BlockBasis::Measured => "measured",
            BlockBasis::Published => "published",
            BlockBasis::Literature => "not measured, after the literature",
            BlockBasis::Rule => "not measured, by a rule",
        }
    }
}
