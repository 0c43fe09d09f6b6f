//! Shift checks: a person sends known bad and known good parts through the line, says whether the gate
//! removed the bad ones, and signs. The command with its steps, and the record that the store keeps. Pure.
//!
//! ```text
//! start --> parts --all as they must be--> gate --removed--> signature --sign--> passed
//!            |                              \--not removed--> failed
//!            \--one is not, or abort, reset, another recipe, a stop--> failed --acknowledge--> failed, seen
//! ```

use super::reading::{in_words, read};
use super::values::{fits, text_or_number};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Version of the record of a check that this winspect writes; it reads earlier ones.
pub const RECORD_VERSION: u32 = 1;
/// Name of the command.
pub const SHIFT_CHECK: &str = "shift_check";
/// Known parts of one kind in a check, at most.
pub const KNOWN_MAX: u32 = 100;
/// Parts with another verdict than they must have that a check names.
const UNEXPECTED_NAMED: usize = 20;
/// Characters of a name at most.
const NAME_MAX: usize = 64;
/// Characters of a note at most.
const NOTE_MAX: usize = 500;
/// Keys that every step may have.
const COMMON: [&str; 3] = ["id", "check", "name"];

/// Why a line is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckReason {
    /// A shift begins.
    Start,
    /// Another product runs from now on.
    Changeover,
    /// Somebody has cleaned or adjusted the line.
    Maintenance,
    /// Somebody has mended the line.
    Repair,
}

impl CheckReason {
    /// All of them, in the order in which they are offered.
    pub const ALL: [CheckReason; 4] = [
        CheckReason::Start,
        CheckReason::Changeover,
        CheckReason::Maintenance,
        CheckReason::Repair,
    ];

    /// The word in commands and records.
    pub fn word(self) -> &'static str {
        match self {
            CheckReason::Start => "start",
            CheckReason::Changeover => "changeover",
            CheckReason::Maintenance => "maintenance",
            CheckReason::Repair => "repair",
        }
    }
}

/// One step of a shift check.
#[derive(Debug, Clone, PartialEq)]
pub struct ShiftCheckCommand {
    /// Number of the check that is meant; the one that is under way, or failed last, unless given.
    pub check: Option<String>,
    /// The person who does the step, where the door does not know.
    pub name: Option<String>,
    /// The step.
    pub step: CheckStep,
}

/// The steps, with their values.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub enum CheckStep {
    /// A check begins: the next parts are known, the bad ones first.
    Start {
        /// Why the line is checked.
        why: CheckReason,
        /// Number of known bad parts, which must fail.
        bad: u32,
        /// Number of known good parts behind them, which must pass.
        #[serde(default)]
        good: u32,
        /// Camera of the parts, or the name that several share; any unless given.
        camera: Option<String>,
    },
    /// The question of the gate is answered.
    Gate {
        /// True if the gate removed the bad parts, and no other.
        removed: bool,
    },
    /// The check is signed: it has passed.
    Sign {},
    /// The check ends without a signature: it has failed.
    Abort {
        /// Why.
        note: Option<String>,
    },
    /// A person has seen that a check failed, and says what was done.
    Acknowledge {
        /// What was done.
        note: String,
    },
}

/// The keys that every step may have.
#[derive(Deserialize)]
struct CommonKeys {
    #[serde(default, deserialize_with = "text_or_number")]
    id: Option<String>,
    check: Option<String>,
    name: Option<String>,
}

impl ShiftCheckCommand {
    /// Reads a command, with its id.
    pub(super) fn read(payload: &[u8]) -> Result<(Option<String>, Self), String> {
        let CommonKeys { id, check, name } = read(payload)?;

        // What is left are the values of the step, among which an unknown one is refused.
        let mut values: Map<String, Value> = read(payload)?;

        values.retain(|key, _| !COMMON.contains(&key.as_str()));
        let step = serde_json::from_value(Value::Object(values));
        let step = step.map_err(|error| in_words(&error, ".", payload))?;

        Ok((id, ShiftCheckCommand { check, name, step }))
    }

