//! The bounded channels between the stages of a line; each stage is given its ends.

use crate::base::live::Live;
use crate::base::systemd::Heartbeat;
use crate::config::ConfigKeys;
use crate::control::server::ControlWiring;
use crate::data::shown_part::ShownPart;
use crate::line::changeover::ChangeoverEnds;
use crate::line::commands::CommandEnds;
use crate::line::events::{Events, Watchers};
use crate::line::evidence::EvidenceSender;
use crate::line::inspect::InspectEnds;
use crate::line::lessons::WAITING;
use crate::line::live_settings::ReloadRequest;
use crate::line::overlays::OverlayEnds;
use crate::line::recipe_rows::RecipeRows;
use crate::line::shadow::stage::PreparedShadow;
use crate::line::shared::Shared;
use crate::line::what_if::WhatIfEnds;
use crate::mqtt::publisher::PublisherWiring;
use crate::mqtt::session::COMMANDS_MAX;
use crate::page::teach::source::TeachSource;
use crate::page::{Bound, FrameSlots, LineFacts, PagePictures, PageWiring, Pulses, frame_slots};
use crate::protocol::event::{Event, EventReceiver};
use crate::protocol::request::Request;
use crossbeam::channel::{Receiver, Sender, bounded};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use tokio::sync::mpsc;

/// Capacity for judged parts on their way to the overlay stage. A part beyond it is not drawn.
const JUDGED_PARTS: usize = 2;
/// Capacity for snapshots. A command for one more is rejected.
const SNAPSHOTS: usize = 1;
/// Capacity for recipes to prepare, and for a prepared one. A command for one more is rejected.
const RECIPES: usize = 1;
/// Capacity for wishes to read the line's file again. A later signal waits, a later command is rejected.
const RELOADS: usize = 1;

/// The ends of all channels, by stage. The queue of frames is in [`crate::line::queue`], the outbox
/// in the store.
pub struct Channels {
    /// Status of the cameras.
    pub camera_events: Events,
    /// Ends of the inspect stage.
    pub inspect: InspectEnds,
    /// Ends of the command handler.
    pub commands: CommandEnds,
    /// Ends of the changeover.
    pub changeover: ChangeoverEnds,
    /// Ends of the what-if stage.
    pub what_if: WhatIfEnds,
    /// Ends of the overlay stage.
    pub overlays: OverlayEnds,
    /// Finished pictures.
    pub overlay_events: Events,
    /// Revisions that judge in the shadow, for the shadow stage.
    pub shadows: Receiver<PreparedShadow>,
    /// Parts on which line and shadow differ.
    pub shadow_events: Events,
    /// Results, for watchers.
    pub watchers: Watchers,
    /// Ends of the publisher.
    pub publisher: PublisherEnds,
    /// Ends of the control socket's server.
    pub control: ControlEnds,
    /// Ends of the page's server.
    pub page: PageEnds,
    /// The newest judged frames, for the page.
    pub page_frames: FrameSlots,
    /// Wishes to read the line's file again, to the changeover.
    pub reloads: Sender<ReloadRequest>,
}

/// The publisher's ends.
pub struct PublisherEnds {
    /// Heat maps, snapshots and changes of state to publish.
    pub events: mpsc::Receiver<Event>,
    /// Commands that were received, to the command handler.
    pub requests: Sender<Request>,
}

/// The control socket's ends.
pub struct ControlEnds {
    /// Results and changes of state to tell watchers.
    pub events: EventReceiver,
    /// Commands that were received, to the command handler.
    pub requests: Sender<Request>,
}

/// The page's ends.
pub struct PageEnds {
    /// Results and changes of state to show.
    pub events: EventReceiver,
    /// Commands of signed-in users, to the command handler.
    pub requests: Sender<Request>,
}

impl Channels {
    /// Makes all channels of a line; `evidence` takes the parts that are kept.
    pub fn new(shared: &Shared, evidence: Option<EvidenceSender>) -> Self {
        let (events, event_ends) = Events::new(shared.publisher.clone());
        let (requests, requests_end) = bounded(COMMANDS_MAX.into());
        let (judged, judged_end) = bounded::<ShownPart>(JUDGED_PARTS);

        let (snapshots, snapshots_end) = bounded(SNAPSHOTS);
        let (recipes, recipes_end) = bounded(RECIPES);
        let (what_ifs, what_ifs_end) = bounded(RECIPES);

        let (swaps, swaps_end) = bounded(RECIPES);
        let (lesson, lesson_end) = bounded(WAITING);
        let (shadows, shadows_end) = bounded(RECIPES);

        let (shown, page_frames) = frame_slots();
        let (reloads, reloads_end) = bounded(RELOADS);
        Channels {
            camera_events: events.clone(),
            inspect: InspectEnds {
                swaps: swaps_end,
                judged,
                shown,
                evidence,
                lesson,
            },
            commands: CommandEnds {
                requests: requests_end,
                events: events.clone(),
                snapshots,
                recipes,
                what_ifs,
                reloads: reloads.clone(),
            },
            what_if: WhatIfEnds::new(shared, what_ifs_end, events.clone()),
            changeover: ChangeoverEnds {
                recipes: recipes_end,
                reloads: reloads_end,
                pictures: lesson_end,
                swaps,
                shadows,
                events: events.clone(),
            },
            shadows: shadows_end,
            shadow_events: events.clone(),
            overlays: OverlayEnds {
                judged: judged_end,
                snapshots: snapshots_end,
            },
            watchers: events.watchers(),
            overlay_events: events,
            publisher: PublisherEnds {
                events: event_ends.publisher.events,
                requests: requests.clone(),
            },
            control: ControlEnds {
                events: event_ends.control,
                requests: requests.clone(),
            },
            page: PageEnds {
                events: event_ends.page,
                requests,
            },
            page_frames,
            reloads,
        }
    }
}

