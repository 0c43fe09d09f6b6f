//! Layer 6: the line: builds the stages, wires them, watches, stops, joins. The only place that starts threads.
//!
//! ```text
//! camera-<name> (one each) --trigger, intake--> inspector --> store's clerk --> publisher --> broker
//!        ^------- foreman <--commands------------\--may drop--> artist --may drop--/
//! ```
//! Stopping flows like data: the stop ends the cameras and the foreman, their leaving ends the inspector, which closes
//! the store; its leaving ends the artist, and when all have left the publisher drains the outbox and says goodbye. A
//! finite source ends a line the same way.

pub mod admission;
pub mod changeover;
pub mod commands;
pub mod control;
pub mod inspect;
pub mod overlays;
pub mod policy;
pub mod queue;
pub mod views;

use crate::base::backoff::Backoff;
use crate::base::clock;
use crate::base::exit::{Exit, Failure};
use crate::base::health::{Diagnostics, Health, LineCondition, LineState};
use crate::base::stop::{Stop, Stopper, stop_pair};
use crate::base::systemd::Heartbeat;
use crate::camera::{self, CameraError};
use crate::config::{CameraConfig, LineConfig, RecipeConfig};
use crate::data::counters::{Tally, TallyCount};
use crate::data::report::DecisionPolicy;
use crate::line::admission::{Admission, CameraSink, CameraStates, PartSource};
use crate::line::changeover::{Changeover, SELECTED_RECIPE};
use crate::line::commands::{AnswerCache, CameraGroup, CommandHandler, RateLimit};
use crate::line::control::{LineControl, RecipePolicy, RegionPolicies};
use crate::line::inspect::{InspectStage, Watched};
use crate::line::overlays::{OverlayPainter, OverlayStage};
use crate::line::policy::LinePolicy;
use crate::line::queue::intake;
use crate::line::views::ViewJoiner;
use crate::mqtt::publisher;
use crate::mqtt::publisher::{ORDERS, Wiring};
use crate::protocol::birth::Identity;
use crate::protocol::metrics::Metrics;
use crate::recipe::quality::Gate;
use crate::recipe::self_test::SelfTest;
use crate::recipe::threshold::{of_region, thresholds};
use crate::store::{self, OpenStore, Outbox, Recovered, Store, StoreWriter};
use crate::trigger::Overflow;
use crate::trigger::Trigger;
use crate::winclip::Inspector;
use crossbeam::channel::bounded;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Pictures that may wait for the artist; when full, the newest is not drawn.
const EVIDENCE_WAITING: usize = 2;
/// Heat maps and changes of state that may wait for the publisher; when full, heat maps are dropped.
const SIDE_WAITING: usize = 64;
/// Answers that may wait for the publisher; the foreman then waits.
const ANSWERS_WAITING: usize = 2 * ORDERS as usize;

/// A running line.
pub struct Line {
    stopper: Option<Stopper>,
    cameras: Vec<Stage>,
    others: Vec<Stage>,
    tallies: Tallies,
    states: CameraStates,
    outbox: Arc<Outbox>,
}

type Tallies = Arc<BTreeMap<String, Arc<Tally>>>;

struct Stage {
    name: String,
    /// Where its being stuck means that the line is.
    pulse: Option<Heartbeat>,
    thread: JoinHandle<Result<(), Failure>>,
}

/// How a run ended, in numbers.
#[derive(Debug, serde::Serialize)]
pub struct Summary {
    pub cameras: BTreeMap<String, TallyCount>,
    /// Every captured frame had exactly one outcome.
    pub balanced: bool,
    /// Parts that were given a number; each has one result.
    pub parts: u64,
    pub results: u64,
    /// Of the results.
    pub undecided: u64,
    /// Verdicts that came after their part's result.
    pub late: u64,
    pub acknowledged: u64,
    pub given_up: u64,
    /// They wait in the store for the next run.
    pub undelivered: u64,
    /// Rejected parts whose gates were told in time (`mqtt.timed_reject`), and were not.
    pub rejects_told: u64,
    pub rejects_missed: u64,
}

/// What judges: a recipe that was prepared.
pub struct ActiveRecipe {
    pub inspector: Inspector,
    /// What it lets through is judged.
    pub gate: Gate,
    pub frozen_frames: u64,
    /// The files of the references, in the inspector's order.
    pub references: Vec<PathBuf>,
    /// What their pixels are known by; nothing without any.
    pub gallery: Option<String>,
    pub self_test: Option<SelfTest>,
    pub challenge_every: Option<Duration>,
}

