//! The screen Counters: verdicts by place, by day and by hour, from what the line counts in memory since
//! it started.

use super::live::line_bar;
use super::screen::{Facts, Fragment};
use super::words::percent;
use crate::data::part_counts::{HourCount, VerdictCount};
use askama::Template;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, VecDeque};

/// Hours that are shown.
const HOURS_SHOWN: usize = 48;

/// A table of verdicts.
#[derive(Template)]
#[template(path = "verdicts.html")]
struct VerdictTable {
    title: &'static str,
    first: &'static str,
    rows: Vec<VerdictRow>,
}

/// The table of the shift, and who began it.
#[derive(Template)]
#[template(path = "shift_table.html")]
struct ShiftTable {
    since: String,
    table: VerdictTable,
}

/// One row.
struct VerdictRow {
    name: String,
    counts: VerdictCount,
    pass_share: String,
}

/// Reasons of undecided parts.
#[derive(Template)]
#[template(path = "reasons.html")]
struct ReasonTable {
    reasons: Vec<(&'static str, u64)>,
}

/// All fragments of the screen.
///
/// # Errors
/// As [`Fragment::new`].
pub fn fragments(facts: &Facts) -> Result<Vec<Fragment>, askama::Error> {
    let parts = &facts.now.parts;
    let bar = line_bar(facts);

    // The sum stands below its places, as in any table of figures.
    let mut rows: Vec<VerdictRow> = vec![];
    for (name, counts) in &parts.places {
        rows.push(row(name, *counts));
    }

    let all = row("all", parts.all());
    rows.push(all);
    let by_place = table("Since the start", "place", rows);

    let by_shift = ShiftTable {
        since: facts.shift.words(),
        table: table("This shift", "place", shift_rows(facts)),
    };

    let days = days(&parts.hours);
    let by_day = table("By day", "day", days);
    let hours = hours(&parts.hours);
    let by_hour = table("By hour", "from", hours);

    let counted = parts.reasons.iter();
    let reasons = ReasonTable {
        reasons: counted.map(|(word, count)| (*word, *count)).collect(),
    };

    Ok(vec![
        Fragment::new("bar", bar.class(), &bar)?,
        Fragment::new("by-shift", "panel", &by_shift)?,
        Fragment::new("by-place", "panel", &by_place)?,
        Fragment::new("reasons", "panel", &reasons)?,
        Fragment::new("by-day", "panel", &by_day)?,
        Fragment::new("by-hour", "panel", &by_hour)?,
    ])
}

/// Verdicts since the counters were reset, the sum below its places.
fn shift_rows(facts: &Facts) -> Vec<VerdictRow> {
    let counted = facts.shift.since(&facts.now.parts);
    let all = facts.shift.all_since(&facts.now.parts);

    let mut rows: Vec<VerdictRow> = vec![];
    for (name, counts) in &counted {
        rows.push(row(name, *counts));
    }

    rows.push(row("all", all));
    rows
}

fn table(title: &'static str, first: &'static str, rows: Vec<VerdictRow>) -> VerdictTable {
    VerdictTable { title, first, rows }
}

fn row(name: &str, counts: VerdictCount) -> VerdictRow {
    let share = counts.pass_share();
    let pass_share = percent(share);

    VerdictRow {
        name: name.to_owned(),
        counts,
        pass_share,
    }
}

/// Days of this machine's time zone, the newest first.
fn days(hours: &VecDeque<HourCount>) -> Vec<VerdictRow> {
    let mut days: BTreeMap<Date, VerdictCount> = BTreeMap::new();
    for hour in hours {
        // The clock on the wall decides which day it is, as people's shifts follow it.
        let begins = hour.begins.to_zoned_datetime(TimeZone::system());
        let day = begins.date();

        let before = days.get(&day).copied().unwrap_or_default();
        days.insert(day, before + hour.verdicts);
    }

    let mut rows = vec![];
    for (day, counts) in days.into_iter().rev() {
        let name = day.to_string();
        rows.push(row(&name, counts));
    }

    rows
}

/// The last hours with parts, the newest first.
fn hours(hours: &VecDeque<HourCount>) -> Vec<VerdictRow> {
    let mut rows = vec![];
    for hour in hours.iter().rev().take(HOURS_SHOWN) {
        // The day stands beside the hour: two days of hours are shown.
        let begins = hour.begins.to_zoned_datetime(TimeZone::system());
        let name = begins.strftime("%a %H:%M").to_string();

        rows.push(row(&name, hour.verdicts));
    }

    rows
}
