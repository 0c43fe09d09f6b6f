//! The one thread that writes. Takes the requests that wait, applies them to the ledger, commits them in
//! one transaction, and releases to others only what is committed.

use super::bounds::{ACK_WAIT, BATCH_OPS, LIVE_MAX, PAGE_ROWS};
use super::commit::CommitQueue;
use super::ledger::{Ledger, Recording};
use super::op::{AcceptedParts, CommandAnswer, Op};
use super::outbox::{Outbox, OutboxEntry};
use super::policy::ResultPolicy;
use super::recovery::OpenStore;
use super::rejects::Reject;
use super::retention::Retention;
use super::row::{RowState, Write};
use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::data::part::{Part, PartRequest, Stage};
use crate::data::report::Report;
use crate::data::verdict::{Reason, Verdict};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The store's work; [`StoreWriter::run`] is to be given a thread.
pub struct StoreWriter {
    policy: Box<dyn ResultPolicy>,
    reject_window: Duration,
    ops: Receiver<Op>,
    outbox: Arc<Outbox>,
    ledger: Arc<Mutex<Ledger>>,
    file: CommitQueue,
    retention: Retention,
    /// Time since when an acknowledgement waits to be written.
    ack_since: Option<Instant>,
}

/// What one transaction has for others once it is committed.
#[derive(Default)]
struct Batch {
    live: Vec<OutboxEntry>,
    rejects: Vec<Reject>,
    /// Results without a verdict.
    undecided: u64,
    /// Verdicts for the record: only in the file.
    late: u64,
    /// Results that go from memory to the file.
    spilled: u64,
    accepted: Vec<AcceptedReply>,
    done: Vec<Sender<()>>,
    /// True when somebody waits for the commit.
    is_urgent: bool,
}

/// Parts, their command's answer, and where both go.
struct AcceptedReply {
    to: Sender<AcceptedParts>,
    parts: Vec<Part>,
    answer: String,
}

/// Requests that came within a while.
struct Arrived {
    ops: Vec<Op>,
    /// True when nothing can come any more.
    is_last: bool,
}

impl StoreWriter {
    /// The writer of an open store, for a line that judges by `policy`.
    pub fn new(opened: OpenStore, policy: impl ResultPolicy + 'static) -> Self {
        StoreWriter {
            policy: Box::new(policy),
            reject_window: opened.settings.reject_window,
            ops: opened.ops.clone(),
            outbox: opened.outbox.clone(),
            ledger: opened.ledger.clone(),
            retention: Retention::new(
                opened.settings.clone(),
                opened.causes.clone(),
                opened.outbox.clone(),
            ),
            file: CommitQueue::new(opened),
            ack_since: None,
        }
    }

    /// Works until every [`super::Store`] is gone.
    pub fn run(mut self, pulse: &Heartbeat) {
        loop {
            pulse.beat();
            let arrived = self.wait();
            let is_last = arrived.is_last;
            if is_last {
                self.file.retry_now(); // no more time to wait
            }
            self.run_once(arrived.ops, is_last);
            self.retention.run(&mut self.file);
            if is_last {
                return;
            }
        }
    }

    /// Waits for requests: at least one, unless a deadline or a while comes first.
    fn wait(&self) -> Arrived {
        let first = match self.ops.recv_timeout(self.patience()) {
            Ok(first) => first,
            Err(error) => {
                return Arrived {
                    ops: vec![],
                    is_last: error == RecvTimeoutError::Disconnected,
                };
            }
        };
        let mut ops = vec![first];
        ops.extend(self.ops.try_iter().take(BATCH_OPS - 1));
        Arrived {
            ops,
            is_last: false,
        }
    }

    /// Time until something is due without a request.
    fn patience(&self) -> Duration {
        let acks_due = match self.ack_since {
            Some(since) if !self.file.is_failing() => Some(since + ACK_WAIT),
            _ => None,
        };
        let next_part = self.ledger().next_due();
        match acks_due.into_iter().chain(next_part).min() {
            Some(due) => due.saturating_duration_since(Instant::now()).min(HEARTBEAT),
            None => HEARTBEAT,
        }
    }

    /// One batch: apply, commit, release.
    fn run_once(&mut self, ops: Vec<Op>, is_last: bool) {
        let has_more_than_acks = !ops.iter().all(|op| matches!(op, Op::Acked { .. }));
        let mut batch = Batch {
            is_urgent: is_last || has_more_than_acks,
            ..Batch::default()
        };
        for op in ops {
            self.apply(op, &mut batch);
        }
        self.expire(&mut batch);
        self.spill(&mut batch);
        if self.is_time_to_commit(&batch) && self.file.commit(batch.late + batch.spilled) {
            self.ack_since = None;
        }
        self.release_committed(batch);
        self.read_page();
        self.checkpoint();
    }

