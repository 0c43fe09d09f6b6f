//! The handle by which the line's stages share the shadow: the frame that waits for it, and its counters.
//!
//! The inspector takes no lock here. The stage's thread has the lowest priority, and might be held up while it
//! holds one, and the inspector with it. So a frame is handed over by one atomic exchange of a pointer, and what
//! the inspector counts is an atomic number.
//!
//! A shadow may end, and another begin, while the stage judges a frame or the inspector hands one over. So each frame
//! and each count names the number of its shadow, and what is not of the one that is on counts for none.

use crate::data::picture::Picture;
use crate::data::report::Report;
use crate::data::verdict::Verdict;
use crate::protocol::shadow::{ShadowCounts, ShadowDifference, ShadowJudgement};
use crossbeam::atomic::AtomicCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of no shadow.
const NONE: u64 = 0;

/// A frame's parts as the line judged them, and its picture.
#[derive(Debug)]
pub struct ShadowFrame {
    /// Number of the shadow that it was handed to.
    pub shadow: u64,
    /// The parts that passed or failed, one a region; at least one.
    pub parts: Vec<ShadowPart>,
    /// The picture that was judged.
    pub picture: Arc<Picture>,
}

/// A part as the line judged it.
#[derive(Debug, Clone)]
pub struct ShadowPart {
    /// Region of the view, where the recipe names regions.
    pub region: Option<Arc<str>>,
    run_id: Arc<str>,
    seq: u64,
    part_id: Option<String>,
    camera: Arc<str>,
    seen_by: Arc<str>,
    /// The judgement that the line went by.
    pub active: ShadowJudgement,
}

impl ShadowFrame {
    /// The parts that a revision `name@revision` can be compared on: those judged by another revision of the same recipe.
    /// Just after a changeover frames come that another recipe judged, or the shadow's own revision.
    pub fn comparable(&self, label: &str) -> Vec<&ShadowPart> {
        let mut comparable = vec![];
        for part in &self.parts {
            let active = &part.active.recipe;
            let is_own = active == label;
            let is_same_recipe = name_in(active) == name_in(label);
            if is_same_recipe && !is_own {
                comparable.push(part);
            }
        }

        comparable
    }
}

/// The name in `name@revision`.
fn name_in(label: &str) -> &str {
    let split = label.rsplit_once('@');
    split.map_or(label, |(name, _)| name)
}

impl ShadowPart {
    fn of(report: &Report) -> Self {
        let part = &report.part;
        ShadowPart {
            region: part.request.region.clone(),
            run_id: part.run_id.clone(),
            seq: part.seq,
            part_id: part.request.part_id.as_deref().map(str::to_owned),
            camera: part.camera().clone(),
            seen_by: report.seen_by.clone(),
            active: ShadowJudgement {
                recipe: report.recipe.to_string(),
                verdict: report.verdict,
                score: report.score,
                threshold: report.threshold,
            },
        }
    }

    /// The difference to another judgement, to be told.
    pub fn against(&self, shadow: ShadowJudgement) -> ShadowDifference {
        ShadowDifference {
            seq: self.seq,
            run_id: self.run_id.to_string(),
            part_id: self.part_id.clone(),
            camera: self.camera.to_string(),
            seen_by: self.seen_by.to_string(),
            region: self.region.as_deref().map(str::to_owned),
            active: self.active.clone(),
            shadow,
        }
    }
}

/// Handle of a line's shadow; clones share one state.
#[derive(Clone, Default)]
pub struct Shadow(Arc<ShadowState>);

#[derive(Default)]
struct ShadowState {
    /// Number of the shadow that judges; [`NONE`] without one.
    on: AtomicU64,
    /// The newest frame, until the stage takes it.
    waiting: AtomicCell<Option<Box<ShadowFrame>>>,
    /// Parts of frames that were replaced while they waited.
    replaced: AtomicU64,
    /// Locked by no one whom a verdict waits for.
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// Number of the last shadow.
    last: u64,
    counts: Option<ShadowCounts>,
}

impl Shadow {
    /// Offers the parts of one judged frame. Never waits.
    pub fn see(&self, reports: &[Report], picture: &Arc<Picture>) {
        let shadow = self.0.on.load(Ordering::Relaxed);
        if shadow == NONE {
            return;
        }

        // Both judge what the line has judged: of an undecided part there is nothing to compare.
        let mut parts = vec![];
        for report in reports {
            let is_decided = matches!(report.verdict, Verdict::Pass | Verdict::Fail);
            if is_decided && report.score.is_some() {
                parts.push(ShadowPart::of(report));
            }
        }

        if parts.is_empty() {
            return;
        }

        let picture = picture.clone();
        let frame = Box::new(ShadowFrame {
            shadow,
            parts,
            picture,
        });

        // The newest frame waits alone, so that a slow shadow falls behind in numbers and not in time.
        if let Some(before) = self.0.waiting.swap(Some(frame)) {
            self.leave_out(&before);
        }
    }

