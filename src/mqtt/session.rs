//! One connection to the broker: its client, the messages that the broker owes an acknowledgement,
//! and the limits of both.

use super::MqttSettings;
use super::link_age::LinkAge;
use super::owed_acks::OwedAcks;
use super::owed_parts::OwedParts;
use crate::base::health::LineCondition;
use crate::protocol::request::{Reply, Request};
use crate::store::Reject;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Results in flight at once: more than a round trip needs, few enough to be sent again.
pub(super) const IN_FLIGHT: usize = 64;
/// Commands that may be with the command handler at once; the broker keeps the others back.
pub const COMMANDS_MAX: u16 = 64;
/// Answers that may wait for the publisher; the command handler waits beyond.
pub(super) const REPLIES_WAITING: usize = 2 * COMMANDS_MAX as usize;
/// Commands that a connection holds for the command handler; more are refused. Mosquitto 2.0 sends
/// more than it may when a session goes on.
pub(super) const COMMANDS_KEPT: usize = 2048;
/// Refused commands that wait for room, some hundred bytes each; beyond, the connection begins
/// anew.
pub(super) const REFUSED_KEPT: usize = 16_384;
/// Outcomes of commands that wait for the broker; the oldest are forgotten beyond.
pub(super) const OUTCOMES_KEPT: usize = 16;
/// Bytes of a result's payload and topic.
pub(super) const RESULT_MAX: u32 = 2048;
/// Messages at QoS 0 that the client may hold; more are dropped.
pub(super) const BEST_EFFORT_WAITING: usize = IN_FLIGHT;
/// Pictures that the client may hold: a slow link must not fill with them.
pub(super) const PICTURES_WAITING: usize = 8;
/// Requests that the client may hold: results in flight, messages at QoS 0, two answers and the
/// acknowledgement of each command, and room for changes of state.
pub(super) const REQUESTS: usize =
    IN_FLIGHT + BEST_EFFORT_WAITING + 3 * COMMANDS_MAX as usize + ROOM_LEFT;
/// Requests for which answers leave room: results, changes of state, refusals.
const ROOM_LEFT: usize = 128;
/// A link without PUBACK for this long, with messages in flight, only looks alive.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// Age of the last PUBACK beyond which the arrival of a message cannot be foretold.
const PROMPT: Duration = Duration::from_secs(1);
/// Time from a refusal to the end of a connection within which it is the refused message that ended it:
/// some brokers refuse a message, and close then.
const REFUSED_LATELY: Duration = Duration::from_millis(200);
/// Interval of MQTT's own pings.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Bytes of a command that is answered at all; the broker keeps larger ones.
const PACKET_MAX: u32 = 256 << 10;
/// Bytes of a packet beside its topic, payload and properties of variable length, at most.
const HEADERS: usize = 32;

/// A message on its way out.
#[derive(Debug, Clone)]
pub(super) struct MqttMessage {
    topic: String,
    payload: Vec<u8>,
    /// True if the broker keeps it for later subscribers.
    is_retained: bool,
    properties: PublishProperties,
}

impl MqttMessage {
    pub(super) fn new(topic: String, payload: impl Into<Vec<u8>>) -> Self {
        MqttMessage {
            topic,
            payload: payload.into(),
            is_retained: false,
            properties: PublishProperties::default(),
        }
    }

    /// The same, kept by the broker.
    pub(super) fn retained(self) -> Self {
        MqttMessage {
            is_retained: true,
            ..self
        }
    }

    /// The same, with other properties.
    pub(super) fn with(self, properties: PublishProperties) -> Self {
        MqttMessage { properties, ..self }
    }

