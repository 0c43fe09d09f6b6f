//! The inspector's stage: takes frames with their parts, judges, submits and accounts.

use crate::base::exit::{Exit, Failure, chain};
use crate::base::health::{Diagnostics, Health};
use crate::base::systemd::Heartbeat;
use crate::data::counters::{Outcome, Ticket};
use crate::data::frame::Frame;
use crate::data::part::Part;
use crate::data::picture::Picture;
use crate::data::queued_frame::QueuedFrame;
use crate::data::report::{Latency, Report};
use crate::data::shown_part::{BatchPlace, JudgedBy, ShownPart, ShownPicture};
use crate::data::verdict::Reason;
use crate::line::admission::PartSource;
use crate::line::changeover::RecipeSwap;
use crate::line::decision::{decide_all, undecide};
use crate::line::drift::{CameraDrift, passed};
use crate::line::evidence::EvidenceSender;
use crate::line::lens::PassedPicture;
use crate::line::lessons::TaughtPicture;
use crate::line::queue::FrameReceiver;
use crate::line::shared::{ENGINE, PICTURES_OF, Shared};
use crate::page::ShownFrames;
use crate::recipe::active::{ActiveRecipe, UNTAUGHT};
use crate::recipe::quality::{Flaw, Measures, Repeats};
use crate::recipe::self_test::SelfTest;
use crossbeam::channel::{Receiver, Sender};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Engine failures in a row after which the device is presumed lost, and the line ends.
const FAILURES_MAX: u32 = 3;
/// Diagnostics source of the self-test.
const SELF_TEST: &str = "self-test";

/// A camera as the inspector sees it.
pub struct InspectedCamera {
    parts: PartSource,
    /// The last pictures of a live camera; `None` for others, which may repeat themselves.
    watched: Option<WatchedPictures>,
    /// Its last passed parts.
    drift: CameraDrift,
}

/// The state of a live camera's pictures.
#[derive(Default)]
struct WatchedPictures {
    repeats: Repeats,
    /// True when the last picture was bad, and that was told.
    is_bad: bool,
}

impl InspectedCamera {
    /// `parts` are those that a frame becomes; a live camera's pictures are watched.
    pub fn new(parts: PartSource, is_live: bool) -> Self {
        InspectedCamera {
            drift: CameraDrift::new(&parts.camera),
            parts,
            watched: is_live.then(WatchedPictures::default),
        }
    }
}

/// A frame whose parts are being judged.
struct OpenFrame {
    frame: Frame,
    ticket: Option<Ticket>,
    /// One report for each part, undecided so far.
    reports: Vec<Report>,
    /// Measures of its picture; `None` if it failed the quality gate.
    measures: Option<Measures>,
    /// The picture with the part at its place, where that was judged.
    aligned: Option<Arc<Picture>>,
    /// Its place among the pictures that were judged at once; `None` if it was not scored.
    batch: Option<BatchPlace>,
}

/// The inspector's ends of the line's channels.
pub struct InspectEnds {
    /// Recipes that were prepared beside the line, to judge by from now on.
    pub swaps: Receiver<RecipeSwap>,
    /// Judged parts, to be drawn.
    pub judged: Sender<ShownPart>,
    /// Judged parts, to be shown by the page.
    pub shown: ShownFrames,
    /// Judged parts, to be kept; `None` where none are.
    pub evidence: Option<EvidenceSender>,
    /// Pictures of the lesson that is under way.
    pub lesson: Sender<TaughtPicture>,
}

/// The stage that owns the engine.
pub struct InspectStage {
    active: ActiveRecipe,
    /// Name and digest of the model.
    model: String,
    /// Frames that are judged together, at most.
    batch: usize,
    cameras: HashMap<Arc<str>, InspectedCamera>,
    shared: Shared,
    ends: InspectEnds,
    /// Engine failures in a row.
    failures: u32,
}

impl InspectStage {
    /// `active` judges first; at most `batch` frames that wait are judged together.
    pub fn new(
        shared: &Shared,
        active: ActiveRecipe,
        batch: usize,
        cameras: HashMap<Arc<str>, InspectedCamera>,
        ends: InspectEnds,
    ) -> Self {
        InspectStage {
            active,
            model: shared.identity().model,
            batch,
            cameras,
            shared: shared.clone(),
            ends,
            failures: 0,
        }
    }

