//! Layer 6: the line: builds the stages, wires them, watches, stops, joins. The only place that starts threads.
//!
//! ```text
//! camera-<name> (one each) --newest wins--> inspector --> store --> publisher --> broker
//!                                               \--may drop--> artist --may drop--/
//! ```
//! Stopping flows like data: the stop ends the cameras, their leaving ends the inspector, its leaving ends the artist,
//! and when both have left the publisher drains the store and says goodbye. A finite source ends a line the same way.

use crate::base::backoff::Backoff;
use crate::base::exit::{Exit, Failure, chain};
use crate::base::notify::Pulse;
use crate::base::stop::{Stop, Stopper, stop_pair};
use crate::camera::{self, CameraError, Sink, State, Status};
use crate::config::{LineConfig, Threshold};
use crate::engine::EngineError;
use crate::frame::{Area, Frame, Outcome, Tally, TallyCount};
use crate::intake::{Intake, Place, Waiting, intake};
use crate::publish::message::Identity;
use crate::publish::mqtt::{self, Side};
use crate::publish::{Heatmaps, heatmap};
use crate::quality::{Flaw, Gate, Repeats};
use crate::report::{Evidence, Report, Took};
use crate::store::{MemoryStore, Store};
use crate::verdict::{Map, Reason, Region, Rule, Verdict, regions};
use crate::winclip::inspector::InspectError;
use crate::winclip::{Inspector, Judgement};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Pictures that may wait for the artist; when full, the newest is not drawn.
const EVIDENCE_WAITING: usize = 2;
/// Heat maps and changes of state that may wait for the publisher; when full, heat maps are dropped.
const SIDE_WAITING: usize = 64;
/// Overlays kept for each camera in the overlays folder.
const OVERLAYS_KEPT: u64 = 200;
/// Engine failures in a row after which the device is presumed lost.
const FAILURES_MAX: u32 = 3;

/// A running line.
pub struct Line {
    stopper: Option<Stopper>,
    cameras: Vec<Stage>,
    others: Vec<Stage>,
    tallies: BTreeMap<String, Arc<Tally>>,
    states: States,
    store: Arc<dyn Store>,
}

/// What each camera is doing, once it has told.
type States = Arc<Mutex<BTreeMap<Arc<str>, State>>>;

struct Stage {
    name: String,
    /// Where its being stuck means that the line is.
    pulse: Option<Pulse>,
    thread: JoinHandle<Result<(), Failure>>,
}

/// How a run ended, in numbers.
#[derive(Debug, serde::Serialize)]
pub struct Summary {
    pub cameras: BTreeMap<String, TallyCount>,
    /// Every captured frame had exactly one outcome.
    pub balanced: bool,
    pub results: u64,
    pub acknowledged: u64,
    pub given_up: u64,
    pub undelivered: u64,
}

/// The threshold of each region, as `asked` for it: a number, or from the references by leaving each out once; else why
/// there is none, and what to do. `files` are the references'; one that is unlike the others is told.
///
/// # Errors
/// When the engine fails to compare the references.
pub fn thresholds(
    asked: &[Threshold],
    inspector: &mut Inspector,
    files: &[PathBuf],
) -> Result<Vec<Result<f32, &'static str>>, EngineError> {
    let is_auto = |asked: &Threshold| matches!(asked, Threshold::Auto { .. });
    let good = if asked.iter().any(is_auto) { inspector.leave_one_out()? } else { vec![vec![]; asked.len()] };
    let mut thresholds = vec![];
    for ((asked, good), region) in asked.iter().zip(good).zip(inspector.regions()) {
        thresholds.push(match *asked {
            Threshold::Fixed(threshold) => Ok(threshold),
            Threshold::None => Err("the recipe has none; give it threshold = \"auto\" or a number"),
            Threshold::Auto { factor } => {
                let good: Vec<f32> = good.into_iter().map(|(score, _)| score).collect();
                let highest = highest_usual(&good);
                tell_of_unlike(&good, highest, files, region.as_deref());
                automatic(highest, factor)
            }
        });
    }
    Ok(thresholds)
}

