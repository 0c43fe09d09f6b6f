//! A small broker of the tests' own, contrary on demand: it refuses messages, subscriptions
//! and packets, ends connections at a message, and ends them at each breach of MQTT's order of
//! acknowledgements. Its link may be slow. It keeps what it heard, and sends what a test says.

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
    /// Packets that each was sent and has not acknowledged, in order.
    owed: VecDeque<u16>,
    next_packet: u16,
    /// Breaches of MQTT, in words.
    breaches: Vec<String>,
    /// Connections so far.
    connections: usize,
}

/// The broker. It ends with the test.
pub struct ContraryBroker {
    /// Port on 127.0.0.1.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

const PREFIX: &str = "plant/box/";

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

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    /// Breaches of MQTT so far.
    pub fn breaches(&self) -> Vec<String> {
        self.lock().breaches.clone()
    }

    /// Sends messages to the line, all at once.
    pub fn send(&self, messages: &[(&str, &str)]) {
        let mut state = self.lock();
        let mut packets = vec![];
        for (topic, payload) in messages {
            state.next_packet = state.next_packet % 60_000 + 1;
            let id = state.next_packet;
            state.owed.push_back(id);
            let mut body = text(&format!("{PREFIX}{topic}"));
            body.extend(id.to_be_bytes());
            body.push(0);
            body.extend(payload.as_bytes());
            packets.extend(packet(0x32, &body));
        }

        let line = state
            .clients
            .iter_mut()
            .rev()
            .find(|(name, _)| !name.ends_with("-pictures"));

        let (_, stream) = line.expect("the line is connected");
        stream.write_all(&packets).expect("sent");
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    let mut left = body.len();
    loop {
        let more = left >= 128;
        bytes.push((left % 128) as u8 | if more { 128 } else { 0 });
        left /= 128;
        if !more {
            break;
        }
    }

    bytes.extend(body);
    bytes
}

/// Reads so many bytes, as quickly as the link lets them through; clients take turns.
fn read(
    stream: &mut TcpStream,
    count: usize,
    state: &Mutex<State>,
    link: &Mutex<()>,
) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    for piece in bytes.chunks_mut(4096) {
        let rate = lock(state).rules.bytes_a_second;
        if let Some(rate) = rate {
            let turn = link.lock().unwrap_or_else(PoisonError::into_inner);
            thread::sleep(Duration::from_secs_f64(
                piece.len() as f64 / f64::from(rate),
            ));

            drop(turn);
            thread::yield_now();
        }

        stream.read_exact(piece)?;
    }

    Ok(bytes)
}

/// Length of a packet or of its properties: groups of seven bits.
fn length(next: &mut dyn FnMut() -> std::io::Result<u8>) -> std::io::Result<usize> {
    let mut length = 0;
    for group in 0..4 {
        let byte = next()?;
        length |= usize::from(byte & 127) << (7 * group);
        if byte < 128 {
            break;
        }
    }

    Ok(length)
}

/// A place in a packet's body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> u16 {
        let bytes = self.take(2);
        u16::from_be_bytes([bytes[0], bytes[1]])
    }

    fn text(&mut self) -> String {
        let count = self.number().into();
        String::from_utf8_lossy(self.take(count)).into_owned()
    }

    fn skip_properties(&mut self) {
        let count = length(&mut || Ok(self.take(1)[0])).expect("read before");
        self.take(count);
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, link: &Mutex<()>) {
    let mut name = String::new();
    while let Ok(head) = read(&mut stream, 1, state, link) {
        let size = length(&mut || Ok(read(&mut stream, 1, state, link)?[0]));
        let Ok(body) = size.and_then(|size| read(&mut stream, size, state, link)) else {
            break;
        };

        let answer = match head[0] >> 4 {
            1 => connected(&body, &stream, state, &mut name),
            3 => published(head[0], &body, state, &name),
            4 => acknowledged(&body, state),
            8 => subscribed(&body, state),
            12 => Some(packet(0xd0, &[])),
            14 => None,
            _ => Some(vec![]),
        };

        let Some(answer) = answer else { break };
        if stream.write_all(&answer).is_err() {
            break;
        }
    }

    let mut state = lock(state);
    let port = stream.peer_addr().ok();
    state
        .clients
        .retain(|(_, client)| client.peer_addr().ok() != port);

    let _ = stream.shutdown(Shutdown::Both); // it may be gone
}

fn connected(
    body: &[u8],
    stream: &TcpStream,
    state: &Mutex<State>,
    name: &mut String,
) -> Option<Vec<u8>> {
    let mut body = Body(body);
    body.text(); // MQTT
    body.take(4); // version, flags, keep alive
    body.skip_properties();
    *name = body.text();
    let mut state = lock(state);
    state.connections += 1;
    let own = stream.try_clone().expect("a handle");
    state.clients.push((name.clone(), own));
    state.owed.clear();
    Some(packet(0x20, &[0, 0, 0]))
}

fn published(head: u8, body: &[u8], state: &Mutex<State>, name: &str) -> Option<Vec<u8>> {
    let mut body = Body(body);
    let topic = body.text();
    let id = (head & 6 != 0).then(|| body.number());
    body.skip_properties();
    let payload = String::from_utf8_lossy(body.0).into_owned();
    let mut state = lock(state);
    let cuts = &state.rules.cuts_at;
    let is_cut = cuts.as_ref().is_some_and(|words| payload.contains(words));
    let mut refusals = state.rules.refuses.iter();
    let refusal = refusals.find(|(end, _)| topic.ends_with(end));
    let code = refusal.map_or(0, |(_, code)| *code);
    state.heard.push(Heard {
        client: name.to_owned(),
        topic: topic.strip_prefix(PREFIX).unwrap_or(&topic).to_owned(),
        payload,
        is_retained: head & 1 == 1,
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
    }

    let mut answer = packet(0x40, &answer);
    // The line's own fence comes back.
    if topic.ends_with("/fence") {
        state.next_packet = state.next_packet % 60_000 + 1;
        let id = state.next_packet;
        state.owed.push_back(id);
        let mut fence = text(&topic);
        fence.extend(id.to_be_bytes());
        fence.push(0);
        fence.extend(body.0);
        answer.extend(packet(0x32, &fence));
    }

    Some(answer)
}

/// MQTT-4.6.0-2: in the order in which the messages were sent.
fn acknowledged(body: &[u8], state: &Mutex<State>) -> Option<Vec<u8>> {
    let id = Body(body).number();
    let mut state = lock(state);
    let expected = state.owed.pop_front();
    if expected == Some(id) {
        return Some(vec![]);
    }

    let words = format!("packet {id} is acknowledged before {expected:?}");
    state.breaches.push(words);
    None
}

fn subscribed(body: &[u8], state: &Mutex<State>) -> Option<Vec<u8>> {
    let mut body = Body(body);
    let mut answer = body.number().to_be_bytes().to_vec();
    body.skip_properties();
    answer.push(0);
    let code = lock(state).rules.subscriptions.unwrap_or(1);
    while !body.0.is_empty() {
        body.text();
        body.take(1);
        answer.push(code);
    }

    Some(packet(0x90, &answer))
}
