//! Suggestions: doubtful parts grouped by what is odd on them. The command that asks for them, and the groups of its answer.

use super::values::text_or_number;
use serde::{Deserialize, Serialize};

/// Parts of a group that an answer names; of more the number is told.
pub const NAMED_MAX: usize = 4;

/// The doubtful parts are to be grouped.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuggestCommand {
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) id: Option<String>,
    /// The recipe; the one that judges unless given.
    pub recipe: Option<String>,
}

/// Reason why a part is doubtful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// It passed near the threshold.
    Near,
    /// It failed, and a person called it good.
    Overruled,
}

/// Doubtful parts of one look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuggestedGroup {
    /// Number by which the group can be taught; no other group of the run has it.
    pub group: u64,
    /// Parts of it that passed near the threshold.
    pub near: usize,
    /// Parts of it that failed, and that a person called good.
    pub overruled: usize,
    /// The first of its parts.
    pub parts: Vec<SuggestedPart>,
}

/// A doubtful part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuggestedPart {
    /// `run/camera/seq`, and the camera that saw it where several see a part.
    pub part: String,
    /// Region that is doubtful, where the recipe names regions.
    pub region: Option<String>,
    /// Reason of the doubt.
    pub why: Doubt,
    /// Score by which it was judged.
    pub score: f32,
    /// Threshold at that time.
    pub threshold: f32,
    /// Place that makes the score, in pixels of the camera's picture: left edge.
    pub x: usize,
    /// Upper edge.
    pub y: usize,
    /// Width.
    pub w: usize,
    /// Height.
    pub h: usize,
}
