//! A command that changes which recipe judges, on its way from `accepted` to its second answer, kept by the store at
//! each step: a sender that was told `accepted` hears how it ended, whatever happens in between.
//!
//! ```text
//! accepted: kept as begun --taken over, or not--> kept with its outcome --told, PUBACK--> forgotten
//!     \--crash--> the next run: done if that recipe judges, else rejected
//! ```

use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::command::{CLEANED, NAMES, RELOAD};
use crate::protocol::shift_check::SHIFT_CHECK;
use std::collections::BTreeMap;

/// Beginning of the keys under which the store keeps selections; each has its own.
const KEY: &str = "selection/";

/// A selection, or a change of a recipe, that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Name of the command.
    pub command: &'static str,
    /// Key under which the store keeps it.
    pub key: String,
    /// Id of the command.
    pub id: Option<String>,
    /// `name@revision` of the recipe.
    pub recipe: String,
    /// True once the revision that a change has made is on the disk as a candidate.
    pub is_candidate: bool,
    /// The second answer, once it is known.
    pub outcome: Option<Answer>,
}

/// A selection as the store keeps it. The keys are part of the store's format.
#[derive(serde::Serialize, serde::Deserialize)]
struct KeptSelection {
    /// Absent in what 0.3 and earlier kept, which knew one command.
    #[serde(default = "select_recipe")]
    command: String,
    id: Option<String>,
    recipe: String,
    /// Absent in what 0.3 and earlier kept.
    #[serde(default)]
    is_candidate: bool,
    outcome: Option<Answer>,
}

/// Name of the command that selects.
pub const SELECT: &str = "select_recipe";

fn select_recipe() -> String {
    SELECT.to_owned()
}

impl Selection {
    /// A selection, or a change, by the command of that name and id.
    pub fn new(command: &'static str, id: Option<&str>, recipe: &str) -> Self {
        Selection {
            command,
            key: format!("{KEY}{}", ulid::Ulid::generate()),
            id: id.map(str::to_owned),
            recipe: recipe.to_owned(),
            is_candidate: false,
            outcome: None,
        }
    }

    /// Returns the text that the store keeps.
    pub fn kept(&self) -> String {
        let kept = KeptSelection {
            command: self.command.to_owned(),
            id: self.id.clone(),
            recipe: self.recipe.clone(),
            is_candidate: self.is_candidate,
            outcome: self.outcome.clone(),
        };

        serde_json::to_string(&kept).expect("plain values")
    }

    /// The words of a refusal. A label is a person's word on a part, and stays although nothing could be learned of it.
    pub fn refusal(&self, why: String) -> String {
        match self.command {
            LABEL => format!("{why}; nothing was taught, and the label stays with the part"),
            _ => why,
        }
    }

    /// Returns the selections that earlier runs kept, all with an outcome. One that was cut is done where
    /// `judges`, the recipe of this run, is the one that was selected; a change is done where `is_current`
    /// says so of its revision.
    pub fn recovered(
        kept: &BTreeMap<String, String>,
        judges: &str,
        is_current: impl Fn(&str) -> bool,
    ) -> Vec<Self> {
        let mut selections = vec![];

        for (key, text) in kept.iter().filter(|(key, _)| key.starts_with(KEY)) {
            // What another version kept and this one cannot read stays as it is.
            let Ok(found) = serde_json::from_str::<KeptSelection>(text) else {
                continue;
            };

            let Some(command) = NAMES.into_iter().find(|name| *name == found.command) else {
                continue;
            };

            let id = found.id.as_deref();
            let is_lesson = command == "teach";
            let is_done = match command {
                SELECT => found.recipe == judges,
                // These ended with their run.
                SHADOW | SUGGEST | WHAT_IF | CLEANED | SHIFT_CHECK | RELOAD => false,
                _ if found.is_candidate => true,
                _ => is_current(&found.recipe),
            };

            // An outcome that was kept is told again as it was: the broker may have it, and at
            // least once is the promise.
            let outcome = found.outcome.unwrap_or_else(|| match command {
                SHADOW => Answer::rejected(id, SHADOW_CUT),
                SUGGEST => Answer::rejected(id, SUGGEST_CUT),
                WHAT_IF => Answer::rejected(id, WHAT_IF_CUT),
                CLEANED => Answer::rejected(id, CLEANED_CUT),
                SHIFT_CHECK => Answer::rejected(id, SHIFT_CHECK_CUT),
                RELOAD => Answer::rejected(id, RELOAD_CUT),
                _ => after_a_crash(id, &found.recipe, (is_done, is_lesson), judges),
            });

            selections.push(Selection {
                command,
                key: key.clone(),
                id: found.id,
                recipe: found.recipe,
                is_candidate: found.is_candidate,
                outcome: Some(outcome),
            });
        }

        selections
    }
}

