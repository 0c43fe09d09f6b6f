//! Several cameras' views of one part become one verdict: the worst of them.

use crate::data::part::Part;
use crate::data::report::{CameraView, Report};
use crate::data::verdict::{Reason, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time after a part's deadline for which its views are still put together, for the record. Views are
/// forgotten beyond it: so the bound on their number is the rate of parts.
const RECORDED: Duration = Duration::from_secs(10);

/// Groups of cameras that see parts together, and the views that wait for the others of their part.
#[derive(Debug, Default)]
pub struct ViewJoiner {
    /// The cameras of each group, by the name that they share.
    groups: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// Views by the part's key: lower ones are older.
    waiting: BTreeMap<u64, PartViews>,
}

/// The views of one part so far.
#[derive(Debug)]
struct PartViews {
    due: Instant,
    reports: Vec<Report>,
    /// The cameras that have a frame of the part.
    expected: Vec<Arc<str>>,
}

impl PartViews {
    fn new(part: &Part) -> Self {
        PartViews {
            due: part.due(),
            reports: vec![],
            expected: vec![],
        }
    }

    fn has_report_of(&self, camera: &Arc<str>) -> bool {
        self.reports.iter().any(|report| report.seen_by == *camera)
    }
}

impl ViewJoiner {
    /// `groups` are the cameras that see parts together, by the name that they share.
    pub fn new(groups: BTreeMap<Arc<str>, Vec<Arc<str>>>) -> Self {
        ViewJoiner {
            groups,
            waiting: BTreeMap::new(),
        }
    }

    /// Notes that a camera has a frame of a part: its view will come, or is late.
    pub fn expect_view(&mut self, part: &Part, camera: &Arc<str>) {
        if self.groups.contains_key(part.camera()) {
            self.views(part).expected.push(camera.clone());
        }
    }

    /// Adds one camera's report. Returns the part's when it was the last one that was missing, and the
    /// report itself where the camera sees its parts alone.
    pub fn add(&mut self, report: Report, now: Instant) -> Option<Report> {
        let Some(cameras) = self.groups.get(report.part.camera()) else {
            return Some(report);
        };

        // A part of a group is complete with as many reports as the group has cameras. Each camera
        // reports once: with its verdict, or with the reason for none.
        let count = cameras.len();
        self.forget_old(now);
        let reports = &mut self.views(&report.part).reports;
        reports.push(report);
        if reports.len() < count {
            return None;
        }

        // A copy: the deadline may come before this one is in the ledger, and needs the views too.
        worst(reports.clone())
    }

    /// Returns the report of a part whose deadline has come: a view that failed speaks for it, whatever
    /// the missing ones would have shown; without one the part is undecided, as it is for a camera
    /// alone.
    pub fn join_at_deadline(&self, undecided: Report) -> Report {
        let Some(cameras) = self.groups.get(undecided.part.camera()) else {
            return undecided;
        };

        // No view may have come at all; the part then has an empty set, and every camera counts as
        // missing.
        let nothing = PartViews::new(&undecided.part);
        let views = self.waiting.get(&undecided.part.key).unwrap_or(&nothing);
        // Missing views come first, so that among equally bad ones the last, which `max_by` keeps,
        // is a view that was seen.
        let mut reports = vec![];
        for camera in cameras {
            if !views.has_report_of(camera) {
                reports.push(missing_view(&undecided, camera, views));
            }
        }

        reports.extend(views.reports.iter().cloned());
        let Some(mut worst) = worst(reports) else {
            return undecided;
        };

        worst.took.total = undecided.took.total;
        worst
    }

    fn forget_old(&mut self, now: Instant) {
        // Keys grow with time, so that the first entry is the oldest and the search ends at the
        // first one that is young enough.
        while let Some(oldest) = self.waiting.first_entry()
            && oldest.get().due + RECORDED <= now
        {
            oldest.remove();
        }
    }

    fn views(&mut self, part: &Part) -> &mut PartViews {
        self.waiting
            .entry(part.key)
            .or_insert_with(|| PartViews::new(part))
    }
}

/// The view of a camera that has not judged the part: late where it has a frame, else lost.
fn missing_view(undecided: &Report, camera: &Arc<str>, views: &PartViews) -> Report {
    let reason = match undecided.reason {
        Some(Reason::Late | Reason::CameraLost) if views.expected.contains(camera) => {
            Some(Reason::Late)
        }
        Some(Reason::Late | Reason::CameraLost) => Some(Reason::CameraLost),
        other => other,
    };

    Report {
        seen_by: camera.clone(),
        reason,
        ..undecided.clone()
    }
}

/// Returns the worst report, with all views in it: a fail before an undecided before a pass, then the
/// highest score. `None` without reports.
fn worst(reports: Vec<Report>) -> Option<Report> {
    // All views go into the record, also those that did not decide.
    let views = reports.iter().map(view).collect();
    let mut worst = reports.into_iter().max_by(|a, b| {
        let by_verdict = severity(a.verdict).cmp(&severity(b.verdict));
        by_verdict.then(score(a).total_cmp(&score(b)))
    })?;

    worst.views = views;
    Some(worst)
}

fn view(report: &Report) -> CameraView {
    CameraView {
        camera: report.seen_by.to_string(),
        verdict: report.verdict,
        score: report.score,
        reason: report.reason,
    }
}

fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Undecided => 1,
        Verdict::Fail => 2,
    }
}

