//! Layer 6: the desk: the inspector's stage. Takes frames with their parts, judges, hands over, accounts.

use crate::base::exit::{Exit, Failure, chain};
use crate::base::health::{Diagnostics, Health};
use crate::base::systemd::Heartbeat;
use crate::data::counters::{Outcome, Ticket};
use crate::data::frame::Frame;
use crate::data::map::Map;
use crate::data::part::Part;
use crate::data::picture::{Area, Picture};
use crate::data::report::{JudgedFrame, Latency, Report};
use crate::data::verdict::{Defect, Reason, Rule, Verdict, regions};
use crate::line::admission::PartSource;
use crate::line::changeover::{RecipeSwap, SELECTED_RECIPE};
use crate::line::control::LineControl;
use crate::line::queue::{FrameReceiver, QueuedFrame};
use crate::line::views::ViewJoiner;
use crate::line::{ActiveRecipe, judging_of};
use crate::recipe::quality::{Flaw, Repeats};
use crate::store::Store;
use crate::winclip::inspector::RegionScore;
use crossbeam::channel::{Receiver, Sender};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Engine failures in a row after which the device is presumed lost.
const FAILURES_MAX: u32 = 3;
/// Who found it, among the causes.
const SELF_TEST: &str = "self-test";

/// What the desk remembers of a live camera's pictures.
#[derive(Default)]
pub struct Watched {
    repeats: Repeats,
    /// Its last picture was bad, and that was told.
    bad: bool,
}

/// A frame whose parts are being judged.
struct Opened {
    frame: Frame,
    ticket: Option<Ticket>,
    reports: Vec<Report>,
    /// Nothing is to be seen on it.
    is_bad: bool,
}

pub struct InspectStage {
    /// What judges; another recipe brings its own.
    pub eye: ActiveRecipe,
    pub swap: Receiver<RecipeSwap>,
    /// Frames that are looked at together at most.
    pub batch: usize,
    /// The live cameras: those of others may repeat themselves.
    pub watched: HashMap<Arc<str>, Watched>,
    pub asking: HashMap<Arc<str>, PartSource>,
    pub joins: Arc<Mutex<ViewJoiner>>,
    pub rules: LineControl,
    pub causes: Diagnostics,
    pub store: Store,
    pub evidence: Sender<JudgedFrame>,
    pub pulse: Heartbeat,
    /// In a row.
    pub failures: u32,
}

impl InspectStage {
    /// The loop that everybody reads first.
    pub fn inspect(mut self, intake: &FrameReceiver) -> Result<(), Failure> {
        let mut ended = Ok(());
        self.tell_self_test(self.recalled());
        while ended.is_ok() {
            self.change();
            let pulse = self.pulse.clone();
            let batch = intake.take(self.batch, &pulse, &mut || self.idle());
            if batch.is_empty() {
                break; // every camera has left
            }
            ended = self.serve(batch);
        }
        self.store.close();
        ended
    }

    /// Another recipe, between two parts.
    fn change(&mut self) {
        while let Ok(RecipeSwap {
            prepared,
            judges,
            done,
        }) = self.swap.try_recv()
        {
            self.rules.change(judging_of(judges, &prepared));
            self.eye = prepared;
            self.causes.clear(SELECTED_RECIPE);
            self.tell_self_test(self.recalled());
            let _ = done.send(()); // who waits for it may have stopped
        }
    }

    /// Nothing has come for a while.
    fn idle(&mut self) {
        self.change();
        let ActiveRecipe {
            inspector,
            self_test: Some(test),
            ..
        } = &mut self.eye
        else {
            return;
        };
        if !test.is_due(Instant::now()) {
            return;
        }
        let found = test.prove(inspector);
        self.tell_self_test(found.err());
    }

    fn tell_self_test(&self, why: Option<String>) {
        match why {
            None => self.causes.clear(SELF_TEST),
            Some(why) => {
                tracing::error!("self-test: {why}");
                self.store.audit(format!("self-test: {why}"));
                self.causes.set(SELF_TEST, Health::Failure, why);
            }
        }
    }

