//! The handle of everybody who accepts, judges or publishes parts.

use super::bounds::OPS;
use super::count::StoreCount;
use super::error::DatabaseError;
use super::ledger::Ledger;
use super::op::{Closed, CommandAnswer, Op, Pending};
use super::outbox::Outbox;
use super::recovery::OpenStore;
use super::row::Recovered;
use super::search::{ASK_AGAIN, Search, SearchReply};
use super::settings::StoreSettings;
use crate::base::health::Diagnostics;
use crate::data::history::PartLabel;
use crate::data::part::{Part, PartRequest, PartStage};
use crate::data::report::Report;
use crossbeam::channel::{Sender, TrySendError, bounded};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Handle of a line's store; clones share it.
#[derive(Clone)]
pub struct Store {
    ops: Sender<Op>,
    outbox: Arc<Outbox>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Store {
    /// Opens the file; a [`super::StoreWriter`] is to be given a thread. Tells what earlier runs left.
    ///
    /// # Errors
    /// When the file is another process's, or cannot be made.
    pub fn open(
        settings: StoreSettings,
        run_id: &str,
        causes: Diagnostics,
    ) -> Result<(Store, OpenStore, Recovered), DatabaseError> {
        // Requests queue up to the bound; a sender then waits, which slows the line to the speed of
        // its disk.
        let (sender, ops) = bounded(OPS);
        let outbox = Arc::new(Outbox::default());
        let (opened, found) = OpenStore::open(settings, run_id, ops, outbox.clone(), causes)?;
        let store = Store {
            ops: sender,
            outbox,
            ledger: opened.ledger(),
        };

        Ok((store, opened, found))
    }

    /// Numbers the parts; when it returns, they are on the disk.
    ///
    /// # Errors
    /// When the line is stopping.
    pub fn accept_durable(&self, asks: Vec<PartRequest>) -> Result<Vec<Part>, Closed> {
        // A camera's own parts have no command, so that there is no answer to keep.
        let pending = self.accept_durable_async(asks, None, |_| String::new());
        let (parts, _) = pending.wait()?;
        Ok(parts)
    }

    /// [`Store::accept_durable`] for a command, without waiting: `wording` of the parts is its answer,
    /// kept with them under its id where it has one.
    pub fn accept_durable_async(
        &self,
        asks: Vec<PartRequest>,
        id: Option<String>,
        wording: impl FnOnce(&[Part]) -> String + Send + 'static,
    ) -> Pending<(Vec<Part>, String)> {
        // The channel has room for the one reply, so that the writer never waits for who asked.
        let (reply, accepted) = bounded(1);
        let answer = CommandAnswer {
            id,
            wording: Box::new(wording),
        };

        // Where the writer has left, the sender is dropped with the request, and `wait` says that
        // the line is stopping.
        let _ = self.ops.send(Op::AcceptDurable {
            asks,
            answer,
            reply,
        });

        Pending(accepted)
    }

    /// Numbers the parts at once. They are on the disk before their results leave: enough for a
    /// free-running camera's, of which nothing is known outside before.
    ///
    /// # Errors
    /// When the line is stopping.
    pub fn accept(&self, asks: Vec<PartRequest>) -> Result<Vec<Part>, Closed> {
        // Numbers come from the ledger without a way through the writer: no picture waits for the
        // disk.
        let parts = self.numbered(asks).ok_or(Closed)?;
        match self.ops.send(Op::Accepted(parts.clone())) {
            Ok(()) => Ok(parts),
            Err(_) => Err(Closed),
        }
    }

    fn numbered(&self, asks: Vec<PartRequest>) -> Option<Vec<Part>> {
        let mut ledger = self
            .ledger
            .lock()
            .expect("nobody panics while holding the ledger");

        ledger.accept_all(asks)
    }

    /// Brings verdicts; one whose part has its result already is for the record.
    pub fn submit(&self, reports: Vec<Report>) {
        // The moment is taken here, on the caller's thread: the time in the writer's queue belongs
        // to the next stage.
        for report in &reports {
            report.part.times.reach(PartStage::Settled);
        }

        let _ = self.ops.send(Op::Submit(reports)); // the writer outlives the line
    }

    /// Results on their way to the broker.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The broker has the result, or refused it (`accepted` is false) and would again: it is history.
    pub fn acked(&self, key: u64, accepted: bool) {
        // The time is that of the acknowledgement, before it waits in the writer's queue.
        let at = Instant::now();
        self.outbox.note_answered(key);
        let _ = self.ops.send(Op::Acked { key, accepted, at });
    }

    /// Keeps a command's answer: the same id gets the same answer for an hour.
    pub fn answered(&self, id: &str, answer: &str) -> Pending<()> {
        let (done, written) = bounded(1);
        let _ = self.ops.send(Op::Answer {
            id: id.to_owned(),
            answer: answer.to_owned(),
            done,
        });

        Pending(written)
    }

    /// Keeps a person's word on a part, whose key a search found.
    pub fn label(&self, key: u64, label: PartLabel) {
        let _ = self.ops.send(Op::Label(key, label));
    }

    /// Writes a line of the audit log.
    pub fn audit(&self, what: impl Into<String>) {
        let _ = self.ops.send(Op::Audit(what.into()));
    }

    /// Keeps a value under a key for later runs; an empty value is none.
    pub fn set(&self, key: &str, value: &str) -> Pending<()> {
        self.send_value(key, value, false)
    }

    /// Keeps a value unless there is one: a file that could not be read so far may hold something.
    pub fn set_if_absent(&self, key: &str, value: &str) -> Pending<()> {
        self.send_value(key, value, true)
    }

    fn send_value(&self, key: &str, value: &str, if_absent: bool) -> Pending<()> {
        let (done, written) = bounded(1);
        let _ = self.ops.send(Op::Set {
            key: key.to_owned(),
            value: value.to_owned(),
            if_absent,
            done,
        });

        Pending(written)
    }

    /// Takes one step of a search in the history. `reply` gets the page, or why there is none: on the
    /// thread of the disk, and at once where too much waits. Never waits.
    pub fn search(&self, search: Search, reply: SearchReply) {
        let Err(refused) = self.ops.try_send(Op::Search(search, reply)) else {
            return;
        };

        let words = match refused {
            TrySendError::Full(_) => format!("the store is busy; {ASK_AGAIN}"),
            TrySendError::Disconnected(_) => Closed.to_string(),
        };

        if let Op::Search(_, reply) = refused.into_inner() {
            reply(Err(words));
        }
    }

    /// Makes every open part undecided, and accepts nothing any more. Returns when that is on the disk.
    pub fn close(&self) {
        let (done, closed) = bounded(1);
        // A writer that ends without a reply has nothing open either.
        if self.ops.send(Op::Close(done)).is_ok() {
            let _ = closed.recv();
        }
    }

    /// The counters of this run.
    pub fn count(&self) -> StoreCount {
        self.outbox.count()
    }
}
