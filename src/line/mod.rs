//! A running line: builds the stages, starts their threads, watches, stops and joins them. The only
//! place that starts the line's threads.
//!
//! ```text
//! frames    camera --trigger, frame queue--> inspector --results--> store --outbox--> publisher --> broker
//! pictures  inspector --judged parts, may drop--> overlays --heat maps, may drop--> events
//! evidence  inspector, store --parts that are kept, may drop--> evidence --> files
//! commands  publisher, control socket, page --requests--> command handler --> triggers, control, snapshots
//! recipes   command handler --selected--> changeover --prepared--> inspector, between two parts
//! stored    command handler --what_if--> what-if <--> what-if-judge; page --asks--> nearest --answers--> page
//! shadow    inspector --newest judged frame, may drop--> shadow --where both differ--> events
//! events    cameras, command handler, changeover, overlays, shadow, store --> publisher, control socket
//! ```
//! Each of them is a thread, and each camera is one.
//!
//! The good path: a frame becomes one part or several as its camera's trigger says, is queued, judged
//! by the active recipe and decided; the store keeps the result, and the publisher sends it until the
//! broker has it. Commands come through the publisher or the control socket, and are answered once they
//! are on the disk.
//!
//! Stopping flows like data: the stop ends the cameras, the command handler, the changeover and the shadow; the
//! inspector ends when all cameras have left, and closes the store; the overlay stage ends when the
//! inspector has, and the publisher drains the outbox when all others have left. Stages that read files
//! for people are left behind where they hang. A finite source (a folder, a file) ends a line the same way.
//!
//! Failure paths: a camera that is lost is opened again, with a pause that grows from 250 ms to 5 s; a
//! finite one ends the line. Pictures that cannot be judged, a broken disk, a broker that is away and
//! a recipe that cannot be prepared are told by the line's health, and the line goes on; three engine
//! failures in a row end it. A panic names its stage and ends the process. A stage that is stuck gives
//! no sign of life ([`Line::pulses`]), and the service manager starts the process again.
//!
//! Bounds: the channels' capacities are in `channels`, the queue of frames is bounded by
//! [`queue::Overflow`], views by 10 s after their part's deadline, and the store's bounds are its own.

pub mod admission;
pub mod answer_cache;
pub mod camera_group;
mod cameras;
pub mod challenge;
pub mod changeover;
mod channels;
pub mod cleanings;
pub mod commands;
pub mod control;
mod decision;
mod doors;
mod doubtful;
pub mod drift;
pub mod events;
pub mod evidence;
pub mod hold;
pub mod inspect;
pub mod lens;
mod lesson;
mod lesson_change;
pub mod lessons;
pub mod live_settings;
pub mod misses;
pub mod nearest;
mod opening;
pub mod outcomes;
pub mod overlays;
mod part_time;
pub mod policy;
pub mod queue;
pub mod rate_limit;
mod recipe_change;
mod recipe_edit;
mod recipe_rows;
pub mod reload;
mod revisions;
mod second_answers;
pub mod selection;
pub mod set_thresholds;
pub mod shadow;
pub mod shared;
pub mod shift_check;
mod stage;
mod stored_part;
mod suggested_groups;
mod suggestion;
mod summary;
mod teach_source;
pub mod views;
mod what_if;

pub use self::channels::{
    Channels, ControlEnds, DoorSettings, PageEnds, PageFiles, PublisherEnds, control_wiring,
    page_wiring, publisher_wiring,
};
pub use self::opening::Opening;
pub use self::stage::end_process_on_panic;
pub use self::suggestion::sheet_name;
pub use self::summary::Summary;

