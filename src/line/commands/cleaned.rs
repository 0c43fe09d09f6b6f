//! A lens that somebody has cleaned: its drift is forgotten, and what it shows now is told beside what it
//! showed before.

use super::{CommandHandler, Done};
use crate::line::control::DRIFT_OF;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::command::CLEANED;
use crate::protocol::event::{CommandOutcome, Event};
use crate::protocol::request::Request;
use std::sync::Arc;
use std::time::Instant;

impl CommandHandler {
    /// Begins to look at a lens that was cleaned.
    pub(super) fn cleaned(&self, camera: Option<&str>, request: &Request) -> Result<Done, String> {
        let name = match camera {
            Some(name) => name,
            None if self.admissions.len() == 1 => {
                self.admissions.keys().next().map_or("", |name| name)
            }

            None => return Err("camera is missing: there are several".to_owned()),
        };

        if !self.admissions.contains_key(name) {
            return Err(format!("there is no camera {name:?}"));
        }

        let id = request.command.id.as_deref().unwrap_or_default();
        let words = self.cleanings.begin(name, id, &self.lenses)?;

        self.diagnostics.clear(&format!("{DRIFT_OF}{name}"));

        Ok(Done::begun(words))
    }

    /// Tells what became of lenses that were cleaned.
    pub(super) fn look_at_cleanings(&self) {
        for ended in self.cleanings.ended() {
            let (status, words) = match ended.outcome {
                Ok(words) => (AnswerStatus::Done, words),
                Err(words) => (AnswerStatus::Rejected, words),
            };

            tracing::info!("{CLEANED} {words}");
            self.store.audit(format!("{CLEANED} {words}"));

            let outcome = Arc::new(CommandOutcome {
                name: CLEANED,
                answer: Answer::new(Some(&ended.command), status, Some(words)),
                kept: None,
            });

            self.outcomes.end(&outcome, Instant::now());

            self.events.tell(Event::Outcome(outcome));
        }
    }
}
