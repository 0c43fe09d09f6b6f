//! A result on its way through the outbox.

use crate::data::part::{PartStage, StageTimes};
use crate::data::result::ResultRow;
use crate::store::row::StoredResult;
use std::sync::Arc;
use std::time::Instant;

/// A result handed to the publisher.
#[derive(Debug, Clone)]
pub struct OutboxEntry {
    /// The store's own number for it; what [`crate::store::Store::acked`] takes.
    pub key: u64,
    /// The result; encoded when it is sent.
    pub row: Arc<ResultRow>,
    /// End of its use to the gate; `None` when it never was of any.
    pub until: Option<Instant>,
    /// Results given up before this one and not reported yet.
    pub given_up_before: u64,
    /// Stage times of the part; `None` for what was read from the file.
    pub marks: Option<Arc<StageTimes>>,
    /// How often the result was put aside.
    pub asides: u32,
    /// Moment at which the part is at the gate; `None` where that is not known, and for what was read from the
    /// file.
    pub at_gate: Option<Instant>,
    /// Messages of the result that the broker has, where it is told in more than one: only the others are sent
    /// again.
    pub taken: TakenMessages,
}

/// Messages of one result that the broker has acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TakenMessages {
    /// The result itself.
    pub result: bool,
    /// Its form for PLCs.
    pub plc: bool,
}

impl OutboxEntry {
    /// A late result.
    pub(in crate::store) fn of_file(stored: StoredResult) -> Self {
        OutboxEntry {
            key: stored.key,
            row: stored.row,
            until: None,
            given_up_before: 0,
            marks: None,
            asides: 0,
            at_gate: None,
            taken: TakenMessages::default(),
        }
    }

    pub(in crate::store) fn reach(&self, stage: PartStage, at: Instant) {
        if let Some(marks) = &self.marks {
            marks.reach_at(stage, at);
        }
    }
}