    /// What the start of the recipe that judges now has found.
    fn recalled(&self) -> Option<String> {
        self.eye
            .self_test
            .as_ref()
            .and_then(|test| test.differs())
            .map(str::to_owned)
    }

    /// Frames that waited together are looked at together.
    fn serve(&mut self, batch: Vec<QueuedFrame>) -> Result<(), Failure> {
        let mut batch: Vec<Opened> = batch
            .into_iter()
            .filter_map(|waiting| self.open(waiting))
            .collect();
        let failed = self.judge(&mut batch);
        let mut whole = vec![];
        for Opened {
            frame,
            ticket,
            reports,
            ..
        } in batch
        {
            let outcome = if failed.is_some() {
                Outcome::Failed
            } else {
                Outcome::Judged
            };
            ticket.into_iter().for_each(|ticket| ticket.settle(outcome));
            for report in &reports {
                // Full means that the artist is behind: this picture is not drawn.
                let evidence = JudgedFrame {
                    report: Arc::new(report.clone()),
                    picture: frame.picture.clone(),
                };
                let _ = self.evidence.try_send(evidence);
            }
            let now = Instant::now();
            let mut joins = self.joins.lock().unwrap_or_else(PoisonError::into_inner);
            whole.extend(
                reports
                    .into_iter()
                    .filter_map(|report| joins.add(report, now)),
            );
        }
        for report in &mut whole {
            report.took.total = report.part.ask.since.elapsed();
        }
        self.store.submit(whole);
        self.note(failed)
    }

    /// A frame with its parts; nothing when it is too late for all of them, or the line stops.
    fn open(&mut self, waiting: QueuedFrame) -> Option<Opened> {
        let QueuedFrame {
            frame,
            ticket,
            parts,
        } = waiting;
        if parts.is_empty() && self.rules.is_paused() {
            ticket
                .into_iter()
                .for_each(|ticket| ticket.settle(Outcome::Skipped)); // it came before
            return None;
        }
        // A free-running camera's frame becomes a part now that it is its turn.
        let parts = if parts.is_empty() {
            self.accept(&frame)
        } else {
            parts
        };
        if parts.iter().all(|part| part.due() <= Instant::now()) {
            // Undecided already, or stopped.
            let outcome = if parts.is_empty() {
                Outcome::Stopped
            } else {
                Outcome::Judged
            };
            ticket.into_iter().for_each(|ticket| ticket.settle(outcome));
            return None;
        }
        let mut reports: Vec<Report> = parts
            .into_iter()
            .map(|part| self.blank(&frame, part))
            .collect();
        let flaw = self.flaw(&frame);
        if let Some(flaw) = &flaw {
            undecide(&mut reports, Reason::BadImage, &flaw.to_string());
        }
        Some(Opened {
            frame,
            ticket,
            reports,
            is_bad: flaw.is_some(),
        })
    }

    fn accept(&self, frame: &Frame) -> Vec<Part> {
        let asks = self
            .asking
            .get(&frame.camera)
            .map_or(vec![], |asking| asking.of(frame));
        let parts = self.store.accept(asks).unwrap_or_default();
        parts.iter().for_each(Part::found_its_frame);
        parts
    }

    /// Fills the reports in; what the engine said when it could not judge.
    fn judge(&mut self, batch: &mut [Opened]) -> Option<String> {
        let mut good: Vec<&mut Opened> = batch.iter_mut().filter(|opened| !opened.is_bad).collect();
        if good.is_empty() {
            return None;
        }
        let pictures: Vec<Arc<Picture>> = good
            .iter()
            .map(|opened| opened.frame.picture.clone())
            .collect();
        let pictures: Vec<&Picture> = pictures.iter().map(|picture| &**picture).collect();
        match self.eye.inspector.judge_all(&pictures) {
            Ok(judged) => {
                for (opened, judged) in good.iter_mut().zip(judged) {
                    match judged {
                        Ok(judgements) => decide_all(&mut opened.reports, &judgements),
                        // A picture that the recipe cannot look at is the camera's fault, not the engine's.
                        Err(error) => {
                            undecide(&mut opened.reports, Reason::BadImage, &error.to_string())
                        }
                    }
                }
                None
            }
            Err(error) => {
                let error = chain(&error);
                good.iter_mut()
                    .for_each(|opened| undecide(&mut opened.reports, Reason::EngineError, &error));
                Some(error)
            }
        }
    }

