//! The fan-out of a line's events to bounded listeners: the broker's publisher, the control socket and
//! the page. No listener can hold up a verdict.
//!
//! ```text
//! camera, commands, changeover, overlays, shadow --tell--> Events --+--> publisher (64)
//! store ---------------------results-----------> Watchers --+--> control  (256)
//!                                                           +--> page     (256)
//! ```
//! | event | publisher, when full | control and page, when full |
//! |---|---|---|
//! | camera status, identity, outcome | waits for room | dropped and counted |
//! | snapshot | waits for room: it was promised | never told |
//! | heat map | dropped and counted | never told |
//! | difference of the shadow | waits for room | dropped and counted |
//! | result | never told: the outbox has it | dropped and counted |
//!
//! The store tells results through [`Watchers`], which cannot wait. It leaves after the publisher,
//! whose acknowledgements it writes, so it must hold neither the publisher's channel open nor the
//! watchers'.
//!
//! So only the camera threads (at a change of their state), the command handler, the changeover,
//! the overlay stage and the shadow ever wait here, and never the inspector nor the store. A control socket
//! that nobody watches is told nothing, nor is a page that the line does not have.

use crate::data::result::ResultRow;
use crate::protocol::event::{Event, EventReceiver, ListenerState, PartResult};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Capacity of the publisher's channel.
const PUBLISHER_WAITING: usize = 64;
/// Capacity of the channel of each of the watchers: the control socket, and the page.
const WATCHER_WAITING: usize = 256;

/// Fate of an event when a listener's channel is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// The teller waits for room.
    Wait,
    /// The event is dropped and counted.
    Drop,
    /// The listener is not told at all.
    Ignore,
}

/// Sending end of the fan-out. A clone is cheap.
#[derive(Debug, Clone)]
pub struct Events {
    publisher: Listener,
    control: Listener,
    page: Listener,
}

/// Sending end of one listener.
#[derive(Debug, Clone)]
struct Listener {
    sender: mpsc::Sender<Event>,
    state: Arc<ListenerState>,
}

/// Receiving ends of the fan-out.
#[derive(Debug)]
pub struct EventReceivers {
    /// The MQTT publisher's end.
    pub publisher: EventReceiver,
    /// The control socket's end.
    pub control: EventReceiver,
    /// The page's end.
    pub page: EventReceiver,
}

impl Events {
    /// The fan-out and its receiving ends; `publisher` counts what the publisher misses.
    pub fn new(publisher: Arc<ListenerState>) -> (Events, EventReceivers) {
        Events::with_capacities(publisher, PUBLISHER_WAITING, WATCHER_WAITING)
    }

    fn with_capacities(
        state: Arc<ListenerState>,
        publisher: usize,
        watcher: usize,
    ) -> (Events, EventReceivers) {
        // The publisher always listens. The control socket is told nothing until a watcher
        // connects, and the page before it runs, so that an unwatched line pays nothing for them.
        let (to_publisher, at_publisher) = listener(publisher, state);
        let (to_control, at_control) = listener(watcher, Arc::default());
        let (to_page, at_page) = listener(watcher, Arc::default());
        at_publisher.state.listen(true);
        let events = Events {
            publisher: to_publisher,
            control: to_control,
            page: to_page,
        };

        let receivers = EventReceivers {
            publisher: at_publisher,
            control: at_control,
            page: at_page,
        };

        (events, receivers)
    }

    /// Tells every listener, by its policy. Blocks where a policy says `Wait`.
    pub fn tell(&self, event: Event) {
        self.control.tell(&event, watcher_policy(&event));
        self.page.tell(&event, watcher_policy(&event));
        self.publisher.tell(&event, publisher_policy(&event));
    }

    /// The same for results.
    pub fn watchers(&self) -> Watchers {
        Watchers {
            listeners: [&self.control, &self.page].map(Listener::watcher),
        }
    }
}

/// Sending end for results: to the control socket and the page, without ever waiting.
/// No channel stays open for it: the store has it, and both watchers have the store's counters, so that
/// none of them would ever leave.
#[derive(Debug, Clone)]
pub struct Watchers {
    listeners: [Watcher; 2],
}

/// One of [`Watchers`].
#[derive(Debug, Clone)]
struct Watcher {
    sender: mpsc::WeakSender<Event>,
    state: Arc<ListenerState>,
}

impl Watchers {
    /// Tells those of a result who listen.
    pub fn tell(&self, row: &ResultRow) {
        let is_heard = |watcher: &&Watcher| watcher.state.is_listening();
        if !self.listeners.iter().any(|watcher| is_heard(&watcher)) {
            return;
        }

        let result = Event::Result(Arc::new(PartResult::of(row)));
        for watcher in self.listeners.iter().filter(is_heard) {
            watcher.tell(&result);
        }
    }
}

impl Watcher {
    fn tell(&self, result: &Event) {
        let Some(sender) = self.sender.upgrade() else {
            return; // the line is stopping
        };

        let state = self.state.clone();
        Listener { sender, state }.tell(result, Policy::Drop);
    }
}

