//! Shift checks: their steps are done here, and what becomes of their parts is told.

use super::{CommandHandler, Done};
use crate::line::selection::Selection;
use crate::line::shift_check::{CheckEvent, CheckStart};
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::request::Request;
use crate::protocol::shift_check::{
    CheckStage, CheckStep, SHIFT_CHECK, ShiftCheck, ShiftCheckCommand,
};
use jiff::Timestamp;
use std::sync::PoisonError;

impl CommandHandler {
    /// Does a step of a shift check.
    pub(super) fn shift_check(
        &mut self,
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
            let selection = Selection::new(SHIFT_CHECK, request.command.id.as_deref(), "");
            let kept = (selection.key.clone(), selection.kept());
            let words = self.control.begin_check(CheckStart {
                command: selection,
                why: *why,
                bad: *bad,
                good: *good,
                camera: camera.as_deref(),
                recipe: self.judging_label(),
                who,
                since: request.came_at,
            })?;

            // Both are on the disk with its answer: who was told `accepted` hears how it ended.
            drop(self.store.set(&kept.0, &kept.1));
            self.look_at_checks();

            return Ok(Done::begun(words));
        }

        let words = self.control.checks.step(command, &who)?;

        self.look_at_checks();

        Ok(Done::with(words))
    }

    /// Keeps what became of shift checks, and tells it.
    pub(super) fn look_at_checks(&mut self) {
        for event in self.control.checks.poll(Timestamp::now()) {
            match event {
                CheckEvent::Begin(key, value) => drop(self.store.set_if_absent(&key, &value)),
                CheckEvent::Keep((key, value)) => drop(self.store.set(&key, &value)),
                CheckEvent::Counted(command, words) => self.answers.progress(&command, words),
                CheckEvent::PartsOver(command, check) => self.end_parts(command, &check),
            }
        }
    }

    /// The known parts of a check are over: who sent them hears it once it is on the disk, and the log has it.
    fn end_parts(&mut self, command: Selection, check: &ShiftCheck) {
        let words = format!("shift check {}: {}", check.check, check.words());

        let status = if check.stage() == CheckStage::Failed {
            tracing::error!("{words}; stop the line and look");
            AnswerStatus::Rejected
        } else {
            tracing::info!("{words}");
            AnswerStatus::Done
        };

        self.store.audit(words.clone());

        let id = command.id.clone();
        let answer = Answer::new(id.as_deref(), status, Some(words));

        self.untold.push(self.answers.keep(command, answer));
    }

    /// `name@revision` of the recipe that judges.
    fn judging_label(&self) -> String {
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);

        identity.recipe.clone()
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