    /// Why a picture must not be judged; a live camera's first of a row is told, and the first good one after it.
    fn flaw(&mut self, frame: &Frame) -> Option<Flaw> {
        let mut watched = self.watched.get_mut(&frame.camera);
        let frozen = watched
            .as_mut()
            .and_then(|watched| watched.repeats.flaw(&frame.picture, self.eye.frozen_frames));
        let corrupt = frame.corrupt.then_some(Flaw::Corrupt);
        let flaw = corrupt
            .or(frozen)
            .or_else(|| self.eye.gate.flaw(&frame.picture));
        if let Some(watched) = watched
            && std::mem::replace(&mut watched.bad, flaw.is_some()) != flaw.is_some()
        {
            let who = format!("pictures of {}", frame.camera);
            match &flaw {
                Some(flaw) => {
                    tracing::warn!("camera {}: bad pictures: {flaw}", frame.camera);
                    self.causes.set(who, Health::Failure, flaw.to_string());
                }
                None => {
                    tracing::info!("camera {}: its pictures are good again", frame.camera);
                    self.causes.clear(&who);
                }
            }
        }
        flaw
    }

    /// The report of a part that nobody has judged yet.
    fn blank(&self, frame: &Frame, part: Part) -> Report {
        let since = part.ask.since.max(frame.arrived);
        let judge = self.rules.judge(part.ask.region.as_deref());
        let mut report = Report::undecided(part, Reason::EngineError, &judge);
        (report.captured_at, report.captured_by) = (frame.captured_at, frame.captured_by);
        report.seen_by = frame.camera.clone();
        report.took = Latency {
            queue: since.elapsed(),
            decode: frame.decode,
            ..Latency::default()
        };
        report
    }

    fn note(&mut self, error: Option<String>) -> Result<(), Failure> {
        let Some(error) = error else {
            if std::mem::take(&mut self.failures) > 0 {
                self.causes.clear("engine");
            }
            return Ok(());
        };
        self.failures += 1;
        tracing::error!(
            "a picture could not be judged ({} in a row): {error}",
            self.failures
        );
        self.causes.set("engine", Health::Failure, error.clone());
        if self.failures < FAILURES_MAX {
            Ok(())
        } else {
            Err(Failure::words(Exit::Software, error))
        }
    }
}

fn undecide(reports: &mut [Report], reason: Reason, detail: &str) {
    for report in reports {
        (report.reason, report.detail) = (Some(reason), Some(detail.to_owned()));
    }
}

/// Each report by the judgement of its region.
fn decide_all(reports: &mut [Report], judgements: &[RegionScore]) {
    for report in reports {
        match judgements
            .iter()
            .find(|judgement| judgement.region == report.part.ask.region)
        {
            Some(judgement) => decide(report, judgement.clone()),
            // It was accepted for the recipe before.
            None => {
                report.reason = Some(Reason::NotReady);
                report.detail = Some("the recipe that judges now has no such region".to_owned());
            }
        }
    }
}

fn decide(report: &mut Report, judgement: RegionScore) {
    let rule = Rule {
        threshold: report.threshold,
    };
    (report.verdict, report.reason) = rule.decide(judgement.score);
    report.score = Some(judgement.score);
    if report.verdict == Verdict::Fail {
        report.regions = suspicious(&judgement.map, judgement.area);
    }
    (report.map, report.area) = (Some(judgement.map), Some(judgement.area));
    report.took.pixels = judgement.pixels_took;
    report.took.encode = judgement.encode_took;
    report.took.score = judgement.score_took;
}

/// Where a person should look: the areas in the upper half between the map's median and its peak.
fn suspicious(map: &Map, area: Area) -> Vec<Defect> {
    let mut sorted = map.values().to_vec();
    sorted.sort_by(f32::total_cmp);
    let level = (sorted[sorted.len() / 2] + map.max()) / 2.0;
    regions(map, level, area, 3)
}