    /// The same, which the broker drops after so many seconds.
    pub(super) fn expires_after(self, seconds: u32) -> Self {
        self.with(PublishProperties {
            message_expiry_interval: Some(seconds),
            ..PublishProperties::default()
        })
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Bytes of the packet, at most.
    fn bytes(&self) -> usize {
        // Each user property has an identifier and two lengths of two bytes.
        let users: usize = self
            .properties
            .user_properties
            .iter()
            .map(|(key, value)| key.len() + value.len() + 5)
            .sum();

        let data = self
            .properties
            .correlation_data
            .as_ref()
            .map_or(0, |data| data.len());

        self.topic.len() + self.payload.len() + users + data + HEADERS
    }
}

/// A command that is not done, and the answer that its sender gets.
pub(super) struct Refused {
    /// The packet without its payload, which may be large.
    pub(super) publish: Publish,
    /// Name of the command, or `unknown`.
    pub(super) name: String,
    /// The answer, encoded.
    pub(super) answer: String,
}

/// Effect of an acknowledgement of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum AckTarget {
    /// The result of that key leaves the store, once its other message is acknowledged as well.
    Result(u64),
    /// The same, by its message for PLCs.
    Plc(u64),
    /// The outcome of that number need not be told again.
    Outcome(u64),
    /// The gate was told of the rejected part of that number on this connection.
    Reject(u64),
    /// The sender of a command has its answer on the topic that it named.
    Response(String),
    /// The broker takes messages of that topic.
    Topic(String),
}

impl AckTarget {
    /// The same, where each reject stands for all of them, and both messages of a result for one.
    pub(super) fn kind(&self) -> AckTarget {
        match self {
            AckTarget::Reject(_) => AckTarget::Reject(0),
            AckTarget::Plc(key) => AckTarget::Result(*key),
            other => other.clone(),
        }
    }
}

/// Commands whose response topics get an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Answered {
    /// All of them.
    #[default]
    All,
    /// Those that come after the first fence: the others may have ended the connection before.
    New,
    /// Those that come after that moment.
    After(Instant),
}

/// A message at QoS 1 without its acknowledgement.
#[derive(Debug, Clone)]
pub(super) struct Unacknowledged {
    pub(super) target: AckTarget,
    /// Bytes of its payload.
    pub(super) bytes: usize,
    /// Moment at which it was handed to the client.
    pub(super) sent: Instant,
}

/// What waits for the acknowledgement of the message before it.
enum Held {
    /// A message, and the effect of its own acknowledgement.
    Message(MqttMessage, AckTarget),
    /// The acknowledgement of a command, behind its answers.
    Acknowledgement(Publish),
}

/// One connection.
pub(super) struct Session {
    /// Number of the connection in this run.
    pub(super) number: u64,
    /// The client of this connection alone.
    pub(super) client: AsyncClient,
    /// Moment of the broker's CONNACK, once it has come.
    pub(super) connected_at: Option<Instant>,
    /// Age of the commands that come.
    pub(super) link_age: LinkAge,
    /// Bytes of a packet that the broker takes, if it says so.
    pub(super) packet_max: Option<u32>,
    /// True once a packet was larger, and that was logged.
    is_large_logged: bool,
    /// Messages at QoS 1 that the client has and has not written yet, in order.
    pub(super) requested: VecDeque<Unacknowledged>,
    /// Messages at QoS 1 without PUBACK, by packet id.
    pub(super) in_flight: HashMap<u16, Unacknowledged>,
    /// Results of which the broker owes answers.
    pub(super) parts: OwedParts,
    /// The last message that the broker refused, and when.
    pub(super) refused_last: Option<(Instant, Unacknowledged)>,
    /// Messages at QoS 0 that the client has not written yet.
    pub(super) best_effort: usize,
    /// Messages at QoS 1 that wait for the acknowledgement of the one before, while each goes alone.
    held: VecDeque<Held>,
    /// True while each message goes alone: one of them ended the connection before, and it is to be
    /// found out which.
    pub(super) is_careful: bool,
    /// A result on its way that was put aside before: if the connection ends, it is why.
    pub(super) trial: Option<u64>,
    /// Messages that ended connections, and are left out.
    pub(super) muted: Vec<AckTarget>,
    /// Commands whose response topics get an answer.
    pub(super) answered: Answered,
    /// Acknowledgements of commands that the client has not written yet.
    pub(super) acks: usize,
    /// Acknowledgements of commands that the broker is owed, in the order of the commands.
    pub(super) owed: OwedAcks,
    /// Answers of the command handler that wait for room.
    pub(super) answers: VecDeque<Reply>,
    /// Commands that wait for the command handler.
    pub(super) commands: VecDeque<Request>,
    /// Packets of the commands that are not answered, by request number.
    pub(super) unanswered: HashMap<u64, Publish>,
    /// Number of the next request.
    pub(super) next_request: u64,
    /// Refused commands that wait for room to be told.
    pub(super) refused: VecDeque<Refused>,
    /// Rejected parts whose messages the broker has not acknowledged, by number.
    pub(super) rejects: HashMap<u64, Reject>,
    /// Number of the next one.
    next_reject: u64,
    /// Number of the last outcome that was told on this connection.
    pub(super) last_outcome: u64,
    /// True once the broker passed on more commands than it may, by far: some are not kept here,
    /// and must come again.
    pub(super) is_overrun: bool,
    /// Moment of the last PUBACK, or of the last time that none was owed.
    pub(super) last_ack: Instant,
    /// The condition that was told last.
    pub(super) condition: Option<LineCondition>,
    /// True once goodbye was said.
    pub(super) is_stopping: bool,
}

