//! What all requests of the page share: the line to read, the page's memory, and the rendered screens.

use super::assets::Assets;
use super::board::Board;
use super::disk::NewestRoom;
use super::metrics::Readings;
use super::now::LineNow;
use super::painter::PagePictures;
use super::pulses::Pulses;
use super::screen::{Facts, Screen, ScreenName};
use super::{counters, health, live};
use crate::protocol::event::{Event, ListenerState};
use jiff::Timestamp;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time since the last request after which nobody looks.
const UNWATCHED_AFTER: Duration = Duration::from_secs(30);

/// The shared state.
pub struct PageState {
    now: Box<dyn Fn() -> LineNow + Send + Sync>,
    listener: Arc<ListenerState>,
    /// Pictures of parts.
    pub pictures: PagePictures,
    /// Style and script.
    pub assets: Assets,
    board: Mutex<Board>,
    screens: [Mutex<Screen>; 3],
    pulses: Mutex<Pulses>,
    /// Moment of the last request for a screen.
    viewed: Mutex<Option<Instant>>,
    connections: AtomicUsize,
    /// Newest room on the store's disk.
    pub disk: NewestRoom,
    /// The run, which never changes: a picture's address names it, and a look at the whole line would copy all counters.
    run_id: String,
    station: String,
}

impl PageState {
    /// The state of a page that has seen nothing yet; `listener` counts the events that it misses.
    pub fn new(
        now: Box<dyn Fn() -> LineNow + Send + Sync>,
        listener: Arc<ListenerState>,
        pictures: PagePictures,
        pulses: Pulses,
    ) -> Self {
        let identity = now().identity;
        PageState {
            now,
            listener,
            pictures,
            assets: Assets::new(),
            board: Mutex::default(),
            screens: Default::default(),
            pulses: Mutex::new(pulses),
            viewed: Mutex::default(),
            connections: AtomicUsize::new(0),
            disk: NewestRoom::default(),
            run_id: identity.run_id,
            station: identity.station,
        }
    }

    /// Notes how many connections are open.
    pub fn count_connections(&self, connections: usize) {
        self.connections.store(connections, Ordering::Relaxed);
    }

    /// The line now.
    pub fn now(&self) -> LineNow {
        (self.now)()
    }

    /// Name of the line.
    pub fn station(&self) -> &str {
        &self.station
    }

    /// Name of a place by its number, in this run.
    pub fn place(&self, run_id: &str, number: usize) -> Option<String> {
        if self.run_id != run_id {
            return None;
        }

        self.board().place_of(number).map(str::to_owned)
    }

    /// Notes that somebody looks.
    pub fn viewed(&self) {
        *lock(&self.viewed) = Some(Instant::now());
        self.pictures.watch(true);
    }

    /// Stages without a sign of life.
    pub fn stuck(&self) -> Vec<String> {
        lock(&self.pulses).stuck(Instant::now())
    }

    /// What the metrics are read from.
    pub fn readings(&self) -> Readings {
        Readings {
            now: self.now(),
            disk: self.disk.at(Instant::now()),
            events_missed: self.listener.missed(),
            connections: self.connections.load(Ordering::Relaxed),
            stuck: self.stuck().len(),
        }
    }

    /// A screen, rendered anew where it is old.
    ///
    /// # Errors
    /// When a template cannot be filled.
    pub fn with_screen<T>(
        &self,
        name: ScreenName,
        read: impl FnOnce(&Screen) -> T,
    ) -> Result<T, askama::Error> {
        let mut screen = lock(&self.screens[name as usize]);
        if screen.is_old(Instant::now()) {
            let board = self.board();
            let album = self.pictures.album();
            let facts = Facts {
                now: self.now(),
                board: &board,
                album: &album,
                disk: self.disk.at(Instant::now()),
                at: Timestamp::now(),
            };

            let fragments = match name {
                ScreenName::Live => live::fragments(&facts),
                ScreenName::Health => health::fragments(&facts),
                ScreenName::Counters => counters::fragments(&facts),
            };

            screen.take(fragments?, facts.at);
        }

        Ok(read(&screen))
    }

    /// Remembers an event, and tells those who wait.
    pub fn see(&self, event: Event) {
        self.board().see(event, Timestamp::now());
        self.pictures.tell();
    }

    /// Looks at the line once a second: its causes, its speed, its signs of life, and whether somebody looks.
    pub fn look(&self) {
        let now = self.now();
        let parts = now.parts.all().parts();
        let mut causes = now.condition.causes;
        if !now.broker.is_connected {
            let reason = now.broker.reason.as_deref().unwrap_or("not connected yet");
            causes.push(format!("broker: away: {reason}"));
        }

        self.board().look(&causes, parts, Timestamp::now());
        let is_watched =
            lock(&self.viewed).is_some_and(|viewed| viewed.elapsed() < UNWATCHED_AFTER);
        self.pictures.watch(is_watched);
        // The signs are looked at all the time, so that a request finds how long they have been away.
        self.stuck();
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
