//! Layer 6: another recipe while the line runs: prepared beside it, taken over between two parts.
//!
//! The choice is kept in the store: after a power cut the line must not judge by the recipe of another part.

use crate::base::stop::Stop;
use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::config::RecipeConfig;
use crate::line::control::{LineControl, RegionPolicies};
use crate::line::{ActiveRecipe, Prepare, PrepareMode, judges_of, recall};
use crate::mqtt::publisher::{BestEffort, Reply};
use crate::protocol::answer::Answer;
use crate::protocol::birth::Identity;
use crate::store::Store;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// A recipe that was asked for, by the command's id.
pub struct RecipeRequest {
    pub id: Option<String>,
    pub recipe: RecipeConfig,
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
    pub prepare: Prepare,
    pub swap: Sender<RecipeSwap>,
    pub side: mpsc::Sender<BestEffort>,
    pub answers: mpsc::Sender<Reply>,
    pub identity: Arc<Mutex<Identity>>,
    pub store: Store,
    pub rules: LineControl,
    /// What runs before this one kept.
    pub kept: BTreeMap<String, String>,
}

/// The key under which the store keeps the choice; among the causes where nobody knows it.
pub const SELECTED_RECIPE: &str = "recipe";

impl Changeover {
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
            let _ = self
                .answers
                .try_send(Reply::outcome("select_recipe", answer.encode(), None));
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
                    .audit(format!("recipe {label} judges, gallery {gallery}"));
                let _ = self.store.set(SELECTED_RECIPE, &recipe.name).wait(); // on the disk before it is done
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
        let _ = self
            .answers
            .blocking_send(Reply::outcome("select_recipe", answer.encode(), None));
    }

    /// What the gallery that judges now is known by.
    fn try_change(
        &mut self,
        recipe: &RecipeConfig,
        stop: &Stop,
        pulse: &Heartbeat,
    ) -> Result<Option<String>, String> {
        let mut prepared =
            (self.prepare)(recipe, PrepareMode::Live).map_err(|failure| failure.message)?;
        let judges = judges_of(recipe, &mut prepared).map_err(|failure| failure.message)?;
        recall(recipe, &mut prepared, &mut self.kept, &self.store);
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
