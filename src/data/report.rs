//! Layer 2: everything that is known of one judged part. What the store keeps and the publisher turns into a message.

use crate::data::frame::CapturedBy;
use crate::data::map::Map;
use crate::data::part::Part;
use crate::data::picture::{Area, Picture};
use crate::data::verdict::{Defect, OnUndecided, Reason, Verdict};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// One part's result.
#[derive(Debug, Clone)]
pub struct Report {
    pub part: Part,
    /// The camera whose picture it is about: the part's own, or one of several that see it.
    pub seen_by: Arc<str>,
    pub verdict: Verdict,
    pub reason: Option<Reason>,
    /// What the reason found, in words for a person.
    pub detail: Option<String>,
    pub score: Option<f32>,
    pub threshold: Option<f32>,
    pub captured_at: Timestamp,
    pub captured_by: CapturedBy,
    pub took: Latency,
    /// `name@revision` of the recipe that judged it.
    pub recipe: Arc<str>,
    /// What each of several cameras said.
    pub views: Vec<View>,
    /// What the gate does when it is undecided.
    pub on_undecided: OnUndecided,
    pub regions: Vec<Defect>,
    pub map: Option<Map>,
    /// The part of the picture that the map covers.
    pub area: Option<Area>,
}

/// One camera's word on a part that several see.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct View {
    pub camera: String,
    pub verdict: Verdict,
    pub score: Option<f32>,
    pub reason: Option<Reason>,
}

/// The recipe that judges, as results name it.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionPolicy {
    /// `name@revision`.
    pub recipe: Arc<str>,
    pub threshold: Option<f32>,
    pub on_undecided: OnUndecided,
}

impl Report {
    /// What the gate does.
    pub fn is_rejected(&self) -> bool {
        match self.verdict {
            Verdict::Pass => false,
            Verdict::Fail => true,
            Verdict::Undecided => self.on_undecided == OnUndecided::Fail,
        }
    }

    /// What is said of a part that nobody judged: without a frame it was captured when it was accepted.
    pub fn undecided(part: Part, reason: Reason, judge: &DecisionPolicy) -> Self {
        Report {
            verdict: Verdict::Undecided,
            reason: Some(reason),
            detail: None,
            score: None,
            threshold: judge.threshold,
            captured_at: part.ask.at,
            captured_by: CapturedBy::Trigger,
            took: Latency {
                total: part.ask.since.elapsed(),
                ..Latency::default()
            },
            recipe: judge.recipe.clone(),
            on_undecided: judge.on_undecided,
            seen_by: part.camera().clone(),
            views: vec![],
            regions: vec![],
            map: None,
            area: None,
            part,
        }
    }
}

/// Working and waiting time of one part, apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Latency {
    /// From arrival, or from its trigger where that came later, until the inspector took it.
    pub queue: Duration,
    /// In the camera: decoding and colour conversion, where it can tell.
    pub decode: Option<Duration>,
    /// Resize and normalisation.
    pub pixels: Duration,
    pub encode: Duration,
    pub score: Duration,
    /// From arrival until the verdict stood.
    pub total: Duration,
}

/// A judged picture for people: what a heat map is drawn from. May be dropped, never waited for.
#[derive(Debug, Clone)]
pub struct JudgedFrame {
    pub report: Arc<Report>,
    pub picture: Arc<Picture>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::data::part::tests::ask;

    pub(crate) fn judge(_: &Part) -> DecisionPolicy {
        DecisionPolicy {
            recipe: "nut@7".into(),
            threshold: Some(0.337),
            on_undecided: OnUndecided::Fail,
        }
    }

    /// A plausible report, for tests of what handles reports.
    pub(crate) fn report(seq: u64) -> Report {
        let asked = ask("top", Duration::from_millis(80));
        Report {
            part: Part::new(seq, "01TEST".into(), seq, asked),
            seen_by: "top".into(),
            views: vec![],
            verdict: Verdict::Fail,
            reason: None,
            detail: None,
            score: Some(0.412),
            threshold: Some(0.337),
            captured_at: Timestamp::UNIX_EPOCH,
            captured_by: CapturedBy::Arrival,
            took: Latency::default(),
            recipe: "nut@7".into(),
            on_undecided: OnUndecided::Fail,
            regions: vec![
                Defect {
                    x: 1,
                    y: 2,
                    w: 3,
                    h: 4,
                    peak: 0.5
                };
                5
            ],
            area: None,
            map: Some(Map::new(
                37,
                (0..37 * 37).map(|i| i as f32 / 1369.0).collect(),
            )),
        }
    }
}