impl Session {
    /// A connection that is not there yet.
    pub(super) fn new(number: u64, client: AsyncClient) -> Self {
        Session {
            number,
            client,
            connected_at: None,
            link_age: LinkAge::default(),
            packet_max: None,
            is_large_logged: false,
            requested: VecDeque::new(),
            in_flight: HashMap::new(),
            parts: OwedParts::default(),
            refused_last: None,
            best_effort: 0,
            held: VecDeque::new(),
            is_careful: false,
            trial: None,
            muted: vec![],
            answered: Answered::All,
            acks: 0,
            owed: OwedAcks::default(),
            answers: VecDeque::new(),
            commands: VecDeque::new(),
            unanswered: HashMap::new(),
            next_request: 0,
            refused: VecDeque::new(),
            rejects: HashMap::new(),
            next_reject: 0,
            last_outcome: 0,
            is_overrun: false,
            last_ack: Instant::now(),
            condition: None,
            is_stopping: false,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected_at.is_some()
    }

    /// True if the broker owes no acknowledgement.
    pub(super) fn is_quiet(&self) -> bool {
        self.unacknowledged() == 0 && self.held.is_empty()
    }

    /// Messages at QoS 1 that the client has and the broker has not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.in_flight.len() + self.requested.len()
    }

    /// The message that was refused last, if that was just now.
    pub(super) fn refused_lately(&self) -> Option<&Unacknowledged> {
        let (at, message) = self.refused_last.as_ref()?;

        (at.elapsed() < REFUSED_LATELY).then_some(message)
    }

    /// True if a command that comes now gets its answer on the topic that it names.
    pub(super) fn answers_topics(&self) -> bool {
        match self.answered {
            Answered::All => true,
            Answered::New => self.link_age.has_come_back(),
            Answered::After(until) => Instant::now() > until,
        }
    }

    /// Those messages.
    pub(super) fn unacknowledged_messages(&self) -> impl Iterator<Item = &Unacknowledged> {
        self.in_flight.values().chain(&self.requested)
    }

    /// False if the message is larger than the broker takes: it would end the connection. The
    /// first such message is logged.
    pub(super) fn fits(&mut self, message: &MqttMessage) -> bool {
        let bytes = message.bytes();
        let Some(limit) = self.packet_max.filter(|limit| bytes > *limit as usize) else {
            return true;
        };

        if !std::mem::replace(&mut self.is_large_logged, true) {
            let topic = &message.topic;
            tracing::error!(
                "the broker takes packets of at most {limit} bytes, and {topic} is one of {bytes}: it is not sent, nor are \
                 others like it; raise its limit (mosquitto: max_packet_size)"
            );
        }

        false
    }

