//! What if another revision or another threshold had judged the last parts: the command that asks, and the effect in its second
//! answer.

use super::values::text_or_number;
use crate::data::verdict::Verdict;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Parts that are judged again unless their number is given.
pub const PARTS: u32 = 200;
/// Parts of one command at most.
pub const PARTS_MAX: u32 = 1000;
/// Parts with another verdict that an answer names; of more the number is told.
pub const CHANGES_MAX: usize = 16;

/// The last stored parts are to be judged again, beside the line.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhatIfCommand {
    #[serde(default, deserialize_with = "text_or_number")]
    pub(super) id: Option<String>,
    /// The recipe; the one that judges unless given.
    pub recipe: Option<String>,
    /// The revision, a candidate too; the current one unless given.
    pub revision: Option<u64>,
    /// The threshold; the recipe's own unless given.
    pub threshold: Option<f32>,
    /// Region of the threshold; every one unless given.
    pub region: Option<String>,
    /// Number of the newest stored parts.
    #[serde(default = "parts_unless_given")]
    pub parts: u32,
}

fn parts_unless_given() -> u32 {
    PARTS
}

impl WhatIfCommand {
    /// Checks the values.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(1..=PARTS_MAX).contains(&self.parts) {
            let parts = self.parts;
            return Err(format!("parts must be from 1 to {PARTS_MAX}, got {parts}"));
        }

        match self.threshold {
            // The good range is tested, so that NaN is refused.
            Some(value) if !(0.0..=2.0).contains(&value) => {
                Err(format!("threshold must be from 0 to 2, got {value}"))
            }
            None if self.region.is_some() => {
                Err("region is given without a threshold for it".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// What would have happened to the last stored parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    /// `name@revision` of the recipe that was asked about.
    pub recipe: String,
    /// Engine and precision that judged them again.
    pub backend: String,
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
    /// Parts that would pass, and were undecided.
    #[serde(default)]
    pub undecided_would_pass: usize,
    /// Parts that would fail, and were undecided.
    #[serde(default)]
    pub undecided_would_fail: usize,
    /// Parts that would be undecided, and were not.
    #[serde(default)]
    pub would_be_undecided: usize,
    /// Stored parts that could not be judged again.
    pub not_judged: usize,
    /// Known bad parts of the recipe that still fail.
    pub bad_found: usize,
    /// Known bad parts of the recipe.
    pub bad_parts: usize,
    /// The first parts that would have another verdict.
    pub changes: Vec<WhatIfChange>,
}

/// A part that would have another verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhatIfChange {
    /// `run/camera/seq`, and the camera that saw it where several see a part.
    pub part: String,
    /// The verdict that it would have.
    pub verdict: Verdict,
}

impl WhatIf {
    /// True if no known bad part would pass.
    pub fn finds_all_bad(&self) -> bool {
        self.bad_found == self.bad_parts
    }

    /// Words on the parts that were, or would be, undecided, each with a comma before; empty without any.
    pub fn undecided_in_words(&self) -> String {
        let counts = [
            ("would pass that were undecided", self.undecided_would_pass),
            ("would fail that were undecided", self.undecided_would_fail),
            ("would be undecided", self.would_be_undecided),
        ];

        let told = counts.iter().filter(|(_, count)| *count > 0);
        told.map(|(words, count)| format!(", {count} {words}"))
            .collect()
    }

    /// Words on the known bad parts.
    pub fn bad_in_words(&self) -> String {
        match self.bad_parts {
            0 => "the recipe keeps no known bad part".to_owned(),
            all => format!("bad parts still found: {} of {all}", self.bad_found),
        }
    }
}

impl fmt::Display for WhatIf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: of the last {} parts {} would fail, {} did ({} would pass that failed, {} would fail that passed)",
            self.recipe,
            self.parts,
            self.would_fail,
            self.failed,
            self.passes_more,
            self.fails_more
        )?;

        write!(f, "{}", self.undecided_in_words())?;
        if self.not_judged > 0 {
            write!(f, ", {} more could not be judged", self.not_judged)?;
        }

        write!(f, "; {}", self.bad_in_words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::command::{Action, parse};
    use crate::protocol::teaching::RecipeChange;

    #[test]
    fn the_last_two_hundred_are_asked_about_and_nonsense_is_refused() {
        let command = parse("what_if", br#"{"id":"w","revision":3}"#).expect("fits");
        let Action::Change(RecipeChange::WhatIf(what_if)) = command.action else {
            panic!("a what_if")
        };

        assert_eq!((what_if.parts, what_if.revision), (PARTS, Some(3)));
        for (payload, words) in [
            (r#"{"id":"w","parts":0}"#, "from 1 to 1000, got 0"),
            (r#"{"id":"w","parts":1001}"#, "from 1 to 1000, got 1001"),
            (r#"{"id":"w","threshold":3}"#, "from 0 to 2, got 3"),
            (r#"{"id":"w","region":"left"}"#, "without a threshold"),
            (r#"{"id":"w","treshold":0.3}"#, "unknown field"),
        ] {
            let refused = parse("what_if", payload.as_bytes()).expect_err(words);
            assert!(refused.reason.contains(words), "{}", refused.reason);
        }
    }

    #[test]
    fn both_ways_and_the_bad_parts_are_told() {
        let mut what_if = WhatIf {
            recipe: "nut@3".to_owned(),
            backend: "onnx-fp32".to_owned(),
            parts: 200,
            failed: 11,
            would_fail: 3,
            passes_more: 9,
            fails_more: 1,
            undecided_would_pass: 4,
            undecided_would_fail: 0,
            would_be_undecided: 5,
            not_judged: 2,
            bad_found: 6,
            bad_parts: 6,
            changes: vec![],
        };

        assert_eq!(
            what_if.to_string(),
            "nut@3: of the last 200 parts 3 would fail, 11 did (9 would pass that failed, 1 would fail that passed), \
             4 would pass that were undecided, 5 would be undecided, 2 more could not be judged; bad parts still found: 6 of 6"
        );

        assert!(what_if.finds_all_bad());
        what_if.bad_found = 5;
        assert!(!what_if.finds_all_bad());
        what_if.bad_found = 0;
        what_if.bad_parts = 0;
        assert!(
            what_if
                .to_string()
                .ends_with("the recipe keeps no known bad part")
        );
    }
}
