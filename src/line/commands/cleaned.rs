//! A lens that somebody has cleaned: its drift is forgotten, and what it shows now is told beside what it
//! showed before.

use super::{CommandHandler, Done};
use crate::line::control::DRIFT_OF;
use crate::line::selection::Selection;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::command::CLEANED;
use crate::protocol::request::Request;

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

        let selection = Selection::new(CLEANED, request.command.id.as_deref(), "");
        let kept = (selection.key.clone(), selection.kept());
        let words = self.cleanings.begin(name, selection, &self.lenses)?;

        // It is on the disk with its answer: who was told `accepted` hears how it ended.
        drop(self.store.set(&kept.0, &kept.1));

        self.diagnostics.clear(&format!("{DRIFT_OF}{name}"));

        Ok(Done::begun(words))
    }

    /// Keeps what became of lenses that were cleaned; it is told once it is on the disk.
    pub(super) fn look_at_cleanings(&mut self) {
        for ended in self.cleanings.ended() {
            let (status, words) = match ended.outcome {
                Ok(words) => (AnswerStatus::Done, words),
                Err(words) => (AnswerStatus::Rejected, words),
            };

            tracing::info!("{CLEANED} {words}");
            self.store.audit(format!("{CLEANED} {words}"));

            let id = ended.selection.id.clone();
            let answer = Answer::new(id.as_deref(), status, Some(words));

            self.untold.push(self.answers.keep(ended.selection, answer));
        }
    }
}
