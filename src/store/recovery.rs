//! A run's beginning with its store: whatever the disk or the file is like, the line judges, and it is
//! told.

use super::database::Database;
use super::error::{DatabaseError, Incident, is_broken};
use super::ledger::Ledger;
use super::op::Op;
use super::outbox::Outbox;
use super::row::Recovered;
use super::settings::StoreSettings;
use crate::base::health::{Diagnostics, Health};
use crossbeam::channel::Receiver;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Diagnostics source of a file, or rows, that could not be used and were moved aside; until `reset`.
pub const MOVED_ASIDE: &str = "store moved aside";

/// An open store that has no writer yet.
pub struct OpenStore {
    pub(super) settings: StoreSettings,
    pub(super) run_id: Arc<str>,
    pub(super) first_key: u64,
    /// True once the file says of what earlier runs left that it waits.
    pub(super) is_begun: bool,
    pub(super) ops: Receiver<Op>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) causes: Diagnostics,
    pub(super) database: Database,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    /// An event that goes into the audit log.
    pub(super) incident: Option<Incident>,
}

/// The file as a run begins with it.
struct Beginning {
    database: Database,
    incident: Option<Incident>,
    found: Recovered,
    /// Reason why the file cannot be written.
    failed: Option<String>,
}

/// Opens the file. A disk that is full or read-only does not keep a line from judging: what cannot be
/// written waits in memory, and the file is tried again.
fn begin(settings: &StoreSettings) -> Result<Beginning, DatabaseError> {
    let file = &settings.file;
    let sync = settings.sync;
    let begun = match Database::open(file, sync) {
        Ok((database, incident)) => begin_in(database, incident),
        Err(error) => Err(error),
    };

    match begun {
        Err(DatabaseError::Sqlite(error)) if is_broken(&error) => {
            let (database, incident) = Database::anew(file, sync, &error.to_string())?;

            begin_in(database, incident)
        }

        Err(error) if error.is_of_the_disk() => begin_without_file(&error),
        begun => begun,
    }
}

fn begin_without_file(error: &DatabaseError) -> Result<Beginning, DatabaseError> {
    // Above the keys of the parts in the file, which count from 1.
    let next_key = (1 << 52) | (u64::from(rand::random::<u32>()) << 20);
    Ok(Beginning {
        database: Database::without_file()?,
        incident: None,
        found: Recovered {
            next_key,
            is_unread: true,
            ..Recovered::default()
        },
        failed: Some(error.to_string()),
    })
}

fn begin_in(
    mut database: Database,
    incident: Option<Incident>,
) -> Result<Beginning, DatabaseError> {
    let found = database.found()?;
    let begun = database.begin_run(found.next_key);
    let (backlog, failed) = match begun.map_err(DatabaseError::from) {
        Ok(backlog) => (backlog, None),
        Err(error) if error.is_of_the_disk() => (0, Some(error.to_string())),
        Err(error) => return Err(error),
    };

    Ok(Beginning {
        database,
        incident,
        found: Recovered { backlog, ..found },
        failed,
    })
}

/// Tells that the disk fails.
pub(super) fn cannot_write(file: &Path, error: &str, causes: &Diagnostics) {
    let file = file.display();
    tracing::error!(
        "the store {file} does not write: {error}; results wait in memory. Free the disk, or mend it"
    );

    let words = format!("results are not on the disk: {error}");
    causes.set("store", Health::OffSpec, words);
}

impl Beginning {
    /// Tells the log and the diagnostics how it is.
    fn tell(&self, file: &Path, causes: &Diagnostics) {
        if let Some(incident) = &self.incident {
            let words = incident.words();

            match incident {
                Incident::FileMoved(_) => {
                    tracing::error!("{words}; what waited in it is lost to the broker");
                }

                Incident::RowsMoved { .. } => tracing::error!("{words}"),
            }

            causes.set(MOVED_ASIDE, Health::OffSpec, words);
        }

        if let Some(error) = &self.failed {
            cannot_write(file, error, causes);
        }

        let backlog = self.found.backlog;
        if backlog > 0 {
            tracing::info!("{backlog} results of earlier runs wait for the broker");
        }
    }
}

impl OpenStore {
    pub(super) fn open(
        settings: StoreSettings,
        run_id: &str,
        ops: Receiver<Op>,
        outbox: Arc<Outbox>,
        causes: Diagnostics,
    ) -> Result<(Self, Recovered), DatabaseError> {
        let begun = begin(&settings)?;
        begun.tell(&settings.file, &causes);
        let Beginning {
            database,
            incident,
            found,
            failed,
        } = begun;

        outbox.queues().waits_from_before(found.backlog);
        if let Some(Incident::RowsMoved { count, .. }) = &incident {
            outbox.queues().lost_from_before(*count as u64);
        }

        let ledger = Ledger::new(run_id.into(), found.next_key);
        let opened = OpenStore {
            settings,
            run_id: run_id.into(),
            first_key: found.next_key,
            is_begun: failed.is_none(),
            ops,
            outbox,
            causes,
            database,
            ledger: Arc::new(Mutex::new(ledger)),
            incident,
        };

        Ok((opened, found))
    }

    /// Gives the run another id, before any part has it.
    pub fn rename_run(&mut self, run_id: &str) {
        self.run_id = run_id.into();
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        *ledger = Ledger::new(run_id.into(), self.first_key);
    }

    pub(super) fn ledger(&self) -> Arc<Mutex<Ledger>> {
        self.ledger.clone()
    }

    #[cfg(test)]
    pub(super) fn database(&mut self) -> &mut Database {
        &mut self.database
    }
}
