//! Shift checks: their steps are done here, and what becomes of their parts is told.

use super::{CommandHandler, Done};
use crate::line::shift_check::{CheckEvent, CheckStart};
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::event::{CommandOutcome, Event};
use crate::protocol::request::Request;
use crate::protocol::shift_check::{
    CheckStage, CheckStep, SHIFT_CHECK, ShiftCheck, ShiftCheckCommand,
};
use jiff::Timestamp;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

impl CommandHandler {
    /// Does a step of a shift check.
    pub(super) fn shift_check(
        &self,
        command: &ShiftCheckCommand,
        request: &Request,
    ) -> Result<Done, String> {
        let who = who(command, request);

        if let CheckStep::Start {
            why,
            bad,
            good,
            camera,
        } = &command.step
        {
            self.check_part_camera(camera.as_deref())?;
            self.look_at_challenges(); // of those before
            let words = self.control.begin_check(CheckStart {
                command: request.command.id.as_deref().unwrap_or_default(),
                why: *why,
                bad: *bad,
                good: *good,
                camera: camera.as_deref(),
                recipe: self.judging_label(),
                who,
                since: request.came_at,
            })?;

            self.look_at_checks(); // it is on the disk with its answer
            return Ok(Done::begun(words));
        }

        let words = self.control.checks.step(command, &who)?;

        self.look_at_checks();

        Ok(Done::with(words))
    }

    /// Keeps what became of shift checks, and tells it.
    pub(super) fn look_at_checks(&self) {
        for event in self.control.checks.poll(Timestamp::now()) {
            match event {
                CheckEvent::Begin(key, value) => drop(self.store.set_if_absent(&key, &value)),
                CheckEvent::Keep((key, value)) => drop(self.store.set(&key, &value)),
                CheckEvent::Counted(id, words) => self.tell_counted(&id, words),

                CheckEvent::PartsOver(id, check) => self.end_parts(&id, &check),
            }
        }
    }

    /// How far a check's parts are, for who sent them.
    fn tell_counted(&self, id: &str, words: String) {
        let answer = Answer::new(Some(id), AnswerStatus::Progress, Some(words));
        let counted = Arc::new(outcome(answer));

        self.events.tell(Event::Outcome(counted));
    }

    /// The known parts of a check are over: who sent them hears it, and the log has it.
    fn end_parts(&self, id: &str, check: &ShiftCheck) {
        let words = format!("shift check {}: {}", check.check, check.words());

        let status = if check.stage() == CheckStage::Failed {
            tracing::error!("{words}; stop the line and look");
            AnswerStatus::Rejected
        } else {
            tracing::info!("{words}");
            AnswerStatus::Done
        };

        self.store.audit(words.clone());

        // The store has the check itself: an outcome that nobody hears is not lost.
        let answer = Answer::new(Some(id), status, Some(words));
        let outcome = Arc::new(outcome(answer));

        self.outcomes.end(&outcome, Instant::now());

        self.events.tell(Event::Outcome(outcome));
    }

    /// `name@revision` of the recipe that judges.
    fn judging_label(&self) -> String {
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);

        identity.recipe.clone()
    }
}

fn outcome(answer: Answer) -> CommandOutcome {
    CommandOutcome {
        name: SHIFT_CHECK,
        answer,
        kept: None,
    }
}

/// Who does a step: the name that was given, with the door, which may know another one.
fn who(command: &ShiftCheckCommand, request: &Request) -> String {
    match &command.name {
        Some(name) if request.user.as_deref() != Some(name) => {
            format!("{name}, through {}", request.who())
        }

        _ => request.who(),
    }
}
