//! Pictures for teaching, taken where parts are judged: those of the lesson that is under way, and the
//! last ones, from which a part can still be labelled.
//!
//! ```text
//! inspector --each judged frame--> see --a lesson's part, if the changeover keeps up--> changeover
//!                                   \--> recent pictures, by bytes <--label-- command handler
//! ```
//! Bounds: [`WAITING`] pictures on their way, [`RECENT_BYTES`] of recent ones of each kind.

use crate::data::picture::Picture;
use crate::data::report::Report;
use crate::data::verdict::Verdict;
use crossbeam::channel::Sender;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Pictures of a lesson on their way to the changeover. A part beyond them is none of the lesson, and
/// the next one is.
pub const WAITING: usize = 8;
/// Bytes of recent pictures that passed, and as many of those that did not: rejects stay although many
/// good parts follow.
const RECENT_BYTES: usize = 64 << 20;

/// A part's picture on its way into a recipe.
#[derive(Debug, Clone)]
pub struct TaughtPicture {
    /// The picture as the camera gave it.
    pub picture: Arc<Picture>,
    /// The part: `run/camera/seq`.
    pub part: String,
}

/// Parts that a lesson takes.
#[derive(Debug)]
struct OpenLesson {
    /// Camera of the parts, or the name that several share; `None` for any.
    camera: Option<String>,
    /// Parts that were asked for later alone are its.
    since: Instant,
    /// Number of parts that are missing.
    missing: u32,
    /// Number of all.
    parts: u32,
}

/// Handle of a line's lessons; clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Lessons(Arc<Mutex<LessonState>>);

#[derive(Debug, Default)]
struct LessonState {
    open: Option<OpenLesson>,
    passed: RecentPictures,
    others: RecentPictures,
}

impl Lessons {
    /// Begins a lesson of the next parts that are asked for after `since`.
    ///
    /// # Errors
    /// When one is under way.
    pub fn begin(&self, camera: Option<&str>, parts: u32, since: Instant) -> Result<(), String> {
        let mut state = self.state();
        if let Some(open) = &state.open {
            let seen = open.parts - open.missing;
            return Err(format!(
                "a lesson is under way, {seen} of {} parts were seen; wait for its outcome, or end it with reset",
                open.parts
            ));
        }

        state.open = Some(OpenLesson {
            camera: camera.map(str::to_owned),
            since,
            missing: parts,
            parts,
        });

        Ok(())
    }

    /// Ends the lesson: no more parts are its.
    pub fn end(&self) {
        self.state().open = None;
    }

    /// True while a lesson takes parts.
    pub fn is_open(&self) -> bool {
        self.state().open.is_some()
    }

    /// Looks at the parts of one judged frame, whose picture may be taught. Never waits.
    pub fn see(&self, reports: &[Report], picture: &Arc<Picture>, lesson: &Sender<TaughtPicture>) {
        let Some(first) = reports.first() else {
            return;
        };

        let mut state = self.state();
        if let Some(open) = &mut state.open
            && open.missing > 0
            && reports.iter().any(|report| open.takes(report))
        {
            let taught = TaughtPicture {
                picture: picture.clone(),
                part: name_of(first),
            };

            // A changeover that is busy writing takes the next part in its place.
            if lesson.try_send(taught).is_ok() {
                open.missing -= 1;
            }
        }

        let has_passed = reports.iter().all(|report| report.verdict == Verdict::Pass);

        let recent = RecentPicture::of(reports, picture);
        match has_passed {
            true => state.passed.push(recent),
            false => state.others.push(recent),
        }
    }

    /// The picture of a part that was judged a while ago, and whether it passed.
    ///
    /// # Errors
    /// When the picture is not kept any more.
    pub fn find(
        &self,
        run_id: &str,
        camera: &str,
        seq: u64,
    ) -> Result<(TaughtPicture, bool), String> {
        let state = self.state();
        let passed = state.passed.find(run_id, camera, seq);
        let found = passed.or_else(|| state.others.find(run_id, camera, seq));
        let part = format!("{run_id}/{camera}/{seq}");
        let Some(found) = found else {
            let kept = state.passed.pictures.len() + state.others.pictures.len();
            return Err(format!(
                "the picture of part {part} is not kept: the last {kept} judged pictures of this run are; teach the part when it comes again"
            ));
        };

        let picture = TaughtPicture {
            picture: found.picture.clone(),
            part,
        };

        Ok((picture, passed.is_some()))
    }

