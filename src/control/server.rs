//! The server of the control socket: one thread, which never waits for a client.
//!
//! Each connection is a task that reads lines and writes lines (`connection.rs`); the `Server` holds
//! the line's ends and knows which clients watch.

use crate::base::health::{Diagnostics, Health};
use crate::base::standstill::{Standstill, TICK};
use crate::control::connection::{ClientLine, Connection, Input};
use crate::control::lines::{LineSender, waiting_lines};
use crate::control::messages::{
    CameraChange, ControlReply, ControlRequest, LINE_MAX, LineStatus, NamedAnswer, Wish,
};
use crate::control::socket;
use crate::control::user::user_of;
use crate::protocol::answer::Answer;
use crate::protocol::command;
use crate::protocol::event::{Event, EventReceiver};
use crate::protocol::request::{Reply, ReplyTo, ReplyToken, Request, RequestSource};
use crate::protocol::shift_check::ShiftCheck;
use crate::store::{Search, SearchPage, Store};
use crossbeam::channel::{Sender, TrySendError};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Commands of both doors that may wait when this one brings another: half of the channel.
const REQUESTS_SHARE: usize = 32;
/// Answer to a command for which there is no room.
const TOO_MANY: &str = "too many commands wait; send it again";
/// Connections at once; one more is told so and closed.
const CONNECTIONS_MAX: usize = 16;
/// Commands of a connection that wait for their answers; more are rejected.
const COMMANDS_WAITING: usize = 8;
/// Answers that may wait for the server, which takes them at once.
const REPLIES_WAITING: usize = CONNECTIONS_MAX * COMMANDS_WAITING;
/// Lines of clients that may wait for the server, which takes them at once.
const INPUTS_WAITING: usize = CONNECTIONS_MAX;
/// Interval of the status that watchers get.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// Time until a socket that could not be bound is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// Time for clients to read their last lines at the end of the line.
const FAREWELL: Duration = Duration::from_secs(1);
/// Diagnostics source of the control socket.
const CONTROL: &str = "control";

/// Connections of the server to the rest of the line.
pub struct ControlWiring {
    /// Commands, to the command handler.
    pub requests: Sender<Request>,
    /// Events of the line; their end is the end of the line.
    pub events: EventReceiver,
    /// The line at the moment.
    pub status: Box<dyn Fn() -> LineStatus + Send>,
    /// The newest shift checks, so many at most.
    pub shift_checks: Box<dyn Fn(usize) -> Vec<ShiftCheck> + Send>,
    /// The history, which is searched beside the line's work.
    pub store: Store,
    /// Diagnostics of the line: a socket that cannot be bound is told there.
    pub causes: Diagnostics,
}

/// Serves the socket until the line ends. Blocks; for a thread of its own. A socket that cannot be
/// bound is told among the line's causes and tried again.
///
/// # Errors
/// When the asynchronous runtime cannot be made.
pub fn run(path: &Path, wiring: ControlWiring) -> std::io::Result<()> {
    // One thread serves all connections: their number is bounded, and none of them computes.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;

    runtime.block_on(Server::new(wiring).run(path));
    Ok(())
}

/// Answer to a search of a connection, or why there is none.
struct FoundPage {
    connection: u64,
    page: Result<SearchPage, String>,
}

/// One client.
struct Client {
    /// User of this machine at the other end.
    user: Option<Arc<str>>,
    /// Lines to the connection's task. Without room for more, events are dropped, counted and told; a client that does
    /// not read its answers is left.
    lines: LineSender,
    watches: bool,
    /// Commands and searches without an answer.
    commands: usize,
    /// True if the client is left once its commands are answered.
    is_leaving: bool,
    /// Events that found no room since they were told last.
    missed: u64,
    /// Events that the server had missed when this client was told last.
    server_missed: u64,
}

struct Server {
    wiring: ControlWiring,
    clients: HashMap<u64, Client>,
    /// Number of connections so far.
    connections: u64,
    tasks: JoinSet<()>,
    input_sender: mpsc::Sender<Input>,
    inputs: mpsc::Receiver<Input>,
    reply_sender: mpsc::Sender<Reply>,
    replies: mpsc::Receiver<Reply>,
    page_sender: mpsc::Sender<FoundPage>,
    pages: mpsc::Receiver<FoundPage>,
    /// Number of the next request.
    next_request: u64,
    /// Gaps of this thread, in which commands wait without a sign of it.
    standstill: Standstill,
}

