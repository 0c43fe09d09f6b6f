//! The loop that owns the MQTT client: results out of the store, commands in, everything else beside them.
//!
//! A result leaves the store only with its PUBACK, and a command is acknowledged only when the foreman has answered it.
//! Each connection has a client of its own: what was not acknowledged comes again from the store, in order, and from the
//! broker, which keeps our session; so rumqttc's memory queue is never the one that counts.
//!
//! ```text
//! connect --ConnAck--> online, birth, state, camera status --results, side--> ...
//!    ^        \--commands--> orders --foreman--> answers --PUBACK, ack/<name>--> ...
//!    +------- wait (backoff) <--- rewind the outbox <--- error, silence -+
//! ```
//! What is said is in `telling`, what is heard in `commands`, a connection's own state in `session`.
//!
//! After a connection the broker first delivers the commands that it kept for us. How old they are nobody knows: until
//! a message of our own (the fence) has come back through it, commands count as stale.

mod incoming;
mod outgoing;

pub use incoming::{Reply, Request};

use super::MqttSettings;
use super::session::{AckTarget, REQUESTS, Session, options, reason};
use crate::base::backoff::Backoff;
use crate::base::health::LineCondition;
use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::camera::CameraStatus;
use crate::data::report::Report;
use crate::protocol::birth::Identity;
use crate::protocol::metrics::Metrics;
use crate::store::Store;
use crossbeam::channel::Sender;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, PubAck, PubAckReason};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;

/// What goes out beside the results and may be dropped: nobody waits for it.
#[derive(Debug)]
pub enum BestEffort {
    Camera {
        name: Arc<str>,
        status: CameraStatus,
    },
    Heatmap {
        report: Arc<Report>,
        png: Vec<u8>,
    },
    /// A camera's picture as it is, asked for by a command.
    Snapshot {
        camera: Arc<str>,
        png: Vec<u8>,
    },
    /// What the recipe or its threshold became.
    Identity(Box<Identity>),
}

/// What the publisher is connected to in the line.
pub struct Wiring {
    pub store: Store,
    pub side: Receiver<BestEffort>,
    pub orders: Sender<Request>,
    pub answers: Receiver<Reply>,
    pub condition: Box<dyn Fn() -> LineCondition + Send>,
    pub metrics: Box<dyn Fn() -> Metrics + Send>,
    pub pulse: Heartbeat,
}

/// Results on their way at once: more than a round trip needs, few enough to be sent again.
pub(super) const IN_FLIGHT: usize = 64;
/// Commands that may be with the foreman at once; the broker keeps the others back.
pub const ORDERS: u16 = 64;
/// No PUBACK for this long with results on their way: the link only looks alive.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// At the end of a run, what waits may take this long to be acknowledged.
const DRAIN: Duration = Duration::from_secs(5);
/// The broker keeps commands for us so long.
const SESSION_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Somebody else uses our client id: taking it back at once would throw him out, and him us.
const TAKEN_OVER: Duration = Duration::from_secs(30);
/// A result's payload and topic.
pub(super) const RESULT_MAX: u32 = 2048;
/// Messages at QoS 0 that rumqttc may hold.
pub(super) const BESIDE: usize = IN_FLIGHT;
/// A connection that lasted so long was a good one. Mosquitto 2.0 does not tell who is thrown out that another client took
/// his name: two daemons of one name must not throw each other out at every moment.
const STEADY: Duration = Duration::from_secs(5);
/// Connections in a row that did not last: reason to suspect that.
const SUSPICIOUS: u32 = 3;
/// Between two lines of the log on rejected parts that went by.
const MISSED_EVERY: Duration = Duration::from_secs(60);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// Heartbeats between two messages of counters.
const METRICS_EVERY: u64 = 10;

/// Publishes until the senders of `side` are gone and the outbox is drained. Blocks; for a thread of its own.
pub fn run(settings: MqttSettings, identity: Identity, wiring: Wiring) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let topics = format!("{}/{}", identity.prefix, identity.station);
    let mut link = Publisher {
        settings,
        identity,
        topics,
        wiring,
        outcomes: VecDeque::new(),
        outcomes_so_far: 0,
        cameras: HashMap::new(),
        sessions: 0,
        beats: 0,
        ending: None,
        gone: None,
        unsteady: 0,
        told: String::new(),
        missed: 0,
        warned: None,
    };
    runtime.block_on(link.keep());
    let untold = link.wiring.store.outbox().forget_rejects();
    if untold > 0 {
        tracing::warn!(
            "{untold} rejected parts are not at their gates yet, and nobody will tell when they are"
        );
    }
    Ok(())
}

/// When that moment has come; never without one.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

struct Publisher {
    settings: MqttSettings,
    identity: Identity,
    topics: String,
    wiring: Wiring,
    /// Outcomes of commands that the broker does not have yet, by number; the newest [`OUTCOMES_KEPT`].
    outcomes: VecDeque<(u64, Reply)>,
    outcomes_so_far: u64,
    /// The newest status of each camera, for every new connection.
    cameras: HashMap<Arc<str>, CameraStatus>,
    sessions: u64,
    beats: u64,
    /// Set when the producers have gone: until then everything must be out.
    ending: Option<Instant>,
    /// Since when the broker has been away.
    gone: Option<Instant>,
    /// Connections in a row that did not last.
    unsteady: u32,
    /// The last reason that was logged.
    told: String,
    /// Rejected parts that went by untold, as logged last, and when that was.
    missed: u64,
    warned: Option<Instant>,
}