/// `good` are the scores of `files`, `highest` the highest usual one.
fn tell_of_unlike(good: &[f32], highest: Option<f32>, files: &[PathBuf], region: Option<&str>) {
    for (file, score) in files.iter().zip(good).filter(|(_, score)| highest.is_some_and(|highest| **score > highest)) {
        tracing::warn!(
            "reference {}{} is unlike the others: {score:.3}, they have at most {:.3}; the threshold goes by them. Is it a good part?",
            file.display(),
            of_region(region),
            highest.unwrap_or_default()
        );
    }
}

/// `, region rim`, where there is one.
pub fn of_region(region: Option<&str>) -> String {
    region.map(|name| format!(", region {name}")).unwrap_or_default()
}

/// Fewer scores than this have no quartiles worth the name.
const QUARTILES_MIN: usize = 8;

/// The highest score below the upper fence, the third quartile and half as much again as the quartiles are apart
/// (Tukey 1977): a single odd picture among the references must not let every defect pass.
fn highest_usual(good: &[f32]) -> Option<f32> {
    let mut sorted = good.to_vec();
    sorted.sort_by(f32::total_cmp);
    if sorted.len() < QUARTILES_MIN {
        return sorted.last().copied();
    }
    let quartile = |share: usize| sorted[share * (sorted.len() - 1) / 4];
    let fence = quartile(3) + 1.5 * (quartile(3) - quartile(1));
    sorted.iter().copied().rfind(|score| *score <= fence)
}

/// `highest` is what good parts score at most.
fn automatic(highest: Option<f32>, factor: f32) -> Result<f32, &'static str> {
    match highest {
        None => Err("\"auto\" needs at least 2 different references; give more, or a number"),
        // Every part would fail.
        Some(highest) if highest * factor <= 0.0 => {
            Err("\"auto\" finds no difference between the references; give other ones, or a number")
        }
        Some(highest) => Ok(highest * factor),
    }
}

/// What judges.
pub struct Prepared {
    pub inspector: Inspector,
    /// What it lets through is judged.
    pub gate: Gate,
    /// The files of the references, in the inspector's order.
    pub references: Vec<PathBuf>,
}

impl Line {
    /// Starts every stage; one inspector judges for all cameras.
    ///
    /// # Errors
    /// When a camera's description cannot work, or the engine fails to compare the references.
    pub fn start(config: &LineConfig, prepared: Prepared, model: &str, run_id: &str) -> Result<Line, Failure> {
        let (stopper, stop) = stop_pair();
        let Prepared { mut inspector, gate, references } = prepared;
        let thresholds = thresholds(&config.recipe.thresholds, &mut inspector, &references)
            .map_err(|error| Failure::new(Exit::Software, error))?;
        let mut rules = vec![];
        for (region, threshold) in inspector.regions().into_iter().zip(thresholds) {
            let of_region = of_region(region.as_deref());
            match threshold {
                Ok(threshold) => tracing::info!("threshold {threshold:.4}{of_region}"),
                Err(why) => tracing::warn!("no threshold{of_region}: {why}. Every part will be undecided(not_ready)"),
            }
            rules.push((region, Rule { threshold: threshold.ok() }));
        }
        let recipe = format!("{}@{}", config.recipe.name, config.recipe.revision);
        let identity = Identity {
            prefix: config.prefix.clone(),
            station: config.station.clone(),
            run_id: run_id.to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            cameras: config.cameras.iter().map(|c| c.camera.name.to_string()).collect(),
            recipe: recipe.clone(),
            model: model.to_owned(),
            backend: inspector.backend().to_owned(),
            device: "cpu".to_owned(),
            references: inspector.reference_count(),
            threshold: rules.iter().find(|(region, _)| region.is_none()).and_then(|(_, rule)| rule.threshold),
            regions: rules
                .iter()
                .filter_map(|(region, rule)| Some((region.as_ref()?.to_string(), rule.threshold)))
                .collect(),
        };
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(config.mqtt.waiting_max));
        let (side, side_end) = mpsc::channel(SIDE_WAITING);
        let (evidence, evidence_end) = bounded(EVIDENCE_WAITING);
        let (intake, places) = intake(config.cameras.len());