    /// Publishes a message at QoS 1 that is told again with the next connection, or never; a refusal
    /// is told under its topic.
    pub(super) fn tell(&mut self, message: MqttMessage) -> bool {
        let topic = message.topic.clone();

        self.publish(message, AckTarget::Topic(topic))
    }

    /// Lets a command be acknowledged behind its answers, which are published: at once, or where they
    /// are held back once the broker has them.
    pub(super) fn acknowledge_answered(&mut self, command: &Publish) {
        if self.must_wait() {
            self.held.push_back(Held::Acknowledgement(command.clone()));
        } else {
            self.acknowledge(command);
        }
    }

    /// Publishes an answer to the topic that the sender of its command named.
    pub(super) fn respond(&mut self, message: MqttMessage) -> bool {
        let topic = message.topic.clone();

        self.publish(message, AckTarget::Response(topic))
    }

    /// Publishes at QoS 1. False if the client is full, which its size does not let happen. A
    /// message that is too large for the broker is left out.
    pub(super) fn publish(&mut self, message: MqttMessage, target: AckTarget) -> bool {
        if !self.fits(&message) || self.is_muted(&target) {
            return true;
        }

        if self.must_wait() {
            self.held.push_back(Held::Message(message, target));
            return true;
        }

        self.hand_over(message, target)
    }

    /// True while each message goes alone and one is on its way: what ends the connection is then the
    /// one message that is not acknowledged.
    fn must_wait(&self) -> bool {
        self.is_careful && !self.is_quiet()
    }

    /// Tells the gate of a rejected part. Gives the part back where the message is not sent.
    pub(super) fn publish_reject(
        &mut self,
        message: MqttMessage,
        reject: Reject,
    ) -> Result<(), Reject> {
        let target = AckTarget::Reject(self.next_reject);
        let may_go = self.is_prompt() && self.fits(&message) && !self.is_muted(&target);

        if !may_go || !self.publish(message, target) {
            return Err(reject);
        }

        self.rejects.insert(self.next_reject, reject);
        self.next_reject += 1;

        Ok(())
    }

    fn is_muted(&self, target: &AckTarget) -> bool {
        self.muted.contains(&target.kind())
    }

    /// Sends what was held back, as far as the acknowledgements allow.
    pub(super) fn send_held(&mut self) {
        while (!self.is_careful || self.unacknowledged() == 0)
            && self.has_place()
            && let Some(held) = self.held.pop_front()
        {
            match held {
                Held::Message(message, target) => {
                    self.hand_over(message, target);
                }

                Held::Acknowledgement(command) => self.acknowledge(&command),
            }
        }
    }

    /// True if the client takes one more request.
    fn has_place(&self) -> bool {
        self.has_places(1)
    }

    /// True if the client takes so many more requests.
    pub(super) fn has_places(&self, count: usize) -> bool {
        let taken = self.requested.len() + self.best_effort + self.acks;

        taken + count <= REQUESTS
    }

    fn hand_over(&mut self, message: MqttMessage, target: AckTarget) -> bool {
        // Targets stand in the order of the requests: packet ids are given by the client when it
        // writes.
        let bytes = message.payload.len();
        let is_sent = self.send(message, QoS::AtLeastOnce);

        if is_sent {
            let sent = Instant::now();
            self.requested.push_back(Unacknowledged {
                target,
                bytes,
                sent,
            });
        }

        is_sent
    }

    /// Publishes at QoS 0. The message is dropped while `most` of its kind wait for the link.
    pub(super) fn send_best_effort(&mut self, message: MqttMessage, most: usize) {
        let has_room = self.fits(&message) && self.best_effort < most;

        if has_room && self.send(message, QoS::AtMostOnce) {
            self.best_effort += 1;
        }
    }