/// How a recipe becomes what judges, while the line runs too.
pub type Prepare = Box<dyn Fn(&RecipeConfig, PrepareMode) -> Result<ActiveRecipe, Failure> + Send>;

/// When a recipe is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrepareMode {
    /// Before the line is ready: may take minutes, and the whole machine.
    Startup,
    /// Beside a line that judges.
    Live,
}

/// The store, before anything else of a line: it knows which recipe was chosen last.
pub struct Opening {
    pub store: Store,
    pub opened: OpenStore,
    pub found: Recovered,
    pub causes: Diagnostics,
}

impl Opening {
    /// # Errors
    /// When the store is another process's, or cannot be made.
    pub fn open(settings: store::StoreSettings, run_id: &str) -> Result<Self, Failure> {
        let causes = Diagnostics::default();
        let (store, opened, found) = Store::open(settings, run_id, causes.clone())
            .map_err(|error| Failure::new(Exit::Unavailable, error))?;
        Ok(Opening {
            store,
            opened,
            found,
            causes,
        })
    }

    /// The recipe that was selected last, where there still is one of that name; else the line's first.
    pub fn chosen<'a>(&self, config: &'a LineConfig) -> &'a RecipeConfig {
        let Some(name) = self.found.kept.get(SELECTED_RECIPE) else {
            return &config.recipe;
        };
        let chosen = config
            .recipes
            .iter()
            .chain([&config.recipe])
            .find(|recipe| recipe.name == *name);
        chosen.unwrap_or_else(|| {
            tracing::warn!(
                "recipe {name} was selected last, and is no more; {} judges",
                config.recipe.name
            );
            &config.recipe
        })
    }
}

/// How a prepared recipe judges each region, as results name it; what is odd about it is told.
///
/// # Errors
/// When the engine fails to compare the references.
pub fn judges_of(
    recipe: &RecipeConfig,
    prepared: &mut ActiveRecipe,
) -> Result<RegionPolicies, Failure> {
    let found = thresholds(
        &recipe.thresholds,
        &mut prepared.inspector,
        &prepared.references,
    )
    .map_err(|error| Failure::new(Exit::Software, error))?;
    let mut judges = vec![];
    for (region, threshold) in prepared.inspector.regions().into_iter().zip(found) {
        let of_region = of_region(region.as_deref());
        match threshold {
            Ok(threshold) => tracing::info!("threshold {threshold:.4}{of_region}"),
            Err(why) => tracing::warn!(
                "no threshold{of_region}: {why}. Every part will be undecided(not_ready)"
            ),
        }
        let judge = DecisionPolicy {
            recipe: recipe.label().into(),
            threshold: threshold.ok(),
            on_undecided: recipe.on_undecided,
        };
        judges.push((region, judge));
    }
    Ok(judges)
}

/// Its two stored pictures must score what an earlier run was taught; what is new to it, later ones will know.
pub fn recall(
    recipe: &RecipeConfig,
    prepared: &mut ActiveRecipe,
    kept: &mut BTreeMap<String, String>,
    store: &Store,
) {
    let Some(test) = &mut prepared.self_test else {
        return;
    };
    let key = format!("self_test/{}", recipe.name);
    let known = kept.get(&key);
    if let Some(taught) = test.recall(known.map(String::as_str)) {
        store.audit(format!(
            "self-test of recipe {} taught: {:.4?}",
            recipe.label(),
            test.proof()
        ));
        drop(if known.is_some() {
            store.set(&key, &taught)
        } else {
            store.set_if_absent(&key, &taught)
        });
        kept.insert(key, taught);
    }
}

/// What a recipe asks of the line.
pub fn judging_of(judges: RegionPolicies, prepared: &ActiveRecipe) -> RecipePolicy {
    let proof = prepared.self_test.as_ref().map(SelfTest::proof);
    RecipePolicy {
        judges,
        challenge_every: prepared.challenge_every,
        proof,
    }
}