impl Server {
    fn new(wiring: ControlWiring) -> Self {
        // Lines of clients wait in their connections while `inputs` is full. `replies` has room for
        // all commands that all clients may have under way.
        let (input_sender, inputs) = mpsc::channel(INPUTS_WAITING);
        let (reply_sender, replies) = mpsc::channel(REPLIES_WAITING);
        let (page_sender, pages) = mpsc::channel(REPLIES_WAITING);
        Server {
            wiring,
            clients: HashMap::new(),
            connections: 0,
            tasks: JoinSet::new(),
            input_sender,
            inputs,
            reply_sender,
            replies,
            page_sender,
            pages,
            next_request: 0,
            standstill: Standstill::new(Instant::now()),
        }
    }

    /// Binds, as often as it takes, and serves until the line ends.
    async fn run(&mut self, path: &Path) {
        // A reason is logged when it changes, not at every try: a missing folder may stay away for
        // weeks.
        let mut last_logged = String::new();
        loop {
            match socket::bind(path).await {
                Ok(listener) => {
                    self.wiring.causes.clear(CONTROL);
                    tracing::info!("control socket {}", path.display());
                    self.serve(&listener).await;
                    drop(listener);
                    let _ = std::fs::remove_file(path); // else the next run replaces it
                    return;
                }

                // The line goes on without the socket. Its condition says so until a bind succeeds.
                Err(error) => {
                    let words = error.to_string();
                    if words != last_logged {
                        tracing::warn!("no control socket: {words}; the line goes on without it");
                    }

                    let causes = &self.wiring.causes;
                    causes.set(CONTROL, Health::MaintenanceRequired, words.clone());
                    last_logged = words;
                }
            }

            if self.line_ends_within(RETRY).await {
                return;
            }
        }
    }

    async fn line_ends_within(&mut self, time: Duration) -> bool {
        // Events are read and dropped meanwhile: there are no watchers, and the end of the events
        // is the end of the line.
        let events = &mut self.wiring.events.events;
        let ended = async { while events.recv().await.is_some() {} };
        tokio::time::timeout(time, ended).await.is_ok()
    }

    async fn serve(&mut self, listener: &UnixListener) {
        // No branch waits for a client, so that none can hold up another. The one wait inside of a
        // branch is the short one after an accept that failed.
        let mut tick = tokio::time::interval(STATUS_EVERY);
        self.standstill = Standstill::new(Instant::now());
        let mut turns = tokio::time::interval(TICK);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.on_connection(stream),
                    // Too many open files, for one; they may become fewer.
                    Err(error) => {
                        tracing::debug!("control socket: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(input) = self.inputs.recv() => self.on_input(input),
                Some(reply) = self.replies.recv() => self.on_reply(reply),
                Some(found) = self.pages.recv() => self.on_page(found),
                event = self.wiring.events.events.recv() => match event {
                    Some(event) => self.on_event(&event),
                    None => break,
                },
                Some(_) = self.tasks.join_next() => {}
                _ = tick.tick() => self.tell_status(),
                _ = turns.tick() => self.standstill.tick(Instant::now()),
            }
        }

        self.say_goodbye().await;
    }

    fn on_connection(&mut self, stream: UnixStream) {
        // A client that was left may still have its task, until what waits for it is written.
        // The refusal is one line without a task: a flood of connections costs nothing that lasts.
        if self.clients.len().max(self.tasks.len()) >= CONNECTIONS_MAX {
            let words = format!("{CONNECTIONS_MAX} connections are open; close one of them");
            let _ = stream.try_write(encode(&ControlReply::Error(words)).as_bytes());
            return;
        }

        // Numbers of connections are never used twice: a late reply cannot reach a newer client.
        self.connections += 1;
        let number = self.connections;
        let (lines, waiting) = waiting_lines();
        let connection = Connection::new(number, self.input_sender.clone());

        let user = stream.peer_cred().ok().map(|peer| user_of(peer.uid()));
        self.tasks.spawn(connection.run(stream, waiting));

        // The sender of lines lives here alone. Dropping it ends the task after the lines that
        // wait.
        let client = Client {
            user,
            lines,
            watches: false,
            commands: 0,
            is_leaving: false,
            missed: 0,
            server_missed: 0,
        };

        self.clients.insert(number, client);
    }

