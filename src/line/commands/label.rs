//! A person's word on a part: kept in the store beside it, and taught where it says what the part is and its
//! picture is still kept.

use super::CommandHandler;
use crate::data::history::PartLabel;
use crate::data::result::rfc3339;
use crate::data::verdict::Verdict;
use crate::line::lessons::{LabelledPart, NotFound};
use crate::line::stored_part::check_label;
use crate::protocol::teaching::{Label, LabelCommand};
use crate::store::{Search, SearchPage};
use crossbeam::channel::bounded;
use jiff::Timestamp;
use std::time::Duration;

/// Time for the store to find a part: triggers wait behind a label.
const PATIENCE: Duration = Duration::from_millis(500);

/// Outcome of a label.
pub(super) enum Labelled {
    /// The part is to be taught.
    Taught(LabelledPart),
    /// The label is kept, and the part is to be taught by its picture in the evidence.
    Stored,
    /// The label is kept, and nothing is taught; the answer.
    Kept(String),
}

impl CommandHandler {
    /// Keeps a label in the store; returns the part that is to be taught, where one is.
    ///
    /// # Errors
    /// When there is no such part, or the label contradicts what is known of it.
    pub(super) fn label(&self, command: &LabelCommand, who: &str) -> Result<Labelled, String> {
        let label = command.label.filter(|label| label.taught_as().is_some());
        let Some(label) = label.filter(|_| command.teach) else {
            return self.keep_alone(command, who).map(Labelled::Kept);
        };

        // The picture decides whether the recipe can learn of it. The label is kept either way.
        let found = self
            .lessons
            .find(&command.run_id, &command.camera, command.seq);
        match found {
            Ok(part) => {
                check_label(
                    label,
                    &part.picture.part,
                    part.has_passed,
                    part.has_failed_beside,
                )?;
                // Nothing is doubtful about it any more, but why a good one failed.
                self.lessons
                    .forget_doubtful(std::slice::from_ref(&part.picture.part));
                if label == Label::FalseReject {
                    self.lessons.overrule(&part);
                }

                // The picture teaches although the store cannot say anything of the part.
                match self.stored_part(command, &part.camera) {
                    Ok((key, _)) => self.keep_label(command, key, who),
                    Err(why) => {
                        tracing::warn!("the label of part {} is not kept: {why}", part.picture.part)
                    }
                }

                Ok(Labelled::Taught(part))
            }
            Err(NotFound::Several(words)) => Err(words),
            Err(NotFound::NotKept(words)) => {
                let (key, verdict) = self.stored_part(command, &command.camera)?;
                let part = format!("{}/{}/{}", command.run_id, command.camera, command.seq);

                check_label(label, &part, verdict == Verdict::Pass, false)?;
                self.keep_label(command, key, who);
                if self.has_evidence {
                    return Ok(Labelled::Stored);
                }

                Ok(Labelled::Kept(format!(
                    "the label is kept with the part, and nothing was taught: {words}"
                )))
            }
        }
    }

    /// Keeps a label that teaches nothing, and needs no picture: with any part that the store has. A false reject
    /// whose picture is still there becomes a doubtful part, for suggestions.
    fn keep_alone(&self, command: &LabelCommand, who: &str) -> Result<String, String> {
        let LabelCommand {
            run_id,
            camera,
            seq,
            ..
        } = command;

        let recent = self.lessons.find(run_id, camera, *seq).ok();
        let part_camera = recent.as_ref().map_or(&**camera, |part| &*part.camera);
        let (key, verdict) = self.stored_part(command, part_camera)?;

        if let Some(label) = command.label {
            let part = format!("{run_id}/{part_camera}/{seq}");
            check_label(label, &part, verdict == Verdict::Pass, false)?;
        }

        if let Some(part) = recent.filter(|_| command.label == Some(Label::FalseReject)) {
            self.lessons.overrule(&part);
        }

        self.keep_label(command, key, who);
        Ok("kept with the part; nothing is taught by it".to_owned())
    }

    /// Key and verdict of a part that has a result in the store.
    fn stored_part(&self, command: &LabelCommand, camera: &str) -> Result<(u64, Verdict), String> {
        // Found by number in the table of facts, in a moment as a rule. A disk that hangs answers at once, and
        // one that begins to hang meanwhile is not waited for.
        let (reply, answer) = bounded(1);
        let search = Search::Part {
            run_id: command.run_id.clone(),
            camera: camera.to_owned(),
            seq: command.seq,
        };

        // Nobody may wait for it any more.
        let reply = Box::new(move |page| drop(reply.try_send(page)));

        self.store.search(search, reply);
        match answer.recv_timeout(PATIENCE) {
            Ok(Ok(SearchPage::Part(Some(found)))) => Ok(found),
            Ok(Ok(_)) => Err(format!(
                "the store has no result of part {}/{camera}/{}",
                command.run_id, command.seq
            )),
            Ok(Err(words)) => Err(words),
            Err(_) => Err("the store is busy; send it again".to_owned()),
        }
    }

    fn keep_label(&self, command: &LabelCommand, key: u64, who: &str) {
        let label = PartLabel {
            label: command.label.map(|label| label.word().to_owned()),
            note: command.note.clone(),
            who: who.to_owned(),
            at: rfc3339(Timestamp::now()),
        };

        self.store.label(key, label);
    }
}
