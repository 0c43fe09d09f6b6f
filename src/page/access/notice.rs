//! The message of one line that a screen shows above its content, once.

use crate::page::words::{Mark, mark};
use crate::protocol::answer::{Answer, AnswerStatus};

/// A message about what was just done, or why it was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How it went.
    pub mark: Mark,
    /// What happened, in one sentence.
    pub words: String,
}

impl Notice {
    /// What the line answers to a command.
    pub fn of(answer: &Answer) -> Self {
        let words = answer.reason.clone().unwrap_or_default();

        match answer.status {
            AnswerStatus::Done => Notice::done(words),
            AnswerStatus::Rejected => Notice::refused(words),
            AnswerStatus::Accepted | AnswerStatus::Progress => Notice::begun(words),
        }
    }

    /// It is done.
    pub fn done(words: impl Into<String>) -> Self {
        Notice {
            mark: mark("good", "✓", "DONE"),
            words: words.into(),
        }
    }

    /// It is not done; the words say why.
    pub fn refused(words: impl Into<String>) -> Self {
        Notice {
            mark: mark("bad", "✕", "NOT DONE"),
            words: words.into(),
        }
    }

    /// It was begun, and its end is not known yet.
    pub fn begun(words: impl Into<String>) -> Self {
        Notice {
            mark: mark("doubt", "…", "UNDER WAY"),
            words: words.into(),
        }
    }
}