    fn on_input(&mut self, input: Input) {
        // Input of a client that was left is harmless: all that follows looks the number up.
        let number = input.connection;
        match input.line {
            ClientLine::Whole(line) => match ControlRequest::parse(&line) {
                // A wrong line costs one answer. The connection goes on, as a person at a terminal
                // expects.
                Ok(Wish::Command { name, payload }) => self.on_command(number, &name, &payload),
                Ok(Wish::Status) => self.send_status(number),
                Ok(Wish::ShiftChecks(most)) => {
                    let checks = (self.wiring.shift_checks)(most.into());
                    self.send(number, &ControlReply::ShiftChecks(checks));
                }
                Ok(Wish::Watch) => self.on_watch(number),
                Ok(Wish::Search(search)) => self.on_search(number, search),
                Err(words) => self.send(number, &ControlReply::Error(words)),
            },
            ClientLine::TooLong => {
                let words = format!("a line of more than {LINE_MAX} bytes; it is not read");
                self.send(number, &ControlReply::Error(words));
                self.leave(number);
            }
            ClientLine::LastRead => self.leave_when_answered(number),
            ClientLine::Closed => self.leave(number),
        }
    }

    fn leave_when_answered(&mut self, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };

        // A client that shut down its writing half, such as a pipe through `nc`, still gets its
        // answers.
        client.is_leaving = true;
        if client.commands == 0 {
            self.leave(number);
        }
    }

    /// Ends a connection, after the lines that wait for it.
    fn leave(&mut self, number: u64) {
        self.clients.remove(&number);
        self.listen();
    }

    /// Listens to events while a client watches.
    fn listen(&self) {
        let watches = self.clients.values().any(|client| client.watches);
        self.wiring.events.state.listen(watches);
    }

    fn on_watch(&mut self, number: u64) {
        // Events that were missed before this client watched are not its own.
        if let Some(client) = self.clients.get_mut(&number) {
            client.watches = true;
            client.server_missed = self.wiring.events.state.missed();
        }

        self.listen();
        self.send_status(number);
    }

    fn on_command(&mut self, number: u64, name: &str, payload: &[u8]) {
        // A command is checked in the order of cost: its text, the client's own share, the room of
        // the channel. The answer names the id wherever it could be read.
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };

        let command = match command::parse(name, payload) {
            Ok(command) => command,
            Err(refusal) => {
                return self.reject(number, name, refusal.id.as_deref(), refusal.reason);
            }
        };

        let id = command.id.clone();
        if client.commands >= COMMANDS_WAITING {
            let reason = format!("{COMMANDS_WAITING} commands wait for their answers");
            return self.reject(number, name, id.as_deref(), reason);
        }

        // The token finds the way back: the connection, and a number that tells two requests of it
        // apart.
        self.next_request += 1;
        let now = Instant::now();
        let token = ReplyToken {
            connection: number,
            request: self.next_request,
        };

        let request = Request {
            command,
            name: name.to_owned(),
            source: RequestSource::Control,
            user: client.user.clone(),
            came_at: now,
            is_stale: self.standstill.is_doubtful(now),
            reply: ReplyTo {
                replies: self.reply_sender.clone(),
                token,
            },
        };

        // The other half of the room is the broker's: this door must not shut that one.
        if self.wiring.requests.len() >= REQUESTS_SHARE {
            let reason = TOO_MANY.to_owned();
            return self.reject(number, name, id.as_deref(), reason);
        }

        let reason = match self.wiring.requests.try_send(request) {
            Ok(()) => return client.commands += 1,
            Err(TrySendError::Full(_)) => TOO_MANY,
            Err(TrySendError::Disconnected(_)) => "the line is stopping",
        };

        self.reject(number, name, id.as_deref(), reason.to_owned());
    }

    fn reject(&mut self, number: u64, name: &str, id: Option<&str>, reason: String) {
        let answer = NamedAnswer {
            name: name.to_owned(),
            answer: Answer::rejected(id, reason),
        };

        self.send(number, &ControlReply::Answer(answer));
    }

    fn on_reply(&mut self, reply: Reply) {
        let answer = NamedAnswer {
            name: reply.name,
            answer: reply.answer,
        };

        self.answer(reply.token.connection, &ControlReply::Answer(answer));
    }

    /// Sends the answer to a command or a search.
    fn answer(&mut self, number: u64, answer: &ControlReply) {
        // It frees one place of the client's share, whether or not the client still reads.
        let Some(client) = self.clients.get_mut(&number) else {
            return; // it has left
        };

        client.commands = client.commands.saturating_sub(1);
        let is_last = client.is_leaving && client.commands == 0;
        self.send(number, answer);
        if is_last {
            self.leave(number);
        }
    }

    /// Begins one step of a search. The next one is a request of its own, and is refused while much of those before
    /// waits to be read.
    fn on_search(&mut self, number: u64, search: Search) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };

        if client.commands >= COMMANDS_WAITING {
            let reason = format!("{COMMANDS_WAITING} requests wait for their answers");
            return self.send(number, &ControlReply::Error(reason));
        }

        if let Err(reason) = client.lines.check_room() {
            return self.send(number, &ControlReply::Error(reason));
        }

        // The answer comes from the thread of the disk, through a channel that never makes it wait.
        client.commands += 1;
        let pages = self.page_sender.clone();
        let reply = move |page| {
            // There is room for a page of each that a client may wait for.
            let _ = pages.try_send(FoundPage {
                connection: number,
                page,
            });
        };

        self.wiring.store.search(search, Box::new(reply));
    }

    fn on_page(&mut self, found: FoundPage) {
        let reply = match found.page {
            Ok(SearchPage::Parts(page)) => ControlReply::History(page),
            Ok(SearchPage::Audit(page)) => ControlReply::Audit(page),
            // Nobody asks for one part here.
            Ok(SearchPage::Part(_)) => return,
            Err(words) => ControlReply::Error(words),
        };

        self.answer(found.connection, &reply);
    }

    fn send_status(&mut self, number: u64) {
        let status = (self.wiring.status)();
        self.send(number, &ControlReply::Status(Box::new(status)));
    }

    /// Sends a line that a client waits for. A client that does not read is left.
    fn send(&mut self, number: u64, reply: &ControlReply) {
        let Some(client) = self.clients.get(&number) else {
            return;
        };

        // A full channel holds 256 lines that the client did not read.
        if !client.lines.put(encode(reply)) {
            self.leave(number);
        }
    }

    fn on_event(&mut self, event: &Event) {
        if let Some(reply) = reply_of(event) {
            self.tell_watchers(&reply);
        }
    }

    fn tell_status(&mut self) {
        if self.clients.values().any(|client| client.watches) {
            let status = (self.wiring.status)();
            self.tell_watchers(&ControlReply::Status(Box::new(status)));
        }
    }

    fn tell_watchers(&mut self, reply: &ControlReply) {
        // The line is encoded once and shared by all watchers. Events that the server itself missed
        // count as missed by each watcher.
        let line = encode(reply);
        let server_missed = self.wiring.events.state.missed();
        for client in self.clients.values_mut().filter(|client| client.watches) {
            client.missed += server_missed - client.server_missed;
            client.server_missed = server_missed;
            client.tell(&line);
        }
    }

    /// Tells watchers that the line has ended, and gives all clients a moment to read it.
    async fn say_goodbye(&mut self) {
        // Dropping all clients closes their channels: each task writes what waits, then ends. A
        // client that does not read is cut off after FAREWELL.
        let words = "the line has stopped".to_owned();
        self.tell_watchers(&ControlReply::Ended(words));
        self.clients.clear();
        let left = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, left).await;
    }
}

