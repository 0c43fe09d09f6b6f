//! The line's file, to be read again: the changeover does it, as after a SIGHUP, and tells what came of it.

use super::{CommandHandler, Done};
use crate::line::live_settings::ReloadRequest;
use crate::line::selection::Selection;
use crate::protocol::command::RELOAD;
use crossbeam::channel::bounded;

/// Words of the first answer.
const READ: &str = "the line's file is read again; the outcome comes as done";
/// Refusal of a second one.
const BUSY: &str = "the line's file is being read again already; wait for that outcome";

impl CommandHandler {
    /// Lets the changeover read the line's file again.
    pub(super) fn reload(&mut self, id: Option<&str>) -> Result<Done, String> {
        let selection = Selection::new(RELOAD, id, "");
        let key = selection.key.clone();
        drop(self.store.set(&key, &selection.kept()));

        let (unanswered, answered) = bounded(0);
        let wish = ReloadRequest::Command {
            selection: Box::new(selection),
            answered,
            under_way: self.hold.begin_change(),
        };

        if self.reloads.try_send(wish).is_err() {
            drop(self.store.set(&key, ""));

            return Err(BUSY.to_owned());
        }

        self.unanswered.push(unanswered);

        Ok(Done::begun(READ))
    }
}
