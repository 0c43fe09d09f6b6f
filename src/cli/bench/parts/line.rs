//! The line that is measured: all stages of a running line but the inspector, whose place a stage
//! takes that passes every part at once.

use super::arguments::PartsArguments;
use crate::base::exit::{Exit, Failure};
use crate::base::live::Live;
use crate::base::stop::{Stop, Stopper, stop_pair};
use crate::base::systemd::Heartbeat;
use crate::data::counters::Outcome;
use crate::data::frame::{CapturedBy, Frame};
use crate::data::grid::Grid;
use crate::data::map::Map;
use crate::data::part::{Part, PartTiming};
use crate::data::picture::Picture;
use crate::data::report::{DecisionPolicy, Report};
use crate::data::verdict::{OnUndecided, Reason, Verdict};
use crate::line::admission::{Admission, PartSource};
use crate::line::answer_cache::AnswerCache;
use crate::line::camera_group::CameraGroup;
use crate::line::commands::CommandHandler;
use crate::line::control::LineControl;
use crate::line::queue::{FrameReceiver, Overflow, frame_queue};
use crate::line::shared::Shared;
use crate::line::views::ViewJoiner;
use crate::line::{Channels, DoorSettings, Opening, publisher_wiring};
use crate::mqtt::{Heatmaps, MqttSettings, publisher};
use crate::protocol::birth::Identity;
use crate::protocol::recipe_number::RecipeNumbers;
use crate::protocol::result::{self, ResultRow};
use crate::recipe::active::RecipePolicy;
use crate::store::{
    KeyValue, OpenStore, Outbox, Reject, ResultPolicy, Store, StoreSettings, StoreWriter, Sync,
};
use crate::trigger::{RingSettings, Trigger};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Name of the only camera.
const CAMERA: &str = "bench";
/// Time from a trigger until its part is undecided.
const DEADLINE: Duration = Duration::from_millis(1000);
/// Number of parts of the backlog that are made at once.
const TOGETHER: usize = 250;
/// Frames of parts that may wait.
const FRAMES: usize = 1000;
/// Frames that the fake inspector takes at once.
const BATCH: usize = 64;

/// A running line without an inspector.
pub struct BenchLine {
    /// Time until the store was open, with the results of an earlier run in it.
    pub opened_in: Duration,
    /// The results that wait for the broker.
    pub outbox: Arc<Outbox>,
    stopper: Stopper,
    threads: Vec<JoinHandle<()>>,
    publisher: JoinHandle<std::io::Result<()>>,
    judged: JudgedParts,
}

/// Parts as the fake inspector had them; the times of their stages go on being noted.
type JudgedParts = Arc<Mutex<Vec<Part>>>;

impl BenchLine {
    /// Starts a line on the store `file`.
    ///
    /// # Errors
    /// When the store cannot be opened.
    pub fn start(arguments: &PartsArguments, file: &Path) -> Result<Self, Failure> {
        // The store is opened as `run` opens it, with the results of an earlier run in it.
        let run_id = ulid::Ulid::generate().to_string();
        let began = Instant::now();
        let opening = Opening::open(settings(file.to_owned(), arguments.sync()), &run_id)?;
        let opened_in = began.elapsed();

        // What all stages share: the store's handle, control, counters.
        let identity = identity(&run_id);
        let shared = Shared::new(
            &opening,
            &[CAMERA],
            ViewJoiner::default(),
            recipe_policy(),
            identity.clone(),
        );

        // The camera's queue refuses instead of dropping: parts of a command must all be judged.
        let (frames, mut queue) = frame_queue(&[Overflow::Refuse { capacity: FRAMES }]);
        let parts = part_source(shared.control.clone());
        let admission = Admission::new(&shared, parts.clone(), &trigger(), queue.remove(0));
        let admission = Arc::new(admission);

        // All other ends are dropped, so that the publisher ends with the command handler.
        let Channels {
            commands,
            publisher,
            ..
        } = Channels::new(&shared, None);

        // One camera is a group of one; recipes and challenges have no part in the measurement.
        let group = CameraGroup {
            source: parts,
            cameras: vec![admission.clone()],
            requires_at: false,
        };

        // Answers of an earlier run are taken over, as in `run`: an id that was used is answered
        // again.
        let commands = CommandHandler::new(
            &shared,
            BTreeMap::new(),
            vec![group],
            Live::default(),
            AnswerCache::new(opening.recovered.answers, Instant::now()),
            commands,
        );

        // The publisher connects when its thread starts. The birth, for which the PLC waits, comes
        // right after the subscription.
        let wiring = publisher_wiring(&shared, doors(), publisher);
        let settings = mqtt_settings(arguments);
        let writer = writer(opening.open_store, &run_id);
        let outbox = shared.store.outbox().clone();

        // Parts are kept with their times: later stages, such as the PUBACK, go on writing into
        // them.
        let judged = JudgedParts::default();
        let own_judged = judged.clone();
        let (stopper, stop) = stop_pair();
        let commands_stop = stop.clone();
        let between = Duration::from_millis(arguments.frame_ms);

        // Threads have no names and no watchdog: a stage that panics ends the bench at its join.
        let threads = vec![
            thread::spawn(move || writer.run(&Heartbeat::default())),
            thread::spawn(move || pass_all(&frames, &shared.store, &own_judged)),
            thread::spawn(move || commands.run(&commands_stop, &Heartbeat::default())),
            thread::spawn(move || show_frames(&admission, &stop, between)),
        ];

        Ok(BenchLine {
            opened_in,
            outbox,
            stopper,
            threads,
            publisher: thread::spawn(move || publisher::run(settings, identity, wiring)),
            judged,
        })
    }

