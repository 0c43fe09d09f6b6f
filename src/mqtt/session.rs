//! One connection to the broker: its client, what is owed on it, and why it ended, in words.

use super::{MqttSettings, tls};
use crate::base::health::LineCondition;
use crate::mqtt::publisher::{BESIDE, IN_FLIGHT, ORDERS, Request};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, Publish, PublishProperties,
};
use rumqttc::v5::{AsyncClient, ConnectionError, MqttOptions, StateError};
use rumqttc::{TlsConfiguration, Transport};
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Requests that rumqttc may hold: results in flight, messages beside them, two answers and the acknowledgement of each
/// command, and room for changes of state.
pub(super) const REQUESTS: usize = IN_FLIGHT + BESIDE + 3 * ORDERS as usize + ROOM_LEFT;
/// Requests for which answers leave room: results, changes of state, refusals.
const ROOM_LEFT: usize = 128;
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Without a PUBACK for this long nobody knows when a message would arrive.
const PROMPT: Duration = Duration::from_secs(1);
/// What a broker without it is told to be given.
const NO_QOS_1: &str = "it takes no messages at QoS 1, and without their acknowledgement no result can leave the store; \
                        allow QoS 1 (mosquitto: max_qos), or take another broker";
/// A command may be this large to be answered at all; the broker keeps larger ones.
const PACKET_MAX: u32 = 256 << 10;

/// Of a packet, beside its topic, payload and properties of variable length, at most.
const HEADERS: usize = 32;

/// A command that is not done, and what its sender is told.
pub(super) struct Refused {
    /// Without its payload, which may be large.
    pub(super) publish: Publish,
    pub(super) name: String,
    pub(super) answer: String,
}

/// Whose acknowledgement the broker owes.
#[derive(Debug, Clone, Copy)]
pub(super) enum AckTarget {
    /// By its key in the store.
    Result(u64),
    /// By its number among the outcomes of commands.
    Outcome(u64),
    /// Nobody waits for it.
    Nothing,
}

/// One connection.
pub(super) struct Session {
    pub(super) number: u64,
    pub(super) client: AsyncClient,
    /// Since the broker's CONNACK.
    pub(super) connected: Option<Instant>,
    /// What the broker kept for us has all come.
    pub(super) fresh: bool,
    /// Bytes of a packet that the broker takes at most, where it says so; and whether one was larger.
    pub(super) largest: Option<u32>,
    pub(super) told_large: bool,
    /// Acknowledged publishes in the order of their requests.
    pub(super) requested: VecDeque<AckTarget>,
    pub(super) in_flight: HashMap<u16, AckTarget>,
    /// Publishes at QoS 0, and acknowledgements of commands, that the client has not written yet.
    pub(super) beside: usize,
    pub(super) acks: usize,
    /// Commands for the foreman, and those of them and of the ones that he has that are not answered.
    pub(super) orders: VecDeque<Request>,
    pub(super) ordered: HashMap<u64, Publish>,
    pub(super) next_order: u64,
    /// Commands that were refused, and wait for room to be told.
    pub(super) refused: VecDeque<Refused>,
    /// The broker passed on more commands than it may, by far: some are not kept here, and must come again.
    pub(super) overrun: bool,
    /// The last PUBACK, or the last time that nothing was owed.
    pub(super) heard: Instant,
    /// The state that was told last.
    pub(super) condition: Option<LineCondition>,
    pub(super) stopping: bool,
}

impl Session {
    pub(super) fn new(number: u64, client: AsyncClient) -> Self {
        Session {
            number,
            client,
            connected: None,
            fresh: false,
            largest: None,
            told_large: false,
            requested: VecDeque::new(),
            in_flight: HashMap::new(),
            beside: 0,
            acks: 0,
            orders: VecDeque::new(),
            ordered: HashMap::new(),
            next_order: 0,
            refused: VecDeque::new(),
            overrun: false,
            heard: Instant::now(),
            condition: None,
            stopping: false,
        }
    }