    fn is_time_to_commit(&self, batch: &Batch) -> bool {
        let acks_are_due = self
            .ack_since
            .is_some_and(|since| since.elapsed() >= ACK_WAIT);
        batch.is_urgent || acks_are_due || self.file.is_full() || self.file.is_failing()
    }

    fn apply(&mut self, op: Op, batch: &mut Batch) {
        match op {
            Op::AcceptDurable {
                asks,
                answer,
                reply,
            } => self.accept(asks, answer, reply, batch),
            Op::Accepted(parts) => {
                for part in &parts {
                    self.write_open(part);
                }
            }
            Op::Submit(reports) => {
                for report in reports {
                    self.record(report, batch);
                }
            }
            Op::Acked { key, accepted, at } => self.ack(key, accepted, at),
            Op::Answer { id, answer, done } => {
                self.file.push(Write::Answer { id, answer });
                batch.done.push(done);
            }
            Op::Audit(what) => self.file.push(Write::Note { what }),
            Op::Set {
                key,
                value,
                if_absent,
                done,
            } => {
                self.file.push(if if_absent {
                    Write::SetIfAbsent { key, value }
                } else {
                    Write::Set { key, value }
                });
                batch.done.push(done);
            }
            Op::Close(done) => {
                let open = self
                    .ledger()
                    .close(&|part, reason| self.undecided(part, reason));
                self.release(open, batch);
                batch.done.push(done);
            }
        }
    }

    /// Numbers parts. Without a ledger that is open the reply is dropped: closed.
    fn accept(
        &mut self,
        asks: Vec<PartRequest>,
        answer: CommandAnswer,
        to: Sender<AcceptedParts>,
        batch: &mut Batch,
    ) {
        let Some(parts) = self.numbered(asks) else {
            return;
        };
        for part in &parts {
            self.write_open(part);
        }
        let CommandAnswer { id, wording } = answer;
        let answer = wording(&parts);
        if let Some(id) = id {
            self.file.push(Write::Answer {
                id,
                answer: answer.clone(),
            });
        }
        batch.accepted.push(AcceptedReply { to, parts, answer });
    }

    fn numbered(&self, asks: Vec<PartRequest>) -> Option<Vec<Part>> {
        let mut ledger = self.ledger();
        asks.into_iter().map(|ask| ledger.accept(ask)).collect()
    }

    fn record(&mut self, report: Report, batch: &mut Batch) {
        let recording = self.ledger().record_verdict(report);
        match recording {
            Recording::Released(reports) => self.release(reports, batch),
            Recording::Late(report) => self.record_late(&report, batch),
        }
    }

    fn ack(&mut self, key: u64, accepted: bool, at: Instant) {
        let Some(acked) = self.outbox.ack(key, accepted) else {
            return;
        };
        acked.reach(Stage::Acked, at);
        let state = if accepted {
            RowState::Acked
        } else {
            RowState::GivenUp
        };
        self.file.push(Write::State { key, state });
        self.ack_since.get_or_insert(at);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger
            .lock()
            .expect("nobody panics while holding the ledger")
    }

    /// The report of a part without a verdict.
    fn undecided(&self, part: &Part, reason: Reason) -> Report {
        let policy = self.policy.policy_for(part);
        let undecided = Report::undecided(part.clone(), reason, &policy);
        self.policy.at_deadline(undecided)
    }

    /// Every part that is due becomes undecided.
    fn expire(&mut self, batch: &mut Batch) {
        let expired = self
            .ledger()
            .expire(Instant::now(), &|part, reason| self.undecided(part, reason));
        batch.is_urgent |= !expired.is_empty();
        self.release(expired, batch);
    }

    /// A part's row, with what is said if this run never says anything else; a result that was quicker
    /// stays.
    fn write_open(&mut self, part: &Part) {
        if !self.ledger().is_open(part) {
            return;
        }
        let policy = self.policy.policy_for(part);
        let undecided = Report::undecided(part.clone(), Reason::Late, &policy);
        self.file.push(Write::Part {
            key: part.key,
            state: RowState::Open,
            row: self.policy.encode(&undecided).into(),
        });
    }

    /// Results that stand.
    fn release(&mut self, reports: Vec<Report>, batch: &mut Batch) {
        for report in reports {
            let kept = self.policy.on_result(&report);
            let key = report.part.key;
            let row = Arc::new(self.policy.encode(&report));
            batch.live.push(OutboxEntry {
                key,
                row: row.clone(),
                until: Some(report.part.due() + self.reject_window),
                given_up_before: 0,
                marks: Some(report.part.marks.clone()),
            });
            batch.rejects.extend(self.policy.reject_message(&report));
            batch.undecided += u64::from(report.verdict == Verdict::Undecided);
            self.file.push(Write::Part {
                key,
                state: RowState::Live,
                row,
            });
            for (key, value) in kept {
                self.file.push(Write::Set { key, value });
            }
        }
    }

