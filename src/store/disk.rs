//! The thread that sits in the disk, so that the writer does not: an fsync may take seconds (worn flash, a
//! snapshot, a network disk), and deadlines go on meanwhile.
//!
//! ```text
//! writer --DiskJob, with the database--> disk thread --fsync--> JobDone, with the database--> writer
//!    \--waits for it, at most as long as its deadlines allow; then the disk is busy
//! ```
//! The database goes along with the job and comes back with it, so that one thread at a time has it.
//! While the disk is busy the store works as with a disk that fails: results leave from memory. A thread
//! that panicked is not busy: the writer panics with its words, which ends the line.

use super::database::Database;
use super::error::{DatabaseError, Incident};
use super::row::{Page, Write};
use super::search::{Search, SearchReply};
use super::settings::Sync;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work that may wait for the disk: all of it but the opening of the store.
pub(super) enum DiskJob {
    /// One transaction.
    Write {
        run_id: Arc<str>,
        writes: Vec<Write>,
    },
    /// Marks what earlier runs left, before that key, as waiting.
    BeginRun { first_key: u64 },
    /// Reads results that wait, after that key; rows that cannot be read are moved aside.
    Page { after: u64, limit: usize },
    /// Takes the oldest waiting results away, but for those keys.
    GiveUp { but: Vec<u64>, count: u64 },
    /// Looks whether the file is still at its path; one that is gone is written there again.
    LookAfter { file: PathBuf, sync: Sync },
    /// Opens another file for this reason, or the first one where there is none.
    Another {
        file: PathBuf,
        sync: Sync,
        why: String,
    },
    /// Takes the log over into the file.
    Checkpoint,
    /// Takes old rows away.
    Tidy { keep: Duration, keep_bytes: u64 },
    /// Takes a step of a search, and replies itself: a search of which the asker has left ends with it.
    Search(Search, SearchReply),
    /// Hangs for so long.
    #[cfg(test)]
    Hang(Duration),
    /// Panics with those words.
    #[cfg(test)]
    Panic(&'static str),
}

/// Work that is done.
pub(super) struct JobDone {
    /// The transaction's writes, which are still to be written after an error; else none.
    pub(super) writes: Vec<Write>,
    /// An error of the disk is told, but for one of work that comes again by itself.
    pub(super) outcome: rusqlite::Result<Done>,
    pub(super) kind: JobKind,
}

/// Importance of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobKind {
    /// A transaction of parts and results.
    Commit,
    /// Work without which results stay in the file.
    Vital,
    /// Work that comes again by itself.
    Upkeep,
}

/// Result of a job that worked.
pub(super) enum Done {
    Written,
    /// So many results of earlier runs wait.
    Begun(u64),
    /// Results after that key.
    Page(u64, Page),
    /// So many results are gone.
    GaveUp(u64),
    /// The file is at its path.
    There,
    /// The file was gone from its path, and was written there again, or not.
    PutBack(Result<(), DatabaseError>),
    /// There is another file, or none.
    Another(Result<Option<Incident>, DatabaseError>),
    /// The log is in the file.
    LogTaken,
    /// True if old rows are left.
    Tidied(bool),
    /// The search was answered.
    Searched,
}

/// The database on its way back.
type Returned = (Database, JobDone);

/// The writer's end of the disk's thread.
pub(super) struct Disk {
    /// `None` while the disk is busy.
    database: Option<Database>,
    /// Begin of the last job.
    began: Instant,
    jobs: Sender<(Database, DiskJob)>,
    returned: Receiver<Returned>,
    /// `None` once its panic was passed on.
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Starts the thread, which ends with this handle.
    pub(super) fn new(database: Database) -> Self {
        let (jobs, waiting) = bounded(1);
        let (done, returned) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("store-disk".to_owned())
            .spawn(move || work(&waiting, &done))
            .expect("a thread more, at the start");

        Disk {
            database: Some(database),
            began: Instant::now(),
            jobs,
            returned,
            thread: Some(thread),
        }
    }

