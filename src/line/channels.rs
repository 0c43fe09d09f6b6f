//! The bounded channels between the stages of a line; each stage is given its ends.

use crate::base::systemd::Heartbeat;
use crate::data::report::JudgedFrame;
use crate::line::changeover::ChangeoverEnds;
use crate::line::commands::CommandEnds;
use crate::line::inspect::InspectEnds;
use crate::line::overlays::OverlayEnds;
use crate::line::shared::Shared;
use crate::mqtt::publisher::{BestEffort, ORDERS, Reply, Request, Wiring};
use crossbeam::channel::{Sender, bounded};
use tokio::sync::mpsc;

/// Capacity for judged frames on their way to the overlay stage. A frame beyond it is not drawn.
const JUDGED_FRAMES: usize = 2;
/// Capacity for heat maps and changes of state on their way to the publisher. When it is full, heat
/// maps are dropped and counted; senders of everything else block.
const EVENTS: usize = 64;
/// Capacity for answers on their way to the publisher. The command handler blocks when it is full.
const REPLIES: usize = 2 * ORDERS as usize;
/// Capacity for snapshots. A command for one more is rejected.
const SNAPSHOTS: usize = 1;
/// Capacity for recipes to prepare, and for a prepared one. A command for one more is rejected.
const RECIPES: usize = 1;

/// The ends of all channels, by stage. The queue of frames is in [`crate::line::queue`], the outbox
/// in the store.
pub struct Channels {
    /// Status of the cameras to the publisher.
    pub camera_events: mpsc::Sender<BestEffort>,
    pub inspect: InspectEnds,
    pub commands: CommandEnds,
    pub changeover: ChangeoverEnds,
    pub overlays: OverlayEnds,
    /// Finished pictures to the publisher.
    pub overlay_events: mpsc::Sender<BestEffort>,
    pub publisher: PublisherEnds,
}

/// The publisher's ends.
pub struct PublisherEnds {
    /// Heat maps, snapshots and changes of state to publish.
    pub events: mpsc::Receiver<BestEffort>,
    /// Commands that were received, to the command handler.
    pub requests: Sender<Request>,
    /// Answers to publish.
    pub replies: mpsc::Receiver<Reply>,
}

impl Channels {
    /// Makes all channels of a line.
    pub fn new() -> Self {
        let (events, events_end) = mpsc::channel(EVENTS);
        let (replies, replies_end) = mpsc::channel(REPLIES);
        let (requests, requests_end) = bounded(ORDERS.into());
        let (judged, judged_end) = bounded::<JudgedFrame>(JUDGED_FRAMES);
        let (snapshots, snapshots_end) = bounded(SNAPSHOTS);
        let (recipes, recipes_end) = bounded(RECIPES);
        let (swaps, swaps_end) = bounded(RECIPES);
        Channels {
            camera_events: events.clone(),
            inspect: InspectEnds {
                swaps: swaps_end,
                judged,
            },
            commands: CommandEnds {
                requests: requests_end,
                replies: replies.clone(),
                events: events.clone(),
                snapshots,
                recipes,
            },
            changeover: ChangeoverEnds {
                recipes: recipes_end,
                swaps,
                replies,
                events: events.clone(),
            },
            overlays: OverlayEnds {
                judged: judged_end,
                snapshots: snapshots_end,
            },
            overlay_events: events,
            publisher: PublisherEnds {
                events: events_end,
                requests,
                replies: replies_end,
            },
        }
    }
}

/// Connects the publisher with a line; `is_continuous` as in [`Shared::condition`].
pub fn publisher_wiring(shared: &Shared, is_continuous: bool, ends: PublisherEnds) -> Wiring {
    let of_condition = shared.clone();
    let of_metrics = shared.clone();
    Wiring {
        store: shared.store.clone(),
        side: ends.events,
        orders: ends.requests,
        answers: ends.replies,
        condition: Box::new(move || of_condition.condition(is_continuous)),
        metrics: Box::new(move || of_metrics.metrics()),
        pulse: Heartbeat::default(),
    }
}