        let tallies: BTreeMap<String, Arc<Tally>> =
            config.cameras.iter().map(|c| (c.camera.name.to_string(), Arc::default())).collect();
        let (mut cameras, states) = (vec![], States::default());
        for (camera, place) in config.cameras.iter().zip(places) {
            let source = camera::open(&camera.camera).map_err(|error| Failure::new(Exit::Config, error))?;
            let tally = tallies[&*camera.camera.name].clone();
            let sink = CameraSink {
                name: camera.camera.name.clone(),
                place,
                tally,
                states: states.clone(),
                side: side.clone(),
            };
            cameras.push(camera_stage(source, sink, stop.clone()));
        }
        let live = config
            .cameras
            .iter()
            .filter(|c| camera::is_live(&c.camera))
            .map(|c| (c.camera.name.clone(), Watched::default()));
        let desk = Desk {
            inspector,
            gate,
            frozen_frames: config.recipe.bad_image.frozen_frames,
            watched: live.collect(),
            rules,
            run_id: run_id.into(),
            recipe: recipe.into(),
            deadlines: config.cameras.iter().map(|c| (c.camera.name.clone(), c.deadline)).collect(),
            seqs: HashMap::new(),
            store: store.clone(),
            evidence,
            pulse: Pulse::default(),
            failures: 0,
        };
        let artist = Artist { heatmaps: config.mqtt.heatmaps, folder: config.overlays.clone(), side };
        let (settings, waiting, pulse) = (config.mqtt.clone(), store.clone(), Pulse::default());
        let others = vec![
            stage("inspector", Some(desk.pulse.clone()), move || desk.inspect(&intake)),
            // No verdict waits for the artist.
            stage("artist", None, move || artist.draw_all(&evidence_end)),
            stage("publisher", Some(pulse.clone()), move || {
                let ended = mqtt::run(settings, identity, waiting, side_end, pulse);
                ended.map_err(|error| Failure::new(Exit::Software, error))
            }),
        ];
        Ok(Line { stopper: Some(stopper), cameras, others, tallies, states, store })
    }

    /// Tells every camera to stop; the rest ends by itself.
    pub fn stop(&mut self) {
        self.stopper = None;
    }

    /// True when a stage has ended: all cameras, or one that never should while the others run.
    pub fn has_ended(&self) -> bool {
        let ended = |stage: &Stage| stage.thread.is_finished();
        self.cameras.iter().all(ended) || self.others.iter().any(ended)
    }

    /// The signs of life of the stages that still run, and must give them.
    pub fn pulses(&self) -> Vec<(&str, &Pulse)> {
        let running = self.cameras.iter().chain(&self.others).filter(|stage| !stage.thread.is_finished());
        running.filter_map(|stage| Some((stage.name.as_str(), stage.pulse.as_ref()?))).collect()
    }

    /// How it goes, in a line for a person.
    pub fn status(&self) -> String {
        let judged: u64 = self.tallies.values().map(|tally| tally.count().judged).sum();
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let cameras = self.tallies.keys().map(|name| {
            let state = states.get(name.as_str()).map_or("starting", |state| state.word());
            format!("{name} {state}")
        });
        let cameras: Vec<String> = cameras.collect();
        format!("{judged} judged, {} waiting for the broker; {}", self.store.count().waiting, cameras.join(", "))
    }

    /// Stops what still runs, joins all, and tells how it ended: the first failure, named by its stage.
    pub fn finish(mut self) -> (Summary, Result<(), Failure>) {
        self.stop();
        let mut outcome = Ok(());
        for stage in self.cameras.into_iter().chain(self.others) {
            let ended = stage.thread.join().unwrap_or_else(|_| Err(Failure::words(Exit::Software, "panicked")));
            if let Err(failure) = ended {
                tracing::error!("{} ended the line: {failure}", stage.name);
                let message = format!("{}: {}", stage.name, failure.message);
                outcome = outcome.and(Err(Failure { exit: failure.exit, message }));
            }
        }
        let cameras: BTreeMap<_, _> = self.tallies.iter().map(|(name, tally)| (name.clone(), tally.count())).collect();
        let count = self.store.count();
        let summary = Summary {
            balanced: cameras.values().all(TallyCount::balances),
            cameras,
            results: count.put,
            acknowledged: count.acked,
            given_up: count.given_up,
            undelivered: count.waiting,
        };
        (summary, outcome)
    }
}

