//! How a run begins with its store: whatever the disk or the file is like, the line judges, and it is told.

use super::database::{Database, DatabaseError, Recovered, is_broken};
use super::ledger::Ledger;
use super::outbox::Outbox;
use super::{Op, StoreSettings, Words};
use crate::base::health::{Diagnostics, Health};
use crate::store::writer::StoreWriter;
use crossbeam::channel::Receiver;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Among the causes, until somebody has seen it: the file was broken, another one is used.
pub const MOVED_ASIDE: &str = "store moved aside";

/// An open store whose clerk does not know yet what the line says of a part.
pub struct OpenStore {
    pub(super) settings: StoreSettings,
    pub(super) run_id: Arc<str>,
    pub(super) first_key: u64,
    pub(super) is_begun: bool,
    pub(super) changes: Receiver<Op>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) causes: Diagnostics,
    pub(super) database: Database,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) told: Option<String>,
}

/// A store as a run begins with it.
struct Begun {
    database: Database,
    /// It was moved aside.
    told: Option<String>,
    found: Recovered,
    /// Why the file cannot be written.
    failed: Option<String>,
}

/// A disk that is full or read-only does not keep a line from judging: what cannot be written waits in memory, and the file
/// is tried again.
fn begin(settings: &StoreSettings) -> Result<Begun, DatabaseError> {
    let StoreSettings { file, sync, .. } = settings;
    let begun = Database::open(file, *sync).and_then(|(database, told)| begin_in(database, told));
    match begun {
        Err(DatabaseError::Sqlite(error)) if is_broken(&error) => {
            let (database, told) = Database::anew(file, *sync, &error)?;
            begin_in(database, Some(told))
        }
        Err(error) if error.is_of_the_disk() => {
            // Above the keys of the parts in the file, which count from 1.
            let next_key = (1 << 52) | (u64::from(rand::random::<u32>()) << 20);
            let found = Recovered {
                next_key,
                is_unread: true,
                ..Recovered::default()
            };
            Ok(Begun {
                database: Database::without_file()?,
                told: None,
                found,
                failed: Some(error.to_string()),
            })
        }
        begun => begun,
    }
}

fn begin_in(mut database: Database, told: Option<String>) -> Result<Begun, DatabaseError> {
    let found = database.found()?;
    match database
        .begin_run(found.next_key)
        .map_err(DatabaseError::from)
    {
        Ok(backlog) => Ok(Begun {
            database,
            told,
            found: Recovered { backlog, ..found },
            failed: None,
        }),
        Err(error) if error.is_of_the_disk() => Ok(Begun {
            database,
            told,
            found,
            failed: Some(error.to_string()),
        }),
        Err(error) => Err(error),
    }
}

pub(super) fn cannot_write(file: &Path, error: &str, causes: &Diagnostics) {
    let file = file.display();
    tracing::error!(
        "the store {file} does not write: {error}; results wait in memory. Free the disk, or mend it"
    );
    causes.set(
        "store",
        Health::OffSpec,
        format!("results are not on the disk: {error}"),
    );
}

impl OpenStore {
    pub(super) fn open(
        settings: StoreSettings,
        run_id: &str,
        changes: Receiver<Op>,
        outbox: Arc<Outbox>,
        causes: Diagnostics,
    ) -> Result<(Self, Recovered), DatabaseError> {
        let Begun {
            database,
            told,
            found,
            failed,
        } = begin(&settings)?;
        if let Some(told) = &told {
            tracing::error!("{told}; what waited in it is lost to the broker");
            causes.set(MOVED_ASIDE, Health::OffSpec, told);
        }
        if let Some(error) = &failed {
            cannot_write(&settings.file, error, &causes);
        }
        if found.backlog > 0 {
            tracing::info!(
                "{} results of earlier runs wait for the broker",
                found.backlog
            );
        }
        outbox.queues().waits_from_before(found.backlog);
        let ledger = Arc::new(Mutex::new(Ledger::new(run_id.into(), found.next_key)));
        let (run_id, first_key) = (run_id.into(), found.next_key);
        let is_begun = failed.is_none();
        Ok((
            OpenStore {
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
            },
            found,
        ))
    }

    pub(super) fn ledger(&self) -> Arc<Mutex<Ledger>> {
        self.ledger.clone()
    }

    #[cfg(test)]
    pub(super) fn database(&mut self) -> &mut Database {
        &mut self.database
    }

    /// The clerk, who is to be given a thread.
    pub fn clerk(self, words: Words) -> StoreWriter {
        StoreWriter::new(self, words)
    }
}
