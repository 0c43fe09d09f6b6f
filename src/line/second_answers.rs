//! Second answers of commands that take longer: kept in the store, then told.

use crate::line::events::Events;
use crate::line::outcomes::Outcomes;
use crate::line::selection::Selection;
use crate::line::shared::Shared;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::event::{CommandOutcome, Event};
use crate::store::Store;
use std::sync::Arc;
use std::time::Instant;

/// Tells second answers.
#[derive(Clone)]
pub struct SecondAnswers {
    store: Store,
    outcomes: Outcomes,
    events: Events,
}

impl SecondAnswers {
    /// Answers of a line.
    pub fn new(shared: &Shared, events: Events) -> Self {
        SecondAnswers {
            store: shared.store.clone(),
            outcomes: shared.outcomes.clone(),
            events,
        }
    }

    /// Keeps the second answer, then tells it. The broker is told until it has it, also by later runs.
    pub fn tell(&self, mut selection: Selection, answer: Answer) {
        selection.outcome = Some(answer.clone());
        let _ = self.store.set(&selection.key, &selection.kept()).wait();
        let outcome = CommandOutcome {
            name: selection.command,
            answer,
            kept: Some(selection.key),
        };

        let outcome = Arc::new(outcome);
        self.outcomes.end(&outcome, Instant::now());
        self.events.tell(Event::Outcome(outcome));
    }

    /// Tells how far a command is; that is not kept.
    pub fn progress(&self, selection: &Selection, so_far: String) {
        let id = selection.id.as_deref();
        let progress = CommandOutcome {
            name: selection.command,
            answer: Answer::new(id, AnswerStatus::Progress, Some(so_far)),
            kept: None,
        };

        self.events.tell(Event::Outcome(Arc::new(progress)));
    }
}
