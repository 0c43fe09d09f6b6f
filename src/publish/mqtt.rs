//! The loop that owns the MQTT client: results out of the store, everything else beside them.
//!
//! A result leaves the store only with its PUBACK. Each connection has a client of its own: what was not acknowledged
//! is handed out again by the store, in order, so rumqttc's memory queue is never the one that counts.
//!
//! ```text
//! connect --ConnAck--> online, birth, camera status --results, side--> ...
//!    ^                                                                  |
//!    +------- wait (backoff) <--- rewind the store <--- error, silence -+
//! ```

use super::message::{self, Identity};
use super::{Settings, tls};
use crate::base::backoff::Backoff;
use crate::base::notify::{Pulse, SIGN};
use crate::camera::Status;
use crate::report::Report;
use crate::store::{Store, Waiting};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAckProperties, LastWill, Packet, PubAckReason, PublishProperties};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{Outgoing, TlsConfiguration, Transport};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;

/// What goes out beside the results and may be dropped: nobody waits for it.
#[derive(Debug)]
pub enum Side {
    Camera { name: Arc<str>, status: Status },
    Heatmap { report: Arc<Report>, png: Vec<u8> },
}

/// Results on their way at once: more than a round trip needs, few enough to be sent again.
const IN_FLIGHT: usize = 64;
/// No PUBACK for this long with results on their way: the link only looks alive.
const SILENCE: Duration = Duration::from_secs(10);
/// At the end of a run, what waits may take this long to be acknowledged.
const DRAIN: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A heat map is the largest packet.
const PACKET_MAX: u32 = 8 << 20;
/// A result's payload and topic.
const RESULT_MAX: u32 = 2048;
/// Requests that rumqttc may hold: those in flight and a little beside them.
const REQUESTS: usize = 2 * IN_FLIGHT;

/// Publishes until the senders of `side` are gone and the store is drained. Blocks; for a thread of its own.
pub fn run(
    settings: Settings,
    identity: Identity,
    store: Arc<dyn Store>,
    side: Receiver<Side>,
    pulse: Pulse,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let topics = format!("{}/{}", identity.prefix, identity.station);
    let mut link = Link {
        settings,
        identity,
        topics,
        store,
        side,
        pulse,
        cameras: HashMap::new(),
        ending: None,
        gone: None,
        told: String::new(),
    };
    runtime.block_on(link.keep());
    Ok(())
}

struct Link {
    settings: Settings,
    identity: Identity,
    topics: String,
    store: Arc<dyn Store>,
    side: Receiver<Side>,
    pulse: Pulse,
    /// The newest status of each camera, for every new connection.
    cameras: HashMap<Arc<str>, Status>,
    /// Set when the producers have gone: until then everything must be out.
    ending: Option<Instant>,
    /// Since when the broker has been away.
    gone: Option<Instant>,
    /// The last reason that was logged.
    told: String,
}

/// One connection.
struct Session {
    client: AsyncClient,
    connected: bool,
    /// Acknowledged publishes in the order of their requests: results by their key, others as nothing.
    requested: VecDeque<Option<u64>>,
    in_flight: HashMap<u16, Option<u64>>,
    /// The last PUBACK, or the last time that nothing was owed.
    heard: Instant,
    stopping: bool,
}