impl Line {
    /// Starts every stage; one inspector judges for all cameras.
    ///
    /// # Errors
    /// When a camera's description cannot work, or the engine fails to compare the references.
    pub fn start(
        config: &LineConfig,
        mut opening: Opening,
        prepare: Prepare,
        model: &str,
        run_id: &str,
    ) -> Result<Line, Failure> {
        let (stopper, stop) = stop_pair();
        let recipe = opening.chosen(config);
        let mut eye = prepare(recipe, PrepareMode::Startup)?;
        let judges = judges_of(recipe, &mut eye)?;
        recall(recipe, &mut eye, &mut opening.found.kept, &opening.store);
        let brush = OverlayPainter(eye.inspector.painter());
        let Opening {
            store,
            opened,
            found,
            causes,
        } = opening;
        let mut identity = identity_of(config, &eye, model, run_id, found.previous);
        identity.judged_by(&judges);
        if found.is_unread && !config.recipes.is_empty() {
            let words = format!(
                "{} judges; which one was selected last stands in the store, which cannot be read",
                recipe.label()
            );
            causes.set(SELECTED_RECIPE, Health::Failure, words + ": select one");
        }
        let rules = LineControl::new(judging_of(judges, &eye), &found.kept, causes.clone());
        let known = AnswerCache::new(found.answers, Instant::now());
        let (side, side_end) = mpsc::channel(SIDE_WAITING);
        let (evidence, evidence_end) = bounded(EVIDENCE_WAITING);
        let (snapshots, snapshots_end) = bounded(1);
        let (answers, answers_end) = mpsc::channel(ANSWERS_WAITING);
        let (orders, orders_end) = bounded(ORDERS.into());
        let policies: Vec<Overflow> = config.cameras.iter().map(CameraConfig::policy).collect();
        let (intake, places) = intake(&policies);

        let tallies: Tallies = Arc::new(
            config
                .cameras
                .iter()
                .map(|c| (c.camera.name.to_string(), Arc::default()))
                .collect(),
        );
        let joins = Arc::new(Mutex::new(joins_of(config)));
        let policy = LinePolicy {
            control: rules.clone(),
            views: joins.clone(),
            identity: identity.clone(),
            timed_reject: config.mqtt.timed_reject,
        };
        let (mut cameras, states) = (vec![], CameraStates::default());
        let (mut entrances, mut asking) = (BTreeMap::new(), std::collections::HashMap::new());
        for (camera, place) in config.cameras.iter().zip(places) {
            let source =
                camera::open(&camera.camera).map_err(|error| Failure::new(Exit::Config, error))?;
            let name = camera.camera.name.clone();
            let asks = PartSource {
                camera: name.clone(),
                terms: camera.terms,
                rules: rules.clone(),
            };
            let tally = tallies[&*name].clone();
            let entrance = Admission::new(
                asks.clone(),
                &camera.trigger,
                place,
                tally,
                joins.clone(),
                store.clone(),
            );
            let entrance = Arc::new(entrance);
            entrances.insert(name.clone(), entrance.clone());
            asking.insert(name, asks);
            let (states, causes) = (states.clone(), causes.clone());
            let sink = CameraSink {
                entrance,
                states,
                causes,
                side: side.clone(),
            };
            cameras.push((source, sink));
        }
        // None is started before all can be.
        let cameras = cameras
            .into_iter()
            .map(|(source, sink)| camera_stage(source, sink, stop.clone()))
            .collect();
        let live = config
            .cameras
            .iter()
            .filter(|c| camera::is_live(&c.camera))
            .map(|c| (c.camera.name.clone(), Watched::default()));
        let stations = stations_of(config, &entrances, &rules);
        let (wanted, wanted_end) = bounded(1);
        let (swap, swap_end) = bounded(1);
        let shared = Arc::new(Mutex::new(identity.clone()));
        let changeover = Changeover {
            wanted: wanted_end,
            prepare,
            swap,
            side: side.clone(),
            answers: answers.clone(),
            identity: shared.clone(),
            store: store.clone(),
            rules: rules.clone(),
            kept: found.kept,
        };
        let desk = InspectStage {
            eye,
            swap: swap_end,
            batch: config.batch,
            watched: live.collect(),
            asking,
            joins,
            rules: rules.clone(),
            causes: causes.clone(),
            store: store.clone(),
            evidence,
            pulse: Heartbeat::default(),
            failures: 0,
        };
        let foreman = CommandHandler {
            orders: orders_end,
            answers,
            side: side.clone(),
            snapshots,
            store: store.clone(),
            rules: rules.clone(),
            entrances,
            stations,
            identity: shared,
            known,
            pace: RateLimit::default(),
            recipes: config
                .recipes
                .iter()
                .chain([&config.recipe])
                .cloned()
                .collect(),
            wanted,
        };
        let dropped = Arc::new(AtomicU64::new(0));
        let (heatmaps, folder) = (config.mqtt.heatmaps, config.overlays.clone());
        let artist = OverlayStage {
            brush,
            heatmaps,
            folder,
            side,
            dropped: dropped.clone(),
        };
        let outbox = store.outbox().clone();
        let runs_by_itself = config
            .cameras
            .iter()
            .any(|c| c.trigger == Trigger::Continuous);
        let wiring = Wiring {
            store,
            side: side_end,
            orders,
            answers: answers_end,
            condition: Box::new(move || condition(&causes, &rules, runs_by_itself)),
            metrics: metrics_of(tallies.clone(), outbox.clone(), dropped),
            pulse: Heartbeat::default(),
        };
        let settings = config.mqtt.clone();
        let changeover_stop = stop.clone();
        let (clerk_pulse, foreman_pulse) = (Heartbeat::default(), Heartbeat::default());
        let others = vec![
            stage("inspector", Some(desk.pulse.clone()), move || {
                desk.inspect(&intake)
            }),
            stage("store", Some(clerk_pulse.clone()), move || {
                StoreWriter::new(opened, policy).run(&clerk_pulse);
                Ok(())
            }),
            stage("foreman", Some(foreman_pulse.clone()), move || {
                foreman.work(&stop, &foreman_pulse);
                Ok(())
            }),
            // Preparing a recipe takes as long as it takes.
            stage("changeover", None, move || {
                changeover.work(&changeover_stop, &Heartbeat::default());
                Ok(())
            }),
            // No verdict waits for the artist.
            stage("artist", None, move || {
                artist.draw_all(&evidence_end, &snapshots_end)
            }),
            stage("publisher", Some(wiring.pulse.clone()), move || {
                let ended = publisher::run(settings, identity, wiring);
                ended.map_err(|error| Failure::new(Exit::Software, error))
            }),
        ];
        Ok(Line {
            stopper: Some(stopper),
            cameras,
            others,
            tallies,
            states,
            outbox,
        })
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
    pub fn pulses(&self) -> Vec<(&str, &Heartbeat)> {
        let running = self
            .cameras
            .iter()
            .chain(&self.others)
            .filter(|stage| !stage.thread.is_finished());
        running
            .filter_map(|stage| Some((stage.name.as_str(), stage.pulse.as_ref()?)))
            .collect()
    }

    /// How it goes, in a line for a person.
    pub fn status(&self) -> String {
        let judged: u64 = self
            .tallies
            .values()
            .map(|tally| tally.count().judged)
            .sum();
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let cameras = self.tallies.keys().map(|name| {
            let state = states
                .get(name.as_str())
                .map_or("starting", |state| state.word());
            format!("{name} {state}")
        });
        let cameras: Vec<String> = cameras.collect();
        format!(
            "{judged} judged, {} waiting for the broker; {}",
            self.outbox.count().waiting,
            cameras.join(", ")
        )
    }

    /// Stops what still runs, joins all, and tells how it ended: the first failure, named by its stage.
    pub fn finish(mut self) -> (Summary, Result<(), Failure>) {
        self.stop();
        let mut outcome = Ok(());
        for stage in self.cameras.into_iter().chain(self.others) {
            let ended = stage
                .thread
                .join()
                .unwrap_or_else(|_| Err(Failure::words(Exit::Software, "panicked")));
            if let Err(failure) = ended {
                tracing::error!("{} ended the line: {failure}", stage.name);
                let message = format!("{}: {}", stage.name, failure.message);
                outcome = outcome.and(Err(Failure {
                    exit: failure.exit,
                    message,
                }));
            }
        }
        let cameras: BTreeMap<_, _> = self
            .tallies
            .iter()
            .map(|(name, tally)| (name.clone(), tally.count()))
            .collect();
        let count = self.outbox.count();
        let summary = Summary {
            balanced: cameras.values().all(TallyCount::balances),
            cameras,
            parts: count.accepted,
            results: count.results,
            undecided: count.undecided,
            late: count.late,
            acknowledged: count.acked,
            given_up: count.given_up,
            undelivered: count.waiting,
            rejects_told: count.rejects_told,
            rejects_missed: count.rejects_missed,
        };
        (summary, outcome)
    }
}

/// Who and where; what judges is said by [`Identity::judged_by`].
fn identity_of(
    config: &LineConfig,
    eye: &ActiveRecipe,
    model: &str,
    run_id: &str,
    previous: Vec<store::Previous>,
) -> Identity {
    Identity {
        prefix: config.prefix.clone(),
        station: config.station.clone(),
        run_id: run_id.to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        cameras: config
            .cameras
            .iter()
            .map(|c| c.camera.name.to_string())
            .collect(),
        recipe: String::new(),
        model: model.to_owned(),
        backend: eye.inspector.backend().to_owned(),
        device: eye.inspector.device().to_owned(),
        references: eye.inspector.reference_count(),
        gallery: eye.gallery.clone(),
        threshold: None,
        regions: BTreeMap::new(),
        previous,
    }
}

/// The names under which several cameras see one part, with those cameras.
fn joins_of(config: &LineConfig) -> ViewJoiner {
    let mut stations: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
    for (name, camera) in config
        .cameras
        .iter()
        .filter_map(|camera| Some((camera.join.as_deref()?, camera)))
    {
        stations
            .entry(name.into())
            .or_default()
            .push(camera.camera.name.clone());
    }
    ViewJoiner::new(stations)
}

/// Who commands mean: cameras alone, and those that share a name.
fn stations_of(
    config: &LineConfig,
    entrances: &BTreeMap<Arc<str>, Arc<Admission>>,
    rules: &LineControl,
) -> Vec<CameraGroup> {
    let mut stations: Vec<CameraGroup> = vec![];
    for camera in config
        .cameras
        .iter()
        .filter(|c| matches!(c.trigger, Trigger::Command(_)))
    {
        let name: Arc<str> = camera
            .join
            .as_deref()
            .map_or_else(|| camera.camera.name.clone(), Into::into);
        let entrance = entrances[&camera.camera.name].clone();
        match stations
            .iter_mut()
            .find(|station| station.asking.camera == name)
        {
            Some(station) => station.cameras.push(entrance),
            None => {
                let asking = PartSource {
                    camera: name,
                    terms: camera.terms,
                    rules: rules.clone(),
                };
                stations.push(CameraGroup {
                    asking,
                    cameras: vec![entrance],
                });
            }
        }
    }
    stations
}

/// What is told of the line as a whole.
fn condition(causes: &Diagnostics, rules: &LineControl, runs_by_itself: bool) -> LineCondition {
    let (health, causes) = causes.all();
    let state = match () {
        () if !rules.can_judge() => LineState::Error,
        () if rules.is_paused() => LineState::Initialized,
        () if runs_by_itself => LineState::ContinuousExecution,
        () => LineState::Ready,
    };
    LineCondition {
        state,
        health,
        causes,
        clock_synchronised: clock::is_synchronised(),
    }
}

fn metrics_of(
    tallies: Tallies,
    outbox: Arc<Outbox>,
    dropped: Arc<AtomicU64>,
) -> Box<dyn Fn() -> Metrics + Send> {
    Box::new(move || Metrics {
        cameras: tallies
            .iter()
            .map(|(name, tally)| (name.clone(), tally.count()))
            .collect(),
        store: outbox.count(),
        heatmaps_dropped: dropped.load(Ordering::Relaxed),
    })
}

/// Starts a thread with a name; a panic in it stops the process (see [`name_the_stage_that_panics`]).
fn stage(
    name: &str,
    pulse: Option<Heartbeat>,
    work: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> Stage {
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .expect("a thread can be started");
    Stage {
        name: name.to_owned(),
        pulse,
        thread,
    }
}

/// From now on a panic names its stage and ends the process with 70; systemd starts it again.
pub fn name_the_stage_that_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        eprintln!(
            "winspect: a bug in the stage {}: {panic}; please report it",
            thread.name().unwrap_or("unnamed")
        );
        std::process::exit(Exit::Software as i32);
    }));
}

fn camera_stage(mut source: Box<dyn camera::Source>, mut sink: CameraSink, stop: Stop) -> Stage {
    let (name, pulse) = (sink.entrance.camera.clone(), Heartbeat::default());
    let stop = stop.with_pulse(pulse.clone());
    stage(&format!("camera-{name}"), Some(pulse), move || {
        let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        camera::watch(source.as_mut(), &name, &stop, backoff, &mut sink).map_err(
            |error| match error {
                CameraError::Pipeline(_) => Failure::new(Exit::Config, error),
                // An endless source is tried again; a finite one cannot be read to its end.
                CameraError::Lost(_) | CameraError::Stalled(_) => Failure::new(Exit::Data, error),
            },
        )
    })
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