    /// Judges until every camera has left, then closes the store: open parts become undecided.
    ///
    /// # Errors
    /// When the engine has failed too often in a row.
    pub fn run(mut self, frames: &FrameReceiver, pulse: &Heartbeat) -> Result<(), Failure> {
        let mut outcome = Ok(());
        self.tell_recalled_self_test();

        while outcome.is_ok() {
            self.swap_recipe();

            // A recipe is swapped before frames are taken, so that a batch is judged by one recipe
            // from its first frame to its last.
            let waiting = frames.take(self.batch, pulse, &mut || self.idle());

            if waiting.is_empty() {
                break; // every camera has left
            }

            outcome = self.inspect(waiting);
        }

        // Closing makes open parts undecided(not_ready), and returns once that is on the disk: the
        // publisher can still send them.
        self.shared.store.close();

        outcome
    }

    /// Judges frames that waited together, together.
    fn inspect(&mut self, waiting: Vec<QueuedFrame>) -> Result<(), Failure> {
        let mut batch: Vec<OpenFrame> = waiting
            .into_iter()
            .filter_map(|frame| self.open(frame))
            .collect();

        // The ticket says whether the engine worked, not what the verdict was: a bad picture is
        // judged, too.
        let failed = self.judge(&mut batch);
        let outcome = match failed {
            None => Outcome::Judged,
            Some(_) => Outcome::Failed,
        };

        let mut reports = vec![];
        for frame in batch {
            let judged_by = |batch| self.active.judged_by(&self.model, batch);
            let judged_by = frame.batch.map(judged_by);
            let picture = &frame.frame.picture;
            self.show(&frame.reports, picture, frame.aligned.as_ref(), judged_by);

            if let Some(measures) = &frame.measures {
                let picture = &frame.frame.picture;
                let lesson = &self.ends.lesson;
                self.shared.lessons.see(&frame.reports, picture, lesson);
                self.shared.shadow.see(&frame.reports, picture);
                self.look_for_drift(&frame, measures);
            }

            settle(frame.ticket, outcome);
            reports.extend(frame.reports);
        }

        // Drawing was offered before: it takes copies, and never waits. The results leave here, all
        // frames of the batch in one request.
        self.submit(reports);

        self.count_failure(failed)
    }

    /// Opens a frame and its parts; returns `None` when it is too late for all of them, or the line
    /// is paused or stops.
    fn open(&mut self, queued: QueuedFrame) -> Option<OpenFrame> {
        let QueuedFrame {
            frame,
            ticket,
            mut parts,
        } = queued;

        // A free-running camera's frame becomes a part now that its turn has come.
        if parts.is_empty() {
            if self.shared.control.is_paused() {
                settle(ticket, Outcome::Skipped); // the frame came before the pause
                return None;
            }

            parts = self.accept(&frame);
            if parts.is_empty() {
                settle(ticket, Outcome::Stopped);
                return None;
            }
        }

        // Judging a part whose deadline is over would make those behind it late as well.
        if parts.iter().all(|part| part.due() <= Instant::now()) {
            self.show_late(&frame, parts);
            settle(ticket, Outcome::Judged); // undecided already
            return None;
        }

        let mut reports = vec![];
        for part in parts {
            reports.push(self.undecided(&frame, part));
        }

        let measured = self.measured(&frame);
        if let Err(flaw) = &measured {
            undecide(&mut reports, Reason::BadImage, &flaw.to_string());
        }

        Some(OpenFrame {
            frame,
            ticket,
            reports,
            measures: measured.ok(),
            aligned: None,
            batch: None,
        })
    }

    /// Offers the picture of parts that are not judged, because their deadline is over.
    fn show_late(&self, frame: &Frame, parts: Vec<Part>) {
        let mut reports = vec![];

        for part in parts {
            reports.push(self.undecided(frame, part));
        }

        reports
            .iter_mut()
            .for_each(|report| report.reason = Some(Reason::Late));

        self.show(&reports, &frame.picture, None, None);
    }

    /// Accepts the parts of a free-running camera's frame; none when the line stops.
    fn accept(&self, frame: &Frame) -> Vec<Part> {
        let Some(camera) = self.cameras.get(&frame.camera) else {
            return vec![];
        };

        let requests = camera.parts.of(frame);
        let parts = self.shared.store.accept(requests).unwrap_or_default();
        parts.iter().for_each(Part::mark_framed);

        parts
    }

    /// The scale of a camera's pictures.
    fn mm_per_pixel(&self, camera: &Arc<str>) -> Option<f64> {
        let camera = self.cameras.get(camera)?;

        camera.parts.timing.now().mm_per_pixel
    }