impl Link {
    async fn keep(&mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            self.pulse.beat();
            let (client, mut events) = AsyncClient::new(self.options(), REQUESTS);
            let mut session = Session {
                client,
                connected: false,
                requested: VecDeque::new(),
                in_flight: HashMap::new(),
                heard: Instant::now(),
                stopping: false,
            };
            let why = self.converse(&mut session, &mut events, &mut backoff).await;
            self.store.rewind();
            let Some(why) = why else { return };
            self.lost(&why);
            if self.is_over() {
                let waiting = self.store.count().waiting;
                if waiting > 0 {
                    tracing::error!("the broker is away at the end of the run: {waiting} results were not delivered");
                }
                return;
            }
            let pause = tokio::time::sleep(backoff.next_wait());
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    side = self.side.recv(), if self.ending.is_none() => self.note(side),
                }
            }
        }
    }

    fn options(&self) -> MqttOptions {
        let mut options = options(&self.settings, &self.settings.client_id);
        let will = LastWill::new(self.topic("availability"), "offline", QoS::AtLeastOnce, true, None);
        options.set_last_will(will);
        options
    }

    fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.topics)
    }

    /// One connection's life; the reason why it ended, or nothing when all is done.
    async fn converse(
        &mut self,
        session: &mut Session,
        events: &mut EventLoop,
        backoff: &mut Backoff,
    ) -> Option<String> {
        let mut tick = tokio::time::interval(SIGN);
        let store = self.store.clone();
        loop {
            self.pulse.beat();
            if session.connected {
                self.hand_over(session);
                if self.is_finished(session) {
                    self.say_goodbye(session);
                }
            }
            tokio::select! {
                event = events.poll() => match event {
                    Ok(event) => self.handle(event, session, backoff),
                    Err(_) if session.stopping => return None,
                    Err(error) => return Some(reason(&error, &self.settings.host)),
                },
                () = store.notified(), if session.connected => {}
                side = self.side.recv(), if self.ending.is_none() => {
                    let changed = match &side {
                        Some(Side::Camera { name, .. }) => Some(name.clone()),
                        _ => None,
                    };
                    let heatmap = self.side_message(side);
                    if let Some((topic, payload, properties)) = heatmap.filter(|_| session.connected) {
                        // Full means that results need the room: the picture is dropped.
                        let _ = session.client.try_publish_with_properties(topic, QoS::AtMostOnce, false, payload, properties);
                    }
                    if let Some(name) = changed.filter(|_| session.connected) {
                        self.publish_camera(session, &name);
                    }
                }
                _ = tick.tick() => {
                    if session.in_flight.is_empty() && session.requested.is_empty() {
                        session.heard = Instant::now();
                    } else if session.heard.elapsed() > SILENCE {
                        return Some(format!("no acknowledgement for {} s", SILENCE.as_secs()));
                    }
                    if self.is_over() && !session.stopping {
                        return Some("the run is over".to_owned());
                    }
                }
            }
        }
    }

    fn handle(&mut self, event: Event, session: &mut Session, backoff: &mut Backoff) {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                session.connected = true;
                backoff.reset();
                self.back();
                self.greet(session);
            }
            Event::Outgoing(Outgoing::Publish(id)) if id != 0 => {
                let key = session.requested.pop_front().flatten();
                session.in_flight.insert(id, key);
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                session.heard = Instant::now();
                let accepted = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
                if !accepted {
                    let words = format!("the broker refuses a message: {:?}", ack.reason);
                    if self.told != words {
                        tracing::error!("{words}; mend its access rules for {}/#", self.topics);
                        self.told = words;
                    }
                }
                // A refused result would be refused again.
                match session.in_flight.remove(&ack.pkid).flatten() {
                    Some(key) if accepted => self.store.acked(key),
                    Some(key) => self.store.refused(key),
                    None => {}
                }
            }
            _ => {}
        }
    }

    /// `online`, who we are and how the cameras are: after every connect.
    fn greet(&self, session: &mut Session) {
        session.publish(self.topic("birth"), true, message::birth(&self.identity), None, None);
        session.publish(self.topic("availability"), true, b"online".to_vec(), None, None);
        self.cameras.keys().for_each(|name| self.publish_camera(session, name));
    }

    fn publish_camera(&self, session: &mut Session, name: &str) {
        if let Some(status) = self.cameras.get(name) {
            let topic = self.topic(&format!("camera/{name}/status"));
            session.publish(topic, true, message::camera_status(status), None, None);
        }
    }

    /// Hands waiting results to the client, as many as may be on their way.
    fn hand_over(&self, session: &mut Session) {
        while session.in_flight.len() + session.requested.len() < IN_FLIGHT {
            let Some(waiting) = self.store.next() else { return };
            self.publish_result(session, waiting);
        }
    }

    fn publish_result(&self, session: &mut Session, waiting: Waiting) {
        let Waiting { key, report, dropped_before } = waiting;
        let useful = report.deadline + self.settings.reject_window;
        let left = useful.saturating_sub(report.arrived.elapsed());
        let late = left.is_zero();
        let payload = message::result(&report, &self.identity, late, dropped_before);
        if late {
            session.publish(self.topic("result/late"), false, payload, None, Some(key));
            return;
        }
        let expiry = u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX);
        let properties = PublishProperties { message_expiry_interval: Some(expiry), ..PublishProperties::default() };
        session.publish(self.topic("result"), false, payload.clone(), Some(properties), Some(key));
        let last = self.topic(&format!("result/last/{}", report.camera));
        let _ = session.client.try_publish(last, QoS::AtMostOnce, true, payload);
    }

    fn side_message(&mut self, side: Option<Side>) -> Option<(String, Vec<u8>, PublishProperties)> {
        let Some(Side::Heatmap { report, png }) = side else {
            self.note(side);
            return None;
        };
        let mut properties = PublishProperties::default();
        properties.user_properties.push(("seq".to_owned(), report.seq.to_string()));
        if let Some(part) = &report.part_id {
            properties.user_properties.push(("part_id".to_owned(), part.clone()));
        }
        Some((self.topic(&format!("heatmap/{}", report.camera)), png, properties))
    }

    /// Keeps what a later connection must say; the end of the side channel is the end of the run.
    fn note(&mut self, side: Option<Side>) {
        match side {
            Some(Side::Camera { name, status }) => drop(self.cameras.insert(name, status)),
            Some(Side::Heatmap { .. }) => {}
            None => self.ending = Some(Instant::now() + DRAIN),
        }
    }

    fn is_over(&self) -> bool {
        self.ending.is_some_and(|end| Instant::now() > end)
    }

    /// Everything is acknowledged and nothing more comes.
    fn is_finished(&self, session: &Session) -> bool {
        let quiet = session.in_flight.is_empty() && session.requested.is_empty();
        self.ending.is_some() && !session.stopping && quiet && self.store.count().waiting == 0
    }

    fn say_goodbye(&self, session: &mut Session) {
        session.stopping = true;
        session.publish(self.topic("availability"), true, b"stopped".to_vec(), None, None);
        let _ = session.client.try_disconnect();
    }

    fn lost(&mut self, why: &str) {
        if self.gone.is_none() {
            self.gone = Some(Instant::now());
        }
        if self.told != why {
            tracing::warn!("broker {}:{} away: {why}; results wait", self.settings.host, self.settings.port);
            self.told = why.to_owned();
        }
    }

    fn back(&mut self) {
        let broker = format!("{}:{}", self.settings.host, self.settings.port);
        match self.gone.take() {
            Some(gone) => tracing::info!("broker {broker} back after {} s", gone.elapsed().as_secs()),
            None => tracing::info!("broker {broker} connected"),
        }
        self.told.clear();
    }
}