    /// True while a job is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.database.is_none()
    }

    /// Time that the job under way has taken so far. Zero without one.
    pub(super) fn busy_for(&self) -> Duration {
        match self.database {
            Some(_) => Duration::ZERO,
            None => self.began.elapsed(),
        }
    }

    /// The database, which no job has.
    pub(super) fn database(&mut self) -> &mut Database {
        self.database
            .as_mut()
            .expect("asked for while the disk is not busy")
    }

    /// Begins a job on a disk that is not busy.
    pub(super) fn begin(&mut self, job: DiskJob) {
        let database = self.database.take().expect("begun while it is not busy");
        self.began = Instant::now();
        self.jobs
            .send((database, job))
            .unwrap_or_else(|_| self.panic());
    }

    /// Waits for the job under way, at most `patience`; without one as long as it takes. `None` while
    /// the disk is busy.
    ///
    /// # Panics
    /// When the job panicked: the database is gone with it.
    pub(super) fn finished(&mut self, patience: Option<Duration>) -> Option<JobDone> {
        let returned = match patience {
            None => self.returned.recv().map_err(RecvTimeoutError::from),
            Some(patience) => self.returned.recv_timeout(patience),
        };

        match returned {
            Ok((database, done)) => {
                self.database = Some(database);
                Some(done)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => self.panic(),
        }
    }

    /// Passes the panic of the thread on.
    fn panic(&mut self) -> ! {
        let ended = self.thread.take().map(JoinHandle::join);
        let words = match &ended {
            Some(Err(panic)) => words_of(panic.as_ref()),
            _ => "it has ended",
        };

        panic!("the store's disk thread: {words}");
    }
}

impl Drop for Disk {
    /// Waits for the job under way: the file must not be another's before it is closed.
    fn drop(&mut self) {
        if self.is_busy() {
            let _ = self.returned.recv();
        }
    }
}

/// Words of a panic, which are text as a rule.
fn words_of(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}

fn work(jobs: &Receiver<(Database, DiskJob)>, done: &Sender<Returned>) {
    while let Ok((mut database, job)) = jobs.recv() {
        let finished = job.run(&mut database);
        if done.send((database, finished)).is_err() {
            return; // the writer has left
        }
    }
}

impl DiskJob {
    fn kind(&self) -> JobKind {
        match self {
            DiskJob::Write { .. } => JobKind::Commit,
            DiskJob::BeginRun { .. } | DiskJob::Page { .. } | DiskJob::GiveUp { .. } => {
                JobKind::Vital
            }
            _ => JobKind::Upkeep,
        }
    }

    fn run(self, database: &mut Database) -> JobDone {
        #[cfg(test)]
        std::thread::sleep(database.delay);
        let kind = self.kind();
        let mut unwritten = vec![];
        let outcome = match self {
            DiskJob::Write { run_id, writes } => {
                let outcome = database.write(&run_id, &writes);
                if outcome.is_err() {
                    unwritten = writes;
                }

                outcome.map(|()| Done::Written)
            }
            DiskJob::BeginRun { first_key } => database.begin_run(first_key).map(Done::Begun),
            DiskJob::Page { after, limit } => page(database, after, limit),
            DiskJob::GiveUp { but, count } => database.give_up(&but, count).map(Done::GaveUp),
            DiskJob::LookAfter { file, sync } => Ok(look_after(database, &file, sync)),
            DiskJob::Another { file, sync, why } => {
                Ok(Done::Another(another(database, &file, sync, &why)))
            }
            DiskJob::Checkpoint => database.checkpoint().map(|()| Done::LogTaken),
            DiskJob::Tidy { keep, keep_bytes } => database.tidy(keep, keep_bytes).map(Done::Tidied),
            DiskJob::Search(search, reply) => {
                let page = database.search(&search);
                reply(page.map_err(|error| format!("the store cannot be read: {error}")));
                Ok(Done::Searched)
            }
            #[cfg(test)]
            DiskJob::Hang(time) => {
                std::thread::sleep(time);
                Ok(Done::There)
            }
            #[cfg(test)]
            DiskJob::Panic(words) => panic!("{words}"),
        };

        JobDone {
            writes: unwritten,
            outcome,
            kind,
        }
    }
}

fn page(database: &mut Database, after: u64, limit: usize) -> rusqlite::Result<Done> {
    let page = database.page(after, limit)?;
    if !page.unreadable.is_empty() {
        database.set_aside(&page.unreadable)?; // those would be found again
    }

    Ok(Done::Page(after, page))
}

fn look_after(database: &mut Database, file: &Path, sync: Sync) -> Done {
    if database.is_gone(file) {
        Done::PutBack(database.put_back(file, sync))
    } else {
        Done::There
    }
}

/// A file instead of one that is broken, which is closed before: it would be in the way of the other.
fn another(
    database: &mut Database,
    file: &Path,
    sync: Sync,
    why: &str,
) -> Result<Option<Incident>, DatabaseError> {
    let (opened, incident) = if database.is_left() {
        Database::open(file, sync)? // there was none before now
    } else {
        database.leave()?;
        Database::anew(file, sync, why)?
    };

    *database = opened;
    Ok(incident)
}