/// Starts a thread with a name; a panic in it stops the process (see [`name_the_stage_that_panics`]).
fn stage(name: &str, pulse: Option<Pulse>, work: impl FnOnce() -> Result<(), Failure> + Send + 'static) -> Stage {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread can be started");
    Stage { name: name.to_owned(), pulse, thread }
}

/// From now on a panic names its stage and ends the process with 70; systemd starts it again.
pub fn name_the_stage_that_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        eprintln!("winspect: a bug in the stage {}: {panic}; please report it", thread.name().unwrap_or("unnamed"));
        std::process::exit(Exit::Software as i32);
    }));
}

fn camera_stage(mut source: Box<dyn camera::Source>, mut sink: CameraSink, stop: Stop) -> Stage {
    let (name, pulse) = (sink.name.clone(), Pulse::default());
    let stop = stop.with_pulse(pulse.clone());
    stage(&format!("camera-{name}"), Some(pulse), move || {
        let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        camera::watch(source.as_mut(), &name, &stop, backoff, &mut sink).map_err(|error| match error {
            CameraError::Pipeline(_) => Failure::new(Exit::Config, error),
            // An endless source is tried again; a finite one cannot be read to its end.
            CameraError::Lost(_) | CameraError::Stalled(_) => Failure::new(Exit::Data, error),
        })
    })
}

/// One camera's way into the line.
struct CameraSink {
    name: Arc<str>,
    place: Place,
    tally: Arc<Tally>,
    states: States,
    side: mpsc::Sender<Side>,
}

impl Sink for CameraSink {
    fn frame(&mut self, frame: Frame) {
        self.place.put(Waiting { frame, ticket: self.tally.captured() });
    }

    fn is_ready(&self) -> bool {
        !self.place.is_waiting()
    }

    fn status(&mut self, status: Status) {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name.clone(), status.state);
        // Waits where heat maps fill the channel: a lost change would leave the retained status wrong. The publisher
        // being gone means that the line is ending.
        let _ = self.side.blocking_send(Side::Camera { name: self.name.clone(), status });
    }
}

/// What the desk remembers of a live camera's pictures.
#[derive(Default)]
struct Watched {
    repeats: Repeats,
    /// Its last picture was bad, and that was told.
    bad: bool,
}

/// The inspector's stage: takes, judges, hands over, accounts.
struct Desk {
    inspector: Inspector,
    gate: Gate,
    frozen_frames: u64,
    /// The live cameras: those of others may repeat themselves.
    watched: HashMap<Arc<str>, Watched>,
    /// One for each region, with its name.
    rules: Vec<(Option<Arc<str>>, Rule)>,
    run_id: Arc<str>,
    recipe: Arc<str>,
    deadlines: HashMap<Arc<str>, Duration>,
    /// The last `seq` of each camera.
    seqs: HashMap<Arc<str>, u64>,
    store: Arc<dyn Store>,
    evidence: Sender<Evidence>,
    pulse: Pulse,
    /// In a row.
    failures: u32,
}

impl Desk {
    /// The loop that everybody reads first.
    fn inspect(mut self, intake: &Intake) -> Result<(), Failure> {
        loop {
            let batch = intake.take(1, &self.pulse);
            if batch.is_empty() {
                return Ok(()); // every camera has left
            }
            for Waiting { frame, ticket } in batch {
                let picture = frame.picture.clone();
                let (reports, error) = self.judge(frame);
                ticket.settle(if error.is_some() { Outcome::Failed } else { Outcome::Judged });
                for report in reports {
                    // Full means that the artist is behind: this picture is not drawn.
                    let _ =
                        self.evidence.try_send(Evidence { report: Arc::new(report.clone()), picture: picture.clone() });
                    self.store.put(report);
                }
                self.note(error)?;
            }
        }
    }

