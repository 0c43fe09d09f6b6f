//! Parts counted by shift, day, recipe, camera, place or reason.

use super::shifts::{Shifts, day_of};
use super::source::HistorySource;
use crate::base::exit::Failure;
use crate::cli::terminal::print;
use crate::data::history::{GroupCount, GroupKey, HistoryQuery};
use crate::data::history_rows::{RowFormat, csv_text};
use crate::store::{Search, SearchPage};
use clap::ValueEnum;
use jiff::tz::TimeZone;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Property by which a person counts parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CountedBy {
    /// The shift, by the day and the time at which it began
    Shift,
    /// The day
    Day,
    /// name@revision of the recipe
    Recipe,
    /// The camera, or the name that several share
    Camera,
    /// Where the highest value of a failed part lies
    Place,
    /// The reason of an undecided part
    Reason,
}

impl CountedBy {
    /// The key that the line counts by.
    pub fn key(self) -> GroupKey {
        match self {
            CountedBy::Shift | CountedBy::Day => GroupKey::Minute,
            CountedBy::Recipe => GroupKey::Recipe,
            CountedBy::Camera => GroupKey::Camera,
            CountedBy::Place => GroupKey::Place,
            CountedBy::Reason => GroupKey::Reason,
        }
    }

    /// The name of the column.
    fn word(self) -> &'static str {
        match self {
            CountedBy::Shift => "shift",
            CountedBy::Day => "day",
            CountedBy::Recipe => "recipe",
            CountedBy::Camera => "camera",
            CountedBy::Place => "place",
            CountedBy::Reason => "reason",
        }
    }
}

/// Counts of one key, as they are printed.
#[derive(Debug, Serialize, PartialEq)]
struct Statistic {
    #[serde(skip)]
    key: String,
    parts: u64,
    pass: u64,
    fail: u64,
    undecided: u64,
    /// Share of the decided parts that passed. `None` without any.
    #[serde(rename = "yield")]
    yielded: Option<f64>,
    /// Share of all parts that are undecided.
    undecided_share: Option<f64>,
}

impl Statistic {
    fn of(key: String, count: &GroupCount) -> Self {
        let decided = count.pass + count.fail;
        let parts = decided + count.undecided;
        let share = |some: u64, all: u64| (all > 0).then(|| some as f64 / all as f64);

        Statistic {
            key,
            parts,
            pass: count.pass,
            fail: count.fail,
            undecided: count.undecided,
            yielded: share(count.pass, decided),
            undecided_share: share(count.undecided, parts),
        }
    }
}

/// A question for counts.
pub struct CountQuery<'a> {
    /// The parts that are counted.
    pub parts: HistoryQuery,
    /// Property by which they are.
    pub by: CountedBy,
    /// Shifts of a day.
    pub shifts: &'a Shifts,
    /// Form of the rows.
    pub format: RowFormat,
}

/// Prints the counts. True if parts of before an upgrade are not among them.
///
/// # Errors
/// When the history cannot be read, or standard output not be written.
pub fn show(wanted: &CountQuery, source: &mut HistorySource) -> Result<bool, Failure> {
    let mut query = wanted.parts.clone();

    // Keys sort as text: days and shifts by time, all others by name.
    let mut counts: BTreeMap<String, GroupCount> = BTreeMap::new();
    let zone = TimeZone::system();
    let mut lacks_old_parts = false;

    while let SearchPage::Parts(page) = source.step(&Search::Parts(query.clone()))? {
        lacks_old_parts |= page.lacks_old_parts;
        for group in page.groups {
            let key = shown_key(wanted, group.key.as_deref(), &zone);
            let count = counts.entry(key).or_default();

            count.pass += group.pass;
            count.fail += group.fail;
            count.undecided += group.undecided;
        }

        query.before = page.next;
        if page.next.is_none() {
            break;
        }
    }

    // Shares are made of the sums, never of the shares of pages.
    let rows: Vec<Statistic> = counts
        .into_iter()
        .map(|(key, count)| Statistic::of(key, &count))
        .collect();

    let text = shown(&rows, wanted.by, wanted.format);

    print(text.trim_end())?;
    Ok(lacks_old_parts)
}

