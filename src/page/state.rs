//! What all requests of the page share: the line to read, the page's memory, and the rendered screens.

use super::access::cookie::SessionCookie;
use super::access::keeper::Access;
use super::assets::Assets;
use super::blocking::{BlockingWork, Busy};
use super::board::{Board, EventWords};
use super::commands::PageCommands;
use super::disk::NewestRoom;
use super::evidence::EvidenceReader;
use super::false_rejects::FalseRejects;
use super::hosts::Names;
use super::line_facts::LineFacts;
use super::metrics::Readings;
use super::now::LineNow;
use super::painter::PagePictures;
use super::pulses::Pulses;
use super::recipe_row::{ReadRecipes, RecipeRow};
use super::screen::{Facts, SCREENS, Screen, ScreenName};
use super::shift::ShiftBase;
use super::teach::source::{RecipeFacts, TeachSource};
use super::tls::{PAGE_CERTIFICATE, PageTls};
use super::{check, counters, health, lens, live};
use crate::base::health::{Diagnostics, Health};
use crate::data::lens::{LensView, Lenses};
use crate::data::nearest::NearestAnswer;
use crate::protocol::event::{Event, ListenerState};
use crate::protocol::shift_check::ShiftCheck;
use crate::store::Store;
use jiff::Timestamp;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Time since the last request after which nobody looks.
const UNWATCHED_AFTER: Duration = Duration::from_secs(30);

/// Reads of the library at once.
const LIBRARY_READERS: usize = 2;

/// The shared state as the requests have it.
pub type Page = Arc<PageState>;

/// The newest shift checks, so many at most.
pub type NewestChecks = Box<dyn Fn(usize) -> Vec<ShiftCheck> + Send + Sync>;

/// The nearest references of a kept part, by its stem. It never waits.
pub type NearestSource = Box<dyn Fn(&str) -> NearestAnswer + Send + Sync>;

/// What the state is made of, from outside of the page.
pub struct PageParts {
    /// The line at the moment.
    pub now: Box<dyn Fn() -> LineNow + Send + Sync>,
    /// Counts the events that the page misses.
    pub listener: Arc<ListenerState>,
    /// Pictures of parts.
    pub pictures: PagePictures,
    /// Signs of life of the stages.
    pub pulses: Pulses,
    /// Users, sessions and limits.
    pub access: Access,
    /// The way to the command handler.
    pub commands: PageCommands,
    /// The line's recipes and lessons.
    pub teach: TeachSource,
    /// The store, to be searched.
    pub store: Store,
    /// Pictures of kept parts.
    pub evidence: EvidenceReader,
    /// The shift checks.
    pub checks: NewestChecks,
    /// The nearest references of failed parts.
    pub nearest: NearestSource,
    /// What the cameras' lenses show.
    pub lenses: Lenses,
    /// Facts for people who help.
    pub facts: LineFacts,
    /// Certificate and key, if the page has them.
    pub tls: Option<Arc<PageTls>>,
    /// Faults of the moment: a certificate that ends is told there.
    pub causes: Diagnostics,
    /// The line's recipes with their revisions. Reads the disk.
    pub recipes: ReadRecipes,
}

