//! Times of one round, as the table and the JSON line have them.

use super::stages::{Sample, StageSamples};
use serde_json::Value;
use std::time::Duration;

/// Times of one round.
#[derive(Default)]
pub struct Latencies {
    /// Time until the store was open, with the results of an earlier run in it.
    pub opened: Duration,
    /// Number of triggers.
    pub sent: usize,
    /// Times until the result has come back to the PLC.
    pub back: Sample,
    /// Number of results without a verdict.
    pub undecided: usize,
    /// Times by stage.
    pub stages: StageSamples,
}

impl Latencies {
    /// Prints the times for a person.
    pub fn tell(&self, what: &str) {
        // The time of opening counts apart: it grows with what an earlier run left.
        eprintln!(
            "{what}: the store was open after {:.0} ms",
            self.opened.as_secs_f64() * 1e3
        );

        eprintln!(
            "{what}: {} sent, {} results, {} undecided; back at the PLC {}",
            self.sent,
            self.back.count(),
            self.undecided,
            self.back.words()
        );

        self.stages.tell();
    }

    /// Returns the times as a JSON object.
    pub fn json(&self) -> Value {
        let mut json = self.back.json();
        json["opened_ms"] = (self.opened.as_secs_f64() * 1e3).into();
        json["sent"] = self.sent.into();
        json["results"] = self.back.count().into();
        json["undecided"] = self.undecided.into();
        json["stages"] = self.stages.json();
        json
    }
}
