//! Rows of the store's file: what is written, and what is read.

use crate::data::history::PartLabel;
use crate::data::result::ResultRow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// State of a part's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowState {
    /// Accepted, not judged; its body is what is said at its deadline.
    Open = 0,
    /// The result waits in memory for the broker.
    Live = 1,
    /// The result waits in the file: `result/late`.
    Backlog = 2,
    /// The broker has it.
    Acked = 3,
    /// There was no room for it: in memory while the disk failed, or among those that are aside.
    GivenUp = 4,
}

/// One change; many go into one transaction.
#[derive(Debug, Clone)]
pub enum Write {
    /// A part's row, in the place of the one before.
    Part {
        /// The store's own number for it.
        key: u64,
        /// State from now on.
        state: RowState,
        /// The result.
        row: Arc<ResultRow>,
    },
    /// Another state of a part.
    State {
        /// The part's key.
        key: u64,
        /// State from now on.
        state: RowState,
    },
    /// A result of this run that waits in the file from now on, even if its row was lost with another
    /// file.
    Spill {
        /// The part's key.
        key: u64,
        /// The result.
        row: Arc<ResultRow>,
    },
    /// A command's answer, by the sender's id.
    Answer {
        /// The sender's id.
        id: String,
        /// The message.
        answer: String,
    },
    /// A person's word on a part; what it leaves open stays as it was.
    Label {
        /// The part's key.
        key: u64,
        /// The word.
        label: PartLabel,
    },
    /// A line of the audit log.
    Note {
        /// The words.
        what: String,
    },
    /// A value for later runs; an empty one is none.
    Set {
        /// The name of the value.
        key: String,
        /// The value.
        value: String,
    },
    /// A value for later runs, unless there is one.
    SetIfAbsent {
        /// The name of the value.
        key: String,
        /// The value.
        value: String,
    },
}

impl Write {
    /// A row that counts as waiting in the file once it is written.
    pub(super) fn is_backlog(&self) -> bool {
        match self {
            Write::Part { state, .. } => *state == RowState::Backlog,
            Write::Spill { .. } => true,
            _ => false,
        }
    }
}

/// A result that waits in the file.
#[derive(Debug)]
pub struct StoredResult {
    /// The store's own number for it.
    pub key: u64,
    /// The result.
    pub row: Arc<ResultRow>,
}

/// Results that wait in the file, the oldest first.
#[derive(Debug, Default)]
pub struct Page {
    /// Rows that can be read.
    pub results: Vec<StoredResult>,
    /// Keys of rows that cannot, with the reason.
    pub unreadable: Vec<(u64, String)>,
}

/// State of the store as earlier runs left it.
#[derive(Debug, Default)]
pub struct Recovered {
    /// A key beyond every key in the file.
    pub next_key: u64,
    /// Results that wait.
    pub backlog: u64,
    /// The last number of each camera.
    pub previous: Vec<Previous>,
    /// Commands of the last hour and what was answered, the oldest first.
    pub answers: Vec<(String, String)>,
    /// Values that were kept for later runs.
    pub kept: BTreeMap<String, String>,
    /// True when the file could not be read: nothing of it is known.
    pub is_unread: bool,
}

/// The end of a camera's last run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Previous {
    /// The run.
    pub run_id: String,
    /// The camera, or the name that several cameras share.
    pub camera: String,
    /// Last number of the camera in that run.
    pub last_seq: u64,
}
