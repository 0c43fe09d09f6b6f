//! The server of the page: one thread, which never waits for a viewer.
//!
//! Each connection is a task. Bounds: [`CONNECTIONS_MAX`] connections, one more is refused in words;
//! [`HEADERS_MAX`] bytes of a request's head, `HEAD_TIME` for it to come and between two requests,
//! `WRITE_TIME` for a viewer to take something of an answer. Bodies are read for signed-in users alone (`access`).

use super::access::Peer;
use super::access::keeper::{Access, Audit};
use super::access::users_file::UsersFile;
use super::commands::PageCommands;
use super::disk::DiskLooks;
use super::evidence::EvidenceReader;
use super::line_facts::LineFacts;
use super::now::{LineNow, PageSettings};
use super::numbers::choose;
use super::painter::PagePictures;
use super::pulses::Pulses;
use super::recipe_row::ReadRecipes;
use super::routes::router;
use super::state::{NearestSource, NewestChecks, Page, PageParts, PageState};
use super::teach::source::TeachSource;
use super::tls::{PageTls, TlsProblem};
use crate::base::exit::{Exit, Failure};
use crate::base::health::Diagnostics;
use crate::base::priority::lower_own;
use crate::data::lens::Lenses;
use crate::protocol::event::EventReceiver;
use crate::protocol::request::Request;
use crate::store::Store;
use axum::{Extension, Router};
use crossbeam::channel::Sender;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::io::Write;
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

/// Connections at once. A browser has up to six.
pub const CONNECTIONS_MAX: usize = 256;
/// Bytes of a request's line and headers, at most.
pub const HEADERS_MAX: usize = 16 << 10;
/// Time for a request's head to come, and between two requests.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Time in which a viewer takes something of an answer.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Interval of looks at the line.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Answer to a connection for which there is no room.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
    Connection: close\r\nContent-Length: 51\r\n\r\ntoo many connections are open; close one of them.\r\n";
/// Answer to a request without TLS at a page with it.
const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
    Connection: close\r\nContent-Length: 42\r\n\r\nthis page speaks https alone: ask for that\n";
/// First byte of a TLS connection: a record of the handshake.
const TLS_HANDSHAKE: u8 = 22;

/// Connections of the page to the rest of the line.
pub struct PageWiring {
    /// The address, bound before the line started, with its certificate.
    pub bound: Bound,
    /// Events of the line; their end is the end of the line.
    pub events: EventReceiver,
    /// The line at the moment.
    pub now: Box<dyn Fn() -> LineNow + Send + Sync>,
    /// Pictures, which a stage of their own makes.
    pub pictures: PagePictures,
    /// Signs of life of the stages.
    pub pulses: Pulses,
    /// Folder of the store, whose disk is told.
    pub store_folder: PathBuf,
    /// Commands, to the command handler.
    pub requests: Sender<Request>,
    /// Sentences for the audit log.
    pub audit: Audit,
    /// Diagnostics of the line: a users' file that cannot be read is told there.
    pub causes: Diagnostics,
    /// The users' file.
    pub users: PathBuf,
    /// Facts for people who help.
    pub facts: LineFacts,
    /// The line's recipes and lessons.
    pub teach: TeachSource,
    /// The store, to be searched.
    pub store: Store,
    /// Folder where pictures of parts are kept; `None` where none are.
    pub evidence: Option<Arc<Path>>,
    /// The shift checks.
    pub checks: NewestChecks,
    /// The nearest references of failed parts.
    pub nearest: NearestSource,
    /// What the cameras' lenses show.
    pub lenses: Lenses,
    /// The line's recipes with their revisions. Reads the disk.
    pub recipes: ReadRecipes,
}

/// The page's address, bound, and what guards it.
pub struct Bound {
    /// The address.
    pub listener: StdListener,
    /// Certificate and key, if the page has them.
    pub tls: Option<PageTls>,
}

/// Binds the page's address: before the line starts, so that a port that is taken ends the start.
///
/// # Errors
/// When it cannot be bound, the certificate cannot be used, or other machines could reach a page at which nobody can
/// sign in.
pub fn bind(settings: &PageSettings) -> Result<Bound, Failure> {
    check_users(settings)?;

    let tls = match &settings.tls {
        Some(files) => {
            let opened = PageTls::open(files);
            let failure = |problem: TlsProblem| Failure::words(Exit::Config, problem.to_string());

            Some(opened.map_err(failure)?)
        }

        None => None,
    };

    choose(settings.numbers);
    let listen = settings.listen;

    let bound = StdListener::bind(listen).and_then(|listener| {
        listener.set_nonblocking(true)?;

        Ok(listener)
    });

    let listener = bound.map_err(|error| {
        let words = format!(
            "page.listen: {listen} cannot be bound: {error}; give another port, or end what has this one"
        );

        Failure::words(Exit::Unavailable, words)
    })?;

    Ok(Bound { listener, tls })
}

/// Refuses a page that other machines reach and nobody can sign in at: it was meant to be used, and its users' file was
/// forgotten or lost.
fn check_users(settings: &PageSettings) -> Result<(), Failure> {
    let listen = settings.listen;

    if listen.ip().is_loopback() {
        return Ok(());
    }

    let path = settings.users.display();

    let why = match UsersFile::open(&settings.users) {
        Ok(file) if !file.users().is_empty() => return Ok(()),
        Ok(_) => format!("{path} has no user"),
        Err(error) => error.to_string(),
    };

    let words = format!(
        "page.listen: {listen} can be reached from other machines, and nobody can sign in: {why}; make a user by \
         winspect user add LINE NAME --role admin, or listen on 127.0.0.1"
    );

    Err(Failure::words(Exit::Config, words))
}

