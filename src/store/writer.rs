//! The clerk: the one thread that writes. Takes what waits, enters it in the ledger, writes it in one transaction, and
//! only then tells anybody.

use super::database::{Database, DatabaseError, RowState, StoredResult, Write, is_broken};
use super::ledger::{Ledger, Settled};
use super::outbox::{Outbox, OutboxEntry};
use super::rejects::Reject;
use super::{Answer, Op, PAGE, StoreSettings, Words};
use crate::base::health::{Diagnostics, Health};
use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::data::part::{Part, PartStage};
use crate::data::report::Report;
use crate::data::verdict::{Reason, Verdict};
use crate::store::pending::{Gone, Most, compact};
use crate::store::recovery::{MOVED_ASIDE, OpenStore, cannot_write};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Changes in one transaction.
const TOGETHER: usize = 256;
/// Live results in memory; beyond, the oldest wait in the file.
const LIVE_MAX: usize = 2048;
/// Changes that a failing disk leaves in memory until they are made small; and how many of a kind stay then.
const UNWRITTEN_MAX: usize = 50_000;
const MOST: Most = Most {
    answers: 20_000,
    notes: 2000,
    late: 10_000,
};
/// How often a disk that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// What the broker has acknowledged is written along with what somebody waits for; alone after so long, or when so many
/// have come. Until then a crash makes the same result come again, as a lost PUBACK would.
const LANDED_WAIT: Duration = Duration::from_millis(50);
const LANDED_MAX: usize = 2048;
/// Pages in the log, of 4 kB, that are taken over into the file when nobody waits: that takes two fsyncs, and in the commit of
/// a part or a result it would be that one's time. 500 take 2 ms on a virtual SSD, over before the next part of a line comes;
/// 125 took 1 ms there, so that fewer would be more time in all.
const LOG_QUIET: u64 = 500;
/// And in any case, so that the log has a bound where somebody always waits: these 16 MB and a transaction. It takes 11 ms
/// there, once in about a thousand commits.
const LOG_MAX: u64 = 4000;
/// How often old results are looked for.
const TIDY: Duration = Duration::from_secs(10);

/// Among the causes: what is foreseen.
const BACKLOG: &str = "backlog";
const DISK: &str = "disk";

/// Bytes of a disk: a twentieth is little, and 1 GB is enough on any.
fn is_low(free: u64, size: u64) -> bool {
    free < (size / 20).min(1 << 30)
}

pub struct StoreWriter {
    settings: StoreSettings,
    run_id: Arc<str>,
    /// This run's; what the file holds before it is from earlier ones.
    first_key: u64,
    /// The file says of what earlier runs left that it waits.
    is_begun: bool,
    words: Words,
    changes: Receiver<Op>,
    outbox: Arc<Outbox>,
    causes: Diagnostics,
    database: Database,
    ledger: Arc<Mutex<Ledger>>,
    /// What is not in the file yet.
    unwritten: VecDeque<Write>,
    /// The disk failed then.
    failed: Option<Instant>,
    /// Late results that this round brings, which the outbox does not count yet.
    entering: u64,
    /// Since when there has been something to write that nobody waits for.
    owed: Option<Instant>,
    tidied: Instant,
}

/// What a round has for others once it is written.
#[derive(Default)]
struct Batch {
    live: Vec<OutboxEntry>,
    rejects: Vec<Reject>,
    undecided: u64,
    /// For the record: only in the file.
    late: u64,
    /// From memory to the file.
    spilled: u64,
    accepted: Vec<Accepted>,
    done: Vec<Sender<()>>,
    /// Somebody waits for what it writes.
    is_urgent: bool,
}

/// Whoever asked, and what he gets.
type Accepted = (Sender<(Vec<Part>, String)>, Vec<Part>, String);

impl StoreWriter {
    pub(super) fn new(opened: OpenStore, words: Words) -> Self {
        let OpenStore {
            settings,
            run_id,
            first_key,
            is_begun,
            changes,
            outbox,
            causes,
            database,
            ledger,
            told,
        } = opened;
        StoreWriter {
            settings,
            run_id,
            first_key,
            is_begun,
            words,
            changes,
            outbox,
            causes,
            database,
            ledger,
            unwritten: told.map(|what| Write::Note { what }).into_iter().collect(),
            failed: (!is_begun).then(Instant::now),
            entering: 0,
            owed: None,
            tidied: Instant::now(),
        }
    }