    /// A report for each region, and what the engine said when it could not judge.
    fn judge(&mut self, frame: Frame) -> (Vec<Report>, Option<String>) {
        let queue = frame.arrived.elapsed();
        let mut reports = self.blanks(&frame, queue);
        let mut error = None;
        let nobody = |reason: Option<Reason>, detail: String| {
            move |report: &mut Report| {
                report.reason = reason.or(report.reason);
                report.detail = Some(detail.clone());
            }
        };
        if let Some(flaw) = self.flaw(&frame) {
            reports.iter_mut().for_each(nobody(Some(Reason::BadImage), flaw.to_string()));
        } else {
            match self.inspector.judge(&frame.picture) {
                Ok(judgements) => {
                    let judged = reports.iter_mut().zip(judgements).zip(&self.rules);
                    judged.for_each(|((report, judgement), (_, rule))| fill(report, judgement, *rule));
                }
                // A picture that the recipe cannot look at is the camera's fault, not the engine's.
                Err(InspectError::Picture(error)) => {
                    reports.iter_mut().for_each(nobody(Some(Reason::BadImage), error.to_string()));
                }
                Err(failed) => {
                    reports.iter_mut().for_each(nobody(None, chain(&failed)));
                    error = Some(chain(&failed));
                }
            }
        }
        reports.iter_mut().for_each(|report| report.took.total = frame.arrived.elapsed());
        (reports, error)
    }

    /// Why a picture must not be judged; a live camera's first of a row is told, and the first good one after it.
    fn flaw(&mut self, frame: &Frame) -> Option<Flaw> {
        let mut watched = self.watched.get_mut(&frame.camera);
        let frozen = watched.as_mut().and_then(|watched| watched.repeats.flaw(&frame.picture, self.frozen_frames));
        let corrupt = frame.corrupt.then_some(Flaw::Corrupt);
        let flaw = corrupt.or(frozen).or_else(|| self.gate.flaw(&frame.picture));
        if let Some(watched) = watched
            && std::mem::replace(&mut watched.bad, flaw.is_some()) != flaw.is_some()
        {
            match &flaw {
                Some(flaw) => tracing::warn!("camera {}: bad pictures: {flaw}", frame.camera),
                None => tracing::info!("camera {}: its pictures are good again", frame.camera),
            }
        }
        flaw
    }

    /// The reports of parts that nobody could judge, one for each region; a `seq` is spent on each.
    fn blanks(&mut self, frame: &Frame, queue: Duration) -> Vec<Report> {
        let seq = self.seqs.entry(frame.camera.clone()).or_default();
        let blank = |(region, rule): &(Option<Arc<str>>, Rule)| {
            *seq += 1;
            Report {
                seq: *seq,
                run_id: self.run_id.clone(),
                part_id: frame.part_id.clone(),
                camera: frame.camera.clone(),
                region: region.clone(),
                verdict: Verdict::Undecided,
                reason: Some(Reason::EngineError),
                detail: None,
                score: None,
                threshold: rule.threshold,
                captured_at: frame.captured_at,
                captured_by: frame.captured_by,
                arrived: frame.arrived,
                took: Took { queue, decode: frame.decode, ..Took::default() },
                deadline: self.deadlines.get(&frame.camera).copied().unwrap_or_default(),
                recipe: self.recipe.clone(),
                regions: vec![],
                map: None,
                area: None,
            }
        };
        self.rules.iter().map(blank).collect()
    }

    fn note(&mut self, error: Option<String>) -> Result<(), Failure> {
        let Some(error) = error else {
            self.failures = 0;
            return Ok(());
        };
        self.failures += 1;
        tracing::error!("a picture could not be judged ({} in a row): {error}", self.failures);
        if self.failures < FAILURES_MAX { Ok(()) } else { Err(Failure::words(Exit::Software, error)) }
    }
}

