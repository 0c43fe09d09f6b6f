//! Layer 3: several cameras' views of one part become one verdict: the worst of them.

use crate::report::{Report, View};
use crate::verdict::Verdict;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Views that wait for the others of their part; a part that is due waits no longer.
#[derive(Debug, Default)]
pub struct Joins {
    /// How many cameras see a part of this name.
    views: BTreeMap<Arc<str>, usize>,
    /// By the part's key.
    waiting: BTreeMap<u64, Vec<Report>>,
}

impl Joins {
    /// `views` are the joined names, with how many cameras each has.
    pub fn new(views: BTreeMap<Arc<str>, usize>) -> Self {
        Joins { views, waiting: BTreeMap::new() }
    }

    /// One camera's report; the part's, when it was the last one that was missing. Those of a camera alone pass.
    pub fn add(&mut self, report: Report, now: Instant) -> Option<Report> {
        let Some(views) = self.views.get(report.part.camera()) else { return Some(report) };
        self.waiting.retain(|_, reports| reports.iter().all(|report| report.part.due() > now));
        let key = report.part.key;
        let reports = self.waiting.entry(key).or_default();
        reports.push(report);
        if reports.len() < *views {
            return None;
        }
        self.waiting.remove(&key).and_then(worst)
    }
}

/// The worst view speaks for the part: a fail before an undecided before a pass, then the highest score.
fn worst(reports: Vec<Report>) -> Option<Report> {
    let views = reports.iter().map(|report| View {
        camera: report.seen_by.to_string(),
        verdict: report.verdict,
        score: report.score,
        reason: report.reason,
    });
    let views: Vec<View> = views.collect();
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
    use crate::part::Part;
    use crate::part::tests::ask;
    use crate::report::tests::judge;
    use crate::verdict::Reason;
    use std::time::Duration;

    fn view(part: &Part, camera: &str, verdict: Verdict, score: f32) -> Report {
        let mut report = Report::undecided(part.clone(), Reason::BadImage, &judge(part));
        (report.verdict, report.score, report.seen_by) = (verdict, Some(score), camera.into());
        report
    }

    #[test]
    fn the_worst_view_speaks_for_the_part_and_all_are_told() {
        let mut joins = Joins::new([("station".into(), 3)].into());
        let now = Instant::now();
        let part = |key| Part::new(key, "run".into(), key, ask("station", Duration::from_secs(1)));
        let (one, two) = (part(1), part(2));
        assert!(joins.add(view(&one, "top", Verdict::Pass, 0.1), now).is_none());
        assert!(joins.add(view(&two, "top", Verdict::Pass, 0.1), now).is_none());
        assert!(joins.add(view(&one, "left", Verdict::Fail, 0.5), now).is_none());
        let joined = joins.add(view(&one, "right", Verdict::Undecided, 0.9), now).expect("the last");
        assert_eq!(
            (joined.part.key, joined.verdict, &*joined.seen_by, joined.views.len()),
            (1, Verdict::Fail, "left", 3)
        );
        // The second part is due before its others come.
        let late = now + Duration::from_secs(2);
        assert!(joins.add(view(&two, "left", Verdict::Pass, 0.1), late).is_none());
        assert_eq!(joins.waiting[&2].len(), 1);
        let alone = Part::new(3, "run".into(), 1, ask("side", Duration::from_secs(1)));
        assert!(joins.add(view(&alone, "side", Verdict::Pass, 0.1), now).is_some());
    }
}
