//! Layer 3: several cameras' views of one part become one verdict: the worst of them.

use crate::data::part::Part;
use crate::data::report::{CameraView, Report};
use crate::data::verdict::{Reason, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After its deadline a part's views are still put together for so long: for the record.
const RECORDED: Duration = Duration::from_secs(10);

/// Who sees parts together, and the views that wait for the others of their part.
#[derive(Debug, Default)]
pub struct ViewJoiner {
    /// The cameras, by the name that they share.
    stations: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// By the part's key: lower ones are older.
    waiting: BTreeMap<u64, PartViews>,
}

/// What is known of one part.
#[derive(Debug)]
struct PartViews {
    due: Instant,
    reports: Vec<Report>,
    /// The cameras that have its frame.
    framed: Vec<Arc<str>>,
}

impl ViewJoiner {
    pub fn new(stations: BTreeMap<Arc<str>, Vec<Arc<str>>>) -> Self {
        ViewJoiner {
            stations,
            waiting: BTreeMap::new(),
        }
    }

    /// One camera has a frame of it.
    pub fn framed(&mut self, part: &Part, camera: &Arc<str>) {
        if self.stations.contains_key(part.camera()) {
            self.views(part).framed.push(camera.clone());
        }
    }

    /// One camera's report; the part's, when it was the last one that was missing. Those of a camera alone pass.
    pub fn add(&mut self, report: Report, now: Instant) -> Option<Report> {
        let Some(cameras) = self.stations.get(report.part.camera()) else {
            return Some(report);
        };
        let count = cameras.len();
        while let Some(oldest) = self.waiting.first_entry()
            && oldest.get().due + RECORDED <= now
        {
            oldest.remove();
        }
        let reports = &mut self.views(&report.part).reports;
        reports.push(report);
        if reports.len() < count {
            return None;
        }
        worst(reports.clone()) // kept: its time may be over before it stands
    }

    /// What is said of a part whose time is over: a view that failed speaks for it, whatever the missing ones would have
    /// shown; without one it is `undecided`, as it is for a camera alone.
    pub fn without_the_others(&self, undecided: Report) -> Report {
        let Some(cameras) = self.stations.get(undecided.part.camera()) else {
            return undecided;
        };
        let views = self.waiting.get(&undecided.part.key);
        let known = views.map_or(vec![], |views| views.reports.clone());
        let is_missing = |camera: &&Arc<str>| known.iter().all(|report| report.seen_by != **camera);
        let missing = cameras.iter().filter(is_missing).map(|camera| {
            let has_frame = views.is_some_and(|views| views.framed.contains(camera));
            let reason = match undecided.reason {
                Some(Reason::Late | Reason::CameraLost) if has_frame => Some(Reason::Late),
                Some(Reason::Late | Reason::CameraLost) => Some(Reason::CameraLost),
                other => other,
            };
            Report {
                seen_by: camera.clone(),
                reason,
                ..undecided.clone()
            }
        });
        let reports = missing.chain(known.iter().cloned()).collect();
        let Some(mut worst) = worst(reports) else {
            return undecided;
        };
        worst.took.total = undecided.took.total;
        worst
    }

    fn views(&mut self, part: &Part) -> &mut PartViews {
        let new = || PartViews {
            due: part.due(),
            reports: vec![],
            framed: vec![],
        };
        self.waiting.entry(part.key).or_insert_with(new)
    }
}

/// The worst view speaks for the part: a fail before an undecided before a pass, then the highest score.
fn worst(reports: Vec<Report>) -> Option<Report> {
    let views = reports.iter().map(|report| CameraView {
        camera: report.seen_by.to_string(),
        verdict: report.verdict,
        score: report.score,
        reason: report.reason,
    });
    let views: Vec<CameraView> = views.collect();
    let rank = |report: &Report| match report.verdict {
        Verdict::Pass => 0,
        Verdict::Undecided => 1,
        Verdict::Fail => 2,
    };
    let score = |report: &Report| report.score.unwrap_or(f32::MIN);
    let order = |a: &Report, b: &Report| rank(a).cmp(&rank(b)).then(score(a).total_cmp(&score(b)));
    let mut worst = reports.into_iter().max_by(order)?;
    worst.views = views;
    Some(worst)
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
            joins.without_the_others(Report::undecided(one.clone(), Reason::Late, &judge(&one)));
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
        joins.framed(&good, &"left".into());
        let said = |part: &Part, reason| {
            joins.without_the_others(Report::undecided(part.clone(), reason, &judge(part)))
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
