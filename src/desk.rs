//! Layer 6: the desk: the inspector's stage. Takes frames with their parts, judges, hands over, accounts.

use crate::base::exit::{Exit, Failure, chain};
use crate::base::notify::Pulse;
use crate::changeover::Changed;
use crate::condition::{Causes, Health};
use crate::entrance::Asking;
use crate::frame::{Area, Frame, Outcome};
use crate::intake::{Intake, Waiting};
use crate::join::Joins;
use crate::line::Prepared;
use crate::part::Part;
use crate::publish::message::{self, Answer};
use crate::publish::mqtt::Answered;
use crate::quality::{Flaw, Repeats};
use crate::report::{Evidence, Report, Took};
use crate::rules::{Challenge, Rules};
use crate::store::Store;
use crate::verdict::{Map, Reason, Region, Rule, Verdict, regions};
use crate::winclip::inspector::{InspectError, Judgement};
use crossbeam::channel::{Receiver, Sender};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// Engine failures in a row after which the device is presumed lost.
const FAILURES_MAX: u32 = 3;
/// Who found it, among the causes.
pub const SELF_TEST: &str = "self-test";

/// What the desk remembers of a live camera's pictures.
#[derive(Default)]
pub struct Watched {
    repeats: Repeats,
    /// Its last picture was bad, and that was told.
    bad: bool,
}

pub struct Desk {
    /// What judges; another recipe brings its own.
    pub eye: Prepared,
    pub swap: Receiver<Changed>,
    /// The live cameras: those of others may repeat themselves.
    pub watched: HashMap<Arc<str>, Watched>,
    pub asking: HashMap<Arc<str>, Asking>,
    pub joins: Joins,
    pub rules: Rules,
    pub causes: Causes,
    pub store: Store,
    pub answers: mpsc::Sender<Answered>,
    pub evidence: Sender<Evidence>,
    pub pulse: Pulse,
    /// In a row.
    pub failures: u32,
}

impl Desk {
    /// The loop that everybody reads first.
    pub fn inspect(mut self, intake: &Intake) -> Result<(), Failure> {
        let mut ended = Ok(());
        while ended.is_ok() {
            self.change();
            let pulse = self.pulse.clone();
            let batch = intake.take(1, &pulse, &mut || self.idle());
            if batch.is_empty() {
                break; // every camera has left
            }
            for waiting in batch {
                ended = ended.and(self.serve(waiting));
            }
        }
        self.store.close();
        ended
    }

    /// Another recipe, between two parts.
    fn change(&mut self) {
        while let Ok(Changed { prepared, judges, done }) = self.swap.try_recv() {
            self.rules.change(judges, prepared.challenge_every);
            self.eye = prepared;
            let _ = done.send(()); // who waits for it may have stopped
        }
    }

    /// Nothing has come for a while.
    fn idle(&mut self) {
        self.change();
        let Prepared { inspector, self_test: Some(test), .. } = &mut self.eye else { return };
        if !test.is_due(Instant::now()) {
            return;
        }
        match test.prove(inspector) {
            Ok(()) => self.causes.clear(SELF_TEST),
            Err(why) => {
                tracing::error!("self-test: {why}");
                self.store.note(format!("self-test: {why}"));
                self.causes.set(SELF_TEST, Health::Failure, why);
            }
        }
    }

    fn serve(&mut self, waiting: Waiting) -> Result<(), Failure> {
        let Waiting { frame, ticket, parts } = waiting;
        let settle = |outcome| ticket.into_iter().for_each(|ticket| ticket.settle(outcome));
        // A free-running camera's frame becomes a part now that it is its turn.
        let parts = if parts.is_empty() { self.accept(&frame) } else { parts };
        if parts.iter().all(|part| part.due() <= Instant::now()) {
            // Undecided already, or the line stops.
            settle(if parts.is_empty() { Outcome::Stopped } else { Outcome::Judged });
            return Ok(());
        }
        let picture = frame.picture.clone();
        let (reports, error) = self.judge(&frame, parts);
        settle(if error.is_some() { Outcome::Failed } else { Outcome::Judged });
        for report in &reports {
            // Full means that the artist is behind: this picture is not drawn.
            let _ = self.evidence.try_send(Evidence { report: Arc::new(report.clone()), picture: picture.clone() });
        }
        let now = Instant::now();
        let mut whole: Vec<Report> = reports.into_iter().filter_map(|report| self.joins.add(report, now)).collect();
        for report in &mut whole {
            self.challenge(report);
            report.took.total = report.part.ask.since.elapsed();
        }
        self.store.settle(whole);
        self.note(error)
    }