    /// Until every [`super::Store`] is gone.
    pub fn keep(mut self, pulse: &Heartbeat) {
        loop {
            pulse.beat();
            let (changes, last) = self.wait();
            if last {
                self.failed = self.failed.and_then(|failed| failed.checked_sub(RETRY)); // no more time to wait
            }
            self.round(changes, last);
            self.tidy();
            if last {
                return;
            }
        }
    }

    /// One round.
    #[cfg(test)]
    pub(super) fn once(&mut self) {
        let (changes, _) = self.wait();
        self.round(changes, true);
    }

    /// One round in which nobody brings anything.
    #[cfg(test)]
    pub(super) fn once_with_nothing(&mut self) {
        let changes = self.changes.try_iter().collect();
        self.round(changes, false);
    }

    #[cfg(test)]
    pub(super) fn take_the_log_over(&mut self) {
        self.database.checkpoint().expect("works");
    }

    #[cfg(test)]
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// Fills the disk up, or makes room and tries it at once.
    #[cfg(test)]
    pub(super) fn disk(&mut self, full: bool) {
        self.database.fill_up(full);
        self.failed = self.failed.map(|_| Instant::now() - RETRY);
    }

    /// What waits, at least one unless a deadline or a while comes first; true when nothing can come any more.
    fn wait(&self) -> (Vec<Op>, bool) {
        let now = Instant::now();
        let owed = self
            .owed
            .filter(|_| self.failed.is_none())
            .map(|owed| owed + LANDED_WAIT);
        let due = [self.ledger().next_due(), owed].into_iter().flatten().min();
        let due = due.map_or(HEARTBEAT, |due| {
            due.saturating_duration_since(now).min(HEARTBEAT)
        });
        let first = match self.changes.recv_timeout(due) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => return (vec![], false),
            Err(RecvTimeoutError::Disconnected) => return (vec![], true),
        };
        let more = self.changes.try_iter().take(TOGETHER - 1);
        (std::iter::once(first).chain(more).collect(), false)
    }

    fn round(&mut self, changes: Vec<Op>, last: bool) {
        let lands = |change: &Op| matches!(change, Op::Landed { .. });
        let mut round = Batch {
            is_urgent: last || !changes.iter().all(lands),
            ..Batch::default()
        };
        for change in changes {
            self.enter(change, &mut round);
        }
        let expired = self
            .ledger()
            .expire(Instant::now(), &|part, reason| self.say(part, reason));
        round.is_urgent |= !expired.is_empty();
        self.release(expired, &mut round);
        self.make_room(&mut round);
        let is_time = self.owed.is_some_and(|owed| owed.elapsed() >= LANDED_WAIT);
        self.entering = round.late + round.spilled;
        if round.is_urgent || is_time || self.unwritten.len() >= LANDED_MAX || self.failed.is_some()
        {
            self.write();
        }
        self.entering = 0;
        self.hand_out(round);
        self.read_a_page();
        self.checkpoint();
    }

    fn enter(&mut self, change: Op, round: &mut Batch) {
        match change {
            Op::Numbered(parts) => parts.iter().for_each(|part| self.write_open(part)),
            Op::Accept {
                asks,
                answer,
                reply,
            } => {
                let parts: Option<Vec<Part>> = {
                    let mut ledger = self.ledger();
                    asks.into_iter().map(|ask| ledger.accept(ask)).collect()
                };
                let Some(parts) = parts else { return }; // its reply is dropped: closed
                parts.iter().for_each(|part| self.write_open(part));
                let Answer { id, words } = answer;
                let answer = words(&parts);
                self.unwritten.extend(id.map(|id| Write::Answer {
                    id,
                    answer: answer.clone(),
                }));
                round.accepted.push((reply, parts, answer));
            }
            Op::Settle(reports) => {
                for report in reports {
                    let settled = self.ledger().settle(report);
                    match settled {
                        Settled::Released(reports) => self.release(reports, round),
                        Settled::Late(report) => self.record(&report, round),
                    }
                }
            }
            Op::Landed { key, accepted, at } => {
                if let Some(landed) = self.outbox.land(key, accepted) {
                    landed.reach(PartStage::Acked, at);
                    let state = if accepted {
                        RowState::Acked
                    } else {
                        RowState::GivenUp
                    };
                    self.unwritten.push_back(Write::Now { key, state });
                    self.owed.get_or_insert(at);
                }
            }
            Op::Answer { id, answer, done } => {
                self.unwritten.push_back(Write::Answer { id, answer });
                round.done.push(done);
            }
            Op::Note(what) => self.unwritten.push_back(Write::Note { what }),
            Op::Keep {
                key,
                value,
                begins,
                done,
            } => {
                self.unwritten.push_back(if begins {
                    Write::Begin { key, value }
                } else {
                    Write::Keep { key, value }
                });
                round.done.push(done);
            }
            Op::Close(done) => {
                let open = self.ledger().close(&|part, reason| self.say(part, reason));
                self.release(open, round);
                round.done.push(done);
            }
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger
            .lock()
            .expect("nobody panics while holding the ledger")
    }

    /// What is said of a part that nobody settled.
    fn say(&self, part: &Part, reason: Reason) -> Report {
        (self.words.due)(Report::undecided(
            part.clone(),
            reason,
            &(self.words.judge)(part),
        ))
    }

    /// A part's row, with what is said if this run never says anything else; a result that was quicker stays.
    fn write_open(&mut self, part: &Part) {
        if self.ledger().is_open(part) {
            let judge = (self.words.judge)(part);
            let said = Report::undecided(part.clone(), Reason::Late, &judge);
            let row = self.row(&said, RowState::Open);
            self.unwritten.push_back(row);
        }
    }

    fn row(&self, report: &Report, state: RowState) -> Write {
        let Part {
            key,
            run_id,
            seq,
            ask,
            ..
        } = &report.part;
        let body = (self.words.body)(report).into();
        Write::Part {
            key: *key,
            run_id: run_id.clone(),
            camera: ask.camera.clone(),
            seq: *seq,
            state,
            body,
        }
    }

    /// Results that stand.
    fn release(&mut self, reports: Vec<Report>, round: &mut Batch) {
        for report in reports {
            let kept = (self.words.hear)(&report);
            let row = self.row(&report, RowState::Live);
            if let Write::Part {
                key, camera, body, ..
            } = &row
            {
                let until = Some(report.part.due() + self.settings.reject_window);
                let place = match &report.part.ask.region {
                    Some(region) => format!("{camera}/{region}").into(),
                    None => camera.clone(),
                };
                let marks = Some(report.part.marks.clone());
                round.live.push(OutboxEntry {
                    key: *key,
                    place,
                    body: body.clone(),
                    until,
                    dropped_before: 0,
                    marks,
                });
            }
            round.rejects.extend((self.words.reject)(&report));
            self.unwritten.push_back(row);
            self.unwritten.extend(
                kept.into_iter()
                    .map(|(key, value)| Write::Keep { key, value }),
            );
            round.undecided += u64::from(report.verdict == Verdict::Undecided);
        }
    }

    /// A verdict that came after its part's result: a row of its own.
    fn record(&mut self, report: &Report, round: &mut Batch) {
        let mut row = self.row(report, RowState::Backlog);
        if let Write::Part { key, .. } = &mut row {
            *key = self.ledger().spare_key();
        }
        self.unwritten.push_back(row);
        round.late += 1;
    }

    /// Live results beyond the bound wait in the file, as long as there is one.
    fn make_room(&mut self, round: &mut Batch) {
        let mut queues = self.outbox.queues();
        let over = (queues.live() + round.live.len()).saturating_sub(LIVE_MAX);
        if over == 0 {
            return;
        }
        let spilled = queues.spill(over + LIVE_MAX / 2);
        let dropped: u64 = spilled.iter().map(|waiting| waiting.dropped_before).sum();
        queues.say_again(dropped);
        if self.failed.is_some() {
            queues.gave_up(spilled.len() as u64);
            // Once the disk writes again, so that a later run does not send them.
            let given_up = |waiting: OutboxEntry| Write::Now {
                key: waiting.key,
                state: RowState::GivenUp,
            };
            self.unwritten.extend(spilled.into_iter().map(given_up));
            return;
        }
        queues.spilling += spilled.len() as u64;
        round.spilled += spilled.len() as u64;
        round.is_urgent = true; // a page that is read before they are in the file would be without them
        self.unwritten.extend(spilled.into_iter().map(
            |OutboxEntry {
                 key, place, body, ..
             }| Write::Spill { key, place, body },
        ));
    }

    /// Everything that waits, in one transaction; a disk that fails is tried again after a while.
    fn write(&mut self) {
        let waits = self
            .failed
            .map_or(self.unwritten.is_empty(), |failed| failed.elapsed() < RETRY);
        if waits {
            return;
        }
        if !self.is_begun {
            match self.database.begin_run(self.first_key) {
                Ok(waiting) => self.outbox.queues().waits_from_before(waiting),
                Err(error) => return self.fail(&error),
            }
            self.is_begun = true;
        }
        // A disk that failed is tried with a few: the others would be written for nothing. Once it works they follow, before
        // anybody reads a page.
        let some = if self.failed.is_some() {
            self.unwritten.len().min(TOGETHER)
        } else {
            self.unwritten.len()
        };
        match self
            .database
            .write(&self.run_id, &self.unwritten.make_contiguous()[..some])
        {
            Ok(()) => {
                self.unwritten.drain(..some);
                if self.failed.take().is_some() {
                    tracing::info!("the store writes again");
                    self.causes.clear("store");
                }
                if !self.unwritten.is_empty() {
                    return self.write();
                }
                self.owed = None;
                self.outbox.queues().landed.clear();
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &rusqlite::Error) {
        if self.failed.is_none() {
            cannot_write(&self.settings.file, &error.to_string(), &self.causes);
        }
        self.failed = Some(Instant::now());
        if is_broken(error) || self.database.is_left() {
            match self.another_file(error) {
                Ok((database, told)) => {
                    (self.database, self.is_begun) = (database, false);
                    // What is still to be written is not lost with it.
                    let waits = |write: &&Write| {
                        matches!(
                            write,
                            Write::Part {
                                state: RowState::Backlog,
                                ..
                            } | Write::Spill { .. }
                        )
                    };
                    let unwritten = self.unwritten.iter().filter(waits).count() as u64;
                    let mut queues = self.outbox.queues();
                    let lost = queues
                        .in_file
                        .saturating_sub(unwritten.saturating_sub(self.entering));
                    queues.in_file -= lost;
                    queues.gave_up(lost);
                    drop(queues);
                    if let Some(told) = &told {
                        tracing::error!(
                            "{told}; the {lost} results that waited in it are lost to the broker"
                        );
                        self.causes.set(MOVED_ASIDE, Health::OffSpec, told);
                    }
                    self.unwritten.extend(told.map(|what| Write::Note { what }));
                }
                Err(error) => tracing::debug!("the store is still not there: {error}"),
            }
        }
        if self.unwritten.len() > UNWRITTEN_MAX {
            self.make_small();
        }
    }

    /// A disk that fails for long leaves what is owed in memory, not what was delivered meanwhile.
    fn make_small(&mut self) {
        let gone = compact(&mut self.unwritten, &MOST);
        let Gone {
            done,
            answers,
            notes,
            late,
        } = &gone;
        tracing::warn!(
            "the disk fails for long: {} delivered results will not be in the store's history; forgotten are {answers} \
             commands' ids, {notes} lines of the audit log, {late} verdicts that came late",
            done.len()
        );
        let mut queues = self.outbox.queues();
        queues.landed.retain(|key| !done.contains(key));
        queues.in_file = queues.in_file.saturating_sub(*late as u64);
        queues.gave_up(*late as u64);
    }

    /// Instead of one that is broken. Ours is closed before: it would be in the way of the other.
    fn another_file(
        &mut self,
        error: &rusqlite::Error,
    ) -> Result<(Database, Option<String>), DatabaseError> {
        let StoreSettings { file, sync, .. } = &self.settings;
        if self.database.is_left() {
            return Database::open(file, *sync); // there was none before now
        }
        self.database.leave()?;
        Database::anew(file, *sync, error).map(|(database, told)| (database, Some(told)))
    }

    fn hand_out(&mut self, round: Batch) {
        let (accepted, open) = {
            let ledger = self.ledger();
            (ledger.accepted(), ledger.open() as u64)
        };
        let mut queues = self.outbox.queues();
        // All at once: the counters balance at any moment.
        queues.in_file += round.late + round.spilled;
        queues.spilling -= round.spilled;
        let count = &mut queues.count;
        (count.accepted, count.open) = (accepted, open);
        count.results += round.live.len() as u64;
        count.undecided += round.undecided;
        count.late += round.late;
        let any = !round.live.is_empty() || round.late + round.spilled > 0;
        round
            .rejects
            .into_iter()
            .for_each(|reject| queues.put_reject(reject));
        let now = Instant::now();
        round
            .accepted
            .iter()
            .flat_map(|(_, parts, _)| parts)
            .for_each(|part| part.marks.reach_at(PartStage::Numbered, now));
        for waiting in round.live {
            waiting.reach(PartStage::Written, now);
            queues.put_live(waiting);
        }
        drop(queues);
        if any {
            self.outbox.bell.notify_one();
        }
        for (reply, parts, answer) in round.accepted {
            let _ = reply.send((parts, answer)); // who asked may have gone
        }
        for done in round.done {
            let _ = done.send(());
        }
    }

    /// Keeps the log short, between two parts where there is such a moment.
    fn checkpoint(&mut self) {
        let pages = self.database.log_pages();
        let is_quiet = || self.changes.is_empty() && self.ledger().open() == 0;
        if (pages >= LOG_MAX || (pages >= LOG_QUIET && is_quiet()))
            && let Err(error) = self.database.checkpoint()
        {
            tracing::debug!("the log of the store stays as it is: {error}"); // a commit fails once it matters
        }
    }

    /// Late results, before the publisher needs them.
    fn read_a_page(&mut self) {
        let read_to = {
            let queues = self.outbox.queues();
            if !queues.wants_a_page() || self.failed.is_some() {
                return;
            }
            queues.read_to
        };
        match self.database.page(read_to, PAGE) {
            Ok(rows) => {
                let mut queues = self.outbox.queues();
                if rows.is_empty() {
                    queues.in_file = 0;
                }
                for row in rows {
                    let StoredResult { key, camera, body } = row;
                    queues.put_late(OutboxEntry {
                        key,
                        place: camera,
                        body,
                        until: None,
                        dropped_before: 0,
                        marks: None,
                    });
                }
                drop(queues);
                self.outbox.bell.notify_one();
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Keeps the bounds of the file.
    fn tidy(&mut self) {
        let waiting = self.outbox.count().waiting;
        if self.failed.is_none() && waiting > self.settings.waiting_max {
            // And a little more, so that it is not each round's work.
            self.give_up(waiting - self.settings.waiting_max + self.settings.waiting_max / 100);
        }
        if self.tidied.elapsed() < TIDY {
            return;
        }
        self.foresee(waiting);
        let more = self
            .database
            .tidy(self.settings.keep, self.settings.keep_bytes)
            .unwrap_or_else(|error| {
                tracing::debug!("old results stay: {error}");
                false
            });
        if !more {
            self.tidied = Instant::now();
        }
    }

    /// What will go wrong unless somebody comes.
    pub(super) fn foresee(&self, waiting: u64) {
        let StoreSettings {
            file,
            waiting_max: most,
            ..
        } = &self.settings;
        if waiting > most / 2 {
            let words = format!(
                "{waiting} results wait for the broker; of more than {most} the oldest are given up"
            );
            self.causes.set(BACKLOG, Health::MaintenanceRequired, words);
        } else {
            self.causes.clear(BACKLOG);
        }
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        match rustix::fs::statvfs(folder)
            .map(|disk| (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize))
        {
            Ok((free, size)) if is_low(free, size) => {
                let words = format!(
                    "{} MB are left on the disk of {}; make room",
                    free >> 20,
                    file.display()
                );
                self.causes.set(DISK, Health::MaintenanceRequired, words);
            }
            _ => self.causes.clear(DISK), // one that cannot be asked says so when it is written to
        }
    }

    /// The oldest results that wait, of those that are not on their way.
    fn give_up(&mut self, count: u64) {
        let flying = self.outbox.queues().forget_late();
        match self.database.give_up(&flying, count) {
            Ok(gone) => {
                let mut queues = self.outbox.queues();
                queues.in_file = queues.in_file.saturating_sub(gone);
                queues.gave_up(gone);
            }
            Err(error) => self.fail(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_low;

    #[test]
    fn a_twentieth_of_a_disk_is_little_room_and_a_gigabyte_is_enough() {
        let (mb, gb) = (1 << 20, 1 << 30);
        assert!(is_low(7 * mb, 160 * mb) && !is_low(9 * mb, 160 * mb));
        assert!(is_low(gb - 1, 500 * gb) && !is_low(gb, 500 * gb));
    }
}
