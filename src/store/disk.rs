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
use super::row::Write;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::any::Any;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work that ends in an fsync.
pub(super) enum DiskJob {
    /// One transaction.
    Write {
        run_id: Arc<str>,
        writes: Vec<Write>,
    },
    /// Takes the log over into the file.
    Checkpoint,
    /// Takes old rows away.
    Tidy { keep: Duration, keep_bytes: u64 },
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
    pub(super) outcome: rusqlite::Result<()>,
    /// True if old rows are left.
    pub(super) has_more: bool,
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

    /// Puts another database in the place of one that no job has.
    pub(super) fn replace(&mut self, database: Database) {
        self.database = Some(database);
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
    fn run(self, database: &mut Database) -> JobDone {
        let mut done = JobDone {
            writes: vec![],
            outcome: Ok(()),
            has_more: false,
        };

        match self {
            DiskJob::Write { run_id, writes } => {
                done.outcome = database.write(&run_id, &writes);
                if done.outcome.is_err() {
                    done.writes = writes;
                }
            }
            #[cfg(test)]
            DiskJob::Hang(time) => std::thread::sleep(time),
            #[cfg(test)]
            DiskJob::Panic(words) => panic!("{words}"),
            DiskJob::Checkpoint => done.outcome = database.checkpoint(),
            DiskJob::Tidy { keep, keep_bytes } => match database.tidy(keep, keep_bytes) {
                Ok(has_more) => done.has_more = has_more,
                Err(error) => done.outcome = Err(error),
            },
        }

        done
    }
}