/// Values of a line that its doors need.
#[derive(Debug, Clone, Default)]
pub struct DoorSettings {
    /// True where a camera's frames become parts without a trigger.
    pub is_continuous: bool,
    /// True where a camera waits for commands.
    pub needs_commands: bool,
    /// True where triggers may come that say no time.
    pub times_triggers: bool,
    /// Names under which parts come: cameras, and the names that several share.
    pub part_cameras: Vec<Arc<str>>,
    /// Retained topics as an earlier run kept them.
    pub retained: String,
}

/// Connects the publisher with a line.
pub fn publisher_wiring(
    shared: &Shared,
    settings: DoorSettings,
    ends: PublisherEnds,
) -> PublisherWiring {
    let of_condition = shared.view();
    let of_metrics = shared.view();
    let of_plc = shared.view();
    let is_continuous = settings.is_continuous;
    PublisherWiring {
        store: shared.store.clone(),
        events: ends.events,
        requests: ends.requests,
        condition: Box::new(move || of_condition.condition(is_continuous)),
        plc_state: Arc::new(move || of_plc.plc_state(is_continuous)),
        metrics: Box::new(move || of_metrics.metrics()),
        times_triggers: settings.times_triggers,
        pulse: Heartbeat::default(),
        causes: shared.diagnostics.clone(),
        broker: shared.broker.clone(),
        pictures_dropped: shared.publisher.clone(),
        needs_commands: settings.needs_commands,
        part_cameras: settings.part_cameras,
        retained: settings.retained,
    }
}

/// Files and folders of a page.
pub struct PageFiles {
    /// Folder of the store, whose disk is told.
    pub store_folder: PathBuf,
    /// The users' file.
    pub users: PathBuf,
    /// The line's file.
    pub line: PathBuf,
    /// The store's file.
    pub store: PathBuf,
    /// What is kept and for how long, in sentences.
    pub kept: Vec<String>,
    /// The configuration that is in force, by key.
    pub keys: Live<ConfigKeys>,
}

/// Connects the page with a line, on an address that was bound; `is_continuous` as in
/// [`LineView::condition`](crate::line::shared::LineView::condition). Signs of life come when the stages run.
pub fn page_wiring(
    shared: &Shared,
    is_continuous: bool,
    settings: PageFiles,
    bound: Bound,
    ends: PageEnds,
    (recipes, teach): (RecipeRows, TeachSource),
) -> PageWiring {
    let view = shared.view();
    let identity = shared.identity.clone();
    let store = shared.store.clone();

    let checks = shared.control.checks.clone();
    let of_status = shared.view();
    let keys = settings.keys;
    let nearest = shared.nearest.clone();
    PageWiring {
        bound,
        events: ends.events,
        requests: ends.requests,
        audit: Box::new(move |words| store.audit(words)),
        causes: shared.diagnostics.clone(),
        store: shared.store.clone(),
        users: settings.users,
        facts: LineFacts {
            line: settings.line,
            kept: settings.kept,
            store: settings.store,
            configuration: Box::new(move || keys.now().told()),
            status: Box::new(move || {
                let status = of_status.status(is_continuous);
                serde_json::to_string_pretty(&status).expect("plain values")
            }),
        },
        evidence: shared.evidence.clone(),
        teach,
        recipes: Arc::new(move || {
            let judging = identity
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recipe
                .clone();
            recipes.read(&judging)
        }),
        checks: Box::new(move |most| checks.newest(most)),
        nearest: Box::new(move |stem| nearest.ask(stem)),
        lenses: shared.lenses.clone(),
        now: Box::new(move || view.now(is_continuous)),
        pictures: PagePictures::default(),
        pulses: Pulses::new([]),
        store_folder: settings.store_folder,
    }
}

/// Connects the control socket with a line; `is_continuous` as in [`LineView::condition`](crate::line::shared::LineView::condition).
pub fn control_wiring(shared: &Shared, is_continuous: bool, ends: ControlEnds) -> ControlWiring {
    let view = shared.view();
    let checks = shared.control.checks.clone();
    ControlWiring {
        requests: ends.requests,
        events: ends.events,
        status: Box::new(move || view.status(is_continuous)),
        shift_checks: Box::new(move |most| checks.newest(most)),
        store: shared.store.clone(),
        causes: shared.diagnostics.clone(),
    }
}
