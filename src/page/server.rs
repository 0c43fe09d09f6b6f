//! The server of the page: one thread, which never waits for a viewer.
//!
//! Each connection is a task. Bounds: [`CONNECTIONS_MAX`] connections, one more is refused in words;
//! [`HEADERS_MAX`] bytes of a request's head, `HEAD_TIME` for it to come and between two requests,
//! `WRITE_TIME` for a viewer to take something of an answer. Bodies are not read.

use super::disk::DiskLooks;
use super::now::{LineNow, PageSettings};
use super::painter::PagePictures;
use super::pulses::Pulses;
use super::routes::router;
use super::state::PageState;
use crate::base::exit::{Exit, Failure};
use crate::protocol::event::EventReceiver;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io::Write;
use std::net::TcpListener as StdListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

/// Connections at once. A browser has up to six.
pub const CONNECTIONS_MAX: usize = 64;
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

/// Connections of the page to the rest of the line.
pub struct PageWiring {
    /// The address, bound before the line started.
    pub listener: StdListener,
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
}

/// Binds the page's address: before the line starts, so that a port that is taken ends the start.
///
/// # Errors
/// When it cannot be bound.
pub fn bind(settings: &PageSettings) -> Result<StdListener, Failure> {
    let listen = settings.listen;
    let bound = StdListener::bind(listen).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });

    bound.map_err(|error| {
        let words = format!(
            "page.listen: {listen} cannot be bound: {error}; give another port, or end what has this one"
        );

        Failure::words(Exit::Unavailable, words)
    })
}

/// Serves the page until the line ends. Blocks; for a thread of its own.
///
/// # Errors
/// When the asynchronous runtime cannot be made.
pub fn run(wiring: PageWiring) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;

    let served = runtime.block_on(serve(wiring));
    // A disk that hangs must not hold the end of the line either.
    runtime.shutdown_background();

    served
}

async fn serve(wiring: PageWiring) -> std::io::Result<()> {
    let listener = TcpListener::from_std(wiring.listener)?;
    tracing::info!("page at http://{}/", listener.local_addr()?);
    let mut events = wiring.events;
    events.state.listen(true);
    let state = Arc::new(PageState::new(
        wiring.now,
        events.state.clone(),
        wiring.pictures,
        wiring.pulses,
    ));

    let mut disk = DiskLooks::new(wiring.store_folder, state.disk.clone());

    let router = router(state.clone());
    let mut tasks = JoinSet::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if tasks.len() >= CONNECTIONS_MAX => {
                    refuse(stream);
                }
                Ok((stream, _)) => {
                    tasks.spawn(connection(stream, router.clone()));
                }
                // Too many open files, for one; they may become fewer.
                Err(error) => {
                    tracing::debug!("page: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            event = events.events.recv() => match event {
                Some(event) => state.see(event),
                None => return Ok(()),
            },
            Some(_) = tasks.join_next() => {}
            _ = looks.tick() => {
                disk.look();
                state.look();
            }
        }

        state.count_connections(tasks.len());
    }
}

/// Refuses a connection in words. One try: a refusal must not wait either.
fn refuse(stream: TcpStream) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(NO_ROOM);
    }
}

/// One connection, until its end. What it sends beyond HTTP ends it, and nothing else.
async fn connection(stream: TcpStream, router: Router) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIME));
    let stream = TokioIo::new(Box::pin(stream));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEADERS_MAX)
        .serve_connection(stream, TowerToHyperService::new(router))
        .await;

    if let Err(error) = served {
        tracing::debug!("page: {error}");
    }
}
