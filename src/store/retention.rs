//! The bounds of the file: old rows leave it, results beyond `waiting_max` are given up, and what will go
//! wrong unless somebody comes is told before.

use super::bounds::TIDY_EVERY;
use super::commit::CommitQueue;
use super::outbox::Outbox;
use super::settings::StoreSettings;
use crate::base::disk::free_bytes_if_low;
use crate::base::health::{Diagnostics, Health};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Diagnostics source of a backlog that grows.
const BACKLOG: &str = "backlog";
/// Diagnostics source of results that were given up; `reset` confirms it.
pub const GIVEN_UP: &str = "results given up";
/// Diagnostics source of a disk that fills up.
const DISK: &str = "disk";

/// Keeps the file within its bounds.
pub(super) struct Retention {
    settings: StoreSettings,
    causes: Diagnostics,
    outbox: Arc<Outbox>,
    /// Time of the last search for old rows.
    tidied: Instant,
    /// Results that were given up so far, as told last.
    given_up_told: u64,
}

impl Retention {
    pub(super) fn new(settings: StoreSettings, causes: Diagnostics, outbox: Arc<Outbox>) -> Self {
        Retention {
            settings,
            causes,
            outbox,
            tidied: Instant::now(),
            given_up_told: 0,
        }
    }

    /// Gives up what is beyond the bound, and now and then looks for what is old.
    pub(super) fn run(&mut self, file: &mut CommitQueue) {
        // A failing disk cannot give anything up; the bound is kept once it works.
        let waiting = self.outbox.count().waiting;
        let most = self.settings.waiting_max;
        if !file.is_failing() && waiting > most {
            // And a little more, so that it is not each round's work.
            // The oldest, but for those on their way to the broker.
            let not_these = self.outbox.queues().forget_late();
            file.give_up(not_these, waiting - most + most / 100);
        }

        if self.tidied.elapsed() < TIDY_EVERY {
            return;
        }

        self.foresee(waiting);
        let StoreSettings {
            keep, keep_bytes, ..
        } = self.settings;

        if file.tidy(keep, keep_bytes) {
            return; // more to do in the next round
        }

        self.tidied = Instant::now();
    }

    /// Tells of a backlog and of a disk that will be full.
    pub(super) fn foresee(&mut self, waiting: u64) {
        // What is lost to the broker stays told until a person confirms it, and is told again when
        // more is lost.
        let given_up = self.outbox.count().given_up;
        if given_up > self.given_up_told {
            self.given_up_told = given_up;
            let words = format!(
                "{given_up} in this run, and the broker never gets them; `reset` confirms it"
            );

            self.causes.set(GIVEN_UP, Health::OffSpec, words);
        }

        let most = self.settings.waiting_max;
        if waiting > most / 2 {
            let words = format!(
                "{waiting} results wait for the broker; of more than {most} the oldest are given up"
            );

            self.causes.set(BACKLOG, Health::MaintenanceRequired, words);
        } else {
            self.causes.clear(BACKLOG);
        }

        match free_bytes_if_low(folder_of(&self.settings.file)) {
            Some(free) => {
                let file = self.settings.file.display();
                let free_mb = free >> 20;
                let words = format!("{free_mb} MB are left on the disk of {file}; make room");
                self.causes.set(DISK, Health::MaintenanceRequired, words);
            }
            None => self.causes.clear(DISK),
        }
    }
}

/// The folder that a file lies in.
fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
