//! A small broker of the tests' own, contrary on demand: it refuses messages, subscriptions
//! and packets, ends connections at a message, and ends them at each breach of MQTT's order of
//! acknowledgements. Its link may be slow. It keeps what it heard, and sends what a test says. Packets
//! are read as the strict broker reads them (`strict/wire.rs`).

use super::strict::wire::{self, Message, Packet, PropertyValue};
use super::wait_until;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A message that the broker heard.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Client that published it.
    pub client: String,
    /// Topic below `plant/box/`, or the whole one.
    pub topic: String,
    /// The payload, as far as it is text.
    pub payload: String,
    /// True if it was to be kept.
    pub is_retained: bool,
    /// True if the broker took it.
    pub is_taken: bool,
    /// Moment at which it was there in whole.
    pub at: Instant,
}

/// What the broker does to its clients.
#[derive(Default)]
pub struct Rules {
    /// Reason code for messages whose topic ends like that; 0 takes them.
    pub refuses: Vec<(&'static str, u8)>,
    /// Bytes of a payload beyond which a message to a topic that ends like that is refused as mosquitto
    /// does it: by a code that MQTT 5 does not have for an acknowledgement.
    pub payload_max: Option<(&'static str, usize)>,
    /// True where the connection ends at the message that follows a refused one.
    pub closes_after_refusal: bool,
    /// Reason code for each subscription.
    pub subscriptions: Option<u8>,
    /// The connection ends at a message that holds this text.
    pub cuts_at: Option<String>,
    /// Bytes a second that all clients together may send.
    pub bytes_a_second: Option<u32>,
}

#[derive(Default)]
struct State {
    rules: Rules,
    heard: Vec<Heard>,
    /// Clients that are connected, with the ways to them.
    clients: Vec<(String, TcpStream)>,
    /// Packets that the line was sent and has not acknowledged, in order.
    owed: VecDeque<u16>,
    next_packet: u16,
    /// Breaches of MQTT, in words.
    breaches: Vec<String>,
    /// Clients of all connections so far, in order.
    connections: Vec<String>,
    /// Client whose connection ends at its next message.
    is_closing: Option<String>,
}

/// The broker. It ends with the test.
pub struct ContraryBroker {
    /// Port on 127.0.0.1.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

const PREFIX: &str = "plant/box/";
/// Bytes of a packet that it reads.
const PACKET_MAX: usize = 64 << 20;
/// Bytes of one client that pass a slow link before those of another.
const PIECE: usize = 4096;

impl ContraryBroker {
    /// A broker that takes everything.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let link = Arc::new(Mutex::new(()));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = shared.clone();
                let link = link.clone();
                thread::spawn(move || serve(stream, &state, &link));
            }
        });

        ContraryBroker { port, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what the broker does from now on.
    pub fn set(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.lock().rules);
    }

    /// All messages that it heard on topics that end like that.
    pub fn heard(&self, topic: &str) -> Vec<Heard> {
        let state = self.lock();
        let fits = state
            .heard
            .iter()
            .filter(|heard| heard.topic.ends_with(topic));
        fits.cloned().collect()
    }

    /// The messages of that topic that it took.
    pub fn taken(&self, topic: &str) -> Vec<Heard> {
        let mut taken = self.heard(topic);
        taken.retain(|heard| heard.is_taken);
        taken
    }

    /// Waits until a message of the topic fits, and returns it.
    #[track_caller]
    pub fn wait_for(&self, topic: &str, fits: impl Fn(&Heard) -> bool) -> Heard {
        let mut found = None;
        wait_until(topic, super::PATIENCE, || {
            found = self
                .heard(topic)
                .into_iter()
                .rev()
                .find(|heard| fits(heard));
            found.is_some()
        });

        found.expect("waited for")
    }

    /// Clients of all connections so far, in order.
    pub fn connections(&self) -> Vec<String> {
        self.lock().connections.clone()
    }

    /// Breaches of MQTT so far.
    pub fn breaches(&self) -> Vec<String> {
        self.lock().breaches.clone()
    }

    /// Sends messages to the line, all at once.
    pub fn send(&self, messages: &[(&str, &str)]) {
        let messages: Vec<Message> = messages
            .iter()
            .map(|(topic, payload)| command(topic, payload))
            .collect();

        self.pass_on(&messages);
    }

    /// Sends a command whose answer is to go to this topic.
    pub fn ask(&self, topic: &str, payload: &str, response: &str) {
        let wanted = PropertyValue::Text(response.to_owned());
        let message = Message {
            properties: vec![(wire::RESPONSE_TOPIC, wanted)],
            ..command(topic, payload)
        };

        self.pass_on(&[message]);
    }

    fn pass_on(&self, messages: &[Message]) {
        let mut state = self.lock();
        let mut packets = vec![];
        for message in messages {
            packets.extend(state.delivery(message));
        }

        let line = state
            .clients
            .iter_mut()
            .rev()
            .find(|(name, _)| !name.ends_with("-pictures") && !name.ends_with("-plc"));

        let (_, stream) = line.expect("the line is connected");
        stream.write_all(&packets).expect("sent");
    }
}

impl State {
    /// The packet of a message that goes to a client, at QoS 1; its acknowledgement is owed.
    fn delivery(&mut self, message: &Message) -> Vec<u8> {
        self.next_packet = self.next_packet % 60_000 + 1;
        self.owed.push_back(self.next_packet);
        wire::publish_packet(message, Some(self.next_packet), false)
    }
}

