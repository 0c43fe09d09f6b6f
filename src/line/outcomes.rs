//! Outcomes of the commands that were accepted in this run, for senders that ask again: one that lost both
//! answers would wait for ever.

use crate::protocol::event::CommandOutcome;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Largest number of commands that are known; the oldest are forgotten beyond.
const KNOWN: usize = 256;
/// Time for which an outcome is not told a second time: a sender in a loop floods nothing.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The commands with an outcome, by id. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct Outcomes(Arc<Mutex<VecDeque<BegunCommand>>>);

/// A command that was begun in this run, or whose outcome was told in it.
#[derive(Debug)]
struct BegunCommand {
    id: String,
    /// `None` while it is under way.
    outcome: Option<Arc<CommandOutcome>>,
    /// The last time that the outcome was told. `None` before.
    told: Option<Instant>,
}

/// Answer to a sender that asks for an outcome again.
#[derive(Debug)]
pub enum KnownOutcome {
    /// The command is under way, or its outcome was told a moment ago.
    Awaited,
    /// The outcome, to be told again.
    Ended(Arc<CommandOutcome>),
    /// The command is none of this run.
    Unknown,
}

impl Outcomes {
    /// Enters a command that is begun; an older one of the same id is forgotten.
    pub fn begin(&self, id: &str) {
        self.enter(id, None, None);
    }

    /// Enters the outcome of a command, which is told now.
    pub fn end(&self, outcome: &Arc<CommandOutcome>, now: Instant) {
        if let Some(id) = &outcome.answer.id {
            self.enter(id, Some(outcome.clone()), Some(now));
        }
    }

    /// The outcome of that id, for a sender that asks again. It counts as told.
    pub fn again(&self, id: &str, now: Instant) -> KnownOutcome {
        let mut commands = self.commands();
        let Some(command) = commands.iter_mut().find(|command| command.id == id) else {
            return KnownOutcome::Unknown;
        };

        let is_told = command
            .told
            .is_some_and(|told| now.saturating_duration_since(told) < TOLD_EVERY);

        match &command.outcome {
            Some(outcome) if !is_told => {
                command.told = Some(now);
                KnownOutcome::Ended(outcome.clone())
            }
            _ => KnownOutcome::Awaited,
        }
    }

    fn enter(&self, id: &str, outcome: Option<Arc<CommandOutcome>>, told: Option<Instant>) {
        let mut commands = self.commands();
        commands.retain(|command| command.id != id);
        if commands.len() >= KNOWN {
            commands.pop_front();
        }

        commands.push_back(BegunCommand {
            id: id.to_owned(),
            outcome,
            told,
        });
    }

    fn commands(&self) -> MutexGuard<'_, VecDeque<BegunCommand>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::answer::{Answer, AnswerStatus};

    fn outcome(id: &str) -> Arc<CommandOutcome> {
        Arc::new(CommandOutcome {
            name: "challenge",
            answer: Answer::new(Some(id), AnswerStatus::Done, None),
            kept: None,
        })
    }

    #[test]
    fn an_outcome_is_told_again_to_who_asks_and_not_in_a_flood() {
        let outcomes = Outcomes::default();
        let now = Instant::now();
        let later = |ms| now + Duration::from_millis(ms);
        assert!(matches!(outcomes.again("a", now), KnownOutcome::Unknown));
        outcomes.begin("a");
        assert!(matches!(outcomes.again("a", now), KnownOutcome::Awaited));
        outcomes.end(&outcome("a"), now);
        assert!(matches!(
            outcomes.again("a", later(900)),
            KnownOutcome::Awaited
        ));

        let again = outcomes.again("a", later(1100));
        assert!(matches!(again, KnownOutcome::Ended(_)), "{again:?}");
        assert!(matches!(
            outcomes.again("a", later(1200)),
            KnownOutcome::Awaited
        ));

        outcomes.begin("a");
        assert!(matches!(
            outcomes.again("a", later(9000)),
            KnownOutcome::Awaited
        ));
    }

    #[test]
    fn the_oldest_commands_are_forgotten() {
        let outcomes = Outcomes::default();
        (0..KNOWN + 1).for_each(|number| outcomes.begin(&number.to_string()));
        let now = Instant::now();
        assert!(matches!(outcomes.again("0", now), KnownOutcome::Unknown));
        assert!(matches!(outcomes.again("1", now), KnownOutcome::Awaited));
    }
}