impl Client {
    /// Tells of an event, and before it of the events that were missed. Both need room.
    fn tell(&mut self, line: &Arc<str>) {
        // The gap is told before the next event, so that a reader sees where it was. Without room
        // for both lines the event joins the gap.
        if self.missed > 0 && self.lines.room() > 1 {
            let missed = encode(&ControlReply::Missed(self.missed));
            if self.lines.put(missed) {
                self.missed = 0;
            }
        }

        if self.missed > 0 || !self.lines.put(line.clone()) {
            self.missed += 1;
        }
    }
}

/// The line that tells of an event; pictures are not told.
fn reply_of(event: &Event) -> Option<ControlReply> {
    // Pictures are left out: a heat map has a hundred times the bytes of a line.
    match event {
        Event::Camera { name, status } => Some(ControlReply::Camera(CameraChange {
            camera: name.to_string(),
            state: status.state,
            since: status.since,
            last_reason: status.last_reason.clone(),
        })),
        Event::Identity(identity) => Some(ControlReply::Recipe(identity.recipe.clone())),
        Event::Outcome(outcome) => Some(ControlReply::Outcome(NamedAnswer {
            name: outcome.name.to_owned(),
            answer: outcome.answer.clone(),
        })),
        Event::Result(result) => Some(ControlReply::Result((**result).clone())),
        Event::Difference(difference) => {
            Some(ControlReply::Difference(Box::new((**difference).clone())))
        }
        Event::Heatmap { .. } | Event::Snapshot { .. } => None,
    }
}

fn encode(reply: &ControlReply) -> Arc<str> {
    let mut line = serde_json::to_string(reply).expect("replies are plain values");
    line.push('\n');
    line.into()
}