/// Name of the command that begins and ends a shadow.
const SHADOW: &str = "shadow";
/// Name of the command that says what a part is.
const LABEL: &str = "label";
/// Name of the command that asks for groups.
const SUGGEST: &str = "suggest";
/// Second answer of a suggestion that an end of winspect cut.
const SUGGEST_CUT: &str = "winspect ended before the parts were grouped; ask again";
/// Name of the command that asks what another revision or threshold would have made of stored parts.
const WHAT_IF: &str = "what_if";
/// Second answer of a what-if that an end of winspect cut.
const WHAT_IF_CUT: &str = "winspect ended before the parts were judged again; ask again";
/// Second answer of a cleaned lens whose comparison an end of winspect cut.
const CLEANED_CUT: &str =
    "winspect ended before the parts after it had come; look at the screen Camera and lens";
/// Second answer of a shift check that an end of winspect cut.
const SHIFT_CHECK_CUT: &str =
    "winspect ended before its last part had a result; begin another check";
/// Second answer of a reload that an end of winspect cut.
const RELOAD_CUT: &str =
    "winspect ended before the file was read again; the run that began since reads it at its start";
/// Second answer of a shadow's command that an end of winspect cut.
const SHADOW_CUT: &str =
    "winspect ended before it was done; no shadow outlives its run, give the command again";

/// The second answer of a selection, or a change, that an end of winspect cut.
fn after_a_crash(
    id: Option<&str>,
    recipe: &str,
    (is_done, is_lesson): (bool, bool),
    judges: &str,
) -> Answer {
    // The choice is written before its outcome, so that the recipe of this run says how the
    // selection ended.
    if is_done {
        return Answer::new(id, AnswerStatus::Done, Some(recipe.to_owned()));
    }

    // A change that was not written has no revision yet, nor has a lesson that waited for parts.
    if recipe.is_empty() {
        let what = if is_lesson {
            "the lesson did, and nothing was taught"
        } else {
            "it was done"
        };

        let reason = format!("winspect ended before {what}; {judges} judges");
        return Answer::rejected(id, reason);
    }

    let reason = format!("{recipe}: winspect ended before it was taken over; {judges} judges");
    Answer::rejected(id, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current_never(_: &str) -> bool {
        false
    }

    /// The second answer that the next run gives to a selection that was left like that.
    fn told(left: &Selection, judges: &str) -> Answer {
        let kept = BTreeMap::from([
            (left.key.clone(), left.kept()),
            ("recipe".to_owned(), "nut".to_owned()),
            (format!("{KEY}broken"), "no selection".to_owned()),
        ]);

        let current = |label: &str| label == "nut@2";
        let mut recovered = Selection::recovered(&kept, judges, current);
        assert_eq!(recovered.len(), 1);
        recovered.remove(0).outcome.expect("each has one")
    }

    #[test]
    fn each_state_that_a_crash_leaves_has_its_second_answer() {
        let begun = Selection::new(SELECT, Some("s"), "bolt@4");
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
        // A change is done where its revision is the library's current one, whichever recipe judges.
        let change = |recipe| Selection::new("teach", Some("t"), recipe);
        assert_eq!(told(&change("nut@2"), "bolt@4").status, AnswerStatus::Done);
        let cut = told(&change("nut@3"), "nut@2");
        assert_eq!(cut.status, AnswerStatus::Rejected);
        let unfinished = told(&change(""), "nut@2").reason.expect("words");
        assert!(unfinished.contains("nothing was taught"), "{unfinished}");
        // Groups are of the run that made them.
        let groups = Selection::new("suggest", Some("g"), "nut@2");
        let cut = told(&groups, "nut@2");
        assert_eq!(cut.status, AnswerStatus::Rejected);
        assert_eq!(cut.reason.as_deref(), Some(SUGGEST_CUT));
        // An effect that was not counted is not told as done, although the revision is the current one.
        let cut = told(&Selection::new("what_if", Some("w"), "nut@2"), "nut@2");
        assert_eq!(cut.status, AnswerStatus::Rejected);
        assert_eq!(cut.reason.as_deref(), Some(WHAT_IF_CUT));
        // So are parts that were to come.
        for name in [CLEANED, SHIFT_CHECK, RELOAD] {
            let begun = Selection::new(name, Some("c"), "");
            let cut = told(&begun, "nut@2");
            assert_eq!(cut.status, AnswerStatus::Rejected, "{name}");
            let done = Answer::new(Some("c"), AnswerStatus::Done, Some("seen".to_owned()));
            let outcome = Some(done.clone());
            assert_eq!(told(&Selection { outcome, ..begun }, "nut@2"), done);
        }

        // What an earlier version kept names no command.
        let old = r#"{"id":"s","recipe":"bolt@4","outcome":null}"#;
        let kept = BTreeMap::from([(format!("{KEY}1"), old.to_owned())]);
        let recovered = Selection::recovered(&kept, "bolt@4", current_never);
        assert_eq!(recovered[0].command, SELECT);
    }
}
