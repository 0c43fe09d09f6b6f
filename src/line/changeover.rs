//! Another recipe while the line runs: prepared beside it, taken over between two parts.
//!
//! The choice is kept in the store: after a power cut the line must not judge by the recipe of
//! another part. The outcome is an event: the broker is told until it has it.

use crate::base::stop::Stop;
use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::config;
use crate::line::control::LineControl;
use crate::line::events::Events;
use crate::line::opening::SELECTED_RECIPE;
use crate::line::outcomes::Outcomes;
use crate::line::revisions::RevisionKeeper;
use crate::line::selection::Selection;
use crate::line::shared::Shared;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::birth::Identity;
use crate::protocol::event::{CommandOutcome, Event};
use crate::recipe::active::{ActiveRecipe, RegionPolicies};
use crate::recipe::library::folder::Library;
use crate::recipe::prepare::{PrepareMode, RecipePreparer};
use crate::recipe::spec::RecipeSpec;
use crate::store::Store;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A recipe that was asked for by a command.
pub struct RecipeRequest {
    /// The selection, which the store keeps until its second answer is told.
    pub selection: Selection,
    /// The recipe, as the line's file had it at the start.
    pub recipe: RecipeSpec,
    /// Revision that the recipe must have, if the command named one.
    pub revision: Option<u64>,
    /// Disconnected once the first answer is out: the second, which may be a refusal that takes no
    /// time, comes behind it.
    pub answered: Receiver<Infallible>,
}

/// A prepared recipe on its way to the inspector.
pub struct RecipeSwap {
    /// The recipe, ready to judge.
    pub prepared: ActiveRecipe,
    /// Thresholds of the recipe.
    pub judges: RegionPolicies,
    /// Told once the inspector judges by it.
    pub done: Sender<()>,
}

/// The stage that prepares another recipe.
pub struct Changeover {
    /// Recipes that are asked for, one at a time.
    wanted: Receiver<RecipeRequest>,
    /// Prepares a recipe.
    preparer: RecipePreparer,
    /// Prepared recipes, to the inspector.
    swap: Sender<RecipeSwap>,
    /// Outcomes, and the new identity.
    events: Events,
    /// The identity that `birth` tells.
    identity: Arc<Mutex<Identity>>,
    /// Outcomes of this run's commands.
    outcomes: Outcomes,
    /// Store that keeps the choice.
    store: Store,
    /// Thresholds of the line.
    control: LineControl,
    /// Values that earlier runs kept.
    kept: BTreeMap<String, String>,
    /// The library, which may have gone on since the start.
    library: Library,
    /// Makes revisions of thresholds.
    revisions: RevisionKeeper,
}

/// The changeover's ends of the line's channels.
pub struct ChangeoverEnds {
    /// Recipes to prepare.
    pub recipes: Receiver<RecipeRequest>,
    /// Prepared recipes, for the inspector.
    pub swaps: Sender<RecipeSwap>,
    /// Outcomes of the commands, and changes of the recipe.
    pub events: Events,
}

/// Reason of a changeover that the end of the line cut.
const STOPPING: &str = "the line is stopping";

impl Changeover {
    /// `kept` are the values that earlier runs kept in the store.
    pub fn new(
        shared: &Shared,
        preparer: RecipePreparer,
        kept: BTreeMap<String, String>,
        library: Library,
        ends: ChangeoverEnds,
    ) -> Self {
        Changeover {
            wanted: ends.recipes,
            preparer,
            swap: ends.swaps,
            revisions: RevisionKeeper::new(shared, library.clone(), ends.events.clone()),
            events: ends.events,
            outcomes: shared.outcomes.clone(),
            identity: shared.identity.clone(),
            store: shared.store.clone(),
            control: shared.control.clone(),
            kept,
            library,
        }
    }

    /// Prepares recipes until the line stops.
    pub fn run(mut self, stop: &Stop, pulse: &Heartbeat) {
        self.tell_of_earlier_runs();
        while !stop.is_stopped() {
            pulse.beat();
            match self.wanted.recv_timeout(HEARTBEAT) {
                Ok(wanted) => self.change(wanted, stop, pulse),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }

            self.revisions.keep(Instant::now(), pulse);
        }

        // A threshold that was set a moment ago outlives the run too.
        self.revisions.keep(Instant::now(), pulse);
        self.turn_away();
    }

    /// Tells how selections of earlier runs ended.
    fn tell_of_earlier_runs(&self) {
        let judges = {
            let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            identity.recipe.clone()
        };

        for selection in Selection::recovered(&self.kept, &judges) {
            if let Some(outcome) = selection.outcome.clone() {
                self.tell(selection, outcome);
            }
        }
    }

    /// Rejects the recipes that were accepted and will not be prepared.
    fn turn_away(&self) {
        for RecipeRequest {
            selection, recipe, ..
        } in self.wanted.try_iter()
        {
            let reason = format!("{}: {STOPPING}", recipe.label());
            let answer = Answer::rejected(selection.id.as_deref(), reason);
            self.tell(selection, answer);
        }
    }