fn command(topic: &str, payload: &str) -> Message {
    Message {
        topic: format!("{PREFIX}{topic}"),
        payload: payload.as_bytes().to_vec(),
        qos: 1,
        is_retained: false,
        properties: vec![],
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client's link: as quick as the rules let it be, and clients take turns.
struct SlowLink<'a> {
    stream: TcpStream,
    state: &'a Mutex<State>,
    turns: &'a Mutex<()>,
}

impl Read for SlowLink<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let rate = lock(self.state).rules.bytes_a_second;
        let Some(rate) = rate else {
            return self.stream.read(bytes);
        };

        let most = bytes.len().min(PIECE);
        let count = self.stream.read(&mut bytes[..most])?;
        let turn = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        thread::sleep(Duration::from_secs_f64(count as f64 / f64::from(rate)));
        drop(turn);
        thread::yield_now();
        Ok(count)
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, turns: &Mutex<()>) {
    let port = stream.peer_addr().ok();
    let mut writer = stream.try_clone().expect("a handle");
    let mut link = SlowLink {
        stream,
        state,
        turns,
    };

    let mut name = String::new();
    while let Ok(packet) = wire::read(&mut link, PACKET_MAX) {
        let packet = packet.and_then(|(head, body)| wire::parse(head, &body));
        let answer = match packet {
            Ok(Packet::Connect(connect)) => {
                name = connect.client;
                Some(connected(&writer, state, &name))
            }
            Ok(Packet::Publish { id, message, .. }) => published(id, message, state, &name),
            Ok(Packet::PubAck(id)) => acknowledged(id, state),
            Ok(Packet::Subscribe(id, filters)) => Some(subscribed(id, filters.len(), state)),
            Ok(Packet::Ping) => Some(wire::packet(0xd0, &[])),
            Ok(Packet::Disconnect) => None,
            Err(violation) => {
                lock(state).breaches.push(format!("{violation:?}"));
                None
            }
        };

        let Some(answer) = answer else { break };
        if writer.write_all(&answer).is_err() {
            break;
        }
    }

    lock(state)
        .clients
        .retain(|(_, client)| client.peer_addr().ok() != port);

    let _ = writer.shutdown(Shutdown::Both); // it may be gone
}

fn connected(stream: &TcpStream, state: &Mutex<State>, name: &str) -> Vec<u8> {
    let mut state = lock(state);
    state.connections.push(name.to_owned());
    let own = stream.try_clone().expect("a handle");
    state.clients.push((name.to_owned(), own));
    // The line's own connection alone is sent anything.
    if !name.ends_with("-pictures") {
        state.owed.clear();
    }

    wire::packet(0x20, &[0, 0, 0])
}

/// The answer to a message. `None` where the connection is to end.
fn published(
    id: Option<u16>,
    message: Message,
    state: &Mutex<State>,
    name: &str,
) -> Option<Vec<u8>> {
    let payload = String::from_utf8_lossy(&message.payload).into_owned();
    let mut state = lock(state);
    if state.is_closing.take_if(|client| client == name).is_some() {
        return None;
    }

    let cuts = &state.rules.cuts_at;
    let is_cut = cuts.as_ref().is_some_and(|words| payload.contains(words));
    let mut refusals = state.rules.refuses.iter();
    let refusal = refusals.find(|(end, _)| message.topic.ends_with(end));
    let limit = state.rules.payload_max;
    let is_large = limit
        .is_some_and(|(end, most)| message.topic.ends_with(end) && message.payload.len() > most);

    let code = match refusal {
        Some((_, code)) => *code,
        None if is_large => 0x95,
        None => 0,
    };

    let topic = &message.topic;
    state.heard.push(Heard {
        client: name.to_owned(),
        topic: topic.strip_prefix(PREFIX).unwrap_or(topic).to_owned(),
        payload,
        is_retained: message.is_retained,
        is_taken: code == 0 && !is_cut,
        at: Instant::now(),
    });

    if is_cut {
        return None;
    }

    let Some(id) = id else { return Some(vec![]) };
    let mut answer = id.to_be_bytes().to_vec();
    if code != 0 {
        answer.extend([code, 0]);
        let closes = state.rules.closes_after_refusal;
        state.is_closing = closes.then(|| name.to_owned());
    }

    let mut answer = wire::packet(0x40, &answer);
    // The line's own fence comes back.
    if message.topic.ends_with("/fence") {
        answer.extend(state.delivery(&message));
    }

    Some(answer)
}

/// MQTT-4.6.0-2: in the order in which the messages were sent.
fn acknowledged(id: u16, state: &Mutex<State>) -> Option<Vec<u8>> {
    let mut state = lock(state);
    let expected = state.owed.pop_front();
    if expected == Some(id) {
        return Some(vec![]);
    }

    let words = format!("packet {id} is acknowledged before {expected:?}");
    state.breaches.push(words);
    None
}

fn subscribed(id: u16, filters: usize, state: &Mutex<State>) -> Vec<u8> {
    let code = lock(state).rules.subscriptions.unwrap_or(1);
    let mut answer = id.to_be_bytes().to_vec();
    answer.push(0);
    answer.extend(std::iter::repeat_n(code, filters));
    wire::packet(0x90, &answer)
}
