//! Commands whose id is known: the first answer again, and the outcome behind it.

use super::{CommandHandler, PendingAnswer};
use crate::base::health::Health;
use crate::line::control::COMMAND_IDS;
use crate::line::outcomes::KnownOutcome;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::command::Action;
use crate::protocol::event::CommandOutcome;
use crate::protocol::request::Request;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// Outcome of a challenge that was told by an earlier run.
const CHALLENGED_BEFORE: &str =
    "its outcome was told by an earlier run, and is not kept; give another challenge";

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
                Action::SelectRecipe { recipe, .. } => self.selected_before(id, recipe),
                Action::Challenge(_) => Answer::rejected(Some(id), CHALLENGED_BEFORE),
                _ => return None,
            },
        };

        let name = match &request.command.action {
            Action::Challenge(_) => "challenge",
            _ => "select_recipe",
        };

        let kept = None;
        Some(Arc::new(CommandOutcome { name, answer, kept }))
    }

    /// The outcome of a selection that a run before has told.
    fn selected_before(&self, id: &str, name: &str) -> Answer {
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let judges = identity.recipe.clone();
        drop(identity);
        let wanted = self.recipes.iter().find(|recipe| recipe.name == name);
        if wanted.is_some_and(|wanted| wanted.label() == judges) {
            return Answer::new(Some(id), AnswerStatus::Done, Some(judges));
        }

        let reason = format!("{name} was selected in an earlier run; {judges} judges now");
        Answer::rejected(Some(id), reason)
    }
}
