//! The rule of the evidence store: which parts are kept.

use crate::data::report::Report;
use crate::data::verdict::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Parts that are kept. Rejects and undecided parts always are, as far as the least interval allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// One passed part in so many of each camera is kept, beginning with the first; 0 for none.
    pub pass_every: u64,
    /// A passed part is kept if its score is so near below the threshold, as a share of the threshold.
    pub near: f32,
    /// Time between two parts that are kept for the same reason, for each camera.
    pub least_interval: Duration,
}

/// Reason for which a part is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptAs {
    /// It failed.
    Fail,
    /// It is undecided, or was judged after its deadline.
    Undecided,
    /// It passed with a score near the threshold.
    Near,
    /// It is one of so many that passed.
    Pass,
}

/// A rule at work, with what it remembers of each camera.
#[derive(Debug)]
pub struct RuleState {
    rule: Rule,
    cameras: BTreeMap<Arc<str>, CameraState>,
}

#[derive(Debug, Default)]
struct CameraState {
    /// Number of passed parts so far.
    passed: u64,
    /// Time at which a part was last kept for a reason.
    last: BTreeMap<KeptAs, Instant>,
}

impl RuleState {
    /// The rule before the first part.
    pub fn new(rule: Rule) -> Self {
        RuleState {
            rule,
            cameras: BTreeMap::new(),
        }
    }

    /// Returns why a part is kept; `None` if it is not. `is_late` is true for one that was judged after its
    /// deadline.
    pub fn kept_as(&mut self, report: &Report, is_late: bool, now: Instant) -> Option<KeptAs> {
        let camera = self.cameras.entry(report.seen_by.clone()).or_default();
        let kept_as = match report.verdict {
            Verdict::Fail => KeptAs::Fail,
            Verdict::Undecided => KeptAs::Undecided,
            Verdict::Pass => {
                // Each passed part counts, whatever else it is kept for.
                let is_nth =
                    self.rule.pass_every > 0 && camera.passed.is_multiple_of(self.rule.pass_every);
                camera.passed += 1;

                match (is_late, is_near(report, self.rule.near), is_nth) {
                    (true, _, _) => KeptAs::Undecided,
                    (_, true, _) => KeptAs::Near,
                    (_, _, true) => KeptAs::Pass,
                    _ => return None,
                }
            }
        };

        let least = self.rule.least_interval;
        let last = camera.last.get(&kept_as);

        if last.is_some_and(|last| now.saturating_duration_since(*last) < least) {
            return None;
        }

        camera.last.insert(kept_as, now);
        Some(kept_as)
    }
}

/// True if a passed part's score is near the threshold.
fn is_near(report: &Report, near: f32) -> bool {
    let Some((score, threshold)) = report.score.zip(report.threshold) else {
        return false;
    };

    near > 0.0 && score >= threshold * (1.0 - near)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::report::tests::report;

    fn of(verdict: Verdict, score: f32) -> Report {
        Report {
            verdict,
            score: Some(score),
            threshold: Some(0.4),
            ..report(1)
        }
    }

    fn rule(pass_every: u64, near: f32, least_ms: u64) -> RuleState {
        RuleState::new(Rule {
            pass_every,
            near,
            least_interval: Duration::from_millis(least_ms),
        })
    }

    #[test]
    fn rejects_undecided_near_and_one_pass_in_n_are_kept() {
        let mut rule = rule(3, 0.1, 0);
        let now = Instant::now();
        let mut kept = |verdict, score| rule.kept_as(&of(verdict, score), false, now);
        let passes: Vec<_> = (0..5).map(|_| kept(Verdict::Pass, 0.1)).collect();
        let nth = Some(KeptAs::Pass);
        assert_eq!(passes, [nth, None, None, nth, None]);
        // The sixth passed part is near, and counts among the passed.
        assert_eq!(kept(Verdict::Pass, 0.361), Some(KeptAs::Near));
        assert_eq!(kept(Verdict::Pass, 0.359), nth);
        assert_eq!(kept(Verdict::Fail, 0.9), Some(KeptAs::Fail));
        assert_eq!(kept(Verdict::Undecided, 0.1), Some(KeptAs::Undecided));
    }

    #[test]
    fn nothing_of_what_passed_is_kept_unless_asked_for_but_what_was_late() {
        let mut rule = rule(0, 0.0, 0);
        let now = Instant::now();
        let at_threshold = of(Verdict::Pass, 0.399);
        assert_eq!(rule.kept_as(&at_threshold, false, now), None);
        let late = rule.kept_as(&at_threshold, true, now);
        assert_eq!(late, Some(KeptAs::Undecided));
    }

    #[test]
    fn the_interval_holds_for_each_camera_and_reason_alone() {
        let mut rule = rule(1, 0.0, 1000);
        let start = Instant::now();
        let mut kept = |camera: &str, verdict, ms| {
            let report = Report {
                seen_by: camera.into(),
                ..of(verdict, 0.1)
            };

            let now = start + Duration::from_millis(ms);
            rule.kept_as(&report, false, now).is_some()
        };

        assert!(kept("top", Verdict::Fail, 0));
        assert!(!kept("top", Verdict::Fail, 999));
        assert!(kept("top", Verdict::Pass, 999));
        assert!(kept("side", Verdict::Fail, 999));
        // It counts from the last that was kept, not from the last that came.
        assert!(kept("top", Verdict::Fail, 1000));
    }
}