    /// Checks the values.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(name) = &self.name {
            fits("name", name, NAME_MAX)?;
        }

        let needs_name = matches!(
            self.step,
            CheckStep::Sign {} | CheckStep::Acknowledge { .. }
        );

        if needs_name && self.name.is_none() {
            return Err("name is missing: the person who signs or acknowledges".to_owned());
        }

        match &self.step {
            CheckStep::Start { bad, .. } if !(1..=KNOWN_MAX).contains(bad) => Err(format!(
                "bad must be from 1 to {KNOWN_MAX}, got {bad}: good parts alone prove no eyes"
            )),
            CheckStep::Start { good, .. } if *good > KNOWN_MAX => {
                Err(format!("good must be from 0 to {KNOWN_MAX}, got {good}"))
            }

            CheckStep::Abort { note: Some(note) } | CheckStep::Acknowledge { note } => {
                fits("note", note, NOTE_MAX)
            }

            _ => Ok(()),
        }
    }

    /// The step in words, for the audit log.
    pub fn words(&self) -> String {
        let words = match &self.step {
            CheckStep::Start {
                why,
                bad,
                good,
                camera,
            } => {
                let camera = camera.as_ref();
                let camera = camera.map_or(String::new(), |camera| format!(" of {camera}"));
                let why = why.word();

                format!("start ({why}), {bad} bad and {good} good parts{camera} come next")
            }

            CheckStep::Gate { removed: true } => "the gate removed the bad parts".to_owned(),
            CheckStep::Gate { removed: false } => "the gate did not remove them".to_owned(),
            CheckStep::Sign {} => "signed".to_owned(),
            CheckStep::Abort { note: None } => "aborted".to_owned(),
            CheckStep::Abort { note: Some(note) } => format!("aborted, note {note:?}"),
            CheckStep::Acknowledge { note } => format!("failure acknowledged, note {note:?}"),
        };

        match &self.name {
            Some(name) => format!("{words}, by {name}"),
            None => words,
        }
    }
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckStage {
    /// Parts are still to come.
    Parts,
    /// The question of the gate is open.
    Gate,
    /// The signature is missing.
    Signature,
    /// All was as it must be, and is signed.
    Passed,
    /// It was not.
    Failed,
}

/// Known parts of one kind, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct KnownParts {
    /// Number of parts that were announced.
    pub parts: u32,
    /// Number of parts that have a result.
    pub judged: u32,
    /// Number of results with the verdict that the part must have.
    pub expected: u32,
}

/// What a person said at a moment.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct CheckWord {
    /// The person: a name that was given, with the door.
    pub who: String,
    /// The moment.
    pub at: Timestamp,
    /// What was said beside it; empty without.
    #[serde(default)]
    pub note: String,
}

/// One shift check, as the store keeps it and every door tells it. The keys are part of the store's format.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct ShiftCheck {
    /// Version of the record.
    #[serde(default = "first_version")]
    pub version: u32,
    /// Place among all checks: larger for later ones, whatever the clock says. 0 where an earlier winspect kept it.
    #[serde(default)]
    pub order: u64,
    /// Number of the check.
    pub check: String,
    /// Why the line was checked.
    pub why: CheckReason,
    /// `name@revision` of the recipe that judged.
    pub recipe: String,
    /// Camera of the parts; any where `None`.
    pub camera: Option<String>,
    /// Who began it, and when.
    pub began: CheckWord,
    /// Known bad parts, which must fail.
    pub bad: KnownParts,
    /// Known good parts, which must pass.
    pub good: KnownParts,
    /// Parts that got another verdict than they must, in words: the first ones.
    pub unexpected: Vec<String>,
    /// Why it ended before its time; `None` where it did not.
    pub cut: Option<CheckWord>,
    /// True if the gate removed the bad parts; `None` before it was asked.
    pub removed: Option<bool>,
    /// Who answered for the gate, and when.
    pub gate: Option<CheckWord>,
    /// Who signed, and when.
    pub signed: Option<CheckWord>,
    /// Who has seen that it failed, when, and what was done.
    pub acknowledged: Option<CheckWord>,
}

fn first_version() -> u32 {
    1
}

impl KnownParts {
    /// So many parts, of which none has come.
    pub fn announced(parts: u32) -> Self {
        KnownParts {
            parts,
            ..KnownParts::default()
        }
    }

    /// True if every part has a result.
    pub fn is_complete(&self) -> bool {
        self.judged >= self.parts
    }

    fn has_unexpected(&self) -> bool {
        self.expected < self.judged
    }
}

impl ShiftCheck {
    /// How far it is.
    pub fn stage(&self) -> CheckStage {
        let is_complete = self.bad.is_complete() && self.good.is_complete();
        let has_unexpected = self.bad.has_unexpected() || self.good.has_unexpected();

        if self.cut.is_some() {
            CheckStage::Failed
        } else if !is_complete {
            CheckStage::Parts
        } else if has_unexpected || self.removed == Some(false) {
            CheckStage::Failed
        } else if self.removed.is_none() {
            CheckStage::Gate
        } else if self.signed.is_none() {
            CheckStage::Signature
        } else {
            CheckStage::Passed
        }
    }

    /// Counts a part's result: that of a bad part, or of a good one. `part` names it.
    pub fn count(&mut self, is_bad: bool, is_expected: bool, part: String) {
        let known = match is_bad {
            true => &mut self.bad,
            false => &mut self.good,
        };

        known.judged += 1;
        known.expected += u32::from(is_expected);

        if !is_expected && self.unexpected.len() < UNEXPECTED_NAMED {
            self.unexpected.push(part);
        }
    }

    /// How many parts were caught and passed so far.
    pub fn counted(&self) -> String {
        let bad = format!(
            "{} of {} bad parts caught",
            self.bad.expected, self.bad.parts
        );

        if self.good.parts == 0 {
            return bad;
        }

        let good = self.good;

        format!(
            "{bad}, {} of {} good parts passed",
            good.expected, good.parts
        )
    }

