//! Parts counted by shift, day, recipe, camera, place or reason: the same counts for the command line and the page.

use crate::data::history::{GroupCount, GroupKey};
use crate::data::history_rows::{RowFormat, csv_text};
use crate::data::shifts::{Shifts, day_of};
use clap::ValueEnum;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Property by which a person counts parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
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

    /// The name of the column, which is the word that a person gives.
    pub fn word(self) -> &'static str {
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

/// Counts of one key, as they are shown.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Statistic {
    /// The key as a person reads it; `-` for parts without one.
    #[serde(skip)]
    pub key: String,
    /// All of them.
    pub parts: u64,
    /// Those that passed.
    pub pass: u64,
    /// Those that failed.
    pub fail: u64,
    /// Those that are undecided.
    pub undecided: u64,
    /// Share of the decided parts that passed. `None` without any.
    #[serde(rename = "yield")]
    pub yielded: Option<f64>,
    /// Share of all parts that are undecided.
    pub undecided_share: Option<f64>,
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

/// Key of parts that have none.
pub const NO_KEY: &str = "-";

/// Counts that grow with each page of the history.
pub struct Counts<'a> {
    by: CountedBy,
    shifts: &'a Shifts,
    zone: TimeZone,
    /// Keys sort as text: days and shifts by time, all others by name.
    counts: BTreeMap<String, GroupCount>,
}

impl<'a> Counts<'a> {
    /// None yet; days and shifts are those of this machine's time zone.
    pub fn new(by: CountedBy, shifts: &'a Shifts) -> Self {
        Counts {
            by,
            shifts,
            zone: TimeZone::system(),
            counts: BTreeMap::new(),
        }
    }

    /// Adds the counts of a page.
    pub fn add(&mut self, groups: &[GroupCount]) {
        for group in groups {
            let key = self.shown_key(group.key.as_deref());
            let count = self.counts.entry(key).or_default();

            count.pass += group.pass;
            count.fail += group.fail;
            count.undecided += group.undecided;
        }
    }

    /// The rows, sorted by their keys. Shares are made of the sums, never of the shares of pages.
    pub fn rows(self) -> Vec<Statistic> {
        let counts = self.counts.into_iter();
        let rows = counts.map(|(key, count)| Statistic::of(key, &count));

        rows.collect()
    }

    /// The key as a person reads it.
    fn shown_key(&self, key: Option<&str>) -> String {
        // The line counts by minutes since 1970. Days and shifts are this machine's, by its time zone and
        // the times at which shifts begin, and a sum of minutes each.
        let minute = || key.and_then(|key| key.parse::<i64>().ok());
        let shown = match self.by {
            CountedBy::Shift => {
                minute().and_then(|minute| self.shifts.shift_of(minute, &self.zone))
            }

            CountedBy::Day => minute().and_then(|minute| day_of(minute, &self.zone)),
            _ => key.map(str::to_owned),
        };

        shown.unwrap_or_else(|| NO_KEY.to_owned())
    }
}

/// The rows as a text.
pub fn shown(rows: &[Statistic], by: CountedBy, format: RowFormat) -> String {
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
