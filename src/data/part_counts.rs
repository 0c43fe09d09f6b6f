//! Counters of results: verdicts by place, by reason and by hour, and the times of each stage as
//! histograms.
//!
//! The store's thread enters each result once, when it is released ([`PartCounts::enter`]); so the sum
//! over all verdicts is the store's own number of results (`StoreCount::results`) but for the moment
//! between both. Bounds: [`PLACES`] places, [`HOURS`] hours; what comes beyond is counted under
//! [`OTHERS`], and the oldest hour is forgotten.

use crate::data::result::{LatencyMs, ResultRow};
use crate::data::verdict::Verdict;
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Places that are counted apart: cameras, or regions of them.
pub const PLACES: usize = 1024;
/// Name under which places beyond [`PLACES`] are counted.
pub const OTHERS: &str = "others";
/// Hours that are remembered: 31 days.
pub const HOURS: usize = 31 * 24;
/// Upper bounds of the histograms' buckets, in seconds; one more bucket has no bound.
pub const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];
/// Names of the stages of a part, in the order of [`PartTotals::stages`].
pub const STAGES: [&str; 6] = ["queue", "decode", "pixels", "encode", "score", "total"];
/// Seconds of an hour.
const HOUR: i64 = 3600;

/// The counters of a run. The store's thread enters results, doors read.
#[derive(Debug, Default)]
pub struct PartCounts(Mutex<PartTotals>);

/// [`PartCounts`] at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PartTotals {
    /// Verdicts by `camera` or `camera/region`.
    pub places: BTreeMap<String, VerdictCount>,
    /// Undecided parts by the word of their reason.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Verdicts by hour of the result, the oldest first.
    pub hours: VecDeque<HourCount>,
    /// Time of each of [`STAGES`].
    pub stages: [StageHistogram; STAGES.len()],
}

/// Results by verdict. `pass`, `fail` and `undecided` are production; parts of a challenge are apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerdictCount {
    /// Parts that passed.
    pub pass: u64,
    /// Parts that failed.
    pub fail: u64,
    /// Parts that were not judged.
    pub undecided: u64,
    /// Parts that the gate rejects, whatever their verdict.
    pub rejected: u64,
    /// Parts of challenges, which are no production.
    pub challenged: u64,
}

/// The results of one hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourCount {
    /// Beginning of the hour, in UTC.
    pub begins: Timestamp,
    /// Its results.
    pub verdicts: VerdictCount,
}

/// Number of parts by the time that a stage took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StageHistogram {
    /// Parts in each of [`BUCKETS`], and in the last one those above; not cumulative.
    pub buckets: [u64; BUCKETS.len() + 1],
    /// Seconds of all parts together.
    pub sum: f64,
}

impl PartCounts {
    /// Enters a result that was released at that time.
    pub fn enter(&self, row: &ResultRow, at: Timestamp) {
        let mut totals = self.lock();
        let place = totals.place_of(row);
        let of_place = totals.places.entry(place).or_default();
        of_place.enter(row);

        let of_hour = totals.hour_of(at);
        of_hour.enter(row);

        if let Some(reason) = row.reason {
            let of_reason = totals.reasons.entry(reason.word()).or_default();
            *of_reason += 1;
        }

        // A part without a score was not judged.
        let is_judged = row.score.is_some();
        totals.enter_stages(&row.latency_ms, is_judged);
    }

    /// The counters now.
    pub fn totals(&self) -> PartTotals {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, PartTotals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartTotals {
    /// All verdicts of the run.
    pub fn all(&self) -> VerdictCount {
        self.places.values().copied().sum()
    }

    fn place_of(&self, row: &ResultRow) -> String {
        let place = row.place();
        let has_room = self.places.len() < PLACES;

        // A place that is counted already needs no more room.
        if has_room || self.places.contains_key(&place) {
            return place;
        }

        OTHERS.to_owned()
    }

    fn hour_of(&mut self, at: Timestamp) -> &mut VerdictCount {
        // Rounded down, also where a wrong clock stands before 1970.
        let hours = at.as_second().div_euclid(HOUR);
        let seconds = hours * HOUR;
        let begins = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);

        // A clock that was set back finds its hour again, so that no hour stands twice.
        let known = self.hours.iter().position(|hour| hour.begins == begins);
        if let Some(place) = known {
            return &mut self.hours[place].verdicts;
        }

        if self.hours.len() == HOURS {
            self.hours.pop_front();
        }

        let hour = HourCount {
            begins,
            verdicts: VerdictCount::default(),
        };

        // The hours stay in order, wherever the clock went.
        let place = self.hours.partition_point(|hour| hour.begins < begins);
        self.hours.insert(place, hour);
        &mut self.hours[place].verdicts
    }

    /// A part that was not judged passed no stage: its zeros would stand for fast ones.
    fn enter_stages(&mut self, took: &LatencyMs, is_judged: bool) {
        let of_judged = |ms: f64| is_judged.then_some(ms);
        let times = [
            of_judged(took.queue),
            took.decode.and_then(of_judged),
            of_judged(took.pixels),
            of_judged(took.encode),
            of_judged(took.score),
            Some(took.total),
        ];

        for (histogram, ms) in self.stages.iter_mut().zip(times) {
            if let Some(ms) = ms {
                let seconds = ms / 1e3;
                histogram.enter(seconds);
            }
        }
    }
}

impl VerdictCount {
    /// Parts of production.
    pub fn parts(&self) -> u64 {
        self.pass + self.fail + self.undecided
    }

