//! The one thread that writes. Takes the requests that wait, applies them to the ledger, commits them in
//! one transaction, and releases to others only what is committed.

use super::bounds::{
    ACK_WAIT, BATCH_OPS, HANG_LOOK, HANG_MAX, HANG_MIN, LIVE_MAX, LIVE_MAX_BUSY, PAGE_ROWS,
};
use super::commit::CommitQueue;
use super::ledger::{Ledger, Recording};
use super::op::{AcceptedParts, CommandAnswer, Op};
use super::outbox::{Outbox, OutboxEntry, TakenMessages};
use super::policy::ResultPolicy;
use super::recovery::OpenStore;
use super::rejects::Reject;
use super::retention::Retention;
use super::row::{RowState, Write};
use super::waiting_searches::WaitingSearches;
use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::data::part::{Part, PartRequest, PartStage};
use crate::data::report::Report;
use crate::data::result::ResultRow;
use crate::data::verdict::{Reason, Verdict};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The store's work; [`StoreWriter::run`] is to be given a thread.
pub struct StoreWriter {
    policy: Box<dyn ResultPolicy>,
    reject_window: Duration,
    ops: Receiver<Op>,
    /// Requests that came while a commit was waited for.
    came: VecDeque<Op>,
    outbox: Arc<Outbox>,
    ledger: Arc<Mutex<Ledger>>,
    file: CommitQueue,
    retention: Retention,
    /// Time since when an acknowledgement waits to be written.
    ack_since: Option<Instant>,
    /// Searches in the history that wait.
    searches: WaitingSearches,
}

/// Results of one transaction, for others once it is committed.
#[derive(Default)]
struct Batch {
    live: Vec<OutboxEntry>,
    rejects: Vec<Reject>,
    /// Moment by which the first of them is due.
    due: Option<Instant>,
    /// Results without a verdict.
    undecided: u64,
    /// Verdicts for the record: only in the file.
    late: u64,
    /// Results that go from memory to the file.
    spilled: u64,
    /// Keys of results that were aside and go from memory to the file.
    rested: Vec<u64>,
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
#[derive(Default)]
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
            came: VecDeque::new(),
            outbox: opened.outbox.clone(),
            ledger: opened.ledger.clone(),
            retention: Retention::new(
                opened.settings.clone(),
                opened.causes.clone(),
                opened.outbox.clone(),
            ),
            file: CommitQueue::new(opened),
            ack_since: None,
            searches: WaitingSearches::default(),
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

