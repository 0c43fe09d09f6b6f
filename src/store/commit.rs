//! Writes on their way to the file: one transaction for all that wait, and what happens when it fails.
//!
//! ```text
//! push --> pending --commit--> file
//!             ^          \--fails--> told, tried again each second with a few
//!             |                        \--file broken--> another file
//!             +-- compacted beyond a bound <--/
//! ```

use super::bounds::{
    ACKS_MAX, BATCH_OPS, HANG_MIN, LOG_PAGES_MAX, LOG_QUIET_PAGES, PENDING, PENDING_MAX,
    REOPEN_MOST, RETRY, SLOW_COMMIT, WELL_AGAIN,
};
#[cfg(test)]
use super::database::Database;
use super::disk::{Disk, DiskJob, Done, JobKind};
use super::error::{DatabaseError, Incident, is_broken};
use super::outbox::{Outbox, OutboxEntry};
use super::pending::compact;
use super::recovery::{MOVED_ASIDE, OpenStore, cannot_write};
use super::row::{Page, Write};
use super::search::{Search, SearchReply};
use super::settings::Sync;
use crate::base::backoff::Backoff;
use crate::base::health::{Diagnostics, Health};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Diagnostics source of a disk whose commits take long.
const SLOW: &str = "slow disk";

/// Diagnostics source of a file that was removed while it was open.
const REMOVED: &str = "store file";

/// The file, and what is not in it yet.
pub(super) struct CommitQueue {
    disk: Disk,
    file: PathBuf,
    sync: Sync,
    run_id: Arc<str>,
    /// First key of this run; what the file holds before it is from earlier ones.
    first_key: u64,
    /// True once the file says of what earlier runs left that it waits.
    is_begun: bool,
    pending: VecDeque<Write>,
    /// Time of the last failure; `None` while the disk works.
    failed: Option<Instant>,
    /// Time of the last commit that took too long; `None` while the disk is quick.
    slow: Option<Instant>,
    /// Waits between two tries to open a file that could not be used.
    reopening: Backoff,
    /// Moment of the next of those tries.
    reopens_at: Option<Instant>,
    /// Late results of this commit that the outbox does not count yet.
    entering: u64,
    outbox: Arc<Outbox>,
    causes: Diagnostics,
    /// Time of the last look at the file's path.
    looked: Instant,
    /// True if the last search for old rows left some.
    has_old_rows: bool,
}

impl CommitQueue {
    /// The file of an open store.
    pub(super) fn new(opened: OpenStore) -> Self {
        let is_begun = opened.is_begun;
        let mut queue = CommitQueue {
            disk: Disk::new(opened.database),
            file: opened.settings.file,
            sync: opened.settings.sync,
            run_id: opened.run_id,
            first_key: opened.first_key,
            is_begun,
            pending: VecDeque::new(),
            failed: (!is_begun).then(Instant::now),
            slow: None,
            reopening: Backoff::new(RETRY, REOPEN_MOST),
            reopens_at: None,
            entering: 0,
            outbox: opened.outbox,
            causes: opened.causes,
            looked: Instant::now(),
            has_old_rows: false,
        };

        if let Some(incident) = opened.incident {
            queue.push_note(&incident);
        }

        queue
    }

    pub(super) fn push(&mut self, write: Write) {
        self.pending.push_back(write);
    }

    fn push_note(&mut self, incident: &Incident) {
        let what = incident.words().to_owned();
        self.push(Write::Note { what });
    }

    /// True while the disk fails or hangs: results leave from memory.
    pub(super) fn is_failing(&self) -> bool {
        self.failed.is_some() || self.is_hanging()
    }

    /// True while the disk fails, hanging apart.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Time for which the disk has been at its last job so far. Zero while it is idle.
    pub(super) fn busy_for(&self) -> Duration {
        self.disk.busy_for()
    }

    /// True while the disk has not ended its last job.
    pub(super) fn is_hanging(&self) -> bool {
        self.disk.is_busy()
    }

