//! The shadow of a line: a second revision of its recipe that judges the same pictures beside the one that
//! judges the line. Its command, its counters, and the message about a part on which both differ.

use super::encoding::encode;
use super::values::text_or_number;
use crate::data::verdict::Verdict;
use serde::{Deserialize, Serialize};

/// A revision is to judge in the shadow, or none is any more.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowCommand {
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) id: Option<String>,
    /// The recipe; the one that judges unless given.
    pub recipe: Option<String>,
    /// The revision; `None` where the shadow is to end.
    pub revision: Option<u64>,
    /// True where the shadow is to end.
    #[serde(default)]
    pub off: bool,
}

impl ShadowCommand {
    /// Checks that the command either names a revision or ends the shadow.
    pub(super) fn check(&self) -> Result<(), String> {
        match (self.revision, self.off) {
            (Some(_), false) | (None, true) => Ok(()),
            (Some(_), true) => Err("give either revision or \"off\": true, not both".to_owned()),
            (None, false) => {
                Err("revision is missing; or say \"off\": true to end the shadow".to_owned())
            }
        }
    }
}

/// Counters of a shadow, since it began or since another revision judges the line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowCounts {
    /// `name@revision` in the shadow.
    pub recipe: String,
    /// `name@revision` that it is compared with; `None` before the first part.
    pub active: Option<String>,
    /// Parts that both judged; of a part that several cameras see, each view.
    pub parts: u64,
    /// Parts of those with different verdicts.
    pub differ: u64,
    /// Parts of those that differ that the line failed and the shadow passed.
    pub passes_more: u64,
    /// Parts of those that differ that the line passed and the shadow failed.
    pub fails_more: u64,
    /// Parts that the shadow had no time for, or could not judge.
    pub dropped: u64,
    /// Differences beyond the rate at which they are told.
    pub untold: u64,
}

/// One of two judgements on a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowJudgement {
    /// `name@revision` that judged.
    pub recipe: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Score; `None` for a picture that could not be judged.
    pub score: Option<f32>,
    /// Score from which a part fails.
    pub threshold: Option<f32>,
}

/// A part on which line and shadow differ: the message `shadow`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowDifference {
    /// Number of the part.
    pub seq: u64,
    /// Run that numbered it.
    pub run_id: String,
    /// The trigger's id of the part.
    pub part_id: Option<String>,
    /// Camera of the part, or the name that several cameras share.
    pub camera: String,
    /// Camera whose picture was judged.
    pub seen_by: String,
    /// Region of the view, where the recipe names regions.
    pub region: Option<String>,
    /// The judgement that the line went by.
    pub active: ShadowJudgement,
    /// The judgement of the shadow.
    pub shadow: ShadowJudgement,
}

impl ShadowDifference {
    /// The message `shadow`.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }
}