use self::answer_cache::AnswerCache;
use self::cameras::{
    OpenCamera, admissions_of, camera_failure, groups_of, inspected_cameras, joiner_of,
    open_cameras, overflows_of,
};
use self::changeover::{Changeover, ReloadBase};
use self::commands::CommandHandler;
use self::doors::{
    camera_names, doors_of, evidence_of, identity_of, nearest_of, page_files, part_cameras,
};
use self::evidence::EvidenceStage;
use self::inspect::InspectStage;
use self::live_settings::{LiveSettings, ReloadRequest};
use self::nearest::NearestFinder;
use self::overlays::{OverlayEnds, OverlayPainter, OverlayStage};
use self::policy::LinePolicy;
use self::queue::{FrameReceiver, frame_queue};
use self::recipe_rows::RecipeRows;
use self::shadow::stage::ShadowStage;
use self::shared::{CameraStates, Shared, Tallies};
use self::stage::Stage;
use self::teach_source::teach_source;
use self::what_if::{WhatIfJudge, WhatIfStage, what_if_stages};
use crate::base::backoff::Backoff;
use crate::base::exit::{Exit, Failure};
use crate::base::live::Live;
use crate::base::stop::{Stop, Stopper, stop_pair};
use crate::base::systemd::Heartbeat;
use crate::camera;
use crate::config::{ConfigKeys, LineConfig};
use crate::control::server::{self, ControlWiring};
use crate::control::socket_path;
use crate::mqtt::MqttSettings;
use crate::mqtt::publisher;
use crate::mqtt::publisher::PublisherWiring;
use crate::page::teach::source::TeachSource;
use crate::page::{self, FrameSlots, PageWiring, PictureStage, Pulses};
use crate::protocol::birth::Identity;
use crate::recipe::active::ActiveRecipe;
use crate::recipe::prepare::{PrepareMode, RecipePreparer};
use crate::recipe::spec::RecipeSpec;
use crate::store::{Outbox, StoreWriter};
use crossbeam::channel::Sender;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// A running line.
pub struct Line {
    /// The cameras' stop; `None` once it was given.
    stopper: Option<Stopper>,
    cameras: Vec<Stage>,
    others: Vec<Stage>,
    /// Those that look at files which may hang: the page's, and those that look at stored parts.
    readers: Vec<Stage>,
    /// Joined last: it ends when the inspector and the store have.
    evidence: Option<Stage>,
    tallies: Tallies,
    camera_states: CameraStates,
    outbox: Arc<Outbox>,
    /// Wishes to read the line's file again, to the changeover.
    reloads: Sender<ReloadRequest>,
}

/// The stages of a line, wired and not started.
struct Stages {
    shared: Shared,
    cameras: Vec<OpenCamera>,
    frames: FrameReceiver,
    inspect: InspectStage,
    writer: StoreWriter,
    commands: CommandHandler,
    changeover: Changeover,
    overlays: OverlayStage,
    overlay_ends: OverlayEnds,
    evidence: Option<EvidenceStage>,
    shadow: ShadowStage,
    what_if: (WhatIfStage, WhatIfJudge),
    nearest: NearestFinder,
    publisher: PublisherWiring,
    control: ControlWiring,
    reloads: Sender<ReloadRequest>,
    /// `None` for a line without a page.
    page: Option<PageStages>,
}

/// The two stages of the page.
struct PageStages {
    pictures: PictureStage,
    server: PageWiring,
}

impl Line {
    /// Starts every stage; one inspector judges for all cameras. `preparer` makes what judges, now and
    /// whenever another recipe is selected.
    ///
    /// # Errors
    /// When the recipe cannot be prepared, or a camera's description cannot work.
    pub fn start(
        config: &LineConfig,
        opening: Opening,
        preparer: RecipePreparer,
        run_id: &str,
    ) -> Result<Line, Failure> {
        // Everything that can fail happens while wiring, before the first thread: a line that does
        // not start leaves none behind.
        let stages = Stages::wire(config, opening, preparer, run_id)?;
        let shared = stages.shared;
        let (stopper, stop) = stop_pair();
        let mut cameras = vec![];
        for camera in stages.cameras {
            cameras.push(start_camera(camera, stop.clone()));
        }

        let others = vec![
            start_inspector(stages.inspect, stages.frames),
            start_store(stages.writer),
            start_commands(stages.commands, stop.clone()),
            start_changeover(stages.changeover, stop.clone()),
            start_shadow(stages.shadow, stop.clone()),
            start_what_if(stages.what_if.0, stop.clone()),
            start_overlays(stages.overlays, stages.overlay_ends),
            start_publisher(config.mqtt.clone(), shared.identity(), stages.publisher),
            start_control(&config.store.file, stages.control),
        ];

        let mut readers = start_readers(stages.what_if.1, stages.nearest, stop);
        if let Some(page) = stages.page {
            let pulses = pulses_of(&cameras, &others);
            readers.extend(start_page(page, pulses));
        }

        Ok(Line {
            stopper: Some(stopper),
            cameras,
            others,
            readers,
            evidence: stages.evidence.map(start_evidence),
            outbox: shared.store.outbox().clone(),
            tallies: shared.tallies,
            camera_states: shared.camera_states,
            reloads: stages.reloads,
        })
    }

    /// Tells every camera to stop; the rest ends by itself.
    pub fn stop(&mut self) {
        self.stopper = None;
    }

