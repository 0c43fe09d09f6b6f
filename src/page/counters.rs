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
    let places = parts.places.iter();
    let mut rows: Vec<VerdictRow> = places.map(|(name, counts)| row(name, *counts)).collect();
    rows.push(row("all", parts.all()));
    let by_place = table("Since the start", "place", rows);
    let by_day = table("By day", "day", days(&parts.hours));
    let by_hour = table("By hour", "from", hours(&parts.hours));
    let reasons = ReasonTable {
        reasons: parts
            .reasons
            .iter()
            .map(|(word, count)| (*word, *count))
            .collect(),
    };

    Ok(vec![
        Fragment::new("bar", bar.class(), &bar)?,
        Fragment::new("by-place", "panel", &by_place)?,
        Fragment::new("reasons", "panel", &reasons)?,
        Fragment::new("by-day", "panel", &by_day)?,
        Fragment::new("by-hour", "panel", &by_hour)?,
    ])
}

fn table(title: &'static str, first: &'static str, rows: Vec<VerdictRow>) -> VerdictTable {
    VerdictTable { title, first, rows }
}

fn row(name: &str, counts: VerdictCount) -> VerdictRow {
    VerdictRow {
        name: name.to_owned(),
        counts,
        pass_share: percent(counts.pass_share()),
    }
}

/// Days of this machine's time zone, the newest first.
fn days(hours: &VecDeque<HourCount>) -> Vec<VerdictRow> {
    let mut days: BTreeMap<Date, VerdictCount> = BTreeMap::new();
    for hour in hours {
        let day = hour.begins.to_zoned_datetime(TimeZone::system()).date();
        let before = days.get(&day).copied().unwrap_or_default();
        days.insert(day, before + hour.verdicts);
    }

    let days = days.into_iter().rev();
    days.map(|(day, counts)| row(&day.to_string(), counts))
        .collect()
}

/// The last hours with parts, the newest first.
fn hours(hours: &VecDeque<HourCount>) -> Vec<VerdictRow> {
    let shown = hours.iter().rev().take(HOURS_SHOWN);
    shown
        .map(|hour| {
            let begins = hour.begins.to_zoned_datetime(TimeZone::system());
            row(&begins.strftime("%a %H:%M").to_string(), hour.verdicts)
        })
        .collect()
}