    /// What became of it, or what comes next, in words for a person.
    pub fn words(&self) -> String {
        let counted = self.counted();

        match self.stage() {
            CheckStage::Parts if !self.bad.is_complete() => {
                format!("{counted}; send the known bad parts through the line")
            }

            CheckStage::Parts => format!("{counted}; send the known good parts through the line"),
            CheckStage::Gate => format!("{counted}; did the gate remove the bad parts?"),
            CheckStage::Signature => format!("{counted}, the gate removed them; sign it"),
            CheckStage::Passed => format!("passed: {counted}, the gate removed them"),
            CheckStage::Failed => format!("failed: {}", self.failure()),
        }
    }

    /// Why it failed.
    fn failure(&self) -> String {
        let counted = self.counted();

        if let Some(cut) = &self.cut {
            return format!("{} ({}); {counted}", cut.note, cut.who);
        }

        if self.removed == Some(false) {
            return format!("the gate did not remove the bad parts; {counted}");
        }

        format!("{counted}: {}", self.unexpected.join(", "))
    }

    /// True if it failed, and nobody has said so far that it was seen.
    pub fn is_unseen_failure(&self) -> bool {
        self.stage() == CheckStage::Failed && self.acknowledged.is_none()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A check of one bad and one good part that has just begun.
    pub fn begun() -> ShiftCheck {
        ShiftCheck {
            version: RECORD_VERSION,
            order: 1,
            check: "01CHECK".to_owned(),
            why: CheckReason::Start,
            recipe: "nut@7".to_owned(),
            camera: None,
            began: CheckWord {
                who: "anna (page)".to_owned(),
                at: Timestamp::UNIX_EPOCH,
                note: String::new(),
            },
            bad: KnownParts::announced(1),
            good: KnownParts::announced(1),
            unexpected: vec![],
            cut: None,
            removed: None,
            gate: None,
            signed: None,
            acknowledged: None,
        }
    }

    #[test]
    fn a_check_passes_by_all_its_steps_and_fails_by_one() {
        let mut check = begun();
        assert_eq!(check.stage(), CheckStage::Parts);
        check.count(true, true, "1".to_owned());
        assert!(
            check.words().contains("known good parts"),
            "{}",
            check.words()
        );
        let mut missed = check.clone();
        check.count(false, true, "2".to_owned());
        assert_eq!(check.stage(), CheckStage::Gate);
        check.removed = Some(true);
        assert_eq!(check.stage(), CheckStage::Signature);
        let mut kept = check.clone();
        kept.removed = Some(false);
        assert_eq!(kept.stage(), CheckStage::Failed);
        check.signed = Some(check.began.clone());
        assert_eq!(check.stage(), CheckStage::Passed);

        missed.count(false, false, "top no. 2: fail".to_owned());
        assert!(missed.is_unseen_failure());
        assert_eq!(
            missed.words(),
            "failed: 1 of 1 bad parts caught, 0 of 1 good parts passed: top no. 2: fail"
        );
    }

    #[test]
    fn steps_are_read_and_the_others_refused_in_words() {
        let read = |payload: &str| {
            let (_, command) = ShiftCheckCommand::read(payload.as_bytes())?;
            command.check().map(|()| command)
        };

        let start = read(r#"{"id":7,"step":"start","why":"repair","bad":2,"good":1}"#);
        let words = start.expect("a start").words();
        assert_eq!(words, "start (repair), 2 bad and 1 good parts come next");
        let sign = read(r#"{"id":"a","step":"sign","name":"anna","check":"01X"}"#);
        assert_eq!(sign.expect("a signature").words(), "signed, by anna");
        for (wrong, words) in [
            (r#"{"id":"a"}"#, "`step` is missing"),
            (r#"{"id":"a","step":"jump"}"#, "`acknowledge`, got `jump`"),
            (
                r#"{"id":"a","step":"start","why":"start"}"#,
                "`bad` is missing",
            ),
            (
                r#"{"id":"a","step":"start","why":"start","bad":0}"#,
                "from 1 to 100",
            ),
            (
                r#"{"id":"a","step":"start","why":"start","bad":1,"good":101}"#,
                "good must be",
            ),
            (
                r#"{"id":"a","step":"gate","removed":"yes"}"#,
                "a value must be true or false, got text \"yes\"",
            ),
            (r#"{"id":"a","step":"sign"}"#, "name is missing"),
            (
                r#"{"id":"a","step":"sign","name":"x","removed":true}"#,
                "unknown field `removed`",
            ),
            (
                r#"{"id":"a","step":"acknowledge","name":"x","note":""}"#,
                "note must have",
            ),
        ] {
            let refusal = read(wrong).expect_err(wrong);
            assert!(refusal.contains(words), "{refusal}");
        }
    }
}