    /// Returns true when the line takes its file over at once. Else it is still at the one before.
    pub fn can_reload(&self) -> bool {
        self.reloads.is_empty()
    }

    /// Lets the line read its file again; it tells what becomes of it.
    pub fn reload(&self) {
        // A line that is ending takes nothing over.
        let _ = self.reloads.try_send(ReloadRequest::Signal);
    }

    /// Returns true when the line is about to end: all cameras have ended, or a stage that never
    /// should while the others run.
    pub fn has_ended(&self) -> bool {
        self.cameras.iter().all(Stage::has_ended) || self.own_stages().any(Stage::has_ended)
    }

    /// All stages beside the cameras that never should end while those run.
    fn own_stages(&self) -> impl Iterator<Item = &Stage> {
        self.others.iter().chain(&self.readers)
    }

    /// Returns the signs of life of the stages that still run, and must give them.
    pub fn pulses(&self) -> Vec<(&str, &Heartbeat)> {
        pulses_of(&self.cameras, &self.others)
    }

    /// Returns how the line goes, in one line for a person.
    pub fn status(&self) -> String {
        // The count is of frames, not of parts: a frame of three regions counts once.
        let judged: u64 = self
            .tallies
            .values()
            .map(|tally| tally.count().judged)
            .sum();

        let states = self
            .camera_states
            .lock()
            .unwrap_or_else(PoisonError::into_inner);

        let mut cameras = vec![];
        for name in self.tallies.keys() {
            let state = states
                .get(name.as_str())
                .map_or("starting", |status| status.state.word());

            cameras.push(format!("{name} {state}"));
        }

        format!(
            "{judged} judged, {} waiting for the broker; {}",
            self.outbox.count().waiting,
            cameras.join(", ")
        )
    }

    /// Stops what still runs and waits for all stages. Returns the counters of the run, and the first
    /// failure, named by its stage.
    pub fn finish(mut self) -> (Summary, Result<(), Failure>) {
        self.stop();
        // Cameras come first, and the others in the order in which the data flows, so that each
        // join waits for a thread that is about to leave.
        let mut outcome = Ok(());
        for stage in self.cameras.into_iter().chain(self.others) {
            outcome = outcome.and(stage.join());
        }

        let until = Instant::now() + READER_PATIENCE;
        for reader in self.readers {
            let left = until.saturating_duration_since(Instant::now());
            outcome = outcome.and(reader.join_within(left));
        }

        if let Some(evidence) = self.evidence {
            outcome = outcome.and(evidence.join_within(EVIDENCE_PATIENCE));
        }

        (Summary::new(&self.tallies, self.outbox.count()), outcome)
    }
}

impl Stages {
    /// Prepares the recipe, opens the cameras and makes each stage.
    fn wire(
        config: &LineConfig,
        mut opening: Opening,
        preparer: RecipePreparer,
        run_id: &str,
    ) -> Result<Self, Failure> {
        // The recipe comes first. It is the slowest step, and the one that most often fails, on a
        // picture or a model.
        let begun = opening.begun(config);
        let (mut active, shared) = prepare(config, (&mut opening, &begun), &preparer, run_id)?;
        // The painters are taken before the inspector moves to its own thread.
        let painter = OverlayPainter(active.inspector.painter());
        let (kept, evidence) = evidence_of(config, &mut active, &shared);

        // Each camera has a place of its own in the queue, in the order of the configuration, on
        // which `open_cameras` relies.
        let channels = Channels::new(&shared, kept.clone());
        let (frames, queue) = frame_queue(&overflows_of(config));
        let settings = LiveSettings::new(config, &begun);
        let cameras = open_cameras(config, &shared, queue, &settings, &channels.camera_events)?;
        let inspected = inspected_cameras(&cameras);
        // The store's thread asks the line through this policy, which holds a weak sender alone:
        // the control socket ends when all senders are gone, and holds the store itself.
        let timed = config.mqtt.timed_reject;
        let policy = LinePolicy::new(&shared, kept, channels.watchers, timed);
        let doors = doors_of(config, &opening);
        let is_continuous = doors.is_continuous;
        let recipes = RecipeRows::new(settings.recipes.clone(), config.library.clone());
        let teach = teach_source(config, &shared, &settings, &preparer.model.spec);
        let known = ((recipes, teach), settings.keys.clone());
        let ends = (channels.page, channels.page_frames);
        let page = PageStages::open(config, &shared, is_continuous, known, ends)?;
        let library = &config.library;
        Ok(Stages {
            what_if: what_if_stages(&shared, &preparer, library, channels.what_if),
            nearest: nearest_of(&shared, &preparer, library, &settings),
            inspect: InspectStage::new(&shared, active, config.batch, inspected, channels.inspect),
            writer: StoreWriter::new(opening.open_store, policy),
            commands: CommandHandler::new(
                &shared,
                admissions_of(&cameras),
                groups_of(config, &cameras),
                settings.recipes.clone(),
                AnswerCache::new(opening.recovered.answers, Instant::now()),
                channels.commands,
            ),
            changeover: Changeover::new(
                &shared,
                preparer,
                opening.recovered.kept,
                config.library.clone(),
                ReloadBase::of(config, &settings),
                channels.changeover,
            ),
            overlays: OverlayStage {
                painter,
                heatmaps: settings.heatmaps.clone(),
                events: channels.overlay_events,
            },
            overlay_ends: channels.overlays,
            shadow: ShadowStage::new(&shared, channels.shadows, channels.shadow_events),
            evidence,
            publisher: publisher_wiring(&shared, doors, channels.publisher),
            control: control_wiring(&shared, is_continuous, channels.control),
            page,
            reloads: channels.reloads,
            frames,
            cameras,
            shared,
        })
    }
}