/// Serves the page until the line ends. Blocks; for a thread of its own.
///
/// # Errors
/// When the asynchronous runtime cannot be made.
pub fn run(wiring: PageWiring) -> std::io::Result<()> {
    // Passwords are computed beside this thread, one at a time; files of users are written there too.
    let runtime = runtime()?;
    let served = runtime.block_on(serve(wiring));

    // A disk that hangs must not hold the end of the line either.
    runtime.shutdown_background();

    served
}

/// The runtime of the page.
fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Passwords are compared there, pictures written as files, and folders and files looked at that may hang. Each
        // kind has bounds of its own, twelve together: evidence and library two each; sizes, certificates, pictures for
        // Teach, changes and looks of the users' file, passwords, the disk's room, and one bundle or export. Verdicts come first.
        .thread_name("page-waits")
        .max_blocking_threads(12)
        .on_thread_start(lower_own)
        .build()
}

/// Waits after a connection that was not accepted: too many open files, for one, may become fewer.
async fn wait_after(error: &std::io::Error) {
    tracing::debug!("page: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn serve(wiring: PageWiring) -> std::io::Result<()> {
    // The address was bound before the line started; from here on it is answered.
    let listener = TcpListener::from_std(wiring.bound.listener)?;
    let tls = wiring.bound.tls.map(Arc::new);
    let scheme = if tls.is_some() { "https" } else { "http" };

    tracing::info!("page at {scheme}://{}/", listener.local_addr()?);
    let mut events = wiring.events;

    events.state.listen(true);
    wiring.teach.board.want();
    let state = Arc::new(PageState::new(PageParts {
        now: wiring.now,
        listener: events.state.clone(),
        pictures: wiring.pictures,
        pulses: wiring.pulses,
        access: Access::new(&wiring.users, wiring.audit, wiring.causes.clone()),
        causes: wiring.causes,
        facts: wiring.facts,
        recipes: wiring.recipes,
        tls: tls.clone(),
        commands: PageCommands::new(wiring.requests),
        teach: wiring.teach,
        store: wiring.store,
        evidence: EvidenceReader::new(wiring.evidence),
        checks: wiring.checks,
        nearest: wiring.nearest,
        lenses: wiring.lenses,
    }));

    // No branch waits for a viewer, so that none can hold up another.
    let mut disk = DiskLooks::new(wiring.store_folder, state.disk.clone());

    let router = router(state.clone());
    let mut tasks = JoinSet::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);

    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if tasks.len() >= CONNECTIONS_MAX => {
                    refuse(stream, NO_ROOM);
                }

                Ok((stream, peer)) => {
                    let peer = Peer(peer.ip().to_canonical());
                    let router = router.clone().layer(Extension(peer));
                    let config = tls.as_ref().map(|tls| tls.config());

                    tasks.spawn(connection(stream, config, router));
                }

                Err(error) => wait_after(&error).await,
            },
            event = events.events.recv() => match event {
                Some(event) => state.see(event),
                None => return Ok(()),
            },
            Some(_) = tasks.join_next() => {}
            _ = looks.tick() => {
                disk.look();
                state.look();
                look_at_files(&state);
            }
        }

        state.count_connections(tasks.len());
    }
}

/// Looks at files beside this thread; a look that hangs ends by itself.
fn look_at_files(state: &Page) {
    let state = state.clone();

    tokio::spawn(async move { state.look_at_files().await });
}

/// Refuses a connection in words. One try: a refusal must not wait either.
fn refuse(stream: TcpStream, words: &[u8]) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(words);
    }
}

/// One connection, until its end. What it sends beyond HTTP ends it, and nothing else.
async fn connection(stream: TcpStream, tls: Option<Arc<ServerConfig>>, router: Router) {
    let Some(config) = tls else {
        return http(with_write_time(stream), router).await;
    };

    // Somebody who typed http:// is told so; else a browser shows an empty page.
    let mut first = [0];
    let peeked = timeout(HEAD_TIME, stream.peek(&mut first)).await;

    if matches!(peeked, Ok(Ok(1))) && first[0] != TLS_HANDSHAKE {
        return refuse(stream, NO_TLS);
    }

    let accepting = TlsAcceptor::from(config).accept(with_write_time(stream));

    match timeout(HEAD_TIME, accepting).await {
        Ok(Ok(stream)) => http(stream, router).await,
        Ok(Err(error)) => tracing::debug!("page: {error}"),
        Err(_) => tracing::debug!("page: a handshake took too long"),
    }
}

fn with_write_time(stream: TcpStream) -> Pin<Box<TimeoutStream<TcpStream>>> {
    let mut stream = TimeoutStream::new(stream);

    stream.set_write_timeout(Some(WRITE_TIME));

    Box::pin(stream)
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;

    if let Err(error) = served {
        tracing::debug!("page: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;
    use rustix::thread::gettid;

    #[test]
    fn threads_that_wait_have_the_lowest_priority_and_the_server_its_own() {
        let own = || getpriority_process(Some(gettid())).expect("known");
        let before = own();
        let runtime = runtime().expect("a runtime");
        let (server, waits) = runtime.block_on(async {
            let waits = tokio::task::spawn_blocking(own);
            (own(), waits.await.expect("no panic"))
        });

        assert_eq!((server, waits), (before, 19));
    }
}