/// The key as a person reads it; `-` for parts without one.
fn shown_key(wanted: &CountQuery, key: Option<&str>, zone: &TimeZone) -> String {
    // The line counts by minutes since 1970. Days and shifts are this machine's, by its time zone and
    // the flag, and a sum of minutes each.
    let minute = || key.and_then(|key| key.parse::<i64>().ok());
    let shown = match wanted.by {
        CountedBy::Shift => minute().and_then(|minute| wanted.shifts.shift_of(minute, zone)),
        CountedBy::Day => minute().and_then(|minute| day_of(minute, zone)),
        _ => key.map(str::to_owned),
    };

    shown.unwrap_or_else(|| "-".to_owned())
}

fn shown(rows: &[Statistic], by: CountedBy, format: RowFormat) -> String {
    match format {
        RowFormat::Table => table(rows, by),
        RowFormat::Csv => {
            let head = [
                by.word(),
                "parts",
                "pass",
                "fail",
                "undecided",
                "yield",
                "undecided_share",
            ];
            let rows = rows.iter().map(|row| {
                let share =
                    |share: Option<f64>| share.map_or(String::new(), |share| share.to_string());
                vec![
                    row.key.clone(),
                    row.parts.to_string(),
                    row.pass.to_string(),
                    row.fail.to_string(),
                    row.undecided.to_string(),
                    share(row.yielded),
                    share(row.undecided_share),
                ]
            });

            csv_text(&head) + &rows.map(|row| csv_text(&row)).collect::<String>()
        }
        RowFormat::Json => {
            let mut text = String::new();

            for row in rows {
                let mut value = serde_json::to_value(row).expect("plain values");

                value[by.word()] = row.key.clone().into();
                writeln!(text, "{value}").expect("to memory");
            }

            text
        }
    }
}

fn table(rows: &[Statistic], by: CountedBy) -> String {
    // The first column is as wide as its longest key, which a person may have named.
    let wide = rows.iter().map(|row| row.key.chars().count());
    let wide = wide.max().unwrap_or(0).max(by.word().len());
    let mut text = format!(
        "{:<wide$}  {:>8} {:>8} {:>8} {:>9} {:>8} {:>10}\n",
        by.word(),
        "parts",
        "pass",
        "fail",
        "undecided",
        "yield",
        "undecided"
    );

    let share = |share: Option<f64>| {
        share.map_or("-".to_owned(), |share| format!("{:.2} %", share * 100.0))
    };
    for row in rows {
        writeln!(
            text,
            "{:<wide$}  {:>8} {:>8} {:>8} {:>9} {:>8} {:>10}",
            row.key,
            row.parts,
            row.pass,
            row.fail,
            row.undecided,
            share(row.yielded),
            share(row.undecided_share)
        )
        .expect("to memory");
    }

    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_yield_is_of_the_decided_parts_and_undecided_of_all() {
        let count = GroupCount {
            key: None,
            pass: 6,
            fail: 2,
            undecided: 2,
        };

        let row = Statistic::of("top".to_owned(), &count);
        assert_eq!(
            (row.parts, row.yielded, row.undecided_share),
            (10, Some(0.75), Some(0.2))
        );
        let none = Statistic::of("top".to_owned(), &GroupCount::default());
        assert_eq!((none.yielded, none.undecided_share), (None, None));
        let csv = shown(&[row, none], CountedBy::Camera, RowFormat::Csv);
        assert_eq!(
            csv,
            "camera,parts,pass,fail,undecided,yield,undecided_share\ntop,10,6,2,2,0.75,0.2\ntop,0,0,0,0,,\n"
        );
    }
}