            self.file.look_after_file();
            self.run_once(arrived.ops, is_last);
            self.retention.run(&mut self.file);
            if is_last {
                return;
            }
        }
    }

    /// Waits for requests: at least one, unless a deadline or a while comes first.
    fn wait(&mut self) -> Arrived {
        let mut arrived = Arrived::default();
        if !self.came.is_empty() {
            self.take_what_came();
            arrived.ops.extend(self.came.drain(..));
            return arrived;
        }

        match self.ops.recv_timeout(self.patience()) {
            Ok(first) => {
                let more = self.ops.try_iter();
                arrived.ops.push(first);
                arrived.ops.extend(more.take(BATCH_OPS - 1));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => arrived.is_last = true,
        }

        arrived
    }

    /// Time until something is due without a request.
    fn patience(&self) -> Duration {
        if !self.searches.are_empty() {
            return Duration::ZERO;
        }

        let now = Instant::now();
        let mut patience = HEARTBEAT;
        if let Some(due) = self.ledger().next_due() {
            let until_due = due.saturating_duration_since(now);
            patience = patience.min(until_due);
        }

        if self.file.is_hanging() {
            patience = patience.min(HANG_LOOK);
        }

        if let Some(since) = self.ack_since
            && !self.file.is_failing()
        {
            let due = since + ACK_WAIT;
            let until_due = due.saturating_duration_since(now);
            patience = patience.min(until_due);
        }

        patience
    }

    /// One batch: apply, commit, release.
    fn run_once(&mut self, ops: Vec<Op>, is_last: bool) {
        let mut batch = Batch {
            is_urgent: is_last,
            ..Batch::default()
        };

        for op in ops {
            batch.is_urgent |= !op.is_patient();
            self.apply(op, &mut batch);
        }

        self.expire(&mut batch);
        self.spill(&mut batch);
        self.spill_aside(&mut batch);
        if self.is_time_to_commit(&batch) {
            self.commit(&batch, is_last);
        }

        self.release_committed(batch);
        self.read_page();
        self.checkpoint();
        self.searches.step(&mut self.file);
    }

    fn is_time_to_commit(&self, batch: &Batch) -> bool {
        let acks_are_due = match self.ack_since {
            Some(since) => since.elapsed() >= ACK_WAIT,
            None => false,
        };

        batch.is_urgent || acks_are_due || self.file.is_full() || self.file.is_failing()
    }

    /// Time that the disk has for a commit: until the next part is due, within bounds, be it one of those
    /// that are open, of the batch, or of those that came meanwhile. The time that it has taken for an
    /// earlier job counts.
    fn commit_patience(&self, batch: &Batch) -> Duration {
        let open = self.ledger().next_due();
        let came = self.came.iter().filter_map(Op::first_due);
        let due = came.chain(open).chain(batch.due).min();
        let until_due = due.map(|due| due.saturating_duration_since(Instant::now()));
        let patience = until_due.unwrap_or(HANG_MAX).clamp(HANG_MIN, HANG_MAX);
        patience.saturating_sub(self.file.busy_for())
    }

    fn commit(&mut self, batch: &Batch, is_last: bool) {
        let entering = batch.late + batch.spilled + batch.rested.len() as u64;
        let mut patience = (!is_last).then(|| self.commit_patience(batch));
        let end = Instant::now() + HANG_MAX;
        loop {
            let look = patience.map(|patience| patience.min(HANG_LOOK));
            if self.file.commit(entering, look) {
                self.ack_since = None;
                return;
            }

            // A part among them may be due before those that are known.
            self.take_what_came();
            let left = end.saturating_duration_since(Instant::now());
            patience = patience.map(|_| self.commit_patience(batch).min(left));
            if !self.file.is_hanging() || patience == Some(Duration::ZERO) {
                return;
            }
        }
    }

    /// Takes requests that wait, for the next batch.
    fn take_what_came(&mut self) {
        let room = BATCH_OPS.saturating_sub(self.came.len());
        self.came.extend(self.ops.try_iter().take(room));
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
            Op::Label(key, label) => self.file.push(Write::Label { key, label }),
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
            Op::Search(search, reply) => self.searches.push((search, reply)),
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
        let parts = self.ledger().accept_all(asks);
        let Some(parts) = parts else {
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

    fn record(&mut self, report: Report, batch: &mut Batch) {
        let recording = self.ledger().record_verdict(report);
        match recording {
            Recording::Released(reports) => self.release(reports, batch),
            Recording::Late(report) => self.record_late(&report, batch),
            Recording::Decided => {}
        }
    }

    fn ack(&mut self, key: u64, accepted: bool, at: Instant) {
        let Some(acked) = self.outbox.ack(key, accepted) else {
            return;
        };

        acked.reach(PartStage::Acked, at);
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
            let row = Arc::new(self.policy.encode(&report));
            self.file.push(Write::Part {
                key: report.part.key,
                state: RowState::Live,
                row: row.clone(),
            });

            for (key, value) in kept {
                self.file.push(Write::Set { key, value });
            }

            if report.verdict == Verdict::Undecided {
                batch.undecided += 1;
            }

            if let Some(reject) = self.policy.reject_message(&report) {
                batch.rejects.push(reject);
            }

            let due = report.part.due();
            batch.due = Some(batch.due.map_or(due, |first| first.min(due)));
            batch.live.push(self.live_entry(&report, row));
        }
    }

    fn live_entry(&self, report: &Report, row: Arc<ResultRow>) -> OutboxEntry {
        let part = &report.part;
        let until = part.due() + self.reject_window;
        OutboxEntry {
            key: part.key,
            row,
            until: Some(until),
            given_up_before: 0,
            marks: Some(part.times.clone()),
            asides: 0,
            at_gate: report.at_gate(),
            taken: TakenMessages::default(),
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
        let live = queues.live() + batch.live.len();
        // A disk that is only busy takes them soon; giving them up would lose what it has room for.
        let is_busy = self.file.is_hanging() && !self.file.has_failed();
        let most = if is_busy { LIVE_MAX_BUSY } else { LIVE_MAX };
        if live <= most {
            return;
        }

        let over = live - if is_busy { most } else { LIVE_MAX };
        let spilled = queues.spill(over + LIVE_MAX / 2);
        for entry in &spilled {
            queues.report_again(entry.given_up_before);
        }

        let count = spilled.len() as u64;
        if self.file.is_failing() {
            queues.gave_up(count);
            drop(queues);
            return self.give_up(spilled);
        }

        queues.spilling += count;
        batch.spilled += count;
        batch.is_urgent = true; // a page that is read before they are in the file would lack them
        for OutboxEntry { key, row, .. } in spilled {
            self.file.push(Write::Spill { key, row });
        }
    }

    /// Results that were put aside and made room for others wait in the file, once there is one.
    fn spill_aside(&mut self, batch: &mut Batch) {
        if self.file.is_failing() {
            return;
        }

        let mut queues = self.outbox.queues();
        for OutboxEntry {
            key,
            row,
            given_up_before,
            ..
        } in queues.take_leaving()
        {
            queues.report_again(given_up_before);
            queues.spilling += 1;
            batch.is_urgent = true;
            batch.rested.push(key);
            self.file.push(Write::Spill { key, row });
        }
    }

    /// Results for which there is no room. Written once the disk works, so that a later run does not
    /// send them.
    fn give_up(&mut self, entries: Vec<OutboxEntry>) {
        for entry in entries {
            self.file.push(Write::State {
                key: entry.key,
                state: RowState::GivenUp,
            });
        }
    }

    /// Hands out what the commit stands for. Counters change all at once: they balance at any moment.
    fn release_committed(&mut self, batch: Batch) {
        let now = Instant::now();
        for reply in &batch.accepted {
            for part in &reply.parts {
                part.times.reach_at(PartStage::Numbered, now);
            }
        }

        // Late ones that are younger waited for what went to the file.
        let to_file = batch.late + batch.spilled + batch.rested.len() as u64;
        let has_results = !batch.live.is_empty() || to_file > 0;
        let (accepted, open) = self.ledger().counts();
        let mut queues = self.outbox.queues();
        queues.in_file += batch.late + batch.spilled;
        queues.spilling -= batch.spilled + batch.rested.len() as u64;
        for key in batch.rested {
            queues.rest(key);
        }

        queues.count.accepted = accepted;
        queues.count.open = open;
        queues.count.results += batch.live.len() as u64;
        queues.count.undecided += batch.undecided;
        queues.count.late += batch.late;
        for reject in batch.rejects {
            queues.put_reject(reject);
        }

        let mut released = Vec::with_capacity(batch.live.len());
        for entry in batch.live {
            entry.reach(PartStage::Written, now);
            released.push(entry.row.clone());
            queues.put_live(entry);
        }

        drop(queues);
        for row in released {
            self.policy.on_released(&row);
        }

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
        if self.file.is_failing() {
            return;
        }

        let mut queues = self.outbox.queues();
        queues.look_at_rest(Instant::now());
        let wanted = queues.wanted_page();
        drop(queues);
        let Some(after) = wanted else {
            return;
        };

        self.file.read_page(after, PAGE_ROWS);
    }

    fn checkpoint(&mut self) {
        let ops = &self.ops;
        let came = &self.came;
        let ledger = &self.ledger;
        self.file.checkpoint(|| {
            let ledger = ledger
                .lock()
                .expect("nobody panics while holding the ledger");

            ops.is_empty() && came.is_empty() && ledger.open() == 0
        });
    }
}

#[cfg(test)]
mod single_batches;
