//! Thresholds that commands set become revisions of the library's recipe, beside the line: they judge
//! at once, and outlive the run from the moment when they are on the disk.
//!
//! A disk that fails, and a library that another command is changing, are tried again. Thresholds of a
//! recipe that is not in the library hold until the line starts again.

use crate::base::health::{Diagnostics, Health};
use crate::base::systemd::Heartbeat;
use crate::line::control::{LIBRARY, LineControl};
use crate::line::events::Events;
use crate::line::set_thresholds::SetThresholds;
use crate::line::shared::Shared;
use crate::protocol::birth::Identity;
use crate::protocol::event::Event;
use crate::recipe::library::draft::Draft;
use crate::recipe::library::error::LibraryError;
use crate::recipe::library::folder::Library;
use crate::recipe::library::revision::Revision;
use crate::recipe::library::writer::LibraryWriter;
use crate::store::Store;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time after which a revision that could not be made is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// Words on how such a threshold came about.
const BY_COMMAND: &str = "set_threshold";

/// Makes revisions of the thresholds that commands set.
pub struct RevisionKeeper {
    library: Library,
    control: LineControl,
    identity: Arc<Mutex<Identity>>,
    events: Events,
    store: Store,
    diagnostics: Diagnostics,
    /// Thresholds that were not kept at the last try, and its time.
    tried: Option<(Vec<SetThresholds>, Instant)>,
    /// Troubles of the last try, in words; empty without any.
    told: String,
}

impl RevisionKeeper {
    /// Keeps a line's thresholds in that library, and tells the new identity.
    pub fn new(shared: &Shared, library: Library, events: Events) -> Self {
        RevisionKeeper {
            library,
            control: shared.control.clone(),
            identity: shared.identity.clone(),
            events,
            store: shared.store.clone(),
            diagnostics: shared.diagnostics.clone(),
            tried: None,
            told: String::new(),
        }
    }

    /// Makes the revisions that are due. Waits for the disk.
    pub fn keep(&mut self, now: Instant, pulse: &Heartbeat) {
        let unkept = self.control.set_by_commands();
        let is_known = self.tried.as_ref().is_some_and(|(tried, at)| {
            *tried == unkept && now.saturating_duration_since(*at) < RETRY
        });

        if unkept.is_empty() || is_known {
            return;
        }

        let mut troubles = vec![];
        for set in unkept {
            pulse.beat();
            let outcome = self.keep_one(&set);
            // A threshold of a recipe that judges no more troubles no part.
            if let Err(error) = outcome
                && self.control.judges(&set.recipe)
            {
                troubles.push(format!(
                    "{} of recipe {} holds until the line starts again: {error}",
                    set.words(),
                    set.recipe
                ));
            }
        }

        self.tell(&troubles);
        // Those that this look kept are no longer among them.
        self.tried = Some((self.control.set_by_commands(), now));
    }

    fn tell(&mut self, troubles: &[String]) {
        let words = troubles.join("; ");
        if words.is_empty() {
            self.diagnostics.clear(LIBRARY);
        } else {
            self.diagnostics.set(LIBRARY, Health::OffSpec, &words);
        }

        // The log has each trouble once, however often it is tried.
        if !words.is_empty() && words != self.told {
            tracing::warn!("{words}");
        }

        self.told = words;
    }

    /// Makes a revision of the thresholds of one recipe, where that recipe is the library's.
    fn keep_one(&self, set: &SetThresholds) -> Result<(), LibraryError> {
        let Some((name, number)) = set.revision() else {
            return Ok(());
        };

        // Such a name, or such a revision, is none of the library's.
        let numbers = match self.library.numbers(name) {
            Err(LibraryError::Name { .. }) => return Ok(()),
            numbers => numbers?,
        };

        if !numbers.contains(&number) {
            return Ok(());
        }

        let writer = LibraryWriter::lock(&self.library)?;
        let revision = self.current(name, number)?;
        let mut draft = Draft::after(&revision, format!("{BY_COMMAND}: {}", set.words()))?;
        for (region, value) in &set.values {
            draft.set_threshold(region.as_deref(), *value, BY_COMMAND)?;
        }

        let fresh = writer.commit(&draft)?;
        drop(writer);
        let label = fresh.manifest().label();
        self.store
            .audit(format!("recipe {label} has {}", set.words()));
        tracing::info!("recipe {label} keeps {}", set.words());
        self.follow(set, &label);
        Ok(())
    }

    /// The revision that judges, if the library has not gone on without the line.
    fn current(&self, name: &str, number: u64) -> Result<Revision, LibraryError> {
        let current = self.library.current(name)?;
        let current = current.ok_or_else(|| self.library.no_recipe(name))?;
        if current.manifest().revision == number {
            return Ok(current);
        }

        let label = current.manifest().label();
        let words = format!("{label} is the library's current revision; select it first");
        Err(LibraryError::Refused(words))
    }

    /// Parts are judged under the new revision's name from now on.
    fn follow(&self, set: &SetThresholds, label: &str) {
        if !self.control.relabel(set, label) {
            return; // another recipe judges meanwhile
        }

        let identity = {
            let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            identity.judged_by(&self.control.policies());
            identity.clone()
        };

        self.events.tell(Event::Identity(Arc::new(identity)));
    }
}