/// Writes what the algorithm and the rule say into a region's report.
fn fill(report: &mut Report, judgement: Judgement, rule: Rule) {
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
fn suspicious(map: &Map, area: Area) -> Vec<Region> {
    let mut sorted = map.values().to_vec();
    sorted.sort_by(f32::total_cmp);
    let level = (sorted[sorted.len() / 2] + map.max()) / 2.0;
    regions(map, level, area, 3)
}

/// Draws heat maps for people; never in a verdict's way.
struct Artist {
    heatmaps: Heatmaps,
    folder: Option<PathBuf>,
    side: mpsc::Sender<Side>,
}

impl Artist {
    fn draw_all(self, waiting: &Receiver<Evidence>) -> Result<(), Failure> {
        let mut told = false;
        for Evidence { report, picture } in waiting {
            let wanted = match self.heatmaps {
                Heatmaps::All => true,
                Heatmaps::Fail => report.verdict != Verdict::Pass,
                Heatmaps::None => false,
            };
            let Some((map, area)) = report.map.as_ref().zip(report.area).filter(|_| wanted) else { continue };
            let drawn =
                heatmap::draw(&picture, (map, area), scale(&report, map), Some(report.verdict), &report.regions);
            let seq = report.seq.to_string();
            let part = report.part_id.as_deref().unwrap_or("");
            let region = report.region.as_deref().unwrap_or("");
            let texts = [("seq", seq.as_str()), ("part_id", part), ("camera", &report.camera), ("region", region)];
            let png = heatmap::png(&drawn, &texts);
            if let Some(folder) = &self.folder
                && let Err(error) = keep(folder, &report, &png)
                && !std::mem::replace(&mut told, true)
            {
                tracing::warn!("overlays cannot be written to {}: {error}", folder.display());
            }
            let _ = self.side.try_send(Side::Heatmap { report, png });
        }
        Ok(())
    }
}

/// The map values of "nothing to see" and "full glow": the same for all parts of a line that has a threshold on the
/// scale of its maps, else the picture's own range.
fn scale(report: &Report, map: &Map) -> (f32, f32) {
    match report.threshold {
        Some(threshold) if report.score.is_some_and(|score| score <= map.max()) => (0.4 * threshold, 1.6 * threshold),
        _ => (map.min(), map.max()),
    }
}

/// Writes one overlay and takes the oldest away.
fn keep(folder: &Path, report: &Report, png: &[u8]) -> std::io::Result<()> {
    let path = |seq: u64| folder.join(format!("{}-{seq:08}.png", report.camera));
    std::fs::create_dir_all(folder)?;
    std::fs::write(path(report.seq), png)?;
    if let Some(old) = report.seq.checked_sub(OVERLAYS_KEPT) {
        let _ = std::fs::remove_file(path(old)); // it may never have been drawn
    }
    Ok(())
}

/// How often the main thread looks for signals and ended stages.
pub const WATCH: Duration = Duration::from_millis(50);

/// Waits until `has_ended`, or until `stop_asked` says so. Gives the time that it took.
pub fn wait(line: &Line, mut stop_asked: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !line.has_ended() && !stop_asked() {
        std::thread::sleep(WATCH);
    }
    started.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_that_do_not_differ_give_no_threshold_instead_of_one_that_fails_every_part() {
        assert_eq!(automatic(highest_usual(&[0.25, 0.5]), 1.5), Ok(0.75));
        assert!(automatic(highest_usual(&[]), 1.1).is_err_and(|why| why.contains("at least 2 different references")));
        assert!(automatic(highest_usual(&[0.0, 0.0]), 1.1).is_err_and(|why| why.contains("no difference")));
    }

    #[test]
    fn one_reference_unlike_the_others_does_not_raise_the_threshold() {
        let mut good = vec![0.12, 0.11, 0.13, 0.12, 0.14, 0.15, 0.12, 0.15];
        assert_eq!(highest_usual(&good), Some(0.15));
        good.push(0.26);
        assert_eq!(highest_usual(&good), Some(0.15));
        // Of a few, who is the odd one?
        assert_eq!(highest_usual(&[0.1, 0.1, 0.3]), Some(0.3));
        assert_eq!(highest_usual(&[0.2; 9]), Some(0.2));
    }
}
