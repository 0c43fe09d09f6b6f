//! Pictures for teaching, taken where parts are judged: those of the lesson that is under way, and the
//! last ones, from which a part can still be labelled.
//!
//! ```text
//! inspector --each judged frame--> see --a lesson's part, if the changeover keeps up--> changeover
//!                                   \--> recent pictures, by bytes <--label-- command handler
//! ```
//! Bounds: [`WAITING`] pictures on their way, `RECENT_BYTES` of recent ones of each kind.

use crate::data::picture::Picture;
use crate::data::report::Report;
use crate::data::verdict::Verdict;
use crate::protocol::teaching::TeachCommand;
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
    /// The part: `run/camera/seq`, and the camera that saw it where several see a part.
    pub part: String,
    /// Number of the lesson that it belongs to; 0 for a label.
    pub lesson: u64,
}

/// A part of a while ago that is labelled.
#[derive(Debug)]
pub struct LabelledPart {
    /// Its picture.
    pub picture: TaughtPicture,
    /// Name of the recipe that judged it.
    pub recipe: String,
    /// True if it passed.
    pub has_passed: bool,
    /// True if another part on the same picture failed.
    pub has_failed_beside: bool,
}

/// Parts that a lesson takes.
#[derive(Debug)]
struct OpenLesson {
    number: u64,
    /// Name of the recipe that judges: parts of another one may be other products.
    judging: String,
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
    /// Number of the last lesson.
    last: u64,
    /// The last lesson that has ended, and why.
    ended: (u64, &'static str),
    passed: RecentPictures,
    others: RecentPictures,
}

impl Lessons {
    /// Returns the number of the next lesson.
    ///
    /// # Errors
    /// When one is under way.
    pub fn reserve(&self) -> Result<u64, String> {
        let mut state = self.state();
        if let Some(open) = &state.open {
            let seen = open.parts - open.missing;
            return Err(format!(
                "a lesson is under way, {seen} of {} parts were seen; wait for its outcome, or end it with reset",
                open.parts
            ));
        }

        state.last += 1;
        Ok(state.last)
    }

    /// Begins the lesson of that number: the next parts that are asked for after `since`, and judged by the
    /// recipe of that name.
    pub fn begin(&self, number: u64, command: &TeachCommand, judging: &str, since: Instant) {
        self.state().open = Some(OpenLesson {
            number,
            judging: judging.to_owned(),
            camera: command.camera.clone(),
            since,
            missing: command.parts,
            parts: command.parts,
        });
    }

    /// Ends the lesson of that number: no more parts are its.
    pub fn end(&self, number: u64) {
        let mut state = self.state();
        state.open.take_if(|open| open.number == number);
    }

    /// Ends the lesson that is under way, if one is; its command is told why.
    pub fn cut(&self, why: &'static str) {
        let mut state = self.state();
        if let Some(open) = state.open.take() {
            state.ended = (open.number, why);
        }
    }

    /// Returns why the lesson of that number was cut; `None` while it was not.
    pub fn cut_by(&self, number: u64) -> Option<&'static str> {
        let (ended, why) = self.state().ended;
        // A later lesson begins when the earlier ones have ended.
        (number <= ended).then_some(why)
    }

    /// Looks at the parts of one judged frame, whose picture may be taught. Never waits.
    pub fn see(&self, reports: &[Report], picture: &Arc<Picture>, lesson: &Sender<TaughtPicture>) {
        let Some(first) = reports.first() else {
            return;
        };

        let recent = RecentPicture::of(first, reports, picture);
        let mut state = self.state();
        if let Some(open) = &mut state.open
            && open.missing > 0
            && reports.iter().any(|report| open.takes(report))
        {
            let taught = TaughtPicture {
                picture: picture.clone(),
                part: recent.name_of(first.part.seq),
                lesson: open.number,
            };

            // A changeover that is busy writing takes the next part in its place.
            if lesson.try_send(taught).is_ok() {
                open.missing -= 1;
            }
        }

        let has_passed = reports.iter().all(|report| report.verdict == Verdict::Pass);

        match has_passed {
            true => state.passed.push(recent),
            false => state.others.push(recent),
        }
    }

    /// True if the picture of that part is kept here.
    pub fn has(&self, run_id: &str, camera: &str, seq: u64) -> bool {
        let state = self.state();
        let all = [&state.passed, &state.others];
        all.iter()
            .any(|recent| recent.find(run_id, camera, seq).next().is_some())
    }

    /// A part that was judged a while ago, with its picture. `camera` is the part's, or the one that saw it.
    ///
    /// # Errors
    /// When the picture is not kept any more, or several cameras saw the part and none is named.
    pub fn find(&self, run_id: &str, camera: &str, seq: u64) -> Result<LabelledPart, String> {
        let state = self.state();
        let all = [&state.passed, &state.others];
        let found: Vec<&RecentPicture> = all
            .iter()
            .flat_map(|recent| recent.find(run_id, camera, seq))
            .collect();

        let [found] = found.as_slice() else {
            let part = format!("{run_id}/{camera}/{seq}");
            if found.is_empty() {
                let kept = state.passed.pictures.len() + state.others.pictures.len();
                return Err(format!(
                    "the picture of part {part} is not kept: the last {kept} judged pictures of this run are; teach the part when it comes again"
                ));
            }

            let mut cameras: Vec<&str> = found.iter().map(|found| &*found.seen_by).collect();
            cameras.sort_unstable();
            let cameras = cameras.join(", ");
            return Err(format!(
                "several cameras saw part {part}; name one of {cameras}"
            ));
        };

        let verdict_of = |part: &&(u64, Verdict)| part.1;
        let own = found.parts.iter().find(|(own, _)| *own == seq);
        let mut beside = found.parts.iter().filter(|(other, _)| *other != seq);
        Ok(LabelledPart {
            picture: TaughtPicture {
                picture: found.picture.clone(),
                part: found.name_of(seq),
                lesson: 0,
            },
            recipe: found.recipe.clone(),
            has_passed: own.as_ref().map(verdict_of) == Some(Verdict::Pass),
            has_failed_beside: beside.any(|(_, verdict)| *verdict == Verdict::Fail),
        })
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

        let is_after = report.part.request.since >= self.since;
        is_its_camera && is_after && recipe_name(&report.recipe) == self.judging
    }
}