    /// Stops the line and returns all parts that were judged, with the times of their stages.
    ///
    /// # Errors
    /// When the publisher failed.
    pub fn finish(self) -> Result<Vec<Part>, Failure> {
        // The camera and the command handler end first; queue, writer and publisher end with their
        // inputs.
        drop(self.stopper);

        for thread in self.threads {
            thread.join().expect("no stage panics");
        }

        // All threads have ended, so that the lock is free and no time is still being written.
        let published = self.publisher.join().expect("the publisher does not panic");
        published.map_err(|error| Failure::new(Exit::Software, error))?;
        let mut judged = self
            .judged
            .lock()
            .expect("the fake inspector does not panic");

        Ok(std::mem::take(&mut *judged))
    }
}

/// Makes the results of an earlier run that judged `count` parts and reached no broker.
///
/// # Errors
/// When the store cannot be opened.
pub fn fill(file: &Path, count: usize) -> Result<(), Failure> {
    // An earlier run is made by the store's own means, without a disk sync for each part.
    let opening = Opening::open(settings(file.to_owned(), Sync::Normal), "01BACKLOG")?;
    let store = opening.store;
    let writer = writer(opening.open_store, "01BACKLOG");
    let writer = thread::spawn(move || writer.run(&Heartbeat::default()));

    // No publisher runs: the results stay in the store as if the broker had been away.
    let control = LineControl::new(recipe_policy(), &BTreeMap::new(), opening.diagnostics);
    let parts = part_source(control);

    // Parts are accepted and judged 250 at a time, which bounds the memory and the transactions.
    for start in (0..count).step_by(TOGETHER) {
        let request = parts.ask(Instant::now(), jiff::Timestamp::now(), Instant::now());
        let requests = vec![request; TOGETHER.min(count - start)];
        let parts = store
            .accept_durable(requests)
            .map_err(|error| Failure::new(Exit::Software, error))?;

        store.submit(parts.into_iter().map(pass).collect());
    }

    // The last handle ends the writer, which commits what it has.
    drop(store);
    writer.join().expect("the store's writer does not panic");

    Ok(())
}

/// The fake inspector: passes every part at once.
fn pass_all(frames: &FrameReceiver, store: &Store, judged: &JudgedParts) {
    loop {
        // An empty batch is the end of the camera: the store is closed so that its writer ends.
        let batch = frames.take(BATCH, &Heartbeat::default(), &mut || ());

        if batch.is_empty() {
            store.close();
            return;
        }

        for queued in batch {
            // The order is that of the inspector: the ticket is settled, then the reports go to the
            // store.
            if let Some(ticket) = queued.ticket {
                ticket.settle(Outcome::Judged);
            }

            let mut judged = judged.lock().expect("no code panics while holding them");
            judged.extend(queued.parts.iter().cloned());
            drop(judged);
            store.submit(queued.parts.into_iter().map(pass).collect());
        }
    }
}

