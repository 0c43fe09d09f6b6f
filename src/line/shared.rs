//! The handles that the stages of a line share. Each part has its own lock, held for a moment.

use crate::base::clock;
use crate::base::health::{Diagnostics, Health, LineCondition, LineState};
use crate::camera::{CameraState, CameraStatus};
use crate::control::messages::{LineCamera, LineStatus};
use crate::data::counters::Tally;
use crate::data::evidence_counts::EvidenceCounts;
use crate::data::lens::Lenses;
use crate::data::part_counts::PartCounts;
use crate::data::picture::Picture;
use crate::data::result::whole_ms;
use crate::line::cleanings::Cleanings;
use crate::line::control::{LineControl, THRESHOLD};
use crate::line::hold::Hold;
use crate::line::lessons::Lessons;
use crate::line::nearest::NearestBoard;
use crate::line::opening::Opening;
use crate::line::outcomes::Outcomes;
use crate::line::shadow::handle::Shadow;
use crate::line::views::ViewJoiner;
use crate::page::LineNow;
use crate::protocol::birth::Identity;
use crate::protocol::broker::BrokerLink;
use crate::protocol::condition::{COMMANDS, FENCES, HELD, RESULTS};
use crate::protocol::event::ListenerState;
use crate::protocol::lesson_board::LessonBoard;
use crate::protocol::metrics::{CameraMetrics, Metrics};
use crate::protocol::plc::PlcState;
use crate::recipe::active::RecipePolicy;
use crate::store::{Outbox, Store};
use crate::trigger::OwnClock;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Diagnostics source of the engine.
pub const ENGINE: &str = "engine";
/// Beginning of the diagnostics sources of cameras whose pictures are bad.
pub const PICTURES_OF: &str = "pictures of ";
/// Beginning of the diagnostics sources of cameras whose `presence` can see no part.
pub const PRESENCE_OF: &str = "presence of ";
/// Cause of a health that a hanging commit gives.
const HANGING_COMMIT: &str =
    "store: the disk has not taken a commit for more than a second; results leave from memory";

/// Counters of captured frames and their outcomes, by camera.
pub type Tallies = Arc<BTreeMap<String, Arc<Tally>>>;
/// The last status that each camera told.
pub type CameraStates = Arc<Mutex<BTreeMap<Arc<str>, CameraStatus>>>;
/// Each camera's newest frame.
pub type NewestFrames = Arc<Mutex<BTreeMap<Arc<str>, NewestFrame>>>;

/// The newest frame of a camera.
#[derive(Debug, Clone)]
pub struct NewestFrame {
    /// Time of capture.
    pub captured_at: Timestamp,
    /// The picture.
    pub picture: Arc<Picture>,
}

/// Handles of one line, cheap to clone. It holds no channel's sender: a stage's clone must not keep
/// another stage from ending.
#[derive(Clone)]
pub struct Shared {
    /// Accepts parts and takes their results. The store's thread ends when all clones are gone.
    pub store: Store,
    /// Pause, thresholds and challenges.
    pub control: LineControl,
    /// Who has control of the set-up.
    pub hold: Hold,
    /// Faults of the moment, by source.
    pub diagnostics: Diagnostics,
    /// Views of parts that several cameras see.
    pub views: Arc<Mutex<ViewJoiner>>,
    /// Line, run and recipe, as messages name them.
    pub identity: Arc<Mutex<Identity>>,
    /// Counters of frames.
    pub tallies: Tallies,
    /// States of the cameras.
    pub camera_states: CameraStates,
    /// The cameras' newest frames.
    pub newest_frames: NewestFrames,
    /// Results by verdict, and the times of their stages.
    pub part_counts: Arc<PartCounts>,
    /// Whether the broker is there.
    pub broker: BrokerLink,
    /// Outcomes of this run's commands.
    pub outcomes: Outcomes,
    /// Pictures for teaching.
    pub lessons: Lessons,
    /// Lessons and scores, for the page.
    pub board: LessonBoard,
    /// The nearest references of failed parts, for the page.
    pub nearest: NearestBoard,
    /// The revision that judges beside the line, if one does.
    pub shadow: Shadow,
    /// Folder where pictures of parts are kept; `None` where none are.
    pub evidence: Option<Arc<Path>>,
    /// Counters of those parts.
    pub evidence_counts: Arc<EvidenceCounts>,
    /// What the cameras' lenses show.
    pub lenses: Lenses,
    /// Lenses that somebody has cleaned.
    pub cleanings: Cleanings,
    /// This machine's clock, watched for steps.
    pub own_clock: Arc<OwnClock>,
    /// The publisher as a listener of events: how many heat maps found no room.
    pub publisher: Arc<ListenerState>,
}