    /// Counts the parts of a frame that nobody looks at, where its shadow is still on.
    fn leave_out(&self, frame: &ShadowFrame) {
        if self.is_on(frame.shadow) {
            let parts = frame.parts.len() as u64;
            self.0.replaced.fetch_add(parts, Ordering::Relaxed);
        }
    }

    /// Empties the slot while no revision is ready to look at a frame: the inspector may have put one there just as its
    /// shadow ended.
    pub fn empty(&self) {
        if let Some(frame) = self.take() {
            self.leave_out(&frame);
        }
    }

    /// The frame that waits, if one does.
    pub fn take(&self) -> Option<Box<ShadowFrame>> {
        self.0.waiting.swap(None)
    }

    /// Begins a shadow of that `name@revision`. Returns its number.
    ///
    /// # Errors
    /// When there is one: its label.
    pub fn begin(&self, recipe: &str) -> Result<u64, String> {
        let mut counted = self.counted();
        if let Some(counts) = &counted.counts {
            return Err(counts.recipe.clone());
        }

        counted.last += 1;
        counted.counts = Some(ShadowCounts {
            recipe: recipe.to_owned(),
            ..ShadowCounts::default()
        });

        self.0.replaced.store(0, Ordering::Relaxed);
        self.0.on.store(counted.last, Ordering::Relaxed);

        Ok(counted.last)
    }

    /// Ends the shadow. Returns its counters, if there was one.
    pub fn end(&self) -> Option<ShadowCounts> {
        self.end_counted(&mut self.counted())
    }

    /// Ends the shadow of that number; another one stays. Returns its counters, if it was on.
    pub fn end_of(&self, number: u64) -> Option<ShadowCounts> {
        let mut counted = self.counted();
        if counted.last != number {
            return None;
        }

        self.end_counted(&mut counted)
    }

    fn end_counted(&self, counted: &mut Counted) -> Option<ShadowCounts> {
        let counts = self.with_replaced(counted.counts.take());
        self.0.on.store(NONE, Ordering::Relaxed);
        drop(self.take());

        counts
    }

    /// True while the shadow of that number is on.
    pub fn is_on(&self, number: u64) -> bool {
        self.0.on.load(Ordering::Relaxed) == number
    }

    /// The counters at this moment; `None` without a shadow.
    pub fn counts(&self) -> Option<ShadowCounts> {
        let counted = self.counted();
        self.with_replaced(counted.counts.clone())
    }

    /// Counts one part that the line and the shadow of that number judged: what differs. Begins anew where another
    /// revision judges the line.
    pub fn count(&self, number: u64, active: &ShadowJudgement, shadow: Verdict, is_told: bool) {
        self.with(number, &active.recipe, |counts| {
            counts.parts += 1;
            if active.verdict == shadow {
                return;
            }

            counts.differ += 1;
            counts.untold += u64::from(!is_told);
            match (active.verdict, shadow) {
                (Verdict::Fail, Verdict::Pass) => counts.passes_more += 1,
                (Verdict::Pass, Verdict::Fail) => counts.fails_more += 1,
                _ => {}
            }
        });
    }

    /// Counts parts that the shadow of that number could not judge.
    pub fn drop_parts(&self, number: u64, active: &str, parts: usize) {
        self.with(number, active, |counts| counts.dropped += parts as u64);
    }

    fn with(&self, number: u64, active: &str, change: impl FnOnce(&mut ShadowCounts)) {
        let mut counted = self.counted();
        if counted.last != number {
            return; // another one has begun meanwhile
        }

        let Some(counts) = &mut counted.counts else {
            return; // it has ended meanwhile
        };

        if counts.active.as_deref() != Some(active) {
            // What was dropped before the first part was dropped beside the same revision.
            if counts.active.is_some() {
                self.0.replaced.store(0, Ordering::Relaxed);
            }

            *counts = ShadowCounts {
                recipe: std::mem::take(&mut counts.recipe),
                active: Some(active.to_owned()),
                ..ShadowCounts::default()
            };
        }

        change(counts);
    }