/// Prepares the recipe that was selected last, and what all stages share under its policy.
fn prepare(
    config: &LineConfig,
    (opening, begun): (&mut Opening, &[RecipeSpec]),
    preparer: &RecipePreparer,
    run_id: &str,
) -> Result<(ActiveRecipe, Shared), Failure> {
    // A recipe that was selected by a command in an earlier run judges again, also after a power
    // cut.
    let spec = opening.selected(config, begun)?.clone();
    let mut active = preparer.prepare(&spec, PrepareMode::Startup)?;
    let policies = active.policies(&spec)?;
    active.recall_self_test(&spec, &mut opening.recovered.kept, &opening.store);
    opening.warn_of_unread_selection(config, &spec);

    // The identity names what judges before anything is judged; thresholds and the recipe's name
    // come from the policies.
    let model = preparer.model.label();
    let mut identity = identity_of(config, (opening, begun), &active, &model, run_id);
    identity.judged_by(&policies);
    // Shared handles are made last: they are cloned into every stage, and hold the policy that the
    // first part is judged by.
    let names = camera_names(config);
    let policy = active.policy(policies);
    let mut shared = Shared::new(opening, &names, joiner_of(config), policy, identity);
    let evidence = config.evidence.as_ref();
    shared.evidence = evidence.map(|evidence| evidence.folder.as_path().into());
    let checks = &shared.control.checks;
    checks.ask(config.check_due.clone(), part_cameras(config));
    Ok((active, shared))
}

/// Pause before a lost camera is opened again, at first.
const REOPEN_FIRST: Duration = Duration::from_millis(250);
/// Pause before a lost camera is opened again, at most.
const REOPEN_MOST: Duration = Duration::from_secs(5);

/// Time that the evidence gets to write what waits when a line ends.
const EVIDENCE_PATIENCE: Duration = Duration::from_secs(10);

/// Time that all readers together get to end: a look at a file may hang.
const READER_PATIENCE: Duration = Duration::from_secs(5);

fn start_camera(mut camera: OpenCamera, stop: Stop) -> Stage {
    let name = camera.sink.admission.camera.clone();
    Stage::start(&format!("camera-{name}"), move |pulse| {
        // A camera that waits for its next try still gives a sign of life, through the stop that it
        // waits on.
        let stop = stop.with_heartbeat(pulse.clone());
        let backoff = Backoff::new(REOPEN_FIRST, REOPEN_MOST);
        let source = camera.source.as_mut();
        camera::supervise(source, &name, &stop, backoff, &mut camera.sink).map_err(camera_failure)
    })
}

fn start_inspector(inspect: InspectStage, frames: FrameReceiver) -> Stage {
    Stage::start("inspector", move |pulse| inspect.run(&frames, pulse))
}

fn start_store(writer: StoreWriter) -> Stage {
    Stage::start("store", move |pulse| {
        writer.run(pulse);
        Ok(())
    })
}

fn start_commands(commands: CommandHandler, stop: Stop) -> Stage {
    Stage::start("commands", move |pulse| {
        commands.run(&stop, pulse);
        Ok(())
    })
}