impl Shared {
    /// `cameras` are the names of all cameras, `views` knows which of them see parts together.
    pub fn new(
        opening: &Opening,
        cameras: &[&str],
        views: ViewJoiner,
        policy: RecipePolicy,
        identity: Identity,
    ) -> Self {
        let kept = &opening.recovered.kept;
        let tallies = cameras
            .iter()
            .map(|camera| ((*camera).to_owned(), Arc::default()));

        Shared {
            store: opening.store.clone(),
            control: LineControl::new(policy, kept, opening.diagnostics.clone()),
            hold: Hold::new(opening.diagnostics.clone()),
            diagnostics: opening.diagnostics.clone(),
            views: Arc::new(Mutex::new(views)),
            identity: Arc::new(Mutex::new(identity)),
            tallies: Arc::new(tallies.collect()),
            camera_states: CameraStates::default(),
            newest_frames: NewestFrames::default(),
            part_counts: Arc::default(),
            broker: BrokerLink::default(),
            outcomes: Outcomes::default(),
            lessons: Lessons::default(),
            board: LessonBoard::default(),
            nearest: NearestBoard::default(),
            shadow: Shadow::default(),
            evidence: None,
            evidence_counts: Arc::default(),
            lenses: Lenses::default(),
            cleanings: Cleanings::default(),
            own_clock: Arc::default(),
            publisher: Arc::default(),
        }
    }

    /// Locks the views.
    pub fn views(&self) -> MutexGuard<'_, ViewJoiner> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns line, run and recipe as they are now.
    pub fn identity(&self) -> Identity {
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);

        identity.clone()
    }

    /// Returns the line as it is told to others.
    pub fn view(&self) -> LineView {
        LineView {
            control: self.control.clone(),
            hold: self.hold.clone(),
            diagnostics: self.diagnostics.clone(),
            identity: self.identity.clone(),
            tallies: self.tallies.clone(),
            camera_states: self.camera_states.clone(),
            publisher: self.publisher.clone(),
            shadow: self.shadow.clone(),
            outbox: self.store.outbox().clone(),
            evidence: self.evidence.as_ref().map(|_| self.evidence_counts.clone()),
            part_counts: self.part_counts.clone(),
            broker: self.broker.clone(),
        }
    }
}

/// The line as it is told to others: to read, and without the store's handle. The control socket
/// ends after the store's thread, so it must not keep the store's thread from ending.
#[derive(Clone)]
pub struct LineView {
    control: LineControl,
    hold: Hold,
    diagnostics: Diagnostics,
    identity: Arc<Mutex<Identity>>,
    tallies: Tallies,
    camera_states: CameraStates,
    publisher: Arc<ListenerState>,
    shadow: Shadow,
    outbox: Arc<Outbox>,
    evidence: Option<Arc<EvidenceCounts>>,
    part_counts: Arc<PartCounts>,
    broker: BrokerLink,
}

impl LineView {
    /// Returns the state of the line as a whole; `is_continuous` is true where a camera's frames
    /// become parts without a trigger.
    pub fn condition(&self, is_continuous: bool) -> LineCondition {
        let (mut health, mut causes) = self.diagnostics.all();

        // A commit that hangs cannot be told by the thread that waits for it.
        if self.outbox.is_commit_hanging() {
            health = health.max(Health::OffSpec);
            causes.push(HANGING_COMMIT.to_owned());
        }

        let state = self.state(is_continuous);

        // A single camera that is lost, blind or frozen is enough: the part that comes now may be
        // its own.
        let executes = matches!(state, LineState::Ready | LineState::ContinuousExecution);
        LineCondition {
            state,
            ready: executes && self.all_cameras_work() && !self.diagnostics.any(keeps_from_judging),
            health,
            causes,
            clock_synchronised: clock::is_synchronised(),
        }
    }

    /// Returns the line as a PLC hears it.
    pub fn plc_state(&self, is_continuous: bool) -> PlcState {
        let condition = self.condition(is_continuous);
        let count = self.outbox.count();
        let recipe = {
            let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            identity.recipe_number()
        };

        let broker = self.broker.state();
        // What the broker refuses alone may stand aside for hours: no PLC waits for that.
        let untold = (count.open + count.waiting).saturating_sub(count.aside);
        let state = PlcState::of(&condition, broker.is_connected, recipe, untold);

        match broker.is_line_ending {
            true => state.halted(),
            false => state,
        }
    }