    /// False for what is larger than the broker takes: it would end the connection. That is told once.
    pub(super) fn fits(
        &mut self,
        topic: &str,
        payload: &[u8],
        properties: Option<&PublishProperties>,
    ) -> bool {
        let users = properties.map_or(0, |p| {
            p.user_properties
                .iter()
                .map(|(a, b)| a.len() + b.len() + 5)
                .sum()
        });
        let data = properties
            .and_then(|p| p.correlation_data.as_ref())
            .map_or(0, |data| data.len());
        let bytes = topic.len() + payload.len() + users + data + HEADERS;
        let Some(largest) = self.largest.filter(|largest| bytes > *largest as usize) else {
            return true;
        };
        if !std::mem::replace(&mut self.told_large, true) {
            tracing::error!(
                "the broker takes packets of at most {largest} bytes, and {topic} is one of {bytes}: it is not sent, nor are \
                 others like it; raise its limit (mosquitto: max_packet_size)"
            );
        }
        false
    }

    /// A publish that will be acknowledged. False when the client is full, which its
    /// size does not let happen. What the broker does not take is left out.
    pub(super) fn publish(
        &mut self,
        topic: String,
        retain: bool,
        payload: Vec<u8>,
        properties: Option<PublishProperties>,
        owed: AckTarget,
    ) -> bool {
        if !self.fits(&topic, &payload, properties.as_ref()) {
            return true;
        }
        let sent = self.send(topic, QoS::AtLeastOnce, retain, payload, properties);
        if sent {
            self.requested.push_back(owed);
        }
        sent
    }

    /// A full client does not: the command comes again with the next connection, and its id is known.
    pub(super) fn acknowledge(&mut self, publish: &Publish) {
        // One at QoS 0 needs none, and the client writes none for it.
        let is_owed = publish.qos != QoS::AtMostOnce;
        self.acks += usize::from(is_owed && self.client.try_ack(publish).is_ok());
    }

    /// What is sent now arrives now, as far as its acknowledgements tell.
    pub(super) fn is_prompt(&self) -> bool {
        let is_owed = !self.in_flight.is_empty() || !self.requested.is_empty();
        !self.stopping && (!is_owed || self.heard.elapsed() < PROMPT)
    }

    /// For one more answer; the foreman waits where there is none.
    pub(super) fn has_room(&self) -> bool {
        self.room() > ROOM_LEFT
    }

    /// For one more refusal: many of them leave room for answers.
    pub(super) fn has_room_for_refusals(&self) -> bool {
        self.room() > ROOM_LEFT + 2 * ORDERS as usize
    }

    fn room(&self) -> usize {
        REQUESTS.saturating_sub(self.requested.len() + self.beside + self.acks)
    }

    /// What may be lost, and is while `most` of its kind wait for the link.
    pub(super) fn beside(
        &mut self,
        topic: String,
        retain: bool,
        payload: Vec<u8>,
        properties: Option<PublishProperties>,
        most: usize,
    ) {
        let fits = self.fits(&topic, &payload, properties.as_ref());
        if fits
            && self.beside < most
            && self.send(topic, QoS::AtMostOnce, retain, payload, properties)
        {
            self.beside += 1;
        }
    }

    fn send(
        &self,
        topic: String,
        qos: QoS,
        retain: bool,
        payload: Vec<u8>,
        properties: Option<PublishProperties>,
    ) -> bool {
        let properties = properties.unwrap_or_default();
        let sent = self
            .client
            .try_publish_with_properties(topic, qos, retain, payload, properties);
        sent.inspect_err(|error| tracing::debug!("not handed to the client: {error}"))
            .is_ok()
    }
}

/// Who and where, as every connection says it.
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

/// Words for a person: what the broker said, or why it cannot be reached.
pub(super) fn reason(error: &ConnectionError, host: &str) -> String {
    // It quotes what it wraps, but does not give it as its source.
    let cause: &(dyn std::error::Error + 'static) = match error {
        ConnectionError::MqttState(StateError::Deserialization(cause)) => cause,
        other => other,
    };
    if let Some(words) = tls::reason(cause, host) {
        return words;
    }
    match error {
        ConnectionError::Tls(rumqttc::TlsError::Io(error))
            if error.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            "it ended the TLS handshake without a word; correct mqtt.port, or look into its log"
                .to_owned()
        }
        ConnectionError::ConnectionRefused(ConnectReturnCode::QoSNotSupported) => {
            NO_QOS_1.to_owned()
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. })
            if *reason_code == DisconnectReasonCode::QoSNotSupported =>
        {
            NO_QOS_1.to_owned()
        }
        ConnectionError::ConnectionRefused(code) => format!("it refuses the connection: {code:?}"),
        ConnectionError::Io(error) => error.to_string(),
        other => other.to_string(),
    }
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
            session.acknowledge(&command);
            assert_eq!(session.acks, owed);
        }
    }
}