    /// True when more acknowledgements wait than should.
    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= ACKS_MAX
    }

    /// The next commit tries a disk that failed, without a pause.
    pub(super) fn retry_now(&mut self) {
        self.failed = self.failed.and_then(|failed| failed.checked_sub(RETRY));
    }

    #[cfg(test)]
    pub(super) fn database(&mut self) -> &mut Database {
        self.disk.database()
    }

    /// Looks whether the file is still at its path, now and then. A file that was removed under us is
    /// written there again, with all that is in it; until that works it is told.
    pub(super) fn look_after_file(&mut self) {
        if self.looked.elapsed() < RETRY || self.is_hanging() {
            return;
        }

        self.looked = Instant::now();
        let file = self.file.clone();
        let sync = self.sync;
        self.try_job(DiskJob::LookAfter { file, sync });
    }

    /// Tells of a file that was removed, and of its return.
    fn tell_removed(&self, put_back: Result<(), DatabaseError>) {
        let file = self.file.display().to_string();
        match put_back {
            Ok(()) => {
                tracing::error!(
                    "the store {file} was removed or replaced while winspect ran; it was written \
                     again with all its results"
                );

                self.causes.clear(REMOVED);
            }
            Err(error) => {
                let words = format!(
                    "{file} was removed or replaced, and cannot be written again ({error}); \
                     its results are lost if winspect stops now"
                );

                self.causes.set(REMOVED, Health::OffSpec, words);
            }
        }
    }

    /// Writes everything that waits; a disk that fails is tried again after a while. `entering`: late
    /// results among it that the outbox does not count yet. Waits at most `patience` for the disk;
    /// without one as long as it takes. True when all is written.
    pub(super) fn commit(&mut self, entering: u64, patience: Option<Duration>) -> bool {
        // A job that outlasted the patience of an earlier round comes first.
        self.entering = entering;
        let until = patience.map(|patience| Instant::now() + patience);
        let is_idle = !self.is_hanging() || self.ends_job(left(until));
        let is_written = is_idle
            && (self.has_nothing_left()
                || self.is_due() && self.begin(until) && self.write_all(until));

        self.entering = 0;
        is_written
    }

    /// Waits for the job under way. False while the disk is busy, and after a transaction that failed.
    fn ends_job(&mut self, patience: Option<Duration>) -> bool {
        let Some(done) = self.disk.finished(patience) else {
            // A disk that hangs for good must not fill the memory.
            if self.pending.len() > PENDING_MAX {
                self.compact();
            }

            return false;
        };

        let took = self.outbox.commit_ends(done.kind == JobKind::Commit);
        self.tell_slow(took);
        match done.outcome {
            Ok(what) => {
                self.take(what);
                true
            }
            Err(error) if done.kind == JobKind::Upkeep => {
                // A commit fails once it matters.
                tracing::debug!("old rows or the log of the store stay: {error}");
                true
            }
            Err(error) => {
                // What is not written goes back to its place, before what came meanwhile.
                for write in done.writes.into_iter().rev() {
                    self.pending.push_front(write);
                }

                self.fail(&error);
                false
            }
        }
    }

    /// Takes what a job brought.
    fn take(&mut self, what: Done) {
        match what {
            Done::Written => self.mended(),
            Done::Begun(waiting) => {
                self.outbox.queues().waits_from_before(waiting);
                self.is_begun = true;
            }
            Done::Page(after, page) => self.take_page(after, page),
            Done::GaveUp(count) => self.outbox.queues().lost_in_file(count),
            Done::PutBack(put_back) => self.tell_removed(put_back),
            Done::Another(Ok(incident)) => self.take_over(incident),
            Done::Another(Err(error)) => tracing::debug!("the store is still not there: {error}"),
            Done::Tidied(has_more) => self.has_old_rows = has_more,
            Done::There | Done::LogTaken | Done::Searched => {}
        }
    }

    /// Tells the line's health of a disk that is slow, and when it is well again: results leave after
    /// their commit, and a slow one makes them late.
    fn tell_slow(&mut self, took: Duration) {
        if took > SLOW_COMMIT {
            if self.slow.is_none() {
                tracing::error!("a commit of the store took {:.1} s", took.as_secs_f64());
            }

            self.slow = Some(Instant::now());
            let words = format!(
                "a commit took {:.1} s, and results left from memory meanwhile; look into the disk",
                took.as_secs_f64()
            );

            self.causes.set(SLOW, Health::OffSpec, words);
        } else if self.slow.is_some_and(|slow| slow.elapsed() > WELL_AGAIN) {
            self.slow = None;
            self.causes.clear(SLOW);
        }
    }

    /// True when an earlier round has written everything.
    fn has_nothing_left(&self) -> bool {
        let is_written = self.failed.is_none() && self.is_begun && self.pending.is_empty();
        if is_written {
            self.outbox.queues().acked.clear();
        }

        is_written
    }

    fn is_due(&self) -> bool {
        match self.failed {
            Some(failed) => failed.elapsed() >= RETRY,
            None => !self.pending.is_empty(),
        }
    }

    /// Marks what earlier runs left as waiting, once.
    fn begin(&mut self, until: Option<Instant>) -> bool {
        if self.is_begun {
            return true;
        }

        let first_key = self.first_key;
        self.begin_job(DiskJob::BeginRun { first_key });
        self.ends_job(left(until))
    }

    /// Writes batch by batch until `until`; without it as long as it takes.
    fn write_all(&mut self, until: Option<Instant>) -> bool {
        loop {
            // A disk that failed is tried with a few: the others would be written for nothing. Once it
            // works they follow, before a page is read.
            let mut count = self.pending.len();
            if self.is_failing() {
                count = count.min(BATCH_OPS);
            }

            let writes = self.pending.drain(..count).collect();
            let run_id = self.run_id.clone();
            self.begin_job(DiskJob::Write { run_id, writes });
            if !self.ends_job(left(until)) {
                return false;
            }

            if self.pending.is_empty() {
                self.outbox.queues().acked.clear();
                return true;
            }
        }
    }

    /// Begins a job. Each kind may hang, and is told by the line's health while it does.
    fn begin_job(&mut self, job: DiskJob) {
        self.outbox.commit_begins();
        self.disk.begin(job);
    }

    /// Does work for which no result waits: in a moment as a rule, else while others go on.
    fn try_job(&mut self, job: DiskJob) {
        self.begin_job(job);
        self.ends_job(Some(HANG_MIN));
    }

    fn mended(&mut self) {
        if self.failed.take().is_some() {
            tracing::info!("the store writes again");
            self.causes.clear("store");
        }
    }

    /// The disk fails: told, and another file is used where this one is broken.
    pub(super) fn fail(&mut self, error: &rusqlite::Error) {
        if self.failed.is_none() {
            cannot_write(&self.file, &error.to_string(), &self.causes);
        }

        self.failed = Some(Instant::now());
        if is_broken(error) || (self.disk.database().is_left() && self.reopens()) {
            self.try_job(DiskJob::Another {
                file: self.file.clone(),
                sync: self.sync,
                why: error.to_string(),
            });
        }

        if self.pending.len() > PENDING_MAX {
            self.compact();
        }
    }

    /// True when the file is to be opened now. Opening may migrate all that waits in it, so that the
    /// tries grow apart: on a disk that stays full each would hold results up for nothing.
    fn reopens(&mut self) -> bool {
        let now = Instant::now();
        if self.reopens_at.is_some_and(|at| now < at) {
            return false;
        }

        self.reopens_at = Some(now + self.reopening.next_wait());
        true
    }

    /// There is another file.
    fn take_over(&mut self, incident: Option<Incident>) {
        self.is_begun = false;
        self.outbox.queues().end_rest();
        let lost = self.lost_with_the_file();
        self.outbox.queues().lost_in_file(lost);
        let Some(incident) = incident else {
            return;
        };

        let words = incident.words();
        match &incident {
            Incident::FileMoved(_) => tracing::error!(
                "{words}; the {lost} results that waited in it are lost to the broker"
            ),
            Incident::RowsMoved { .. } => tracing::error!("{words}"),
        }

        self.causes.set(MOVED_ASIDE, Health::OffSpec, words);
        self.push_note(&incident);
    }

    /// Results that waited in the file alone; what is still to be written is not lost with it.
    fn lost_with_the_file(&self) -> u64 {
        let mut pending = 0u64;
        for write in &self.pending {
            if write.is_backlog() {
                pending += 1;
            }
        }

        let counted = pending.saturating_sub(self.entering);
        let in_file = self.outbox.queues().in_file;
        in_file.saturating_sub(counted)
    }

    /// A disk that fails for long leaves what is owed in memory, not what was delivered meanwhile.
    fn compact(&mut self) {
        let gone = compact(&mut self.pending, &PENDING);
        tracing::warn!(
            "the disk fails for long: {} delivered results will not be in the store's history; \
             forgotten are {} commands' ids, {} lines of the audit log, {} verdicts that came late",
            gone.done.len(),
            gone.answers,
            gone.notes,
            gone.late
        );

        let mut queues = self.outbox.queues();
        queues.acked.retain(|key| !gone.done.contains(key));
        queues.lost_in_file(gone.late as u64);
    }

    /// Reads results that wait in the file after that key.
    pub(super) fn read_page(&mut self, after: u64, limit: usize) {
        self.try_job(DiskJob::Page { after, limit });
    }

    /// Hands results that were read to the outbox. Rows that are no rows were moved aside, which is told.
    fn take_page(&mut self, after: u64, page: Page) {
        let unreadable = page.unreadable.len();
        let mut queues = self.outbox.queues();
        queues.lost_in_file(unreadable as u64);
        // A cursor that has moved meanwhile has the file read again from there.
        if queues.read_to == after {
            if page.results.is_empty() && unreadable == 0 {
                queues.in_file = 0;
            }

            for stored in page.results {
                queues.put_late(OutboxEntry::of_file(stored));
            }
        }

        drop(queues);
        self.outbox.notify.notify_one();
        let Some((_, why)) = page.unreadable.first() else {
            return;
        };

        let incident = Incident::rows_moved(unreadable, why);
        let words = incident.words();
        tracing::error!("{words}");
        self.causes.set(MOVED_ASIDE, Health::OffSpec, words);
        self.push_note(&incident);
    }

    /// Takes a step of a search.
    pub(super) fn search(&mut self, search: Search, reply: SearchReply) {
        self.try_job(DiskJob::Search(search, reply));
    }

    /// Gives up the oldest results that wait, but for those keys.
    pub(super) fn give_up(&mut self, but: Vec<u64>, count: u64) {
        self.try_job(DiskJob::GiveUp { but, count });
    }

    /// Keeps the log short, between two parts where there is such a moment.
    pub(super) fn checkpoint(&mut self, is_quiet: impl Fn() -> bool) {
        if self.is_hanging() {
            return;
        }

        let pages = self.disk.database().log_pages();
        let is_due = pages >= LOG_PAGES_MAX || (pages >= LOG_QUIET_PAGES && is_quiet());
        if is_due {
            self.try_job(DiskJob::Checkpoint);
        }
    }

    /// Takes old rows away. True if more are left.
    pub(super) fn tidy(&mut self, keep: Duration, keep_bytes: u64) -> bool {
        if self.is_hanging() {
            return false;
        }

        self.has_old_rows = false;
        self.try_job(DiskJob::Tidy { keep, keep_bytes });
        self.has_old_rows
    }

    /// Writes that are not in the file yet.
    #[cfg(test)]
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The disk is busy for so long.
    #[cfg(test)]
    pub(super) fn hang(&mut self, time: Duration) {
        self.begin_job(DiskJob::Hang(time));
    }

    /// The disk's thread panics.
    #[cfg(test)]
    pub(super) fn panic(&mut self, words: &'static str) {
        self.begin_job(DiskJob::Panic(words));
    }

    /// The next commit tries a disk that failed.
    #[cfg(test)]
    pub(super) fn retry_after_a_pause(&mut self) {
        self.failed = self.failed.map(|_| Instant::now() - RETRY);
    }
}

/// Time that is left of a wait. `None` for one without an end.
fn left(until: Option<Instant>) -> Option<Duration> {
    until.map(|until| until.saturating_duration_since(Instant::now()))
}