    fn state(&self, is_continuous: bool) -> LineState {
        if !self.control.can_judge() {
            return LineState::Error;
        }

        if self.control.is_paused() {
            return LineState::Initialized;
        }

        // One camera that works is enough for the state: `ready` and the causes tell of the others.
        let states = self.camera_states();
        let mut shown = states.values();

        if states.is_empty() {
            LineState::Preoperational
        } else if shown.all(|status| is_dead(status.state)) {
            LineState::Error
        } else if is_continuous {
            LineState::ContinuousExecution
        } else {
            LineState::Ready
        }
    }

    /// True if each camera shows pictures, or would at a trigger.
    fn all_cameras_work(&self) -> bool {
        let states = self.camera_states();
        self.tallies.keys().all(|name| {
            let status = states.get(name.as_str());
            status.is_some_and(|status| {
                matches!(status.state, CameraState::Online | CameraState::Idle)
            })
        })
    }

    /// Returns all counters at this moment.
    pub fn metrics(&self) -> Metrics {
        let states = self.camera_states();
        let mut cameras = BTreeMap::new();

        for (name, tally) in self.tallies.iter() {
            let status = states.get(name.as_str());
            let clock_offset = status.and_then(|status| status.clock_offset);
            let camera = CameraMetrics {
                frames: tally.count(),
                clock_offset_ms: clock_offset.map(whole_ms),
                unseen_mm: tally.unseen_mm(),
            };

            cameras.insert(name.clone(), camera);
        }

        Metrics {
            cameras,
            store: self.outbox.count(),
            heatmaps_dropped: self.publisher.missed(),
            shadow: self.shadow.counts(),
        }
    }

    fn camera_states(&self) -> BTreeMap<Arc<str>, CameraStatus> {
        let states = self.camera_states.lock();

        states.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the whole line at this moment, for the page.
    pub fn now(&self, is_continuous: bool) -> LineNow {
        let identity = self.identity.lock();
        let identity = identity.unwrap_or_else(PoisonError::into_inner).clone();
        let states = self.camera_states();
        let mut cameras = BTreeMap::new();

        for name in self.tallies.keys() {
            cameras.insert(name.clone(), states.get(name.as_str()).cloned());
        }

        LineNow {
            identity,
            condition: self.condition(is_continuous),
            cameras,
            broker: self.broker.state(),
            holder: self.hold.holder(),
            metrics: self.metrics(),
            evidence: self.evidence.as_ref().map(|counts| counts.figures()),
            checks: self.control.checks.figures(),
            // Results come after the store's counters, so that no verdict is missing among them.
            parts: self.part_counts.totals(),
        }
    }

    /// Returns the whole line at this moment, for the control socket.
    pub fn status(&self, is_continuous: bool) -> LineStatus {
        let identity = self
            .identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let metrics = self.metrics();
        let states = self.camera_states();
        let mut cameras = BTreeMap::new();

        for (name, camera) in metrics.cameras {
            let status = states.get(name.as_str());
            let camera = LineCamera {
                state: status.map(|status| status.state),
                frames: camera.frames,
                clock_offset_ms: camera.clock_offset_ms,
            };

            cameras.insert(name, camera);
        }

        LineStatus {
            version: identity.version.to_owned(),
            prefix: identity.prefix,
            station: identity.station,
            run_id: identity.run_id,
            recipe: identity.recipe,
            model: identity.model,
            backend: identity.backend,
            device: identity.device,
            threshold: identity.threshold,
            regions: identity.regions,
            condition: self.condition(is_continuous),
            cameras,
            store: metrics.store,
            heatmaps_dropped: metrics.heatmaps_dropped,
            shadow: metrics.shadow,
        }
    }
}

/// True for a fault under which a part that came now would not be judged, or not be heard of, and while somebody
/// changes what it would be judged by. Others
/// say that a verdict may be wrong (a missed challenge), or that things were lost before.
fn keeps_from_judging(source: &str) -> bool {
    let of_camera = [PICTURES_OF, PRESENCE_OF];
    [ENGINE, THRESHOLD, COMMANDS, FENCES, RESULTS, HELD].contains(&source)
        || of_camera.iter().any(|begin| source.starts_with(begin))
}

fn is_dead(state: CameraState) -> bool {
    matches!(state, CameraState::Stalled | CameraState::Offline)
}