    /// The report of a part before it is judged.
    fn undecided(&self, frame: &Frame, part: Part) -> Report {
        // A trigger may come long before its frame. The queue's time begins when both are there.
        let since = part.request.since.max(frame.arrived);
        let policy = self
            .shared
            .control
            .policy_for(part.request.region.as_deref());
        let mut report = Report::undecided(part, Reason::EngineError, &policy);
        report.captured_at = frame.captured_at;
        report.captured = frame.captured;
        report.captured_by = frame.captured_by;
        report.seen_by = frame.camera.clone();
        report.mm_per_pixel = self.mm_per_pixel(&frame.camera);
        report.took = Latency {
            queue: since.elapsed(),
            decode: frame.decode,
            ..Latency::default()
        };

        report
    }

    /// Decides the reports of all good frames. Returns the engine's words when it could not judge.
    fn judge(&mut self, batch: &mut [OpenFrame]) -> Option<String> {
        let mut good: Vec<&mut OpenFrame> = batch
            .iter_mut()
            .filter(|open| open.measures.is_some())
            .collect();

        if good.is_empty() {
            return None;
        }

        // Nothing to compare with: no score is made up.
        if !self.active.is_taught {
            for open in &mut good {
                undecide(&mut open.reports, Reason::NotReady, UNTAUGHT);
            }

            return None;
        }

        // The pictures are held apart from the reports, which the loop below changes while the
        // scores refer to them.
        let pictures: Vec<Arc<Picture>> =
            good.iter().map(|open| open.frame.picture.clone()).collect();

        let pictures: Vec<&Picture> = pictures.iter().map(|picture| &**picture).collect();
        let judged = match self.active.inspector.inspect_all(&pictures) {
            Ok(judged) => judged,
            Err(error) => {
                let words = chain(&error);

                for open in &mut good {
                    undecide(&mut open.reports, Reason::EngineError, &words);
                }

                return Some(words);
            }
        };

        // A picture that the recipe cannot look at is in nobody's batch.
        let pictures = judged.iter().filter(|judged| judged.is_ok()).count();
        let mut places = 0..pictures;

        // There is one entry a picture, in the order of the pictures: that is the inspector's
        // promise.
        for (open, judged) in good.iter_mut().zip(judged) {
            match judged {
                Ok(scores) => {
                    let place = places.next();
                    open.batch = place.map(|place| BatchPlace { pictures, place });
                    let aligned = scores.first().and_then(|score| score.aligned.as_ref());
                    open.aligned = aligned.map(|aligned| aligned.picture.clone());
                    decide_all(&mut open.reports, &scores);
                }

                // A picture that the recipe cannot look at is the camera's fault or the part's, not
                // the engine's.
                Err(error) => undecide(&mut open.reports, error.reason(), &error.to_string()),
            }
        }

        None
    }

    /// Hands reports to the store: those of a camera alone at once, joined views when they are
    /// complete.
    fn submit(&self, reports: Vec<Report>) {
        let now = Instant::now();
        let mut complete = vec![];
        let mut views = self.shared.views();

        for report in reports {
            complete.extend(views.add(report, now));
        }

        drop(views);
        for report in &mut complete {
            report.took.total = report.part.request.since.elapsed();
        }

        self.shared.store.submit(complete);
    }

    /// Offers a frame's parts to the overlay stage and the page, and those that are kept to the evidence. What finds
    /// no room is neither drawn nor kept; what a newer part replaces is not shown.
    fn show(
        &self,
        reports: &[Report],
        picture: &Arc<Picture>,
        aligned: Option<&Arc<Picture>>,
        judged_by: Option<JudgedBy>,
    ) {
        let now = Instant::now();

        for report in reports {
            let others = reports.iter().map(|other| (other.part.seq, other.verdict));
            let part = ShownPart {
                report: Arc::new(report.clone()),
                picture: ShownPicture::Own(picture.clone()),
                aligned: aligned.cloned(),
                beside: others.filter(|(seq, _)| *seq != report.part.seq).collect(),
                is_late: report.part.due() <= now,
                judged_by: None,
            };

            if let Some(evidence) = &self.ends.evidence
                && let Some(kept_as) = evidence.kept_as(report, part.is_late)
            {
                // Nobody else judges it again.
                let kept = ShownPart {
                    judged_by: judged_by.clone(),
                    ..part.clone()
                };

                evidence.keep(kept, kept_as);
            }

            self.ends.shown.put(&part);
            let _ = self.ends.judged.try_send(part);
        }
    }