fn score(report: &Report) -> f32 {
    report.score.unwrap_or(f32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::part::Part;
    use crate::data::part::tests::ask;
    use crate::data::report::tests::judge;
    use crate::data::verdict::Reason;
    use std::time::Duration;

    fn view(part: &Part, camera: &str, verdict: Verdict, score: f32) -> Report {
        let mut report = Report::undecided(part.clone(), Reason::BadImage, &judge(part));
        (report.verdict, report.score, report.seen_by) = (verdict, Some(score), camera.into());
        report
    }

    fn station(cameras: &[&str]) -> ViewJoiner {
        let cameras = cameras.iter().map(|camera| (*camera).into()).collect();
        ViewJoiner::new([("station".into(), cameras)].into())
    }

    fn part(key: u64) -> Part {
        Part::new(
            key,
            "run".into(),
            key,
            ask("station", Duration::from_secs(1)),
        )
    }

    #[test]
    fn the_worst_view_speaks_for_the_part_and_all_are_told() {
        let mut joins = station(&["top", "left", "right"]);
        let now = Instant::now();
        let one = part(1);
        assert!(
            joins
                .add(view(&one, "top", Verdict::Pass, 0.1), now)
                .is_none()
        );

        assert!(
            joins
                .add(view(&one, "left", Verdict::Fail, 0.5), now)
                .is_none()
        );

        let joined = joins
            .add(view(&one, "right", Verdict::Undecided, 0.9), now)
            .expect("the last");

        // Its time was over before that came to the ledger.
        let said =
            joins.join_at_deadline(Report::undecided(one.clone(), Reason::Late, &judge(&one)));

        assert_eq!(
            (said.verdict, said.views),
            (Verdict::Fail, joined.views.clone())
        );

        assert_eq!(
            (
                joined.part.key,
                joined.verdict,
                &*joined.seen_by,
                joined.views.len()
            ),
            (1, Verdict::Fail, "left", 3)
        );

        let alone = Part::new(3, "run".into(), 1, ask("side", Duration::from_secs(1)));
        assert!(
            joins
                .add(view(&alone, "side", Verdict::Pass, 0.1), now)
                .is_some()
        );
    }

    #[test]
    fn a_view_that_failed_speaks_at_the_deadline_and_one_that_passed_does_not() {
        let mut joins = station(&["top", "left", "right"]);
        let (bad, good, unseen) = (part(1), part(2), part(3));
        let now = Instant::now();
        joins.add(view(&bad, "top", Verdict::Fail, 0.5), now);
        joins.add(view(&good, "top", Verdict::Pass, 0.1), now);
        joins.expect_view(&good, &"left".into());
        let said = |part: &Part, reason| {
            joins.join_at_deadline(Report::undecided(part.clone(), reason, &judge(part)))
        };

        let told = |report: &Report| -> Vec<(String, Option<Reason>)> {
            report
                .views
                .iter()
                .map(|view| (view.camera.clone(), view.reason))
                .collect()
        };

        let of_bad = said(&bad, Reason::Late);
        assert_eq!(
            (of_bad.verdict, &*of_bad.seen_by, of_bad.views.len()),
            (Verdict::Fail, "top", 3)
        );

        let of_good = said(&good, Reason::Late);
        assert_eq!(
            (of_good.verdict, of_good.seen_by != "top".into()),
            (Verdict::Undecided, true)
        );

        let (late, lost) = (Some(Reason::Late), Some(Reason::CameraLost));
        let views = [
            ("left".to_owned(), late),
            ("right".to_owned(), lost),
            ("top".to_owned(), Some(Reason::BadImage)),
        ];

        assert_eq!(told(&of_good), views);
        assert_eq!(
            told(&said(&unseen, Reason::NotReady))
                .iter()
                .filter(|(_, why)| *why == Some(Reason::NotReady))
                .count(),
            3
        );
    }

    #[test]
    fn views_that_come_after_the_deadline_are_put_together_for_the_record_and_not_kept_forever() {
        let mut joins = station(&["top", "left"]);
        let (one, two) = (part(1), part(2));
        let now = Instant::now();
        joins.add(view(&one, "top", Verdict::Pass, 0.1), now);
        let late = now + Duration::from_secs(2);
        assert!(
            joins
                .add(view(&one, "left", Verdict::Pass, 0.2), late)
                .is_some_and(|report| report.views.len() == 2)
        );

        joins.add(view(&two, "top", Verdict::Pass, 0.1), now);
        joins.add(
            view(&part(4), "top", Verdict::Pass, 0.1),
            now + Duration::from_secs(2) + RECORDED,
        );

        assert_eq!(joins.waiting.keys().copied().collect::<Vec<_>>(), [4]);
    }
}
