//! Requests to the store's thread, and what comes back.

use super::search::{Search, SearchReply};
use crate::data::history::PartLabel;
use crate::data::part::{Part, PartRequest};
use crate::data::report::Report;
use crossbeam::channel::{Receiver, Sender, TryRecvError};
use std::time::Instant;

/// A request to the store's thread.
pub(super) enum Op {
    /// Number these parts, and answer when they are on the disk.
    AcceptDurable {
        asks: Vec<PartRequest>,
        answer: CommandAnswer,
        reply: Sender<AcceptedParts>,
    },
    /// Write these parts, which have their numbers.
    Accepted(Vec<Part>),
    /// Verdicts.
    Submit(Vec<Report>),
    /// The broker took a result, or refused it.
    Acked {
        key: u64,
        accepted: bool,
        at: Instant,
    },
    /// Keep the answer to a command.
    Answer {
        id: String,
        answer: String,
        done: Sender<()>,
    },
    /// Keep a person's word on the part of that key.
    Label(u64, PartLabel),
    /// Write a line of the audit log.
    Audit(String),
    /// Keep a value for later runs.
    Set {
        key: String,
        value: String,
        /// True when a value that is there already stays.
        if_absent: bool,
        done: Sender<()>,
    },
    /// Look into the history, once nothing else waits for the disk.
    Search(Search, SearchReply),
    /// Stop: what is open becomes undecided, and nothing more is accepted.
    Close(Sender<()>),
}

impl Op {
    /// True for an acknowledgement, for whose commit nothing waits, and for a search, which needs none.
    pub(super) fn is_patient(&self) -> bool {
        // All others are waited for: by a command, by the gate, or by the end of the line.
        matches!(self, Op::Acked { .. } | Op::Search(..))
    }

    /// Moment by which the first of the parts that are to be numbered has its result.
    pub(super) fn first_due(&self) -> Option<Instant> {
        let Op::AcceptDurable { asks, .. } = self else {
            return None; // others have their numbers
        };

        asks.iter().map(PartRequest::due).min()
    }
}

/// Parts that are on the disk, and what their command is answered.
pub(super) type AcceptedParts = (Vec<Part>, String);

/// The answer to a command that is made once its parts are known.
pub(super) struct CommandAnswer {
    /// The command's id, under which the answer is kept; `None` where it has none.
    pub(super) id: Option<String>,
    pub(super) wording: Wording,
}

/// Makes an answer from parts.
pub(super) type Wording = Box<dyn FnOnce(&[Part]) -> String + Send>;

/// A value that comes once it is on the disk.
pub struct Pending<T>(pub(super) Receiver<T>);

impl<T> Pending<T> {
    /// Waits for the disk.
    ///
    /// # Errors
    /// When the line is stopping.
    pub fn wait(self) -> Result<T, Closed> {
        self.0.recv().map_err(|_| Closed)
    }
}

impl Pending<()> {
    /// True once waiting is over: it is on the disk, or the line is stopping. True once, and not asked again then.
    pub fn is_over(&self) -> bool {
        self.0.try_recv() != Err(TryRecvError::Empty)
    }

    /// One that comes when it is sent.
    #[cfg(test)]
    pub fn open() -> (crossbeam::channel::Sender<()>, Self) {
        let (done, written) = crossbeam::channel::bounded(1);

        (done, Pending(written))
    }
}

/// The line's store is closing: nothing is accepted any more.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the line is stopping")]
pub struct Closed;