    /// A verdict that came after its part's result: a row of its own.
    fn record_late(&mut self, report: &Report, batch: &mut Batch) {
        let key = self.ledger().spare_key();
        self.file.push(Write::Part {
            key,
            state: RowState::Backlog,
            row: self.policy.encode(report).into(),
        });
        batch.late += 1;
    }

    /// Live results beyond the bound wait in the file, as long as there is one.
    fn spill(&mut self, batch: &mut Batch) {
        let mut queues = self.outbox.queues();
        let over = (queues.live() + batch.live.len()).saturating_sub(LIVE_MAX);
        if over == 0 {
            return;
        }
        let spilled = queues.spill(over + LIVE_MAX / 2);
        let dropped = spilled.iter().map(|entry| entry.given_up_before).sum();
        queues.report_again(dropped);
        let count = spilled.len() as u64;
        if self.file.is_failing() {
            queues.gave_up(count);
            // Once the disk writes again, so that a later run does not send them.
            self.file
                .extend(spilled.into_iter().map(|entry| Write::State {
                    key: entry.key,
                    state: RowState::GivenUp,
                }));
            return;
        }
        queues.spilling += count;
        batch.spilled += count;
        batch.is_urgent = true; // a page that is read before they are in the file would lack them
        self.file
            .extend(spilled.into_iter().map(|entry| Write::Spill {
                key: entry.key,
                row: entry.row,
            }));
    }

    /// Hands out what the commit stands for. Counters change all at once: they balance at any moment.
    fn release_committed(&mut self, batch: Batch) {
        let now = Instant::now();
        for reply in &batch.accepted {
            for part in &reply.parts {
                part.marks.reach_at(Stage::Numbered, now);
            }
        }
        let has_results = !batch.live.is_empty() || batch.late + batch.spilled > 0;
        let (accepted, open) = self.ledger().counts();
        let mut queues = self.outbox.queues();
        queues.in_file += batch.late + batch.spilled;
        queues.spilling -= batch.spilled;
        queues.count.accepted = accepted;
        queues.count.open = open;
        queues.count.results += batch.live.len() as u64;
        queues.count.undecided += batch.undecided;
        queues.count.late += batch.late;
        for reject in batch.rejects {
            queues.put_reject(reject);
        }
        for entry in batch.live {
            entry.reach(Stage::Written, now);
            queues.put_live(entry);
        }
        drop(queues);
        if has_results {
            self.outbox.notify.notify_one();
        }
        for AcceptedReply { to, parts, answer } in batch.accepted {
            let _ = to.send((parts, answer)); // who asked may have gone
        }
        for done in batch.done {
            let _ = done.send(());
        }
    }

    /// Late results, before the publisher needs them.
    fn read_page(&mut self) {
        let wanted = self.outbox.queues().wanted_page();
        let Some(after) = wanted.filter(|_| !self.file.is_failing()) else {
            return;
        };
        let Some(page) = self.file.page(after, PAGE_ROWS) else {
            return;
        };
        let mut queues = self.outbox.queues();
        if page.results.is_empty() && page.unreadable.is_empty() {
            queues.in_file = 0;
        }
        queues.lost_in_file(page.unreadable.len() as u64);
        for stored in page.results {
            queues.put_late(OutboxEntry::of_file(stored));
        }
        drop(queues);
        self.outbox.notify.notify_one();
    }

    fn checkpoint(&mut self) {
        let ops = &self.ops;
        let ledger = &self.ledger;
        self.file.checkpoint(|| {
            let ledger = ledger
                .lock()
                .expect("nobody panics while holding the ledger");
            ops.is_empty() && ledger.open() == 0
        });
    }
}

/// Single batches, and faults of the disk.
#[cfg(test)]
impl StoreWriter {
    /// One batch, of requests that are waited for.
    pub(super) fn once(&mut self) {
        let arrived = self.wait();
        self.run_once(arrived.ops, true);
    }

    /// One batch of the requests that are there, maybe none.
    pub(super) fn once_with_nothing(&mut self) {
        let ops = self.ops.try_iter().collect();
        self.run_once(ops, false);
    }

    pub(super) fn take_the_log_over(&mut self) {
        self.file.database().checkpoint().expect("works");
    }

    pub(super) fn pending(&self) -> usize {
        self.file.pending()
    }

    pub(super) fn foresee(&self, waiting: u64) {
        self.retention.foresee(waiting);
    }

    /// Fills the disk up, or makes room and tries it at once.
    pub(super) fn disk(&mut self, full: bool) {
        self.file.database().fill_up(full);
        self.file.retry_after_a_pause();
    }
}