    /// Keeps the second answer, then tells it. The broker is told until it has it, also by later runs.
    fn tell(&self, mut selection: Selection, answer: Answer) {
        selection.outcome = Some(answer.clone());
        let _ = self.store.set(&selection.key, &selection.kept()).wait();
        let outcome = CommandOutcome {
            name: "select_recipe",
            answer,
            kept: Some(selection.key),
        };

        let outcome = Arc::new(outcome);
        self.outcomes.end(&outcome, Instant::now());
        self.events.tell(Event::Outcome(outcome));
    }

    fn change(&mut self, wanted: RecipeRequest, stop: &Stop, pulse: &Heartbeat) {
        let RecipeRequest {
            mut selection,
            recipe,
            revision,
            answered,
        } = wanted;

        let _ = answered.recv(); // nothing is ever sent

        let name = recipe.name.clone();
        let (label, outcome) = match self.as_of_now(&recipe, revision) {
            Ok(recipe) => {
                let label = recipe.label();
                self.follow(&mut selection, &label);
                (label, self.try_change(&recipe, stop, pulse))
            }
            Err(reason) => (recipe.label(), Err(reason)),
        };

        let id = selection.id.as_deref();
        let answer = match outcome {
            Ok(gallery) => {
                tracing::info!("recipe {label} judges from now on");
                let gallery = gallery.as_deref().unwrap_or("none");
                let words = format!("recipe {label} judges, gallery {gallery}");
                self.store.audit(words);
                // Before the outcome: a crash in between finds the recipe that judges, and so the
                // outcome.
                drop(self.store.set(SELECTED_RECIPE, &name));
                let told = self.with_set_thresholds(label);
                Answer::new(id, AnswerStatus::Done, Some(told))
            }
            Err(reason) => {
                tracing::error!("recipe {label} was not taken over: {reason}");
                Answer::rejected(id, reason)
            }
        };

        self.tell(selection, answer);
    }

    /// The recipe as the library has it by now, in the revision that was asked for.
    fn as_of_now(&self, recipe: &RecipeSpec, revision: Option<u64>) -> Result<RecipeSpec, String> {
        let now = config::as_of_now(recipe, &self.library).map_err(|error| error.to_string())?;
        match revision.filter(|wanted| *wanted != now.revision) {
            None => Ok(now),
            Some(wanted) => Err(other_revision(&now, wanted)),
        }
    }

    /// Keeps the revision that a selection means by now: after a crash it is compared with the one that
    /// judges.
    fn follow(&self, selection: &mut Selection, label: &str) {
        if selection.recipe != label {
            label.clone_into(&mut selection.recipe);
            drop(self.store.set(&selection.key, &selection.kept()));
        }
    }

    /// The recipe's label, with the thresholds of commands that it is judged by.
    fn with_set_thresholds(&self, label: String) -> String {
        let set = self.control.set_thresholds(&label);
        if set.is_empty() {
            return label;
        }

        format!("{label}, with set_threshold's {}", set.join(", "))
    }

    /// Gives the name of the gallery that judges now.
    fn try_change(
        &mut self,
        recipe: &RecipeSpec,
        stop: &Stop,
        pulse: &Heartbeat,
    ) -> Result<Option<String>, String> {
        let prepared = self.preparer.prepare(recipe, PrepareMode::Live);
        let mut prepared = prepared.map_err(|failure| failure.message)?;
        let judges = prepared
            .policies(recipe)
            .map_err(|failure| failure.message)?;

        prepared.recall_self_test(recipe, &mut self.kept, &self.store);
        // The prepared recipe moves to the inspector's thread; these two are all that is needed of
        // it here.
        let references = prepared.inspector.reference_count();
        let gallery = prepared.gallery.clone();
        // The inspector swaps between two batches, so that a batch is judged by one recipe. A line
        // that is stopping never answers, which the loop below notices.
        let (done, swapped) = bounded(1);
        let swap = RecipeSwap {
            prepared,
            judges,
            done,
        };

        self.swap.send(swap).map_err(|_| STOPPING)?;
        loop {
            pulse.beat();
            match swapped.recv_timeout(HEARTBEAT) {
                Ok(()) => break,
                Err(RecvTimeoutError::Timeout) if !stop.is_stopped() => {}
                Err(_) => return Err(STOPPING.to_owned()),
            }
        }

        // The inspector judges by the recipe from here on. Identity is told after that, never
        // before: a birth must not name a recipe that does not judge yet.
        let identity = {
            let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            identity.judged_by(&self.control.policies()); // a threshold may have been set since
            identity.references = references;
            identity.gallery = gallery.clone();
            identity.clone()
        };

        self.events.tell(Event::Identity(Arc::new(identity)));
        Ok(gallery)
    }
}

/// Refusal of a selection that means another revision than the one that is current.
pub fn other_revision(recipe: &RecipeSpec, wanted: u64) -> String {
    format!(
        "recipe {} has revision {} here, not {wanted}",
        recipe.name, recipe.revision
    )
}