impl Session {
    /// A publish that will be acknowledged; `key` is the store's for a result. A full client loses nothing: results
    /// are handed out again with the next connection, and the silence watchdog makes one.
    fn publish(
        &mut self,
        topic: String,
        retain: bool,
        payload: Vec<u8>,
        properties: Option<PublishProperties>,
        key: Option<u64>,
    ) {
        let sent = match properties {
            Some(properties) => {
                self.client.try_publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties)
            }
            None => self.client.try_publish(topic, QoS::AtLeastOnce, retain, payload),
        };
        if let Err(error) = sent {
            tracing::debug!("not handed to the client: {error}");
            return;
        }
        self.requested.push_back(key);
    }
}

/// Who and where, as every connection says it.
fn options(settings: &Settings, client_id: &str) -> MqttOptions {
    let mut options = MqttOptions::new(client_id, &settings.host, settings.port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_clean_start(true);
    options.set_connection_timeout(5);
    options.set_max_packet_size(Some(PACKET_MAX));
    if let Some(tls) = &settings.tls {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls.0.clone())));
    }
    if let Some(user) = &settings.user {
        options.set_credentials(user, settings.password.as_ref().map_or("", |p| p.reveal()));
    }
    options
}

/// Would the broker take this line's messages? Connects under a name of its own, beside a line that runs, and publishes
/// one message at QoS 1 to `<topics>/check`. What it said in words.
///
/// # Errors
/// Why not, and what to do.
pub fn probe(settings: &Settings, topics: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let client_id = format!("{}-check", settings.client_id);
    let (client, mut events) = AsyncClient::new(options(settings, &client_id), REQUESTS);
    let talk = async {
        loop {
            match events.poll().await.map_err(|error| reason(&error, &settings.host))? {
                Event::Incoming(Packet::ConnAck(ack)) => {
                    suits(ack.properties.as_ref())?;
                    let sent = client.try_publish(format!("{topics}/check"), QoS::AtLeastOnce, false, b"{}".to_vec());
                    sent.map_err(|error| error.to_string())?;
                }
                Event::Incoming(Packet::PubAck(ack)) => {
                    return match ack.reason {
                        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Ok(format!(
                            "{} and takes messages to {topics}/#",
                            if settings.tls.is_some() { "TLS" } else { "plain TCP" }
                        )),
                        refused => Err(format!("it refuses a message: {refused:?}; let this user write to {topics}/#")),
                    };
                }
                _ => {}
            }
        }
    };
    runtime.block_on(async {
        let told = tokio::time::timeout(SILENCE, talk).await;
        told.unwrap_or_else(|_| Err(format!("no acknowledgement for {} s", SILENCE.as_secs())))
    })
}

/// Can it keep retained messages, and acknowledge?
fn suits(properties: Option<&ConnAckProperties>) -> Result<(), String> {
    let Some(properties) = properties else { return Ok(()) };
    if properties.retain_available == Some(0) {
        return Err("it keeps no retained messages: availability and birth would be lost; allow them there".to_owned());
    }
    if properties.max_qos == Some(0) {
        return Err("it acknowledges nothing (QoS 0 only): results could be lost; allow QoS 1 there".to_owned());
    }
    match properties.max_packet_size {
        Some(limit) if limit < RESULT_MAX => {
            Err(format!("it takes packets of {limit} bytes at most; a result may have {RESULT_MAX}"))
        }
        _ => Ok(()),
    }
}

/// Words for a person: what the broker said, or why it cannot be reached.
fn reason(error: &ConnectionError, host: &str) -> String {
    // It quotes what it wraps, but does not give it as its source.
    let cause: &(dyn std::error::Error + 'static) = match error {
        ConnectionError::MqttState(StateError::Deserialization(cause)) => cause,
        other => other,
    };
    if let Some(words) = tls::reason(cause, host) {
        return words;
    }
    match error {
        ConnectionError::Tls(rumqttc::TlsError::Io(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "it ended the TLS handshake without a word; correct mqtt.port, or look into its log".to_owned()
        }
        ConnectionError::ConnectionRefused(code) => format!("it refuses the connection: {code:?}"),
        ConnectionError::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