/// The name in `name@revision`.
fn recipe_name(label: &str) -> &str {
    label.rsplit_once('@').map_or(label, |(name, _)| name)
}

/// A judged picture with the keys of its parts.
#[derive(Debug)]
struct RecentPicture {
    run_id: Arc<str>,
    camera: Arc<str>,
    seen_by: Arc<str>,
    recipe: String,
    /// Numbers and verdicts of the parts on it, one a region.
    parts: Vec<(u64, Verdict)>,
    picture: Arc<Picture>,
}

impl RecentPicture {
    /// The picture of one frame's parts; `first` is one of them.
    fn of(first: &Report, reports: &[Report], picture: &Arc<Picture>) -> Self {
        let part = &first.part;
        RecentPicture {
            run_id: part.run_id.clone(),
            camera: part.camera().clone(),
            seen_by: first.seen_by.clone(),
            recipe: recipe_name(&first.recipe).to_owned(),
            parts: reports
                .iter()
                .map(|report| (report.part.seq, report.verdict))
                .collect(),
            picture: picture.clone(),
        }
    }

    /// `run/camera/seq` of a part on it, and the camera that saw it where that is another.
    fn name_of(&self, seq: u64) -> String {
        let part = format!("{}/{}/{seq}", self.run_id, self.camera);
        match self.seen_by == self.camera {
            true => part,
            false => format!("{part}/{}", self.seen_by),
        }
    }

    fn shows(&self, run_id: &str, camera: &str, seq: u64) -> bool {
        *self.run_id == *run_id
            && (*self.camera == *camera || *self.seen_by == *camera)
            && self.parts.iter().any(|(own, _)| *own == seq)
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

    fn find<'a>(
        &'a self,
        run_id: &'a str,
        camera: &'a str,
        seq: u64,
    ) -> impl Iterator<Item = &'a RecentPicture> {
        let pictures = self.pictures.iter();
        pictures.filter(move |recent| recent.shows(run_id, camera, seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::report::tests::report;
    use crate::protocol::teaching::TaughtAs;
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
        let number = lessons.reserve().expect("free");
        let command = TeachCommand::new(Some("top"), 3, TaughtAs::Good);
        lessons.begin(number, &command, "nut", since);
        let refused = lessons.reserve().expect_err("two teachers");
        assert!(refused.contains("0 of 3 parts were seen"), "{refused}");
        lessons.see(&[old], &picture(2), &lesson);
        assert!(taken.is_empty());
        let mut other = report(2);
        other.part.request.camera = "side".into();
        other.seen_by = "side".into();
        lessons.see(&[other], &picture(2), &lesson);
        assert!(taken.is_empty());
        // Another recipe judges: it may be another product.
        let mut bolt = report(2);
        bolt.recipe = "bolt@7".into();
        lessons.see(&[bolt], &picture(2), &lesson);
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
        assert_eq!(lessons.cut_by(number), None);
        lessons.cut("reset ended the lesson");
        assert_eq!(lessons.cut_by(number), Some("reset ended the lesson"));
        // The next one is another, which the end of this one does not end.
        let next = lessons.reserve().expect("free");
        lessons.begin(next, &command, "nut", since);
        lessons.end(number);
        assert!(lessons.reserve().is_err());
        assert_eq!(lessons.cut_by(next), None);
    }

    #[test]
    fn one_view_and_one_region_of_a_part_are_told_from_the_others() {
        let (lesson, _taken) = bounded(1);
        let lessons = Lessons::default();
        let view = |camera: &str, verdict| Report {
            seen_by: camera.into(),
            verdict,
            ..report(1)
        };

        // Two cameras see the part `top` 1, and one of them sees two regions.
        lessons.see(&[view("left", Verdict::Pass)], &picture(2), &lesson);
        let mut other_region = report(2);
        other_region.seen_by = "right".into();
        let right = [view("right", Verdict::Pass), other_region];
        lessons.see(&right, &picture(2), &lesson);
        let refused = lessons.find("01TEST", "top", 1).expect_err("two views");
        assert!(refused.contains("name one of left, right"), "{refused}");
        let found = lessons.find("01TEST", "left", 1).expect("one view");
        assert_eq!(found.picture.part, "01TEST/top/1/left");
        assert!(found.has_passed && !found.has_failed_beside);
        let found = lessons.find("01TEST", "right", 1).expect("one view");
        assert!(found.has_passed && found.has_failed_beside);
        let found = lessons.find("01TEST", "right", 2).expect("one view");
        assert!(!found.has_passed && !found.has_failed_beside);
        assert_eq!(found.recipe, "nut");
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
        assert!(found(1).is_ok_and(|part| !part.has_passed));
        assert!(found(39).is_ok_and(|part| part.has_passed));
        let gone = found(2).expect_err("beyond the bound");
        assert!(gone.contains("the last 22 judged pictures"), "{gone}");
        assert!(lessons.find("01OTHER", "top", 39).is_err());
    }
}
