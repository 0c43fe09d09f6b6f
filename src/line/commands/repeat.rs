//! Commands whose id is known: the first answer again, and the outcome behind it.

use super::{CommandHandler, PendingAnswer};
use crate::base::health::Health;
use crate::line::control::COMMAND_IDS;
use crate::line::outcomes::KnownOutcome;
use crate::line::selection::SELECT;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::command::{Action, CLEANED, RELOAD};
use crate::protocol::event::CommandOutcome;
use crate::protocol::request::Request;
use crate::protocol::shift_check::SHIFT_CHECK;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// Outcome of a challenge that was told by an earlier run.
const CHALLENGED_BEFORE: &str =
    "its outcome was told by an earlier run, and is not kept; give another challenge";

/// Outcome of a shift check whose parts were over in an earlier run.
const CHECKED_BEFORE: &str =
    "its outcome was told by an earlier run; winspect shift-check list has what became of it";

/// Outcome of a cleaned lens that was told by an earlier run.
const CLEANED_BEFORE: &str =
    "its outcome was told by an earlier run, or never; the audit log has it if it was";

/// Outcome of a reload that was told by an earlier run.
const RELOADED_BEFORE: &str = "its outcome was told by an earlier run; the audit log has it, and this run began with the line's file";

/// Outcome of a change that was told by an earlier run.
const CHANGED_BEFORE: &str = "its outcome was told by an earlier run, and is not kept; `birth` names the revision that judges, and winspect recipe show how it came about";

impl CommandHandler {
    /// Answers a known id: the first answer again, unless the id came with another question. An
    /// answer that is about another part must not be taken for this one's.
    pub(super) fn repeat(&self, id: &str, answer: Answer, request: &Request) -> PendingAnswer {
        let question = self.answered.question(id);
        let is_other = question.is_some_and(|known| known != request.command.question);

        if !is_other {
            let outcome = self.outcome_again(id, &answer, request);
            return PendingAnswer::Repeated(answer, outcome);
        }

        let name = &request.name;
        let words = format!("the id {id:?} stands for another command already");
        tracing::error!("command {name}: {words}; it is refused");
        self.store
            .audit(format!("command {name} {id} refused: {words}"));
        self.diagnostics.set(
            COMMAND_IDS,
            Health::OffSpec,
            format!("{words}, {name} with it was refused; `reset` confirms it"),
        );

        let reason = format!("{words}; give each command an id of its own");
        PendingAnswer::NotNow(Answer::rejected(Some(id), reason))
    }

    /// The outcome of a command that comes again: its sender may have lost it. `None` where none is to
    /// be told, or it is still to come.
    fn outcome_again(
        &self,
        id: &str,
        first: &Answer,
        request: &Request,
    ) -> Option<Arc<CommandOutcome>> {
        if first.status != AnswerStatus::Accepted {
            return None;
        }

        // What a run before told, and nothing keeps, is said as it is now.
        let answer = match self.outcomes.again(id, Instant::now()) {
            KnownOutcome::Awaited => return None,
            KnownOutcome::Ended(outcome) => outcome.answer.clone(),
            KnownOutcome::Unknown => match &request.command.action {
                Action::SelectRecipe { recipe, .. } => {
                    let name = self.name_of(recipe).unwrap_or_else(|_| recipe.words());

                    self.selected_before(id, &name)
                }

                Action::Challenge(_) => Answer::rejected(Some(id), CHALLENGED_BEFORE),
                Action::Change(_) => Answer::rejected(Some(id), CHANGED_BEFORE),
                Action::ShiftCheck(_) => Answer::rejected(Some(id), CHECKED_BEFORE),
                Action::Cleaned { .. } => Answer::rejected(Some(id), CLEANED_BEFORE),
                Action::Reload => Answer::rejected(Some(id), RELOADED_BEFORE),
                _ => return None,
            },
        };

        let name = match &request.command.action {
            Action::Challenge(_) => "challenge",
            Action::ShiftCheck(_) => SHIFT_CHECK,
            Action::Cleaned { .. } => CLEANED,
            Action::Reload => RELOAD,
            Action::Change(change) => change.name(),
            _ => SELECT,
        };

        let kept = None;
        Some(Arc::new(CommandOutcome { name, answer, kept }))
    }

    /// The outcome of a selection that a run before has told.
    fn selected_before(&self, id: &str, name: &str) -> Answer {
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let judges = identity.recipe.clone();
        drop(identity);

        // The recipe may have gone on to another revision since.
        if judges
            .rsplit_once('@')
            .is_some_and(|(judging, _)| judging == name)
        {
            return Answer::new(Some(id), AnswerStatus::Done, Some(judges));
        }

        let reason = format!("{name} was selected in an earlier run; {judges} judges now");
        Answer::rejected(Some(id), reason)
    }
}
