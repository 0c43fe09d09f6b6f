//! The numbers that stand for words on `plc` and `plc/state`: the one table, which `birth` tells as `codes`.
//!
//! A PLC compares integers and has no words. A number never changes its meaning and is never used again:
//! a new word gets the next free one. A receiver takes a number that it does not know for the worst.

use crate::base::health::{Health, LineState};
use crate::data::verdict::{Reason, Verdict};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Code of a reason that is none: the part was judged.
pub const NO_REASON: u8 = 0;
/// Code of the state of a line that is not there: the last will says it.
pub const NO_LINE: u8 = 0;
/// Code of the worst health.
pub const WORST_HEALTH: u8 = 4;
/// Word of [`NO_REASON`].
const NONE: &str = "none";
/// Word of [`NO_LINE`].
const OFFLINE: &str = "Offline";

/// All codes by word, as `birth` tells them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Codes {
    /// Key `eval`: the verdict.
    pub eval: BTreeMap<&'static str, u8>,
    /// Key `why`: the reason of an undecided verdict.
    pub why: BTreeMap<&'static str, u8>,
    /// Key `state`: the line's state.
    pub state: BTreeMap<&'static str, u8>,
    /// Key `health`: the line's health.
    pub health: BTreeMap<&'static str, u8>,
}

impl Codes {
    /// The table.
    pub fn all() -> Self {
        let evals = Verdict::ALL.map(|verdict| (verdict.word(), verdict.evaluation()));
        let mut why: BTreeMap<&str, u8> = Reason::ALL
            .map(|reason| (reason.word(), of_reason(reason)))
            .into();

        let mut state: BTreeMap<&str, u8> = LineState::ALL
            .map(|state| (state.word(), of_state(state)))
            .into();

        why.insert(NONE, NO_REASON);
        state.insert(OFFLINE, NO_LINE);
        Codes {
            eval: evals.into(),
            why,
            state,
            health: Health::ALL
                .map(|health| (health.word(), of_health(health)))
                .into(),
        }
    }
}

/// 16 bits of a run's id: enough to see that another run counts `n` from 1 again, as long as two runs in a row have
/// not the same ([`is_told_apart`]).
pub fn run_number(run_id: &str) -> u16 {
    let digest = Sha256::digest(run_id);

    u16::from_be_bytes([digest[0], digest[1]])
}

/// True if a PLC can tell a run from these runs by its number.
pub fn is_told_apart<'a>(run_id: &str, mut others: impl Iterator<Item = &'a str>) -> bool {
    let number = run_number(run_id);

    others.all(|other| run_number(other) != number)
}

/// Code of a reason.
pub fn of_reason(reason: Reason) -> u8 {
    match reason {
        Reason::Late => 1,
        Reason::CameraLost => 2,
        Reason::Overload => 3,
        Reason::BadImage => 4,
        Reason::NotReady => 5,
        Reason::EngineError => 6,
        Reason::NoPart => 7,
    }
}

/// Code of a state.
pub fn of_state(state: LineState) -> u8 {
    match state {
        LineState::Preoperational => 1,
        LineState::Ready => 2,
        LineState::ContinuousExecution => 3,
        LineState::Initialized => 4,
        LineState::Error => 5,
        LineState::Halted => 6,
    }
}

/// Code of a health: the larger, the worse.
pub fn of_health(health: Health) -> u8 {
    match health {
        Health::Normal => 0,
        Health::MaintenanceRequired => 1,
        Health::OffSpec => 2,
        Health::CheckFunction => 3,
        Health::Failure => WORST_HEALTH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_number_means_what_it_always_meant() {
        // PLC programs have these compiled in. A line of this list may be added, and none changed.
        let told = serde_json::to_value(Codes::all()).expect("plain values");
        let expected = serde_json::json!({
            "eval": {"pass": 1, "fail": 2, "undecided": 3},
            "why": {
                "none": 0, "late": 1, "camera_lost": 2, "overload": 3, "bad_image": 4,
                "not_ready": 5, "engine_error": 6, "no_part": 7
            },
            "state": {
                "Offline": 0, "Preoperational": 1, "Ready": 2, "ContinuousExecution": 3,
                "Initialized": 4, "Error": 5, "Halted": 6
            },
            "health": {
                "NORMAL": 0, "MAINTENANCE_REQUIRED": 1, "OFF_SPEC": 2, "CHECK_FUNCTION": 3,
                "FAILURE": 4
            }
        });

        assert_eq!(told, expected);
    }

    #[test]
    fn each_word_has_a_number_of_its_own() {
        let Codes {
            eval,
            why,
            state,
            health,
        } = Codes::all();

        let tables = [
            (eval, Verdict::ALL.len()),
            (why, Reason::ALL.len() + 1),
            (state, LineState::ALL.len() + 1),
            (health, Health::ALL.len()),
        ];

        for (table, words) in tables {
            let numbers: BTreeSet<u8> = table.values().copied().collect();
            assert_eq!((table.len(), numbers.len()), (words, words), "{table:?}");
        }
    }

    #[test]
    fn words_are_those_of_the_other_messages() {
        for state in LineState::ALL {
            assert_eq!(serde_json::json!(state), state.word());
        }

        for health in Health::ALL {
            assert_eq!(serde_json::json!(health), health.word());
        }
    }

    #[test]
    fn a_worse_health_has_a_larger_number() {
        let mut worst_last = Health::ALL;
        worst_last.sort();
        assert!(worst_last.map(of_health).is_sorted());
    }
}