    /// Returns a picture's measures, or why it must not be judged. The first bad picture of a live camera is
    /// told, and the first good one after it.
    fn measured(&mut self, frame: &Frame) -> Result<Measures, Flaw> {
        let camera = self.cameras.get_mut(&frame.camera);
        let mut watched = camera.and_then(|camera| camera.watched.as_mut());
        let frozen_frames = self.active.frozen_frames;

        // Every picture of a live camera is counted, whatever else is wrong with it.
        let frozen = watched
            .as_mut()
            .and_then(|watched| watched.repeats.flaw(&frame.picture, frozen_frames));

        let corrupt = frame.damage.clone().map(Flaw::Corrupt);
        let measured = match corrupt.or(frozen) {
            Some(flaw) => Err(flaw),
            None => self.active.measured(&frame.picture),
        };

        if let Some(watched) = watched {
            let flaw = measured.as_ref().err();
            watched.tell_change(&frame.camera, flaw, &self.shared.diagnostics);
        }

        measured
    }

    /// Holds the parts of a frame that passed against what the references show.
    fn look_for_drift(&mut self, frame: &OpenFrame, measures: &Measures) {
        let seen = &frame.frame;
        let Some(camera) = self.cameras.get_mut(&seen.camera) else {
            return;
        };

        let size = (seen.picture.width(), seen.picture.height());
        let regions = self.active.inspector.regions();
        let part = passed(&frame.reports, &regions, size, measures);

        let picture = PassedPicture {
            picture: &seen.picture,
            at: seen.captured_at,
        };

        if let Some(part) = part {
            let limits = &self.active.drift;

            camera.drift.see(limits, &part, picture, &self.shared);
        }
    }

    /// Counts engine failures in a row; `failed` are the engine's words.
    fn count_failure(&mut self, failed: Option<String>) -> Result<(), Failure> {
        let diagnostics = &self.shared.diagnostics;
        let Some(words) = failed else {
            if self.failures > 0 {
                diagnostics.clear(ENGINE);
            }

            self.failures = 0;
            return Ok(());
        };

        self.failures += 1;
        tracing::error!(
            "a picture could not be judged ({} in a row): {words}",
            self.failures
        );

        diagnostics.set(ENGINE, Health::Failure, words.clone());
        if self.failures < FAILURES_MAX {
            return Ok(());
        }

        Err(Failure::words(Exit::Software, words))
    }

    /// Takes another recipe over, between two parts.
    fn swap_recipe(&mut self) {
        while let Ok(swap) = self.ends.swaps.try_recv() {
            let policy = swap.prepared.policy(swap.judges);
            let control = &self.shared.control;
            control.change_from(swap.from.as_deref(), policy);
            self.active = swap.prepared;

            // Other references show something else.
            self.cameras
                .values_mut()
                .for_each(|camera| camera.drift.begin(&self.shared));

            self.tell_recalled_self_test();
            let _ = swap.done.send(()); // the changeover may have stopped
        }
    }

    /// Called when no frame has come for a while.
    fn idle(&mut self) {
        self.swap_recipe();
        let Some(test) = &mut self.active.self_test else {
            return;
        };

        if test.is_due(Instant::now()) {
            let repeated = test.repeat(&mut self.active.inspector);
            self.tell_self_test(repeated.err());
        }
    }

    /// Tells what was found when the recipe that judges now was started.
    fn tell_recalled_self_test(&self) {
        let test = self.active.self_test.as_ref();
        let difference = test.and_then(SelfTest::difference);
        self.tell_self_test(difference.map(str::to_owned));
    }

    fn tell_self_test(&self, difference: Option<String>) {
        let Some(why) = difference else {
            self.shared.diagnostics.clear(SELF_TEST);
            return;
        };

        tracing::error!("self-test: {why}");
        self.shared.store.audit(format!("self-test: {why}"));
        self.shared.diagnostics.set(SELF_TEST, Health::Failure, why);
    }
}

impl WatchedPictures {
    /// Tells the line's health when a camera's pictures become bad, and when they are good again.
    fn tell_change(&mut self, camera: &str, flaw: Option<&Flaw>, diagnostics: &Diagnostics) {
        if self.is_bad == flaw.is_some() {
            return;
        }

        self.is_bad = flaw.is_some();
        let source = format!("{PICTURES_OF}{camera}");

        match flaw {
            Some(flaw) => {
                tracing::warn!("camera {camera}: bad pictures: {flaw}");
                diagnostics.set(source, Health::Failure, flaw.to_string());
            }

            None => {
                tracing::info!("camera {camera}: its pictures are good again");
                diagnostics.clear(&source);
            }
        }
    }
}

fn settle(ticket: Option<Ticket>, outcome: Outcome) {
    if let Some(ticket) = ticket {
        ticket.settle(outcome);
    }
}
