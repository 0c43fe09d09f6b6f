//! A shift check as people file it: one row of a list, and a record with a line a step. Pure.

use super::shift_check::{CheckStage, CheckWord, ShiftCheck};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The columns of a list.
pub const LIST_HEAD: &str = "number                      began             why          parts";

/// One row of a list.
pub fn row(check: &ShiftCheck, zone: &TimeZone) -> String {
    let began = minute(check.began.at, zone);
    let why = check.why.word();
    let words = check.words();

    format!("{}  {began}  {why:<11}  {words}", check.check)
}

/// The lines of a record: what was done and seen, when and by whom.
pub fn lines(check: &ShiftCheck, zone: &TimeZone) -> Vec<(&'static str, String)> {
    let camera = check.camera.as_deref().unwrap_or("any");

    let mut lines = vec![
        ("number", check.check.clone()),
        ("why", check.why.word().to_owned()),
        ("began", said(&check.began, zone)),
        ("recipe", check.recipe.clone()),
        ("camera", camera.to_owned()),
        (
            "bad parts",
            format!("{} of {} caught", check.bad.expected, check.bad.parts),
        ),
        (
            "good parts",
            format!("{} of {} passed", check.good.expected, check.good.parts),
        ),
    ];

    lines.extend(check.unexpected.iter().map(|part| ("not so", part.clone())));

    if let (Some(removed), Some(gate)) = (check.removed, &check.gate) {
        let answer = match removed {
            true => "removed the bad parts",
            false => "did not remove the bad parts",
        };

        lines.push(("gate", format!("{answer}; {}", said(gate, zone))));
    }

    let words = [
        ("ended early", &check.cut),
        ("signed", &check.signed),
        ("acknowledged", &check.acknowledged),
    ];

    for (name, word) in words {
        if let Some(word) = word {
            lines.push((name, said(word, zone)));
        }
    }

    lines.push(("result", result(check).to_owned()));

    lines
}

/// The word of a check's result.
pub fn result(check: &ShiftCheck) -> &'static str {
    match check.stage() {
        CheckStage::Passed => "PASSED",
        CheckStage::Failed => "FAILED",
        CheckStage::Parts | CheckStage::Gate | CheckStage::Signature => "NOT OVER",
    }
}

/// A record as text.
pub fn report(check: &ShiftCheck, zone: &TimeZone) -> String {
    let mut text = vec!["Shift check".to_owned()];

    for (name, words) in lines(check, zone) {
        text.push(format!("{name:<13} {words}"));
    }

    text.join("\n")
}

/// Who, when, and what was said beside it.
fn said(word: &CheckWord, zone: &TimeZone) -> String {
    let at = minute(word.at, zone);
    let who = &word.who;

    match word.note.is_empty() {
        true => format!("{at}, {who}"),
        false => format!("{at}, {who}: {}", word.note),
    }
}

/// A minute of that time zone.
pub fn minute(at: Timestamp, zone: &TimeZone) -> String {
    let local = zone.to_datetime(at);

    local.strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::super::shift_check::tests::begun;
    use super::*;

    #[test]
    fn a_record_has_each_step_with_who_and_when() {
        let mut check = begun();
        check.count(true, true, String::new());
        check.count(false, true, String::new());
        check.removed = Some(true);
        check.gate = Some(check.began.clone());
        check.signed = Some(CheckWord {
            who: "bert (page)".to_owned(),
            ..check.began.clone()
        });

        let record = "Shift check
number        01CHECK
why           start
began         1970-01-01 00:00, anna (page)
recipe        nut@7
camera        any
bad parts     1 of 1 caught
good parts    1 of 1 passed
gate          removed the bad parts; 1970-01-01 00:00, anna (page)
signed        1970-01-01 00:00, bert (page)
result        PASSED";
        assert_eq!(report(&check, &TimeZone::UTC), record);
        let row = row(&check, &TimeZone::UTC);
        assert!(row.starts_with("01CHECK  1970-01-01 00:00  start"), "{row}");
    }
}
