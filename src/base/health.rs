//! Condition of the line, in the words of OPC 40100-1 (state) and NAMUR NE 107 (health), and the
//! diagnostics behind it.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The line's state and health at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct LineCondition {
    /// State after OPC 40100-1.
    pub state: LineState,
    /// True if a part that came now would be judged.
    #[serde(default)]
    pub ready: bool,
    /// Health after NE 107: the worst of all diagnostics.
    pub health: Health,
    /// Reasons for a health other than `NORMAL`, in words for a person.
    pub causes: Vec<String>,
    /// True if the system's clock is steered. `None` if the kernel does not say.
    pub clock_synchronised: Option<bool>,
}

/// States of a line (OPC 40100-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
pub enum LineState {
    /// Parts are judged as they come.
    ContinuousExecution,
    /// The line waits for triggers.
    Ready,
    /// No camera has shown a picture yet.
    Preoperational,
    /// Paused: no part is accepted.
    Initialized,
    /// No part can be judged: no threshold, or no camera that works.
    Error,
    /// The line has stopped.
    Halted,
}

/// Health in the categories of NE 107, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Health {
    /// All is well.
    Normal,
    /// All is well, and will not stay so without maintenance.
    MaintenanceRequired,
    /// The line works outside of what it was set up for.
    OffSpec,
    /// The line is being checked: its results are no production.
    CheckFunction,
    /// The line, or a part of it, does not work.
    Failure,
}

impl LineState {
    /// All states.
    pub const ALL: [LineState; 6] = [
        LineState::ContinuousExecution,
        LineState::Ready,
        LineState::Preoperational,
        LineState::Initialized,
        LineState::Error,
        LineState::Halted,
    ];

    /// Word of the state in messages.
    pub fn word(self) -> &'static str {
        match self {
            LineState::ContinuousExecution => "ContinuousExecution",
            LineState::Ready => "Ready",
            LineState::Preoperational => "Preoperational",
            LineState::Initialized => "Initialized",
            LineState::Error => "Error",
            LineState::Halted => "Halted",
        }
    }
}

impl LineCondition {
    /// True if a part that came now would be judged, and nothing says that its verdict may be wrong: the one
    /// bit by which a belt may run.
    pub fn may_run(&self) -> bool {
        self.ready && self.health < Health::Failure
    }
}

impl Health {
    /// All of them, the best first.
    pub const ALL: [Health; 5] = [
        Health::Normal,
        Health::MaintenanceRequired,
        Health::OffSpec,
        Health::CheckFunction,
        Health::Failure,
    ];

    /// Word of the health in messages.
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

/// The health that a diagnostics source reported, with its detail in words.
type Diagnosis = (Health, String);

/// Present faults, one for each source, such as `store` or `camera top`. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics(Arc<Mutex<BTreeMap<String, Diagnosis>>>);

impl Diagnostics {
    /// Enters a fault of `source`; it replaces an earlier one of the same source.
    pub fn set(&self, source: impl Into<String>, health: Health, detail: impl Into<String>) {
        let diagnosis = (health, detail.into());
        self.map().insert(source.into(), diagnosis);
    }

    /// Removes the fault of `source`, if there is one.
    pub fn clear(&self, source: &str) {
        self.map().remove(source);
    }

    /// Removes the faults of all sources that fit.
    pub fn clear_all(&self, fits: impl Fn(&str) -> bool) {
        self.map().retain(|source, _| !fits(source));
    }

    /// The worst health, and all faults as `source: detail`, ordered by source.
    pub fn all(&self) -> (Health, Vec<String>) {
        let map = self.map();
        let mut worst = Health::Normal;
        let mut words = Vec::with_capacity(map.len());

        for (source, (health, detail)) in map.iter() {
            worst = worst.max(*health);
            words.push(format!("{source}: {detail}"));
        }

        (worst, words)
    }

    /// True if there is a fault of a source that fits.
    pub fn any(&self, fits: impl Fn(&str) -> bool) -> bool {
        self.map().keys().any(|source| fits(source))
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<String, Diagnosis>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_belt_may_run_where_a_part_would_be_judged_and_nothing_has_failed() {
        let condition = |ready, health| LineCondition {
            state: LineState::Ready,
            ready,
            health,
            causes: vec![],
            clock_synchronised: None,
        };

        assert!(condition(true, Health::Normal).may_run());
        assert!(condition(true, Health::CheckFunction).may_run());
        assert!(!condition(true, Health::Failure).may_run());
        assert!(!condition(false, Health::Normal).may_run());
    }

    #[test]
    fn the_worst_counts_and_all_are_told() {
        let diagnostics = Diagnostics::default();
        assert_eq!(diagnostics.all(), (Health::Normal, vec![]));
        diagnostics.set("store", Health::OffSpec, "full");
        diagnostics.set("camera top", Health::Failure, "offline");
        assert_eq!(
            diagnostics.all(),
            (
                Health::Failure,
                vec!["camera top: offline".into(), "store: full".into()]
            )
        );

        diagnostics.clear("camera top");
        assert_eq!(diagnostics.all().0, Health::OffSpec);
    }
}