    /// Share of the parts that passed. `None` where there are none.
    pub fn pass_share(&self) -> Option<f64> {
        let parts = self.parts();
        if parts == 0 {
            return None;
        }

        let share = self.pass as f64 / parts as f64;
        Some(share)
    }

    fn enter(&mut self, row: &ResultRow) {
        if row.challenge.is_some() {
            self.challenged += 1;
            return;
        }

        self.rejected += u64::from(row.reject);
        match row.verdict {
            Verdict::Pass => self.pass += 1,
            Verdict::Fail => self.fail += 1,
            Verdict::Undecided => self.undecided += 1,
        }
    }
}

impl std::ops::Add for VerdictCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        VerdictCount {
            pass: self.pass + other.pass,
            fail: self.fail + other.fail,
            undecided: self.undecided + other.undecided,
            rejected: self.rejected + other.rejected,
            challenged: self.challenged + other.challenged,
        }
    }
}

impl std::ops::Sub for VerdictCount {
    type Output = Self;

    /// What was counted since `earlier`; counters only grow, so that nothing is below 0.
    fn sub(self, earlier: Self) -> Self {
        VerdictCount {
            pass: self.pass.saturating_sub(earlier.pass),
            fail: self.fail.saturating_sub(earlier.fail),
            undecided: self.undecided.saturating_sub(earlier.undecided),
            rejected: self.rejected.saturating_sub(earlier.rejected),
            challenged: self.challenged.saturating_sub(earlier.challenged),
        }
    }
}

impl std::iter::Sum for VerdictCount {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(VerdictCount::default(), std::ops::Add::add)
    }
}

impl StageHistogram {
    fn enter(&mut self, seconds: f64) {
        let bucket = BUCKETS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket] += 1;
        self.sum += seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::result::tests::row;
    use crate::data::verdict::Reason;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    fn result(verdict: Verdict, reason: Option<Reason>) -> ResultRow {
        ResultRow {
            verdict,
            reason,
            reject: verdict != Verdict::Pass,
            challenge: None,
            ..row("top", 1)
        }
    }

    #[test]
    fn each_result_is_counted_once_by_place_reason_and_hour() {
        let counts = PartCounts::default();
        counts.enter(&result(Verdict::Pass, None), at(10));
        counts.enter(&result(Verdict::Fail, None), at(3599));
        let late = result(Verdict::Undecided, Some(Reason::Late));
        counts.enter(&late, at(3600));
        let known_bad = ResultRow {
            challenge: Some("shift".to_owned()),
            ..result(Verdict::Fail, None)
        };

        counts.enter(&known_bad, at(3700));
        let totals = counts.totals();
        let all = totals.all();
        assert_eq!((all.pass, all.fail, all.undecided), (1, 1, 1));
        assert_eq!((all.rejected, all.challenged), (2, 1));
        assert_eq!(totals.reasons, BTreeMap::from([("late", 1)]));
        let hours: Vec<u64> = totals
            .hours
            .iter()
            .map(|hour| hour.verdicts.parts())
            .collect();

        assert_eq!(hours, [2, 1]);
        assert_eq!(totals.stages[5].buckets.iter().sum::<u64>(), 4);
    }

    #[test]
    fn a_clock_that_goes_back_opens_no_hour_twice_and_old_hours_are_forgotten() {
        let counts = PartCounts::default();
        for seconds in [7200, 3600, 7300, 0] {
            counts.enter(&result(Verdict::Pass, None), at(seconds));
        }

        let begins = |totals: PartTotals| -> Vec<i64> {
            totals
                .hours
                .iter()
                .map(|hour| hour.begins.as_second())
                .collect()
        };

        assert_eq!(begins(counts.totals()), [0, 3600, 7200]);
        for hour in 0..HOURS as i64 + 5 {
            counts.enter(&result(Verdict::Pass, None), at(hour * 3600));
        }

        assert_eq!(counts.totals().hours.len(), HOURS);
        assert_eq!(begins(counts.totals())[0], 5 * 3600);
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_beyond_the_last_is_one_more() {
        let mut histogram = StageHistogram::default();
        for seconds in [0.0, 0.001, 0.0011, 5.0, 60.0] {
            histogram.enter(seconds);
        }

        assert_eq!(histogram.buckets[..2], [2, 1]);
        assert_eq!(histogram.buckets[11..], [1, 1]);
    }

    #[test]
    fn places_beyond_the_bound_are_counted_together() {
        let counts = PartCounts::default();
        for camera in 0..PLACES + 3 {
            let row = ResultRow {
                camera: camera.to_string(),
                ..result(Verdict::Pass, None)
            };

            counts.enter(&row, at(0));
        }

        let totals = counts.totals();
        assert_eq!(totals.places[OTHERS].pass, 3);
        assert_eq!(totals.all().pass, PLACES as u64 + 3);
    }
}
