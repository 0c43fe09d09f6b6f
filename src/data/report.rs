//! Result of one judged part, as the store keeps it and the publisher turns it into a message.

use crate::data::frame::CapturedBy;
use crate::data::map::Map;
use crate::data::part::Part;
use crate::data::picture::Area;
use crate::data::pose::Pose;
use crate::data::verdict::{Defect, OnUndecided, Reason, Verdict};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One part's result.
#[derive(Debug, Clone)]
pub struct Report {
    /// The part that was judged.
    pub part: Part,
    /// The camera whose picture was judged: the part's own, or one of several that see it.
    pub seen_by: Arc<str>,
    /// Pass, fail or undecided.
    pub verdict: Verdict,
    /// Reason of an undecided verdict; `None` otherwise.
    pub reason: Option<Reason>,
    /// The reason's detail, in words for a person.
    pub detail: Option<String>,
    /// Score of the picture. `None` if it was not scored.
    pub score: Option<f32>,
    /// Score from which a part fails. `None` if the recipe has no threshold.
    pub threshold: Option<f32>,
    /// Time of capture.
    pub captured_at: Timestamp,
    /// Monotonic clock at the capture.
    pub captured: Instant,
    /// Clock of `captured_at`.
    pub captured_by: CapturedBy,
    /// Waiting and working time.
    pub took: Latency,
    /// `name@revision` of the recipe that judged it.
    pub recipe: Arc<str>,
    /// Results of the single cameras, where several see the part; else empty.
    pub views: Vec<CameraView>,
    /// Action of the gate if the verdict is undecided.
    pub on_undecided: OnUndecided,
    /// Areas above the threshold, the highest peak first, in the judged picture.
    pub defects: Vec<Defect>,
    /// Millimetres of the part in a pixel of the camera's picture. `None` if nobody has said it.
    pub mm_per_pixel: Option<f64>,
    /// The anomaly map. `None` if the picture was not scored.
    pub map: Option<Map>,
    /// The part of the judged picture that the map covers: of the camera's, or of that with the part at its
    /// place.
    pub area: Option<Area>,
    /// Place and turn of the part in the camera's picture. `None` where the recipe does not locate parts, or
    /// the picture was not scored.
    pub pose: Option<Pose>,
}

/// One camera's result of a part that several cameras see.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CameraView {
    /// The camera's name.
    pub camera: String,
    /// Pass, fail or undecided.
    pub verdict: Verdict,
    /// Score of the camera's picture. `None` if it was not scored.
    pub score: Option<f32>,
    /// Reason of an undecided verdict; `None` otherwise.
    pub reason: Option<Reason>,
}

/// The recipe that judges, as results name it.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionPolicy {
    /// `name@revision`.
    pub recipe: Arc<str>,
    /// Score from which a part fails. `None` if nothing can be decided yet.
    pub threshold: Option<f32>,
    /// Action of the gate if the verdict is undecided.
    pub on_undecided: OnUndecided,
}

impl Report {
    /// True if the gate rejects the part.
    pub fn is_rejected(&self) -> bool {
        match self.verdict {
            Verdict::Pass => false,
            Verdict::Fail => true,
            Verdict::Undecided => self.on_undecided == OnUndecided::Fail,
        }
    }

    /// The moment at which the part is at the gate; `None` where the line does not say when.
    pub fn at_gate(&self) -> Option<Instant> {
        let after = self.part.request.timing.reject_after?;

        // A frame is not captured in the future, whatever its sender's clock says. The moment is that of the
        // monotonic clock: a step of the wall clock does not move a part on its belt.
        self.captured.min(Instant::now()).checked_add(after)
    }

    /// Millimetres in a pixel, for the sizes of the defects; `None` where they have none that is true. The box of a part that was
    /// located lies turned in the camera's picture: neither it nor the upright box around it is the defect's size.
    pub fn scale_of_defects(&self) -> Option<f64> {
        let has_sizes = !self.defects.is_empty() && self.pose.is_none();

        self.mm_per_pixel.filter(|_| has_sizes)
    }

    /// True if the inspector has looked at a frame of the part.
    pub fn was_seen(&self) -> bool {
        self.captured_by != CapturedBy::Trigger
    }

    /// The result of a part that was not judged. Without a frame it was captured when it was accepted.
    pub fn undecided(part: Part, reason: Reason, policy: &DecisionPolicy) -> Self {
        // Nothing was seen: no score, no map, no views. The time is the trigger's, as there is no
        // frame.
        Report {
            verdict: Verdict::Undecided,
            reason: Some(reason),
            detail: None,
            score: None,
            threshold: policy.threshold,
            captured_at: part.request.at,
            captured: part.request.moment,
            captured_by: CapturedBy::Trigger,
            // The time runs from the trigger until now, when the part became undecided.
            took: Latency {
                total: part.request.since.elapsed(),
                ..Latency::default()
            },
            recipe: policy.recipe.clone(),
            on_undecided: policy.on_undecided,
            // The part's own camera answers for it, since no other has seen it.
            seen_by: part.camera().clone(),
            views: vec![],
            defects: vec![],
            mm_per_pixel: None,
            map: None,
            area: None,
            pose: None,
            part,
        }
    }
}

/// Waiting and working time of one part, apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Latency {
    /// Time from arrival, or from the trigger where that came later, until the inspector took it.
    pub queue: Duration,
    /// Decoding and colour conversion in the camera. `None` if it cannot tell.
    pub decode: Option<Duration>,
    /// Resize and normalisation.
    pub pixels: Duration,
    /// The network.
    pub encode: Duration,
    /// Comparison with the references, and the map.
    pub score: Duration,
    /// Time from arrival until the verdict stood.
    pub total: Duration,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::data::grid::Grid;
    use crate::data::part::tests::ask;

    /// A policy with a threshold, for tests of what makes reports.
    pub(crate) fn judge(_: &Part) -> DecisionPolicy {
        DecisionPolicy {
            recipe: "nut@7".into(),
            threshold: Some(0.337),
            on_undecided: OnUndecided::Fail,
        }
    }

    /// The pose of a part that is turned by 30 degrees.
    pub(crate) fn turned() -> Pose {
        Pose {
            on_master: [320.0, 240.0],
            x: 310.0,
            y: 250.0,
            turn_deg: 30.0,
            likeness: 0.9,
            size: (640, 480),
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
            captured: Instant::now(),
            captured_by: CapturedBy::Arrival,
            took: Latency::default(),
            recipe: "nut@7".into(),
            on_undecided: OnUndecided::Fail,
            defects: vec![
                Defect {
                    x: 1,
                    y: 2,
                    w: 3,
                    h: 4,
                    peak: 0.5
                };
                5
            ],
            mm_per_pixel: None,
            area: None,
            pose: None,
            map: Some(Map::new(
                Grid::square(37),
                (0..37 * 37).map(|i| i as f32 / 1369.0).collect(),
            )),
        }
    }
}