    fn accept(&self, frame: &Frame) -> Vec<Part> {
        let asks = self.asking.get(&frame.camera).map_or(vec![], |asking| asking.of(frame));
        let parts = self.store.accept(asks).unwrap_or_default();
        parts.iter().for_each(Part::found_its_frame);
        parts
    }

    /// The parts of one frame: their reports, and what the engine said when it could not judge.
    fn judge(&mut self, frame: &Frame, parts: Vec<Part>) -> (Vec<Report>, Option<String>) {
        let mut reports: Vec<Report> = parts.into_iter().map(|part| self.blank(frame, part)).collect();
        let all = |reports: &mut [Report], reason, detail: &str| {
            for report in reports {
                (report.reason, report.detail) = (Some(reason), Some(detail.to_owned()));
            }
        };
        let mut failed = None;
        match self.flaw(frame) {
            Some(flaw) => all(&mut reports, Reason::BadImage, &flaw.to_string()),
            None => match self.eye.inspector.judge(&frame.picture) {
                Ok(judgements) => decide_all(&mut reports, judgements),
                // A picture that the recipe cannot look at is the camera's fault, not the engine's.
                Err(InspectError::Picture(error)) => all(&mut reports, Reason::BadImage, &error.to_string()),
                Err(error) => {
                    let error = chain(&error);
                    all(&mut reports, Reason::EngineError, &error);
                    failed = Some(error);
                }
            },
        }
        (reports, failed)
    }

    /// Whether the part was a known one, and whether it was the last of them.
    fn challenge(&self, report: &mut Report) {
        let (id, ended) = self.rules.judged(report.verdict);
        report.challenge = id;
        let Some(ended) = ended else { return };
        tell_challenge(&ended);
        self.store.note(ended.words());
        let status = if ended.is_met() { "done" } else { "rejected" };
        let answer =
            Answer { id: Some(ended.id.to_string()), status, reason: Some(ended.words()), ..Answer::default() };
        // The publisher is there until the store is closed, and takes answers as they come.
        let _ = self.answers.try_send(Answered::later("challenge", message::answer(&answer)));
    }

    /// Why a picture must not be judged; a live camera's first of a row is told, and the first good one after it.
    fn flaw(&mut self, frame: &Frame) -> Option<Flaw> {
        let mut watched = self.watched.get_mut(&frame.camera);
        let frozen = watched.as_mut().and_then(|watched| watched.repeats.flaw(&frame.picture, self.eye.frozen_frames));
        let corrupt = frame.corrupt.then_some(Flaw::Corrupt);
        let flaw = corrupt.or(frozen).or_else(|| self.eye.gate.flaw(&frame.picture));
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
        report.took = Took { queue: since.elapsed(), decode: frame.decode, ..Took::default() };
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
        tracing::error!("a picture could not be judged ({} in a row): {error}", self.failures);
        self.causes.set("engine", Health::Failure, error.clone());
        if self.failures < FAILURES_MAX { Ok(()) } else { Err(Failure::words(Exit::Software, error)) }
    }
}

/// Each report by the judgement of its region.
fn decide_all(reports: &mut [Report], judgements: Vec<Judgement>) {
    for report in reports {
        match judgements.iter().find(|judgement| judgement.region == report.part.ask.region) {
            Some(judgement) => decide(report, judgement.clone()),
            // It was accepted for the recipe before.
            None => {
                report.reason = Some(Reason::NotReady);
                report.detail = Some("the recipe that judges now has no such region".to_owned());
            }
        }
    }
}

fn decide(report: &mut Report, judgement: Judgement) {
    let rule = Rule { threshold: report.threshold };
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

fn tell_challenge(ended: &Challenge) {
    if ended.is_met() {
        tracing::info!("{}", ended.words());
    } else {
        tracing::error!("{}: it does not see what it should; stop the line and look", ended.words());
    }
}

/// Where a person should look: the areas in the upper half between the map's median and its peak.
fn suspicious(map: &Map, area: Area) -> Vec<Region> {
    let mut sorted = map.values().to_vec();
    sorted.sort_by(f32::total_cmp);
    let level = (sorted[sorted.len() / 2] + map.max()) / 2.0;
    regions(map, level, area, 3)
}
