//! Layer 3: the store: numbers and keeps every part, its result until the broker has it, and what was decided.
//!
//! ```text
//! accept --ledger: seq--> file --durable--> Part, back to who asked
//! settle --ledger: once, in order, by the deadline--> file --durable--> outbox --> publisher --PUBACK--> acked --> file
//! ```
//! One thread, the clerk ([`StoreWriter::keep`]), owns the file; what waits is written in one transaction. A
//! disk that fails does not stop the line: results then wait in memory, bounded, and the line's condition says so.

#[cfg(test)]
mod against_model;
mod database;
#[cfg(test)]
mod failing_disk;
#[cfg(test)]
mod layer;
mod ledger;
mod outbox;
mod pending;
#[cfg(test)]
mod power_cut;
mod recovery;
mod rejects;
#[cfg(test)]
mod tests;
mod writer;

pub use database::{ANSWERS_MAX, DatabaseError, Previous, Recovered, Sync};
pub use outbox::{Outbox, OutboxEntry};
pub use recovery::{MOVED_ASIDE, OpenStore};
pub use rejects::Reject;
pub use writer::StoreWriter;

use self::ledger::Ledger;
use crate::base::health::Diagnostics;
use crate::data::part::{Part, PartRequest, PartStage};
use crate::data::report::{DecisionPolicy, Report};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Changes that may wait for the clerk; beyond, who brings one waits.
const CHANGES: usize = 4096;
/// Results that are read from the file at once.
const PAGE: usize = 512;

/// Where the file is and how much it keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreSettings {
    pub file: PathBuf,
    pub sync: Sync,
    /// Results that may wait for the broker; the oldest are given up beyond it, counted and reported.
    pub waiting_max: u64,
    /// How long, and how many bytes of, delivered results are kept.
    pub keep: Duration,
    pub keep_bytes: u64,
    /// How long after its deadline a verdict is still of use to the gate.
    pub reject_window: Duration,
}

/// At any moment `accepted` equals `results` plus `open`, and `results` plus `late` plus `earlier` equals `acked` plus
/// `given_up` plus `waiting`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoreCount {
    /// Parts that were given a number.
    pub accepted: u64,
    /// Of those, results that left the ledger: judged, and undecided.
    pub results: u64,
    pub undecided: u64,
    /// Verdicts that came after their part's result.
    pub late: u64,
    /// Results that earlier runs left.
    pub earlier: u64,
    pub acked: u64,
    pub given_up: u64,
    pub waiting: u64,
    /// Accepted and without a result.
    pub open: u64,
    /// Rejected parts that were told when they were at the gate, and that were not.
    pub rejects_told: u64,
    pub rejects_missed: u64,
}

#[cfg(test)]
impl StoreCount {
    pub(crate) fn balances(&self) -> bool {
        let StoreCount {
            accepted,
            results,
            open,
            late,
            earlier,
            acked,
            given_up,
            waiting,
            ..
        } = *self;
        accepted == results + open && results + late + earlier == acked + given_up + waiting
    }
}

/// What is brought to the clerk.
enum Op {
    Accept {
        asks: Vec<PartRequest>,
        answer: Answer,
        reply: Sender<(Vec<Part>, String)>,
    },
    /// They have their numbers.
    Numbered(Vec<Part>),
    Settle(Vec<Report>),
    Landed {
        key: u64,
        accepted: bool,
        at: Instant,
    },
    Answer {
        id: String,
        answer: String,
        done: Sender<()>,
    },
    Note(String),
    Keep {
        key: String,
        value: String,
        /// What stands there already stays.
        begins: bool,
        done: Sender<()>,
    },
    /// The line stops: what is open becomes undecided, nothing more is accepted.
    Close(Sender<()>),
}

/// What a command is answered once its parts are known, to be kept under its id where it has one.
struct Answer {
    id: Option<String>,
    words: Wording,
}

type Wording = Box<dyn FnOnce(&[Part]) -> String + Send>;

/// A handle for everybody who accepts, judges or publishes parts.
#[derive(Clone)]
pub struct Store {
    changes: Sender<Op>,
    outbox: Arc<Outbox>,
    ledger: Arc<Mutex<Ledger>>,
}

/// What is there once it is on the disk.
pub struct Pending<T>(Receiver<T>);

impl<T> Pending<T> {
    /// # Errors
    /// When the line is stopping.
    pub fn wait(self) -> Result<T, Closed> {
        self.0.recv().map_err(|_| Closed)
    }
}

/// The line's store is closing: nothing is accepted any more.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the line is stopping")]
pub struct Closed;

/// What a rejected part's gate is told.
pub type Gate = Box<dyn Fn(&Report) -> Option<Reject> + Send>;

/// What a later run must know: a key, and its value; an empty one is none.
pub type KeyValue = (String, String);

pub type Hear = Box<dyn Fn(&Report) -> Vec<KeyValue> + Send>;