/// The shared state.
pub struct PageState {
    now: Box<dyn Fn() -> LineNow + Send + Sync>,
    /// Memory of the screen False rejects.
    pub false_rejects: FalseRejects,
    /// Users, sessions and limits.
    pub access: Access,
    /// The cookie of sessions.
    pub cookie: SessionCookie,
    /// The way to the command handler.
    pub commands: PageCommands,
    /// The line's recipes and lessons.
    pub teach: TeachSource,
    /// The store, to be searched.
    pub store: Store,
    /// Pictures of kept parts.
    pub evidence: EvidenceReader,
    /// Facts for people who help.
    pub facts: LineFacts,
    /// Looks at the sizes of files.
    pub sizes: BlockingWork,
    /// The one place for a file that is sent.
    pub exports: Arc<Semaphore>,
    checks: NewestChecks,
    /// The nearest references of failed parts.
    pub nearest: NearestSource,
    lenses: Lenses,
    tls: Option<Arc<PageTls>>,
    causes: Diagnostics,
    recipes: ReadRecipes,
    /// Reads of the library.
    library: BlockingWork,
    /// Looks at certificate and key.
    certificates: BlockingWork,
    /// Pictures that are written as files, one at a time.
    pub picture_files: BlockingWork,
    shift: Mutex<ShiftBase>,
    listener: Arc<ListenerState>,
    /// Pictures of parts.
    pub pictures: PagePictures,
    /// Style and script.
    pub assets: Assets,
    board: Mutex<Board>,
    screens: [Mutex<Screen>; SCREENS.len()],
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
    /// The state of a page that has seen nothing yet.
    pub fn new(parts: PageParts) -> Self {
        let identity = (parts.now)().identity;
        parts.lenses.want_pictures();
        PageState {
            now: parts.now,
            false_rejects: FalseRejects::default(),
            access: parts.access,
            cookie: SessionCookie::new(&identity.station, parts.tls.is_some()),
            commands: parts.commands,
            teach: parts.teach,
            store: parts.store,
            evidence: parts.evidence,
            facts: parts.facts,
            sizes: BlockingWork::new(1),
            exports: Arc::new(Semaphore::new(1)),
            checks: parts.checks,
            nearest: parts.nearest,
            lenses: parts.lenses,
            tls: parts.tls,
            causes: parts.causes,
            recipes: parts.recipes,
            library: BlockingWork::new(LIBRARY_READERS),
            certificates: BlockingWork::new(1),
            picture_files: BlockingWork::new(1),
            shift: Mutex::default(),
            listener: parts.listener,
            pictures: parts.pictures,
            assets: Assets::new(),
            board: Mutex::default(),
            screens: Default::default(),
            pulses: Mutex::new(parts.pulses),
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

    /// Names of this machine out of the certificate.
    pub fn names(&self) -> Names {
        // A renewed certificate may have others: they are asked for with each request.
        let tls = self.tls.as_ref();

        tls.map(|tls| tls.names()).unwrap_or_default()
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

    /// The last events, the newest first.
    pub fn events(&self) -> Vec<EventWords> {
        self.board().events.iter().cloned().collect()
    }

    /// The newest shift checks, the newest first.
    pub fn checks(&self, most: usize) -> Vec<ShiftCheck> {
        (self.checks)(most)
    }

    /// The cameras' lenses, by name.
    pub fn lenses(&self) -> Vec<LensView> {
        self.lenses.all()
    }

    /// Names under which parts have come, or those of the cameras before the first.
    pub fn part_cameras(&self) -> Vec<String> {
        let cameras = self.board().cameras();

        match cameras.is_empty() {
            true => self.now().cameras.into_keys().collect(),
            false => cameras,
        }
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
            at: Timestamp::now(),
            now: self.now(),
            lenses: self.lenses(),
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
                checks: match name {
                    ScreenName::ShiftCheck => self.checks(check::LISTED),
                    _ => vec![],
                },
                lenses: match name {
                    ScreenName::Lens => self.lenses(),
                    _ => vec![],
                },
                shift: lock(&self.shift).clone(),
                at: Timestamp::now(),
            };

            let fragments = match name {
                ScreenName::Live => live::fragments(&facts),
                ScreenName::Health => health::fragments(&facts),
                ScreenName::Counters => counters::fragments(&facts),
                ScreenName::ShiftCheck => check::screen::fragments(&facts),
                ScreenName::Lens => lens::screen::fragments(&facts),
            };

            screen.take(fragments?, facts.at);
        }

        Ok(read(&screen))
    }

    /// The line's recipes with their revisions.
    ///
    /// # Errors
    /// Where the library's disk does not answer.
    pub async fn recipes(&self) -> Result<Vec<RecipeRow>, Busy> {
        let recipes = self.recipes.clone();

        self.library.run(move || recipes()).await
    }

    /// The same as Teach shows them.
    ///
    /// # Errors
    /// As [`PageState::recipes`].
    pub async fn recipe_facts(&self) -> Result<Vec<RecipeFacts>, Busy> {
        let recipes = self.teach.recipes.clone();

        self.library.run(move || recipes()).await
    }

    /// Verdicts of the shift so far, and who began it.
    pub fn shift(&self) -> ShiftBase {
        lock(&self.shift).clone()
    }

    /// Begins the shift's counters anew.
    pub fn begin_shift(&self, base: ShiftBase) {
        *lock(&self.shift) = base;
    }

    /// Remembers an event, and tells those who wait.
    pub fn see(&self, event: Event) {
        if let Event::Outcome(outcome) = &event {
            self.commands.see(&outcome.answer);
        }

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
        lens::develop::develop(&self.lenses());

        // The signs are looked at all the time, so that a request finds how long they have been away.
        self.stuck();
    }

    /// Looks at the files of the page that may change while it runs: users, certificate and key. A disk that hangs
    /// holds up nothing else.
    pub async fn look_at_files(&self) {
        self.access.look_whether_it_hangs().await;

        let Some(tls) = self.tls.clone() else { return };

        let causes = self.causes.clone();
        let looked = self
            .certificates
            .run(move || tls.look(&causes, Timestamp::now()))
            .await;

        if looked == Err(Busy) {
            let words = "its files do not answer; the page goes on with what it has read";
            self.causes.set(
                PAGE_CERTIFICATE,
                Health::MaintenanceRequired,
                words.to_owned(),
            );
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
