//! Second answers of commands that take longer: kept in the store, then told.

use crate::line::events::Events;
use crate::line::outcomes::Outcomes;
use crate::line::selection::Selection;
use crate::line::shared::Shared;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::event::{CommandOutcome, Event};
use crate::store::{Pending, Store};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// A second answer on its way to the disk. Told before it is there, and cut by a crash, it would be told otherwise by the
/// next run.
pub struct KeptAnswer {
    /// Comes with the disk's answer, and within half a second where the disk fails or hangs.
    pub written: Pending<()>,
    /// The second answer.
    pub outcome: Arc<CommandOutcome>,
}

/// Second answers on their way to the disk, the oldest first. Their number is bounded by what may be under way: one
/// challenge or check, and one cleaning a camera.
#[derive(Default)]
pub struct UntoldAnswers(VecDeque<KeptAnswer>);

impl UntoldAnswers {
    /// True if none is on its way.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Enters one.
    pub fn push(&mut self, kept: KeptAnswer) {
        self.0.push_back(kept);
    }

    /// Takes those that are written. Never waits.
    pub fn written(&mut self) -> Vec<Arc<CommandOutcome>> {
        let mut written = vec![];

        // The store writes in the order in which it was asked.
        while self.0.front().is_some_and(|kept| kept.written.is_over()) {
            written.extend(self.0.pop_front().map(|kept| kept.outcome));
        }

        written
    }

    /// Takes all, once they are written.
    pub fn all(&mut self) -> Vec<Arc<CommandOutcome>> {
        let mut all = vec![];

        for kept in self.0.drain(..) {
            let _ = kept.written.wait();
            all.push(kept.outcome);
        }

        all
    }
}

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
    pub fn tell(&self, selection: Selection, answer: Answer) {
        let KeptAnswer { written, outcome } = self.keep(selection, answer);
        let _ = written.wait();
        self.tell_written(outcome);
    }

    /// Keeps the second answer, for a thread that waits for no disk: it is told once it is written.
    pub fn keep(&self, mut selection: Selection, answer: Answer) -> KeptAnswer {
        selection.outcome = Some(answer.clone());
        let written = self.store.set(&selection.key, &selection.kept());
        let outcome = CommandOutcome {
            name: selection.command,
            answer,
            kept: Some(selection.key),
        };

        KeptAnswer {
            written,
            outcome: Arc::new(outcome),
        }
    }

    /// Tells a second answer that is written.
    pub fn tell_written(&self, outcome: Arc<CommandOutcome>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_when_the_disk_has_it_and_nobody_waits() {
        let mut untold = UntoldAnswers::default();
        let mut push = |id: &str| {
            let (done, written) = Pending::open();
            let answer = Answer::new(Some(id), AnswerStatus::Done, None);
            let outcome = CommandOutcome {
                name: "cleaned",
                answer,
                kept: None,
            };

            let outcome = Arc::new(outcome);
            untold.push(KeptAnswer { written, outcome });
            done
        };

        let disks = ["a", "b", "c"].map(&mut push);
        let ids = |outcomes: Vec<Arc<CommandOutcome>>| -> Vec<String> {
            let ids = outcomes.iter().filter_map(|told| told.answer.id.clone());
            ids.collect()
        };

        assert_eq!(ids(untold.written()), [""; 0], "a disk that hangs");
        disks[0].send(()).expect("it is waited for");
        assert_eq!(ids(untold.written()), ["a"]);

        // A store that closes answers none.
        drop(disks);
        assert_eq!(ids(untold.all()), ["b", "c"]);
        assert!(untold.is_empty());
    }
}