/// Unwatched: preparing a recipe takes as long as it takes.
fn start_changeover(changeover: Changeover, stop: Stop) -> Stage {
    Stage::start_unwatched("changeover", move || {
        changeover.run(&stop, &Heartbeat::default());
        Ok(())
    })
}

/// Unwatched: its thread has the lowest priority, and no verdict waits for it.
fn start_shadow(shadow: ShadowStage, stop: Stop) -> Stage {
    Stage::start_unwatched("shadow", move || shadow.run(&stop))
}

/// Unwatched: no verdict waits for what would have been.
fn start_what_if(what_if: WhatIfStage, stop: Stop) -> Stage {
    Stage::start_unwatched("what-if", move || what_if.run(&stop))
}

/// Unwatched, both: their threads have the lowest priority, and no verdict waits for them.
fn start_readers(judge: WhatIfJudge, nearest: NearestFinder, stop: Stop) -> Vec<Stage> {
    let of_judge = stop.clone();

    vec![
        Stage::start_unwatched("what-if-judge", move || judge.run(&of_judge)),
        Stage::start_unwatched("nearest", move || nearest.run(&stop)),
    ]
}

/// Unwatched: no verdict waits for a picture.
fn start_overlays(overlays: OverlayStage, ends: OverlayEnds) -> Stage {
    Stage::start_unwatched("overlays", move || overlays.run(&ends))
}

/// Unwatched: no verdict waits for a folder.
fn start_evidence(evidence: EvidenceStage) -> Stage {
    Stage::start_unwatched("evidence", move || evidence.run())
}

fn start_publisher(settings: MqttSettings, identity: Identity, wiring: PublisherWiring) -> Stage {
    Stage::start("publisher", move |pulse| {
        // The stage makes its heartbeat; the wiring was built before it existed.
        let mut wiring = wiring;
        wiring.pulse = pulse.clone();
        publisher::run(settings, identity, wiring)
            .map_err(|error| Failure::new(Exit::Software, error))
    })
}

impl PageStages {
    /// The stages of the page, bound to its address; `None` for a line without one.
    fn open(
        config: &LineConfig,
        shared: &Shared,
        is_continuous: bool,
        (known, keys): ((RecipeRows, TeachSource), Live<ConfigKeys>),
        (ends, frames): (PageEnds, FrameSlots),
    ) -> Result<Option<Self>, Failure> {
        let Some(settings) = &config.page else {
            return Ok(None);
        };

        let bound = page::bind(settings)?;
        let files = page_files(config, settings, keys);
        let server = page_wiring(shared, is_continuous, files, bound, ends, known);
        let pictures = PictureStage::new(frames, server.pictures.clone());
        Ok(Some(PageStages { pictures, server }))
    }
}

/// Unwatched, both: no verdict waits for the page.
fn start_page(page: PageStages, pulses: Vec<(&str, &Heartbeat)>) -> [Stage; 2] {
    let PageStages {
        pictures,
        mut server,
    } = page;

    server.pulses = Pulses::new(pulses);
    [
        Stage::start_unwatched("page-pictures", move || {
            pictures.run();
            Ok(())
        }),
        Stage::start_unwatched("page", move || {
            page::run(server).map_err(|error| Failure::new(Exit::Software, error))
        }),
    ]
}

fn pulses_of<'a>(cameras: &'a [Stage], others: &'a [Stage]) -> Vec<(&'a str, &'a Heartbeat)> {
    let stages = cameras.iter().chain(others);
    stages.filter_map(Stage::pulse).collect()
}

/// Unwatched: no verdict waits for the control socket, which lies beside the `store`'s file.
fn start_control(store: &Path, wiring: ControlWiring) -> Stage {
    // The socket's name follows the store's, so that two lines on one machine have two sockets.
    let socket = socket_path(store);
    Stage::start_unwatched("control", move || {
        server::run(&socket, wiring).map_err(|error| Failure::new(Exit::Software, error))
    })
}

/// Time between two looks of the main thread at signals and ended stages.
pub const WATCH: Duration = Duration::from_millis(50);

/// Waits until the line has ended, or until `stop_asked` returns true. Returns the time that it took.
pub fn wait(line: &Line, mut stop_asked: impl FnMut() -> bool) -> Duration {
    // Polling is enough: a stop may come 50 ms late, and no channel can wait for signals, threads
    // and stages at once.
    let started = Instant::now();
    while !line.has_ended() && !stop_asked() {
        std::thread::sleep(WATCH);
    }

    started.elapsed()
}