/// A camera with so much time `between` two frames.
fn show_frames(admission: &Admission, stop: &Stop, between: Duration) {
    // One pixel is shared by all frames: a frame costs an allocation or two.
    let picture = Arc::new(Picture::new(1, 1, vec![0; 3]).expect("three bytes"));

    while !stop.stopped_within(between) {
        admission.on_frame(Frame {
            camera: CAMERA.into(),
            picture: picture.clone(),
            captured_at: jiff::Timestamp::now(),
            captured_by: CapturedBy::Arrival,
            captured: Instant::now(),
            arrived: Instant::now(),
            damage: None,
            decode: None,
            clock_offset: None,
            part_id: None,
        });
    }
}

/// A passing verdict with a map of the usual size.
fn pass(part: Part) -> Report {
    // A report begins undecided and becomes a pass with a score and a map, which the message
    // carries as for a real part.
    let mut report = Report::undecided(part, Reason::NotReady, &decision_policy());
    report.verdict = Verdict::Pass;
    report.reason = None;
    report.score = Some(0.1);
    report.map = Some(Map::new(Grid::square(16), vec![0.1; 256]));

    report
}

fn part_source(control: LineControl) -> PartSource {
    PartSource {
        camera: CAMERA.into(),
        timing: Live::new(PartTiming {
            deadline: DEADLINE,
            ..PartTiming::default()
        }),
        control,
    }
}

/// Doors of a line whose triggers say no time.
fn doors() -> DoorSettings {
    DoorSettings {
        times_triggers: true,
        ..DoorSettings::default()
    }
}

fn trigger() -> Trigger {
    Trigger::Command(RingSettings {
        bytes: 1 << 10,
        window: Duration::from_secs(1),
        shares_frames: true,
    })
}

fn recipe_policy() -> RecipePolicy {
    RecipePolicy {
        regions: vec![(None, decision_policy())],
        ..RecipePolicy::default()
    }
}

fn decision_policy() -> DecisionPolicy {
    DecisionPolicy {
        recipe: "bench@1".into(),
        threshold: Some(0.5),
        on_undecided: OnUndecided::Fail,
    }
}

fn settings(file: PathBuf, sync: Sync) -> StoreSettings {
    StoreSettings {
        file,
        sync,
        waiting_max: 10_000_000,
        keep: Duration::from_secs(86_400),
        keep_bytes: 10 << 30,
        reject_window: Duration::from_secs(1),
    }
}

fn mqtt_settings(arguments: &PartsArguments) -> MqttSettings {
    MqttSettings {
        host: arguments.host.clone(),
        port: arguments.port,
        client_id: format!("winspect-bench-{}", std::process::id()),
        user: None,
        password: None,
        tls: None,
        heatmaps: Heatmaps::None,
        timed_reject: false,
        plc: false,
    }
}

fn identity(run_id: &str) -> Identity {
    Identity {
        prefix: "winspect-bench".to_owned(),
        station: std::process::id().to_string(),
        run_id: run_id.to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        cameras: vec![],
        recipe: "bench@1".to_owned(),
        model: "none".to_owned(),
        backend: "none".to_owned(),
        device: "cpu".to_owned(),
        references: 0,
        gallery: None,
        threshold: Some(0.5),
        regions: BTreeMap::new(),
        recipes: vec![],
        recipe_numbers: RecipeNumbers::default(),
        places: vec![],
        previous: vec![],
    }
}

/// Passes every part; no gate, no challenge, no other view.
struct BenchPolicy {
    identity: Identity,
}

impl ResultPolicy for BenchPolicy {
    fn policy_for(&self, _: &Part) -> DecisionPolicy {
        decision_policy()
    }

    fn at_deadline(&self, undecided: Report) -> Report {
        undecided
    }

    fn on_result(&self, _: &Report) -> Vec<KeyValue> {
        vec![]
    }

    fn on_released(&self, _row: &ResultRow) {}

    fn encode(&self, report: &Report) -> ResultRow {
        result::row(report, &self.identity)
    }

    fn reject_message(&self, _: &Report) -> Option<Reject> {
        None
    }
}

fn writer(open_store: OpenStore, run_id: &str) -> StoreWriter {
    let identity = identity(run_id);

    StoreWriter::new(open_store, BenchPolicy { identity })
}
