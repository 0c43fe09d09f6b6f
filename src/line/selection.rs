//! A selection of a recipe on its way from `accepted` to its second answer, kept by the store at each
//! step: whoever was told `accepted` hears how it ended, whatever happens in between.
//!
//! ```text
//! accepted: kept as begun --taken over, or not--> kept with its outcome --told, PUBACK--> forgotten
//!     \--crash--> the next run: done if that recipe judges, else rejected
//! ```

use crate::protocol::answer::{Answer, AnswerStatus};
use std::collections::BTreeMap;

/// Beginning of the keys under which the store keeps selections; each has its own.
const KEY: &str = "selection/";

/// A selection that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Key under which the store keeps it.
    pub key: String,
    /// Id of the command.
    pub id: Option<String>,
    /// `name@revision` of the recipe.
    pub recipe: String,
    /// The second answer, once it is known.
    pub outcome: Option<Answer>,
}

/// A selection as the store keeps it. The keys are part of the store's format.
#[derive(serde::Serialize, serde::Deserialize)]
struct KeptSelection {
    id: Option<String>,
    recipe: String,
    outcome: Option<Answer>,
}

impl Selection {
    /// A selection by the command of that id.
    pub fn new(id: Option<&str>, recipe: &str) -> Self {
        Selection {
            key: format!("{KEY}{}", ulid::Ulid::generate()),
            id: id.map(str::to_owned),
            recipe: recipe.to_owned(),
            outcome: None,
        }
    }

    /// Returns the text that the store keeps.
    pub fn kept(&self) -> String {
        let kept = KeptSelection {
            id: self.id.clone(),
            recipe: self.recipe.clone(),
            outcome: self.outcome.clone(),
        };

        serde_json::to_string(&kept).expect("plain values")
    }

    /// Returns the selections that earlier runs kept, all with an outcome: one that was cut is done
    /// where `judges`, the recipe of this run, is the one that was selected.
    pub fn recovered(kept: &BTreeMap<String, String>, judges: &str) -> Vec<Self> {
        let mut selections = vec![];
        for (key, text) in kept.iter().filter(|(key, _)| key.starts_with(KEY)) {
            // What another version kept and this one cannot read stays as it is.
            let Ok(found) = serde_json::from_str::<KeptSelection>(text) else {
                continue;
            };

            let id = found.id.as_deref();
            // An outcome that was kept is told again as it was: the broker may have it, and at
            // least once is the promise.
            let outcome = found
                .outcome
                .unwrap_or_else(|| after_a_crash(id, &found.recipe, judges));

            selections.push(Selection {
                key: key.clone(),
                id: found.id,
                recipe: found.recipe,
                outcome: Some(outcome),
            });
        }

        selections
    }
}

/// The second answer of a selection that an end of winspect cut.
fn after_a_crash(id: Option<&str>, recipe: &str, judges: &str) -> Answer {
    // The choice is written before its outcome, so that the recipe of this run says how the
    // selection ended.
    if recipe == judges {
        return Answer::new(id, AnswerStatus::Done, Some(recipe.to_owned()));
    }

    let reason = format!("{recipe}: winspect ended before it was taken over; {judges} judges");
    Answer::rejected(id, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second answer that the next run gives to a selection that was left like that.
    fn told(left: &Selection, judges: &str) -> Answer {
        let kept = BTreeMap::from([
            (left.key.clone(), left.kept()),
            ("recipe".to_owned(), "nut".to_owned()),
            (format!("{KEY}broken"), "no selection".to_owned()),
        ]);

        let mut recovered = Selection::recovered(&kept, judges);
        assert_eq!(recovered.len(), 1);
        recovered.remove(0).outcome.expect("each has one")
    }

    #[test]
    fn each_state_that_a_crash_leaves_has_its_second_answer() {
        let begun = Selection::new(Some("s"), "bolt@4");
        let rejected = told(&begun, "nut@1");
        assert_eq!(rejected.status, AnswerStatus::Rejected);
        assert_eq!(rejected.id.as_deref(), Some("s"));
        let reason = rejected.reason.expect("words");
        assert!(reason.contains("before it was taken over; nut@1 judges"));
        // The recipe was taken over and kept; only the outcome was not.
        assert_eq!(told(&begun, "bolt@4").status, AnswerStatus::Done);
        // The outcome was kept, and not told.
        let refused = Answer::rejected(Some("s"), "no such file");
        let ended = Selection {
            outcome: Some(refused.clone()),
            ..begun
        };

        assert_eq!(told(&ended, "nut@1"), refused);
        assert_eq!(told(&ended, "bolt@4"), refused);
    }
}