    fn with_replaced(&self, counts: Option<ShadowCounts>) -> Option<ShadowCounts> {
        let mut counts = counts?;
        counts.dropped += self.0.replaced.load(Ordering::Relaxed);

        Some(counts)
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0
            .counted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::report::tests::report;
    use crate::data::verdict::Reason;

    fn picture() -> Arc<Picture> {
        Arc::new(Picture::new(2, 2, vec![7; 12]).expect("a picture"))
    }

    #[test]
    fn the_inspector_takes_no_lock() {
        assert!(AtomicCell::<Option<Box<ShadowFrame>>>::is_lock_free());
        let shadow = Shadow::default();
        shadow.begin("nut@8").expect("none is on");
        let locked = shadow.counted();
        shadow.see(&[report(1)], &picture());
        drop(locked);
        assert!(shadow.take().is_some());
    }

    #[test]
    fn the_newest_frame_waits_and_those_before_it_are_counted() {
        let shadow = Shadow::default();
        shadow.see(&[report(1)], &picture());
        assert!(shadow.take().is_none(), "no shadow is on");
        assert_eq!(shadow.counts(), None);
        let number = shadow.begin("nut@8").expect("none is on");
        assert_eq!(shadow.begin("nut@9"), Err("nut@8".to_owned()));
        let undecided = Report {
            verdict: Verdict::Undecided,
            reason: Some(Reason::BadImage),
            score: None,
            ..report(2)
        };

        shadow.see(&[report(1), report(2)], &picture());
        shadow.see(&[undecided], &picture());
        shadow.see(&[report(3)], &picture());
        let frame = shadow.take().expect("the newest");
        assert_eq!(frame.parts.len(), 1);
        assert_eq!(frame.parts[0].seq, 3);
        assert!(shadow.take().is_none());
        assert_eq!(shadow.counts().map(|counts| counts.dropped), Some(2));
        shadow.see(&[report(4)], &picture());
        assert!(shadow.is_on(number));
        assert_eq!(shadow.end().map(|counts| counts.dropped), Some(2));
        assert!(!shadow.is_on(number) && shadow.take().is_none());
        let next = shadow.begin("nut@9").expect("none is on");
        assert!(shadow.is_on(next) && !shadow.is_on(number));
        assert_eq!(shadow.counts().map(|counts| counts.dropped), Some(0));
    }

    #[test]
    fn counters_are_of_one_pair_of_revisions() {
        let shadow = Shadow::default();
        shadow.begin("nut@8").expect("none is on");
        let active = |verdict| ShadowJudgement {
            recipe: "nut@7".to_owned(),
            verdict,
            score: Some(0.5),
            threshold: Some(0.4),
        };

        shadow.count(1, &active(Verdict::Pass), Verdict::Pass, true);
        shadow.count(1, &active(Verdict::Fail), Verdict::Pass, true);
        shadow.count(1, &active(Verdict::Pass), Verdict::Fail, false);
        shadow.count(1, &active(Verdict::Pass), Verdict::Undecided, true);
        shadow.drop_parts(1, "nut@7", 2);
        let counts = shadow.counts().expect("on");
        assert_eq!((counts.parts, counts.differ, counts.untold), (4, 3, 1));
        assert_eq!((counts.passes_more, counts.fails_more), (1, 1));
        assert_eq!(counts.dropped, 2);
        let other = ShadowJudgement {
            recipe: "nut@9".to_owned(),
            ..active(Verdict::Pass)
        };

        shadow.count(1, &other, Verdict::Pass, true);
        let counts = shadow.counts().expect("on");
        assert_eq!((counts.parts, counts.differ, counts.dropped), (1, 0, 0));
        assert_eq!(counts.active.as_deref(), Some("nut@9"));
        assert_eq!(counts.recipe, "nut@8");
    }

    #[test]
    fn what_is_of_the_shadow_before_counts_for_no_other() {
        let shadow = Shadow::default();
        let first = shadow.begin("nut@8").expect("none is on");
        shadow.see(&[report(1)], &picture());
        let frame = shadow.take().expect("the newest");
        assert_eq!(frame.shadow, first);

        // The stage still judges that frame while the next shadow begins.
        shadow.end();
        let next = shadow.begin("nut@9").expect("none is on");
        shadow.count(first, &frame.parts[0].active, Verdict::Pass, true);
        shadow.drop_parts(first, "nut@7", 1);
        assert_eq!(shadow.end_of(first), None);
        assert!(shadow.is_on(next));
        let counts = shadow.counts().expect("on");
        assert_eq!((counts.parts, counts.dropped), (0, 0));

        // Nor does a frame count that was handed over just as the first one ended.
        shadow.0.waiting.store(Some(frame));
        shadow.see(&[report(2)], &picture());
        assert_eq!(shadow.counts().map(|counts| counts.dropped), Some(0));
        shadow.empty();
        assert_eq!(shadow.counts().map(|counts| counts.dropped), Some(1));
        assert!(shadow.take().is_none());
        assert!(shadow.end_of(next).is_some());
    }

    #[test]
    fn parts_are_compared_that_another_revision_of_the_recipe_judged() {
        let shadow = Shadow::default();
        shadow.begin("nut@8").expect("none is on");
        let by = |recipe: &str| Report {
            recipe: recipe.into(),
            ..report(1)
        };

        shadow.see(&[by("nut@7"), by("bolt@8"), by("nut@8")], &picture());
        let frame = shadow.take().expect("a frame");
        let found = frame.comparable("nut@8");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].active.recipe, "nut@7");
    }
}