/// What the store needs to know of the line.
pub struct Words {
    /// The judge of a part as results name it.
    pub judge: Box<dyn Fn(&Part) -> DecisionPolicy + Send>,
    /// What is said of an undecided part when its time is over: another view of it may have failed.
    pub due: Box<dyn Fn(Report) -> Report + Send>,
    /// Hears of each result that stands; what is to be kept with it.
    pub hear: Hear,
    /// A result as the broker will see it, without its last two keys.
    pub body: Box<dyn Fn(&Report) -> String + Send>,
    /// What the gate is told of it, where that is asked for.
    pub reject: Gate,
}

impl Store {
    /// Opens the file; [`OpenStore::clerk`] is to be given a thread. Tells what earlier runs left.
    ///
    /// # Errors
    /// When the file is another process's, or cannot be made.
    pub fn open(
        settings: StoreSettings,
        run_id: &str,
        causes: Diagnostics,
    ) -> Result<(Store, OpenStore, Recovered), DatabaseError> {
        let (sender, changes) = bounded(CHANGES);
        let outbox = Arc::new(Outbox::default());
        let (opened, found) = OpenStore::open(settings, run_id, changes, outbox.clone(), causes)?;
        let store = Store {
            changes: sender,
            outbox,
            ledger: opened.ledger(),
        };
        Ok((store, opened, found))
    }

    /// Numbers the parts; when it returns, they are on the disk.
    ///
    /// # Errors
    /// When the line is stopping.
    pub fn accept(&self, asks: Vec<PartRequest>) -> Result<Vec<Part>, Closed> {
        self.accepting(asks, None, |_| String::new())
            .wait()
            .map(|(parts, _)| parts)
    }

    /// Numbers the parts at once. They are on the disk before their results leave: enough for a free-running camera's,
    /// which nobody knows of before.
    ///
    /// # Errors
    /// When the line is stopping.
    pub fn number(&self, asks: Vec<PartRequest>) -> Result<Vec<Part>, Closed> {
        let parts: Option<Vec<Part>> = {
            let mut ledger = self
                .ledger
                .lock()
                .expect("nobody panics while holding the ledger");
            asks.into_iter().map(|ask| ledger.accept(ask)).collect()
        };
        let parts = parts.ok_or(Closed)?;
        self.changes
            .send(Op::Numbered(parts.clone()))
            .map_err(|_| Closed)?;
        Ok(parts)
    }

    /// [`Store::accept`] for a command, without waiting: `words` of the parts is its answer, kept with them under its id where it
    /// has one.
    pub fn accepting(
        &self,
        asks: Vec<PartRequest>,
        id: Option<String>,
        words: impl FnOnce(&[Part]) -> String + Send + 'static,
    ) -> Pending<(Vec<Part>, String)> {
        let (reply, accepted) = bounded(1);
        let _ = self.changes.send(Op::Accept {
            asks,
            answer: Answer {
                id,
                words: Box::new(words),
            },
            reply,
        });
        Pending(accepted)
    }

    /// A part's verdict; where the part's result has left already, it is for the record.
    pub fn settle(&self, reports: Vec<Report>) {
        reports
            .iter()
            .for_each(|report| report.part.marks.reach(PartStage::Settled));
        let _ = self.changes.send(Op::Settle(reports)); // the clerk outlives the line
    }

    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The broker has it, or refused it and would again: it is history.
    pub fn landed(&self, key: u64, accepted: bool) {
        let _ = self.changes.send(Op::Landed {
            key,
            accepted,
            at: Instant::now(),
        });
    }

    /// A command was answered: the same id gets the same answer for an hour.
    pub fn answered(&self, id: &str, answer: &str) -> Pending<()> {
        let (done, written) = bounded(1);
        let _ = self.changes.send(Op::Answer {
            id: id.to_owned(),
            answer: answer.to_owned(),
            done,
        });
        Pending(written)
    }

    /// A line of the audit log.
    pub fn note(&self, what: impl Into<String>) {
        let _ = self.changes.send(Op::Note(what.into()));
    }

    /// Later runs find it under that key; an empty value is none.
    pub fn keep(&self, key: &str, value: &str) -> Pending<()> {
        self.keeping(key, value, false)
    }

    /// The same where nothing stands yet: a file that could not be read so far may hold something.
    pub fn begin(&self, key: &str, value: &str) -> Pending<()> {
        self.keeping(key, value, true)
    }

    fn keeping(&self, key: &str, value: &str, begins: bool) -> Pending<()> {
        let (done, written) = bounded(1);
        let _ = self.changes.send(Op::Keep {
            key: key.to_owned(),
            value: value.to_owned(),
            begins,
            done,
        });
        Pending(written)
    }

    /// Every open part becomes undecided, and nothing is accepted any more. Returns when that is on the disk.
    pub fn close(&self) {
        let (done, closed) = bounded(1);
        if self.changes.send(Op::Close(done)).is_ok() {
            let _ = closed.recv();
        }
    }

    pub fn count(&self) -> StoreCount {
        self.outbox.count()
    }
}