impl Publisher {
    async fn keep(&mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            self.wiring.pulse.beat();
            let (client, mut events) = AsyncClient::new(self.options(), REQUESTS);
            self.sessions += 1;
            let mut session = Session::new(self.sessions, client);
            let why = self.converse(&mut session, &mut events).await;
            self.wiring.store.outbox().rewind();
            let waiting = self.wiring.store.count().waiting;
            if waiting > 0 && (why.is_none() || self.is_over()) {
                tracing::warn!("{waiting} results wait in the store for the next run");
            }
            let Some((mut why, wait)) = why else { return };
            match session.connected.map(|since| since.elapsed() > STEADY) {
                Some(true) => {
                    backoff.reset();
                    self.unsteady = 0;
                }
                Some(false) => self.unsteady += 1,
                None => {}
            }
            if self.unsteady >= SUSPICIOUS {
                why += &format!(
                    ", again and again; does another daemon have the mqtt.client_id {:?}?",
                    self.settings.client_id
                );
            }
            if self.is_over() {
                return; // what waits was told
            }
            self.lost(&why);
            let pause = tokio::time::sleep(wait.unwrap_or_else(|| backoff.next_wait()));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    side = self.wiring.side.recv(), if self.ending.is_none() => {
                        self.note(side);
                        // The last chance to deliver; not for the price of throwing out who has our name.
                        if self.ending.is_some() && wait.is_none() {
                            break;
                        }
                    }
                    Some(answered) = self.wiring.answers.recv() => self.keep_outcome(answered),
                    () = tokio::time::sleep(HEARTBEAT) => {
                        self.wiring.pulse.beat();
                        self.look_at_rejects(false);
                        if self.is_over() {
                            break;
                        }
                    }
                }
            }
        }
    }

    fn options(&self) -> MqttOptions {
        let mut options = options(&self.settings, &self.settings.client_id);
        options.set_clean_start(false);
        options.set_session_expiry_interval(Some(SESSION_KEPT.as_secs() as u32));
        options.set_receive_maximum(Some(ORDERS));
        options.set_manual_acks(true);
        let will = LastWill::new(
            self.topic("availability"),
            "offline",
            QoS::AtLeastOnce,
            true,
            None,
        );
        options.set_last_will(will);
        options
    }

    fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.topics)
    }

    /// One connection's life; why it ended, and how long to wait where that is known, or nothing when all is done.
    async fn converse(
        &mut self,
        session: &mut Session,
        events: &mut EventLoop,
    ) -> Option<(String, Option<Duration>)> {
        let (mut tick, mut heart) = (
            tokio::time::interval(HEARTBEAT),
            tokio::time::interval(HEARTBEAT_EVERY),
        );
        let outbox = self.wiring.store.outbox().clone();
        loop {
            // Held until it has something to tell: one that is dropped half-way begins its connection again, or forgets
            // the packet that it was writing.
            let mut event = std::pin::pin!(events.poll());
            let event = loop {
                self.wiring.pulse.beat();
                if session.connected.is_some() {
                    self.pass_orders(session);
                    self.tell_refused(session);
                    self.tell_rejects(session);
                    self.hand_over(session);
                    if self.is_finished(session) {
                        self.say_goodbye(session);
                    }
                }
                tokio::select! {
                    event = &mut event => break event,
                    () = outbox.notified(), if session.connected.is_some() => {}
                    () = reached(outbox.reject_due()), if session.connected.is_some() => {}
                    Some(answered) = self.wiring.answers.recv(), if session.has_room() => self.answer(session, answered),
                    side = self.wiring.side.recv(), if self.ending.is_none() => self.side(session, side),
                    _ = heart.tick(), if session.connected.is_some() => self.beat(session),
                    _ = tick.tick() => {
                        if let Some(why) = self.look(session) {
                            return Some((why, None));
                        }
                    }
                }
            };
            match event {
                Ok(event) => self.handle(event, session),
                Err(_) if session.stopping => return None,
                Err(error) => return Some(self.ended(&error)),
            }
        }
    }

    /// Now and then: tells how the line is; why the connection is of no use any more, if it is so.
    fn look(&mut self, session: &mut Session) -> Option<String> {
        self.look_at_rejects(session.connected.is_some());
        if session.connected.is_some() {
            self.tell_condition(session);
            if self.is_over() && !session.stopping {
                self.say_goodbye(session); // in order, though results wait for the next run
            }
        }
        if session.overrun {
            return Some(
                "it passes on more commands at once than it may; they come again".to_owned(),
            );
        }
        if session.in_flight.is_empty() && session.requested.is_empty() {
            session.heard = Instant::now();
        } else if session.heard.elapsed() > SILENCE {
            return Some(format!("no acknowledgement for {} s", SILENCE.as_secs()));
        }
        let patience = if session.stopping {
            DRAIN
        } else {
            Duration::ZERO
        };
        let is_over = self
            .ending
            .is_some_and(|end| Instant::now() > end + patience);
        is_over.then(|| "the run is over".to_owned())
    }

    fn ended(&self, error: &ConnectionError) -> (String, Option<Duration>) {
        let taken = matches!(error, ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. })
            if *reason_code == rumqttc::v5::mqttbytes::v5::DisconnectReasonCode::SessionTakenOver);
        if !taken {
            return (reason(error, &self.settings.host), None);
        }
        let words = format!(
            "another client took the name {:?}; give each daemon an mqtt.client_id of its own",
            self.settings.client_id
        );
        (words, Some(TAKEN_OVER))
    }

    fn handle(&mut self, event: Event, session: &mut Session) {
        match event {
            Event::Incoming(Packet::ConnAck(ack)) => {
                session.connected = Some(Instant::now());
                session.fresh = !ack.session_present;
                session.largest = ack
                    .properties
                    .and_then(|properties| properties.max_packet_size);
                self.back();
                self.greet(session);
            }
            Event::Outgoing(Outgoing::Publish(0)) => {
                session.beside = session.beside.saturating_sub(1)
            }
            Event::Outgoing(Outgoing::PubAck(_)) => session.acks = session.acks.saturating_sub(1),
            Event::Outgoing(Outgoing::Publish(id)) => {
                let owed = session.requested.pop_front().unwrap_or(AckTarget::Nothing);
                session.in_flight.insert(id, owed);
            }
            Event::Incoming(Packet::PubAck(ack)) => self.landed(session, &ack),
            Event::Incoming(Packet::Publish(publish)) => self.receive(session, publish),
            Event::Incoming(Packet::SubAck(ack)) => self.subscribed(&ack.return_codes),
            _ => {}
        }
    }

    fn landed(&mut self, session: &mut Session, ack: &PubAck) {
        session.heard = Instant::now();
        let accepted = matches!(
            ack.reason,
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers
        );
        if !accepted {
            let words = format!("the broker refuses a message: {:?}", ack.reason);
            if self.told != words {
                tracing::error!("{words}; mend its access rules for {}/#", self.topics);
                self.told = words;
            }
        }
        // A refused result would be refused again.
        match session.in_flight.remove(&ack.pkid) {
            Some(AckTarget::Result(key)) => self.wiring.store.acked(key, accepted),
            Some(AckTarget::Outcome(number)) => self.outcome_landed(number),
            Some(AckTarget::Nothing) | None => {}
        }
    }

    /// Keeps what a later connection must say; the end of the side channel is the end of the run.
    fn note(&mut self, side: Option<BestEffort>) {
        match side {
            Some(BestEffort::Camera { name, status }) => drop(self.cameras.insert(name, status)),
            Some(BestEffort::Identity(identity)) => self.identity = *identity,
            Some(BestEffort::Heatmap { .. } | BestEffort::Snapshot { .. }) => {}
            None => self.ending = Some(Instant::now() + DRAIN),
        }
    }

    fn is_over(&self) -> bool {
        self.ending.is_some_and(|end| Instant::now() > end)
    }

    /// Everything is acknowledged and nothing more comes.
    fn is_finished(&self, session: &Session) -> bool {
        let quiet = session.in_flight.is_empty() && session.requested.is_empty();
        let told = self.wiring.answers.is_empty() && session.refused.is_empty();
        let store = &self.wiring.store;
        let at_gates = self
            .ending
            .is_some_and(|end| store.outbox().reject_due().is_none_or(|due| due > end));
        at_gates && !session.stopping && quiet && told && store.count().waiting == 0
    }

    /// Without a connection nobody is told of the rejected parts that are at their gates. A person is told of that.
    fn look_at_rejects(&mut self, is_connected: bool) {
        let outbox = self.wiring.store.outbox();
        while !is_connected && outbox.next_reject().is_some() {
            outbox.reject_told(false);
        }
        let missed = outbox.count().rejects_missed;
        if missed > self.missed
            && self
                .warned
                .is_none_or(|warned| warned.elapsed() > MISSED_EVERY)
        {
            let more = missed - self.missed;
            tracing::warn!(
                "{more} rejected parts were at the gate and nobody was told in time ({missed} in this run)"
            );
            (self.missed, self.warned) = (missed, Some(Instant::now()));
        }
    }

    fn lost(&mut self, why: &str) {
        if self.gone.is_none() {
            self.gone = Some(Instant::now());
        }
        if self.told != why {
            tracing::warn!(
                "broker {}:{} away: {why}; results wait",
                self.settings.host,
                self.settings.port
            );
            self.told = why.to_owned();
        }
    }

    fn back(&mut self) {
        let broker = format!("{}:{}", self.settings.host, self.settings.port);
        match self.gone.take() {
            Some(gone) => {
                tracing::info!("broker {broker} back after {} s", gone.elapsed().as_secs())
            }
            None => tracing::info!("broker {broker} connected"),
        }
        self.told.clear();
    }
}
