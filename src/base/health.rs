//! Layer 1: how the line is, in the words of OPC 40100-1 (state) and NAMUR NE 107 (health), and why.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct LineCondition {
    pub state: LineState,
    pub health: Health,
    /// Why it is not `NORMAL`, in words for a person.
    pub causes: Vec<String>,
    /// Somebody keeps the system's clock; nothing where it cannot be known.
    pub clock_synchronised: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub enum LineState {
    /// Parts are judged as they come.
    ContinuousExecution,
    /// It waits for triggers.
    Ready,
    /// Paused: no part is accepted.
    Initialized,
    /// No part can be judged.
    Error,
    /// The line has stopped.
    Halted,
}

/// From best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Health {
    Normal,
    /// All is well, and will not stay so unless somebody comes.
    MaintenanceRequired,
    OffSpec,
    CheckFunction,
    Failure,
}

impl Health {
    /// The word that messages use.
    pub fn word(self) -> &'static str {
        match self {
            Health::Normal => "NORMAL",
            Health::MaintenanceRequired => "MAINTENANCE_REQUIRED",
            Health::OffSpec => "OFF_SPEC",
            Health::CheckFunction => "CHECK_FUNCTION",
            Health::Failure => "FAILURE",
        }
    }
}

/// What is wrong at the moment, by who found it; cheap to clone, shared by the stages.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics(Arc<Mutex<BTreeMap<String, (Health, String)>>>);

impl Diagnostics {
    /// From now on that is wrong with `who`.
    pub fn set(&self, who: impl Into<String>, health: Health, why: impl Into<String>) {
        self.map().insert(who.into(), (health, why.into()));
    }

    /// Nothing is wrong with `who` any more.
    pub fn clear(&self, who: &str) {
        self.map().remove(who);
    }

    /// The worst, and all of them in words.
    pub fn all(&self) -> (Health, Vec<String>) {
        let map = self.map();
        let worst = map
            .values()
            .map(|(health, _)| *health)
            .max()
            .unwrap_or(Health::Normal);
        (
            worst,
            map.iter()
                .map(|(who, (_, why))| format!("{who}: {why}"))
                .collect(),
        )
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<String, (Health, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_all_are_told() {
        let causes = Diagnostics::default();
        assert_eq!(causes.all(), (Health::Normal, vec![]));
        causes.set("store", Health::OffSpec, "full");
        causes.set("camera top", Health::Failure, "offline");
        assert_eq!(
            causes.all(),
            (
                Health::Failure,
                vec!["camera top: offline".into(), "store: full".into()]
            )
        );
        causes.clear("camera top");
        assert_eq!(causes.all().0, Health::OffSpec);
    }
}
