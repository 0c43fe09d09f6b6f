//! The counters of a run, told when it has ended.

use crate::data::counters::TallyCount;
use crate::line::shared::Tallies;
use crate::store::StoreCount;
use std::collections::BTreeMap;

/// Counters of a run, printed as one JSON line.
#[derive(Debug, serde::Serialize)]
pub struct Summary {
    /// Captured frames and their outcomes, by camera.
    pub cameras: BTreeMap<String, TallyCount>,
    /// True when every captured frame had exactly one outcome.
    pub balanced: bool,
    /// Number of accepted parts; each has one result.
    pub parts: u64,
    /// Number of results.
    pub results: u64,
    /// Number of results without a verdict.
    pub undecided: u64,
    /// Number of verdicts that came after their part's result.
    pub late: u64,
    /// Number of results that the broker has acknowledged.
    pub acknowledged: u64,
    /// Number of results that will never be sent.
    pub given_up: u64,
    /// Number of results that wait in the store for the next run.
    pub undelivered: u64,
    /// Number of rejected parts whose gates were told in time (`mqtt.timed_reject`).
    pub rejects_told: u64,
    /// Number of rejected parts whose gates were not told in time.
    pub rejects_missed: u64,
}

impl Summary {
    /// Counts all frames and parts; exact when every stage has ended.
    pub fn new(tallies: &Tallies, count: StoreCount) -> Self {
        let cameras: BTreeMap<String, TallyCount> = tallies
            .iter()
            .map(|(name, tally)| (name.clone(), tally.count()))
            .collect();

        Summary {
            balanced: cameras.values().all(TallyCount::balances),
            cameras,
            parts: count.accepted,
            results: count.results,
            undecided: count.undecided,
            late: count.late,
            acknowledged: count.acked,
            given_up: count.given_up,
            undelivered: count.waiting,
            rejects_told: count.rejects_told,
            rejects_missed: count.rejects_missed,
        }
    }
}
