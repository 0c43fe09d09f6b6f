//! What the screen Shift check shows: the newest check, large, and a table of the last ones.

use super::ADDRESS;
use crate::page::live::line_bar;
use crate::page::numbers::day_and_minute;
use crate::page::screen::{Facts, Fragment};
use crate::page::words::{Mark, mark, since};
use crate::protocol::shift_check::{CheckStage, KnownParts, ShiftCheck};
use askama::Template;
use jiff::tz::TimeZone;

/// Words of a line that was never checked.
const NONE_YET: &str =
    "Send known bad and known good parts through the line to prove that it sees.";

/// The newest check, as it stands.
#[derive(Template)]
#[template(path = "check/newest.html")]
struct NewestCheck {
    mark: Mark,
    words: String,
    began: String,
    counts: Vec<PartsCount>,
    unexpected: Vec<String>,
    /// Time since the last one that passed.
    passed: String,
}

/// Known parts of one kind.
struct PartsCount {
    title: &'static str,
    /// Large: `1 of 2 caught`.
    words: String,
    /// Symbols of the parts: what became of each.
    symbols: String,
    class: &'static str,
}

/// The last checks.
#[derive(Template)]
#[template(path = "check/table.html")]
struct CheckTable {
    rows: Vec<CheckRow>,
}

/// One of them.
struct CheckRow {
    address: String,
    began: String,
    why: &'static str,
    who: String,
    counted: String,
    mark: Mark,
    seen: String,
}

/// All fragments of the screen.
///
/// # Errors
/// As [`Fragment::new`].
pub fn fragments(facts: &Facts) -> Result<Vec<Fragment>, askama::Error> {
    let bar = line_bar(facts);
    let newest = newest(facts);
    let class = format!("panel wide check {}", newest.mark.class);
    let id = format!("check-{}", stage_id(facts.checks.first()));

    let table = CheckTable {
        rows: rows(&facts.checks),
    };

    Ok(vec![
        Fragment::new("bar", bar.class(), &bar)?,
        Fragment::new(&id, &class, &newest)?,
        Fragment::new("checks", "panel wide", &table)?,
    ])
}

/// Name of a stage in a fragment's id: another one for each form.
fn stage_id(check: Option<&ShiftCheck>) -> &'static str {
    match check.map(ShiftCheck::stage) {
        None => "none",
        Some(CheckStage::Parts) => "parts",
        Some(CheckStage::Gate) => "gate",
        Some(CheckStage::Signature) => "signature",
        Some(CheckStage::Passed) => "passed",
        Some(CheckStage::Failed) => "failed",
    }
}

/// The mark of a check.
pub fn check_mark(check: &ShiftCheck) -> Mark {
    match check.stage() {
        CheckStage::Parts => mark("calm", "…", "PARTS COME"),
        CheckStage::Gate => mark("doubt", "?", "THE GATE?"),
        CheckStage::Signature => mark("doubt", "!", "SIGN"),
        CheckStage::Passed => mark("good", "✓", "PASSED"),
        CheckStage::Failed => match check.acknowledged {
            Some(_) => mark("doubt", "✕", "FAILED, SEEN"),
            None => mark("bad", "✕", "FAILED"),
        },
    }
}

fn newest(facts: &Facts) -> NewestCheck {
    let passed = passed_words(facts);

    match facts.checks.first() {
        Some(check) => NewestCheck {
            mark: check_mark(check),
            words: check.words(),
            began: began_words(check),
            counts: counts(check),
            unexpected: check.unexpected.clone(),
            passed,
        },
        None => NewestCheck {
            mark: mark("calm", "●", "NO CHECK YET"),
            words: NONE_YET.to_owned(),
            began: String::new(),
            counts: vec![],
            unexpected: vec![],
            passed,
        },
    }
}

/// When the last check passed.
fn passed_words(facts: &Facts) -> String {
    match facts.now.checks.passed_at {
        Some(at) => {
            let ago = since(at, facts.at);

            format!("The last check passed {ago} ago.")
        }

        None => "No check has passed among those that are kept.".to_owned(),
    }
}

/// Why, when and by whom a check was begun.
fn began_words(check: &ShiftCheck) -> String {
    let why = check.why.word();
    let zone = TimeZone::system();
    let began = day_and_minute(zone.to_datetime(check.began.at));
    let who = &check.began.who;
    let recipe = &check.recipe;

    format!("{why} · began {began} by {who} · {recipe}")
}

fn counts(check: &ShiftCheck) -> Vec<PartsCount> {
    let bad = count("Bad parts", "caught", &check.bad);
    let mut counts = vec![bad];

    if check.good.parts > 0 {
        let good = count("Good parts", "passed", &check.good);
        counts.push(good);
    }

    counts
}

fn count(title: &'static str, verb: &'static str, known: &KnownParts) -> PartsCount {
    let missed = known.judged - known.expected.min(known.judged);
    let waiting = known.parts.saturating_sub(known.judged);
    let repeat = |symbol: &str, count: u32| symbol.repeat(count as usize);

    let symbols = [
        repeat("✓", known.expected),
        repeat("✕", missed),
        repeat("·", waiting),
    ];

    let class = match (missed, waiting) {
        (0, 0) => "good",
        (0, _) => "calm",
        _ => "bad",
    };

    PartsCount {
        title,
        words: format!("{} of {} {verb}", known.expected, known.parts),
        symbols: symbols.concat(),
        class,
    }
}

fn rows(checks: &[ShiftCheck]) -> Vec<CheckRow> {
    let zone = TimeZone::system();

    let rows = checks.iter().map(|check| CheckRow {
        address: format!("{ADDRESS}/{}", check.check),
        began: day_and_minute(zone.to_datetime(check.began.at)),
        why: check.why.word(),
        who: check.began.who.clone(),
        counted: check.counted(),
        mark: check_mark(check),
        seen: seen_words(check),
    });

    rows.collect()
}

/// Who signed a check, or has seen that it failed.
fn seen_words(check: &ShiftCheck) -> String {
    if let Some(signed) = &check.signed {
        let who = &signed.who;
        return format!("signed by {who}");
    }

    match &check.acknowledged {
        Some(seen) => {
            let who = &seen.who;
            let note = &seen.note;

            format!("seen by {who}: {note}")
        }

        None => String::new(),
    }
}
