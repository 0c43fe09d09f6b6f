//! Layer 6: another recipe while the line runs: prepared beside it, taken over between two parts.
//!
//! The choice is kept in the store: after a power cut the line must not judge by the recipe of another part.

use crate::base::stop::Stop;
use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::line::control::LineControl;
use crate::line::opening::SELECTED_RECIPE;
use crate::line::shared::Shared;
use crate::mqtt::publisher::{BestEffort, Reply};
use crate::protocol::message;
use crate::protocol::message::{Answer, Identity};
use crate::recipe::active::{ActiveRecipe, RegionPolicies};
use crate::recipe::prepare::{PrepareMode, RecipePreparer};
use crate::recipe::spec::RecipeSpec;
use crate::store::Store;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// A recipe that was asked for, by the command's id.
pub struct RecipeRequest {
    pub id: Option<String>,
    pub recipe: RecipeSpec,
}

/// What the desk takes over.
pub struct RecipeSwap {
    pub prepared: ActiveRecipe,
    pub judges: RegionPolicies,
    /// Told when it judges by it.
    pub done: Sender<()>,
}

pub struct Changeover {
    pub wanted: Receiver<RecipeRequest>,
    pub preparer: RecipePreparer,
    pub swap: Sender<RecipeSwap>,
    pub side: mpsc::Sender<BestEffort>,
    pub answers: mpsc::Sender<Reply>,
    pub identity: Arc<Mutex<Identity>>,
    pub store: Store,
    pub rules: LineControl,
    /// What runs before this one kept.
    pub kept: BTreeMap<String, String>,
}

/// The changeover's ends of the line's channels.
pub struct ChangeoverEnds {
    /// Recipes to prepare.
    pub recipes: Receiver<RecipeRequest>,
    /// Prepared recipes, for the inspector.
    pub swaps: Sender<RecipeSwap>,
    /// Outcomes of the commands.
    pub replies: mpsc::Sender<Reply>,
    /// Changes of the recipe, for the publisher.
    pub events: mpsc::Sender<BestEffort>,
}

impl Changeover {
    /// `kept` are the values that earlier runs kept in the store.
    pub fn new(
        shared: &Shared,
        preparer: RecipePreparer,
        kept: BTreeMap<String, String>,
        ends: ChangeoverEnds,
    ) -> Self {
        Changeover {
            wanted: ends.recipes,
            preparer,
            swap: ends.swaps,
            side: ends.events,
            answers: ends.replies,
            identity: shared.identity.clone(),
            store: shared.store.clone(),
            rules: shared.control.clone(),
            kept,
        }
    }

    pub fn work(mut self, stop: &Stop, pulse: &Heartbeat) {
        while !stop.is_stopped() {
            pulse.beat();
            match self.wanted.recv_timeout(HEARTBEAT) {
                Ok(wanted) => self.change(wanted, stop, pulse),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        self.turn_away();
    }

    /// Who was told that his recipe is prepared hears that it is not, when the line stops before.
    fn turn_away(&self) {
        for RecipeRequest { id, recipe } in self.wanted.try_iter() {
            let reason = Some(format!("{}: the line is stopping", recipe.label()));
            let answer = Answer {
                id,
                status: "rejected",
                reason,
                ..Answer::default()
            };
            let _ = self.answers.try_send(Reply::outcome(
                "select_recipe",
                message::answer(&answer),
                None,
            ));
        }
    }

    fn change(&mut self, wanted: RecipeRequest, stop: &Stop, pulse: &Heartbeat) {
        let RecipeRequest { id, recipe } = wanted;
        let label = recipe.label();
        let answer = match self.try_change(&recipe, stop, pulse) {
            Ok(gallery) => {
                tracing::info!("recipe {label} judges from now on");
                let gallery = gallery.as_deref().unwrap_or("none");
                self.store
                    .note(format!("recipe {label} judges, gallery {gallery}"));
                let _ = self.store.keep(SELECTED_RECIPE, &recipe.name).wait(); // on the disk before it is done
                Answer {
                    id,
                    status: "done",
                    reason: Some(label),
                    ..Answer::default()
                }
            }
            Err(why) => {
                tracing::error!("recipe {label} was not taken over: {why}");
                Answer {
                    id,
                    status: "rejected",
                    reason: Some(why),
                    ..Answer::default()
                }
            }
        };
        // The publisher is there as long as we are.
        let _ = self.answers.blocking_send(Reply::outcome(
            "select_recipe",
            message::answer(&answer),
            None,
        ));
    }

    /// What the gallery that judges now is known by.
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
        let (references, gallery) = (
            prepared.inspector.reference_count(),
            prepared.gallery.clone(),
        );
        let (done, swapped) = bounded(1);
        let gone = |_| "the line is stopping".to_owned();
        self.swap
            .send(RecipeSwap {
                prepared,
                judges,
                done,
            })
            .map_err(|_| gone(()))?;
        loop {
            pulse.beat();
            match swapped.recv_timeout(HEARTBEAT) {
                Ok(()) => break,
                Err(RecvTimeoutError::Timeout) if !stop.is_stopped() => {}
                Err(_) => return Err(gone(())),
            }
        }
        let identity = {
            let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            identity.judged_by(&self.rules.judges()); // a threshold may have been set since
            (identity.references, identity.gallery) = (references, gallery.clone());
            identity.clone()
        };
        let _ = self
            .side
            .blocking_send(BestEffort::Identity(Box::new(identity)));
        Ok(gallery)
    }
}