    fn send(&self, message: MqttMessage, qos: QoS) -> bool {
        let sent = self.client.try_publish_with_properties(
            message.topic,
            qos,
            message.is_retained,
            message.payload,
            message.properties,
        );

        sent.inspect_err(|error| tracing::debug!("not handed to the client: {error}"))
            .is_ok()
    }

    /// Lets a command be acknowledged, after those that came before it. A full client waits: at the
    /// latest the command comes again with the next connection, and its id is known.
    pub(super) fn acknowledge(&mut self, publish: &Publish) {
        self.owed.answered(publish);
        self.send_acks();
    }

    /// Sends the acknowledgements whose turn has come.
    pub(super) fn send_acks(&mut self) {
        while let Some(packet) = self.owed.front()
            && self.client.try_ack(packet).is_ok()
        {
            self.owed.pop();
            self.acks += 1;
        }
    }

    /// True if a message that is sent now arrives now, as far as its acknowledgements tell.
    pub(super) fn is_prompt(&self) -> bool {
        // A careful connection sends one message at a time, so that only an idle one is prompt.
        let is_answered = !self.is_careful && self.last_ack.elapsed() < PROMPT;

        !self.is_stopping && (self.is_quiet() || is_answered)
    }

    /// True if one more answer has room; the command handler waits otherwise.
    pub(super) fn has_room(&self) -> bool {
        self.room() > ROOM_LEFT
    }

    /// True if one more refusal has room: many of them leave room for answers.
    pub(super) fn has_room_for_refusals(&self) -> bool {
        self.room() > ROOM_LEFT + 2 * COMMANDS_MAX as usize
    }

    fn room(&self) -> usize {
        let waiting = self.requested.len() + self.held.len() + self.best_effort + self.acks;

        REQUESTS.saturating_sub(waiting)
    }
}

/// The options that every connection shares: broker, name, security.
pub(super) fn options(settings: &MqttSettings, client_id: &str) -> MqttOptions {
    let mut options = MqttOptions::new(client_id, &settings.host, settings.port);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_clean_start(true);
    options.set_connection_timeout(5);

    // A result is a small packet that must not wait for the answer to the one before it.
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    options.set_max_packet_size(Some(PACKET_MAX));

    if let Some(tls) = &settings.tls {
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(tls.0.clone())));
    }

    if let Some(user) = &settings.user {
        options.set_credentials(user, settings.password.as_ref().map_or("", |p| p.reveal()));
    }

    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_at_qos_0_owes_no_acknowledgement() {
        let (client, _events) = AsyncClient::new(MqttOptions::new("a", "127.0.0.1", 1), REQUESTS);
        let mut session = Session::new(1, client);
        for (qos, owed) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 1)] {
            let mut command = Publish::new("cmd/pause", qos, "{}", None);
            command.pkid = 7;
            session.owed.owe(&command);
            session.acknowledge(&command);
            assert_eq!(session.acks, owed);
        }
    }

    #[test]
    fn a_command_is_acknowledged_once_the_broker_has_its_answer() {
        let (client, _events) = AsyncClient::new(MqttOptions::new("a", "127.0.0.1", 1), REQUESTS);
        let mut session = Session::new(1, client);
        session.is_careful = true;
        let mut command = Publish::new("cmd/pause", QoS::AtLeastOnce, "{}", None);
        command.pkid = 7;
        session.owed.owe(&command);
        for topic in ["state", "ack/pause"] {
            session.tell(MqttMessage::new(topic.to_owned(), "{}"));
        }

        session.acknowledge_answered(&command);
        for acks in [0, 0, 1] {
            assert_eq!(session.acks, acks, "the first message goes at once");
            // The broker has what is on its way.
            session.requested.clear();
            session.send_held();
        }

        assert!(session.is_quiet());
    }
}
