//! The counters of a store.

/// Counters of one run at one moment. `accepted` equals `results` plus `open`, and `results` plus
/// `late` plus `earlier` equals `acked` plus `given_up` plus `waiting`, at any moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoreCount {
    /// Parts that were given a number.
    pub accepted: u64,
    /// Results that left the ledger: judged, and undecided.
    pub results: u64,
    /// Results without a verdict.
    pub undecided: u64,
    /// Verdicts that came after their part's result.
    pub late: u64,
    /// Results that earlier runs left.
    pub earlier: u64,
    /// Results that the broker has.
    pub acked: u64,
    /// Results for which there was no room, or that were lost with a file: it never gets them.
    pub given_up: u64,
    /// Results on their way to the broker.
    pub waiting: u64,
    /// Those of them that were put aside, because the broker takes the others and not them.
    #[serde(default)]
    pub aside: u64,
    /// Parts that are accepted and without a result.
    pub open: u64,
    /// Milliseconds of the last commit.
    #[serde(default)]
    pub commit_ms: u64,
    /// Milliseconds of the longest commit of the run.
    #[serde(default)]
    pub longest_commit_ms: u64,
    /// Rejected parts that were told when they were at the gate.
    pub rejects_told: u64,
    /// Rejected parts that went by untold.
    pub rejects_missed: u64,
}

#[cfg(test)]
impl StoreCount {
    pub(crate) fn balances(&self) -> bool {
        let left = self.results + self.late + self.earlier;
        self.accepted == self.results + self.open
            && left == self.acked + self.given_up + self.waiting
    }
}
