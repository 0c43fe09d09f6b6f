//! Shift checks as the store keeps them: a key of its own each, in the order in which they began.
//!
//! ```text
//! shift_check/ORDER/NUMBER      NUMBER alone where a winspect before version 1 of the record kept it
//! ```
//! The order is a counter, one more than the largest that is kept: a clock that is set back puts no check before another.

use crate::data::report::Report;
use crate::protocol::shift_check::{
    CheckReason, CheckWord, KnownParts, RECORD_VERSION, ShiftCheck,
};
use crate::store::KeyValue;
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// Beginning of the keys under which the store keeps checks.
const KEY: &str = "shift_check/";
/// Reason of a check of which nothing is known.
const UNREADABLE: &str = "its record in the store cannot be read";

/// Key of a check.
pub fn key_of(check: &ShiftCheck) -> String {
    let number = &check.check;

    match check.order {
        0 => format!("{KEY}{number}"),
        order => format!("{KEY}{order:012}/{number}"),
    }
}

/// Key and text of a check for the store.
pub fn kept(check: &ShiftCheck) -> KeyValue {
    let text = serde_json::to_string(check).expect("plain values");

    (key_of(check), text)
}

/// The checks that earlier runs kept, the oldest first. One that cannot be read counts as a failure that nobody has seen.
pub fn recovered(kept: &BTreeMap<String, String>) -> VecDeque<ShiftCheck> {
    let mut checks = vec![];

    for (key, text) in kept {
        let Some(place) = key.strip_prefix(KEY).filter(|_| !text.is_empty()) else {
            continue;
        };

        let read = serde_json::from_str::<ShiftCheck>(text).ok();
        let known = read.filter(|check| check.version <= RECORD_VERSION);

        checks.push(known.unwrap_or_else(|| unreadable(place)));
    }

    checks.sort_by(|one, other| {
        let place = |check: &ShiftCheck| (check.order, check.check.clone());

        place(one).cmp(&place(other))
    });

    checks.into()
}

/// A failure in the place of a check that cannot be read; `place` is what its key says.
fn unreadable(place: &str) -> ShiftCheck {
    let (order, number) = place.split_once('/').unwrap_or(("", place));

    let word = |who: &str, note: &str| CheckWord {
        who: who.to_owned(),
        at: Timestamp::UNIX_EPOCH,
        note: note.to_owned(),
    };

    ShiftCheck {
        version: RECORD_VERSION,
        order: order.parse().unwrap_or_default(),
        check: number.to_owned(),
        why: CheckReason::Start,
        recipe: "unknown".to_owned(),
        camera: None,
        began: word("unknown", ""),
        bad: KnownParts::announced(0),
        good: KnownParts::announced(0),
        unexpected: vec![],
        cut: Some(word("winspect", UNREADABLE)),
        removed: None,
        gate: None,
        signed: None,
        acknowledged: None,
    }
}

/// What somebody says now.
pub fn word(who: &str, note: &str) -> CheckWord {
    CheckWord {
        who: who.to_owned(),
        at: Timestamp::now(),
        note: note.to_owned(),
    }
}

/// A part with another verdict than it must have, in words.
pub fn name_of(report: &Report, is_bad: bool) -> String {
    let kind = match is_bad {
        true => "bad",
        false => "good",
    };

    let part = &report.part;
    let camera = part.camera();
    let seq = part.seq;
    let verdict = report.verdict.word();

    match &part.request.part_id {
        Some(id) => {
            format!("{kind} part {id} ({camera} no. {seq}) got {verdict}")
        }
        None => {
            format!("{kind} part {camera} no. {seq} got {verdict}")
        }
    }
}