fn listener(capacity: usize, state: Arc<ListenerState>) -> (Listener, EventReceiver) {
    let (sender, events) = mpsc::channel(capacity);
    let receiver = EventReceiver {
        events,
        state: state.clone(),
    };

    (Listener { sender, state }, receiver)
}

impl Listener {
    fn watcher(&self) -> Watcher {
        Watcher {
            sender: self.sender.downgrade(),
            state: self.state.clone(),
        }
    }

    fn tell(&self, event: &Event, policy: Policy) {
        if policy == Policy::Ignore || !self.state.is_listening() {
            return;
        }

        // Trying first keeps the common path free of waiting; only an event that must not be lost
        // waits for room.
        match self.sender.try_send(event.clone()) {
            Ok(()) => {}
            // The listener being gone means that the line is ending.
            Err(TrySendError::Full(event)) if policy == Policy::Wait => {
                let _ = self.sender.blocking_send(event);
            }
            Err(_) => self.state.miss(),
        }
    }
}

fn publisher_policy(event: &Event) -> Policy {
    match event {
        Event::Camera { .. } | Event::Identity(_) | Event::Outcome(_) => Policy::Wait,
        Event::Snapshot { .. } => Policy::Wait,
        // The shadow alone waits, whom no one waits for.
        Event::Difference(_) => Policy::Wait,
        Event::Heatmap { .. } => Policy::Drop,
        Event::Result(_) => Policy::Ignore,
    }
}

fn watcher_policy(event: &Event) -> Policy {
    match event {
        Event::Camera { .. } | Event::Identity(_) | Event::Outcome(_) => Policy::Drop,
        Event::Result(_) | Event::Difference(_) => Policy::Drop,
        Event::Heatmap { .. } | Event::Snapshot { .. } => Policy::Ignore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::{CameraState, CameraStatus};
    use crate::data::report::tests::report;
    use crate::data::result::tests::row;
    use jiff::Timestamp;
    use std::time::Duration;

    fn heatmap() -> Event {
        Event::Heatmap {
            report: Arc::new(report(1)),
            png: Arc::from([0; 4]),
        }
    }

    fn camera() -> Event {
        let status = CameraStatus {
            state: CameraState::Online,
            since: Timestamp::UNIX_EPOCH,
            retries: 0,
            last_reason: None,
            clock_offset: None,
        };

        Event::Camera {
            name: "top".into(),
            status,
        }
    }

    #[test]
    fn results_never_wait_and_what_a_watcher_misses_is_counted() {
        let (events, mut ends) = Events::with_capacities(Arc::default(), 1, 2);
        ends.control.state.listen(true);
        for _ in 0..5 {
            events.watchers().tell(&row("top", 1));
        }

        assert_eq!(ends.control.state.missed(), 3);
        assert!(ends.control.events.try_recv().is_ok());
        assert!(ends.publisher.events.try_recv().is_err());
        assert_eq!(ends.publisher.state.missed(), 0);
    }

    #[test]
    fn a_page_that_is_behind_costs_the_socket_nothing() {
        let (events, mut ends) = Events::with_capacities(Arc::default(), 1, 1);
        ends.control.state.listen(true);
        ends.page.state.listen(true);
        for seq in 1..4 {
            events.watchers().tell(&row("top", seq));
            assert!(ends.control.events.try_recv().is_ok());
        }

        assert_eq!(ends.control.state.missed(), 0);
        assert_eq!(ends.page.state.missed(), 2);
    }

    #[test]
    fn a_socket_that_no_one_watches_is_told_nothing() {
        let (events, mut ends) = Events::with_capacities(Arc::default(), 1, 1);
        events.watchers().tell(&row("top", 1));
        events.tell(camera());
        assert!(ends.control.events.try_recv().is_err());
        assert_eq!(ends.control.state.missed(), 0);
        assert!(ends.publisher.events.try_recv().is_ok());
    }

    #[test]
    fn a_heat_map_is_dropped_where_a_camera_waits_for_room() {
        let (events, mut ends) = Events::with_capacities(Arc::default(), 1, 1);
        events.tell(heatmap());
        events.tell(heatmap());
        assert_eq!(ends.publisher.state.missed(), 1);
        let teller = std::thread::spawn(move || events.tell(camera()));
        std::thread::sleep(Duration::from_millis(20));
        assert!(!teller.is_finished());
        let first = ends.publisher.events.blocking_recv();
        assert!(matches!(first, Some(Event::Heatmap { .. })));
        let second = ends.publisher.events.blocking_recv();
        assert!(matches!(second, Some(Event::Camera { .. })));
        teller.join().expect("no panic");
        // The last sender has left: the line has ended.
        assert!(ends.publisher.events.blocking_recv().is_none());
    }

    #[test]
    fn a_listener_that_is_gone_holds_nothing_up() {
        let (events, ends) = Events::with_capacities(Arc::default(), 1, 1);
        drop(ends);
        events.tell(camera());
        events.tell(heatmap());
    }
}