    fn state(&self) -> MutexGuard<'_, LessonState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenLesson {
    fn takes(&self, report: &Report) -> bool {
        let camera = self.camera.as_deref();
        let is_its_camera = camera
            .is_none_or(|camera| camera == &**report.part.camera() || camera == &*report.seen_by);

        is_its_camera && report.part.request.since >= self.since
    }
}

/// `run/camera/seq` of a part.
fn name_of(report: &Report) -> String {
    let part = &report.part;
    format!("{}/{}/{}", part.run_id, part.camera(), part.seq)
}

/// A judged picture with the keys of its parts.
#[derive(Debug)]
struct RecentPicture {
    run_id: Arc<str>,
    camera: Arc<str>,
    /// Numbers of the parts on it, one a region.
    parts: Vec<u64>,
    picture: Arc<Picture>,
}

impl RecentPicture {
    fn of(reports: &[Report], picture: &Arc<Picture>) -> Self {
        let part = &reports[0].part;
        RecentPicture {
            run_id: part.run_id.clone(),
            camera: part.camera().clone(),
            parts: reports.iter().map(|report| report.part.seq).collect(),
            picture: picture.clone(),
        }
    }
}

/// The last judged pictures, as many as fit.
#[derive(Debug, Default)]
struct RecentPictures {
    pictures: VecDeque<RecentPicture>,
    bytes: usize,
}

impl RecentPictures {
    fn push(&mut self, recent: RecentPicture) {
        self.bytes += recent.picture.rgb().len();
        self.pictures.push_back(recent);
        // The newest stays, however large it is.
        while self.bytes > RECENT_BYTES && self.pictures.len() > 1 {
            let oldest = self.pictures.pop_front();
            self.bytes -= oldest.map_or(0, |oldest| oldest.picture.rgb().len());
        }
    }

    fn find(&self, run_id: &str, camera: &str, seq: u64) -> Option<&RecentPicture> {
        // The newest first: they are the ones that people label.
        self.pictures.iter().rev().find(|recent| {
            *recent.run_id == *run_id && *recent.camera == *camera && recent.parts.contains(&seq)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::report::tests::report;
    use crossbeam::channel::bounded;

    fn picture(side: usize) -> Arc<Picture> {
        let picture = Picture::new(side, side, vec![7; side * side * 3]);
        Arc::new(picture.expect("a picture"))
    }

    #[test]
    fn a_lesson_takes_the_parts_that_were_asked_for_after_it_and_no_more() {
        let (lesson, taken) = bounded(2);
        let lessons = Lessons::default();
        let old = report(1);
        let since = Instant::now();
        lessons.begin(Some("top"), 3, since).expect("free");
        let refused = lessons.begin(None, 1, since).expect_err("two teachers");
        assert!(refused.contains("0 of 3 parts were seen"), "{refused}");
        lessons.see(&[old], &picture(2), &lesson);
        assert!(taken.is_empty());
        let mut other = report(2);
        other.part.request.camera = "side".into();
        other.seen_by = "side".into();
        lessons.see(&[other], &picture(2), &lesson);
        assert!(taken.is_empty());
        // The third finds no room, and is none of the lesson.
        for seq in 3..6 {
            lessons.see(&[report(seq)], &picture(2), &lesson);
        }

        let seqs = |taken: &crossbeam::channel::Receiver<TaughtPicture>| -> Vec<String> {
            taken.try_iter().map(|taught| taught.part).collect()
        };

        assert_eq!(seqs(&taken), ["01TEST/top/3", "01TEST/top/4"]);
        for seq in 6..9 {
            lessons.see(&[report(seq)], &picture(2), &lesson);
        }

        assert_eq!(seqs(&taken), ["01TEST/top/6"]);
    }

    #[test]
    fn rejects_are_found_although_many_good_parts_follow_and_old_pictures_go() {
        let (lesson, _taken) = bounded(1);
        let lessons = Lessons::default();
        let side = 1024; // 3 MiB each
        lessons.see(&[report(1)], &picture(side), &lesson);
        for seq in 2..40 {
            let passed = Report {
                verdict: Verdict::Pass,
                ..report(seq)
            };

            lessons.see(&[passed], &picture(side), &lesson);
        }

        let found = |seq| lessons.find("01TEST", "top", seq);
        assert!(found(1).is_ok_and(|(_, passed)| !passed));
        assert!(found(39).is_ok_and(|(taught, passed)| passed && taught.part == "01TEST/top/39"));
        let gone = found(2).expect_err("beyond the bound");
        assert!(gone.contains("the last 22 judged pictures"), "{gone}");
        assert!(lessons.find("01OTHER", "top", 39).is_err());
    }
}
