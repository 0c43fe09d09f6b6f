//! A broker of the project's own that speaks MQTT 5 to a line and lets nothing pass: it cuts the link
//! at each [`wire::Violation`], and remembers it. A test is its only other client, in the same process.

pub mod wire;

use super::{PATIENCE, json, wait_until};
use serde_json::Value;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use wire::{Connect, Message, PROTOCOL, Packet, Violation};

/// Topics of the line begin with this.
const STATION: &str = "plant/box/";

/// What a broker tells its client to keep to.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Messages at QoS 1 that may be on their way without PUBACK.
    pub receive_max: u16,
    /// Bytes of a packet.
    pub packet_max: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            receive_max: 20,
            packet_max: 1 << 20,
        }
    }
}

/// What the broker keeps of a client, also while it is away.
#[derive(Default)]
struct Client {
    /// Topic filters, each with the highest QoS.
    subscriptions: Vec<(String, u8)>,
    /// Messages that wait for room.
    queue: VecDeque<Message>,
    /// Messages without PUBACK, in the order in which they were sent.
    sent: VecDeque<(u16, Message)>,
    last_id: u16,
    /// The link, while there is one.
    link: Option<TcpStream>,
    /// Messages that it takes without having acknowledged them.
    takes: usize,
    /// Numbers of its messages without PUBACK.
    unacknowledged: HashSet<u16>,
}

/// State of the broker, which a test may change.
pub struct State {
    rules: Rules,
    clients: HashMap<String, Client>,
    /// Topics and payloads that came, in their order, also those that came again.
    heard: Vec<(String, Vec<u8>)>,
    /// Rules that a client broke.
    pub violations: Vec<String>,
    /// Connections so far that heard commands.
    pub connections: usize,
    /// Numbers of results after which the link is cut, before the last one is acknowledged: one for each
    /// connection, the next one first.
    pub cuts: VecDeque<usize>,
    results: usize,
}

/// The broker. Its threads end with the test's process.
pub struct StrictBroker {
    /// Port on 127.0.0.1.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl StrictBroker {
    /// A broker with the usual rules.
    pub fn start() -> Self {
        Self::with(Rules::default())
    }

    /// A broker with these rules.
    pub fn with(rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(Mutex::new(State::new(rules)));
        let shared = state.clone();
        thread::spawn(move || {
            for link in listener.incoming().map_while(Result::ok) {
                let state = shared.clone();
                thread::spawn(move || serve(link, &state));
            }
        });

        StrictBroker { port, state }
    }

    /// Changes or reads the state.
    pub fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut locked(&self.state))
    }

    /// Sends a command, now or when the client is back.
    pub fn command(&self, name: &str, payload: &str) {
        self.command_with(name, payload.as_bytes(), vec![]);
    }

    /// Sends a command with properties.
    pub fn command_with(&self, name: &str, payload: &[u8], properties: wire::Properties) {
        let message = Message {
            topic: format!("{STATION}cmd/{name}"),
            payload: payload.to_vec(),
            qos: 1,
            is_retained: false,
            properties,
        };

        self.set(|state| state.route(&message));
    }

    /// Cuts all links.
    pub fn cut(&self) {
        self.set(|state| state.clients.values_mut().for_each(Client::cut));
    }

    /// Forgets the clients, as a broker without a disk does when it ends.
    pub fn forget(&self) {
        self.cut();
        self.set(|state| state.clients.clear());
    }

    /// All payloads of a topic of the line, in the order in which they came.
    pub fn heard(&self, topic: &str) -> Vec<Value> {
        let topic = format!("{STATION}{topic}");
        let payloads = self.set(|state| {
            let of_topic = state.heard.iter().filter(|(name, _)| *name == topic);
            of_topic
                .map(|(_, payload)| String::from_utf8_lossy(payload).into_owned())
                .collect::<Vec<_>>()
        });

        payloads.iter().map(|text| json(text)).collect()
    }

    /// Returns once so many messages of a topic have come.
    #[track_caller]
    pub fn wait_for(&self, topic: &str, count: usize) -> Vec<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            let heard = self.heard(topic);
            if heard.len() >= count {
                return heard;
            }

            let violations = self.set(|state| state.violations.clone());
            let so_far = heard.len();
            assert!(
                Instant::now() < end,
                "{so_far} of {count} on {topic}; {violations:#?}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns once the camera `top` of the line is online.
    #[track_caller]
    pub fn wait_for_camera(&self) {
        wait_until("the camera is online", PATIENCE, || {
            let states = self.heard("camera/top/status");
            states.last().is_some_and(|last| last["state"] == "online")
        });
    }

    /// Asserts that the client broke no rule.
    #[track_caller]
    pub fn assert_kept(&self) {
        let violations = self.set(|state| state.violations.clone());
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn new(rules: Rules) -> Self {
        State {
            rules,
            clients: HashMap::new(),
            heard: vec![],
            violations: vec![],
            connections: 0,
            cuts: VecDeque::new(),
            results: 0,
        }
    }

    /// The first packet of a connection: what is kept of the client goes on.
    fn connect(&mut self, connect: &Connect, link: TcpStream) {
        let mut client = self.clients.remove(&connect.client).unwrap_or_default();
        client.cut();
        let is_present = !connect.is_clean && !client.subscriptions.is_empty();
        if connect.is_clean {
            client = Client::default();
        }

        client.link = Some(link);
        client.takes = usize::from(connect.receive_max);
        client.unacknowledged.clear();
        let mut body = vec![u8::from(is_present), 0, 13, 0x21];
        body.extend(self.rules.receive_max.to_be_bytes());
        body.push(0x27);
        body.extend(self.rules.packet_max.to_be_bytes());
        body.extend([0x22, 0, 0]); // no topic aliases
        body.extend([0x24, 1]); // QoS 1
        body[2] = u8::try_from(body.len() - 3).expect("few properties");
        client.send(&wire::packet(0x20, &body));
        client.send_again();
        self.clients.insert(connect.client.clone(), client);
    }

    /// Passes a message on to each client that is subscribed to its topic.
    fn route(&mut self, message: &Message) {
        for client in self.clients.values_mut() {
            client.hear(message);
        }
    }

    /// Answers a packet. The error ends the connection.
    fn take(&mut self, name: &str, packet: Packet) -> Result<(), Violation> {
        let client = self.clients.entry(name.to_owned()).or_default();
        // What was on its way when the link was cut is lost with it.
        if client.link.is_none() {
            return Ok(());
        }

        match packet {
            Packet::Connect(_) => {
                return Err(Violation::new(PROTOCOL, "CONNECT a second time"));
            }
            Packet::Publish {
                id,
                is_again,
                message,
            } => return self.take_message(name, id, is_again, message),
            Packet::PubAck(id) => return client.take_ack(id),
            Packet::Subscribe(id, filters) => {
                self.connections += 1;
                client.subscribe(id, filters);
            }
            Packet::Ping => client.send(&[0xd0, 0]),
            Packet::Disconnect => {}
        }

        Ok(())
    }

    fn take_message(
        &mut self,
        name: &str,
        id: Option<u16>,
        is_again: bool,
        message: Message,
    ) -> Result<(), Violation> {
        let receive_max = usize::from(self.rules.receive_max);
        let client = self.clients.entry(name.to_owned()).or_default();
        if let Some(id) = id {
            if !client.unacknowledged.insert(id) {
                let words =
                    format!("the number {id} of a message that is on its way (again: {is_again})");
                return Err(Violation::new(0x91, words));
            }

            if client.unacknowledged.len() > receive_max {
                return Err(Violation::new(0x93, "more messages at once than may come"));
            }
        }

        let is_result = message.topic.ends_with("/result") || message.topic.ends_with("/late");
        self.heard
            .push((message.topic.clone(), message.payload.clone()));
        self.results += usize::from(is_result);
        if is_result && self.cuts.front().is_some_and(|at| *at <= self.results) {
            self.cuts.pop_front();
            // Each second one is lost with the link; of the others the acknowledgement is.
            if self.cuts.len().is_multiple_of(2) {
                self.heard.pop();
            }

            self.results = 0;
            client.cut();
            return Ok(());
        }

        if let Some(id) = id {
            client.unacknowledged.remove(&id);
            client.send(&wire::packet(0x40, &id.to_be_bytes()));
        }

        self.route(&message);
        Ok(())
    }
}

impl Client {
    fn cut(&mut self) {
        if let Some(link) = self.link.take() {
            let _ = link.shutdown(Shutdown::Both); // it may be gone
        }
    }

    fn send(&mut self, packet: &[u8]) {
        let is_gone = match &mut self.link {
            Some(link) => link.write_all(packet).is_err(),
            None => false,
        };

        if is_gone {
            self.link = None;
        }
    }

    /// What was not acknowledged comes again, and then what waits.
    fn send_again(&mut self) {
        for (id, message) in self.sent.clone() {
            self.send(&wire::publish_packet(&message, Some(id), true));
        }

        self.send_waiting();
    }

    /// Takes a message for the client where it is subscribed to the topic.
    fn hear(&mut self, message: &Message) {
        let mut fitting = self
            .subscriptions
            .iter()
            .filter(|(filter, _)| fits(filter, &message.topic));
        let Some((_, most)) = fitting.next() else {
            return;
        };

        let mut message = message.clone();
        message.qos = message.qos.min(*most);
        message.is_retained = false;
        self.queue.push_back(message);
        self.send_waiting();
    }

    /// Sends what waits, as much as the client takes.
    fn send_waiting(&mut self) {
        while self.link.is_some()
            && self.sent.len() < self.takes
            && let Some(message) = self.queue.pop_front()
        {
            if message.qos == 0 {
                self.send(&wire::publish_packet(&message, None, false));
                continue;
            }

            self.last_id = self.last_id % 65_535 + 1;
            let id = self.last_id;
            let packet = wire::publish_packet(&message, Some(id), false);
            self.sent.push_back((id, message));
            self.send(&packet);
        }
    }

    /// The client acknowledges messages in the order in which they came (4.6).
    fn take_ack(&mut self, id: u16) -> Result<(), Violation> {
        match self.sent.iter().position(|(known, _)| *known == id) {
            None => {
                let words = format!("PUBACK of {id}, which was not sent");
                Err(Violation::new(PROTOCOL, words))
            }
            Some(behind @ 1..) => {
                let words = format!("PUBACK of {id} before {behind} that came earlier");
                Err(Violation::new(PROTOCOL, words))
            }
            Some(_) => {
                self.sent.pop_front();
                self.send_waiting();
                Ok(())
            }
        }
    }

    fn subscribe(&mut self, id: u16, filters: Vec<(String, u8)>) {
        let mut body = id.to_be_bytes().to_vec();
        body.push(0);
        for (filter, most) in filters {
            let most = most.min(1);
            self.subscriptions.retain(|(known, _)| *known != filter);
            self.subscriptions.push((filter, most));
            body.push(most);
        }

        self.send(&wire::packet(0x90, &body));
    }
}

/// True if a topic fits a filter.
fn fits(filter: &str, topic: &str) -> bool {
    let mut names = topic.split('/');
    for level in filter.split('/') {
        match (level, names.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }

    names.next().is_none()
}

/// One connection, to its end.
fn serve(mut link: TcpStream, state: &Mutex<State>) {
    if let Err(violation) = converse(&mut link, state) {
        let mut state = locked(state);
        let Violation { code, words } = violation;
        state.violations.push(format!("{code:#04x}: {words}"));
        let _ = link.write_all(&[0xe0, 2, code, 0]); // it may be gone
    }

    let _ = link.shutdown(Shutdown::Both); // it may be gone
}

/// Reads packet after packet; ends with the link, or with a violation.
fn converse(link: &mut TcpStream, state: &Mutex<State>) -> Result<(), Violation> {
    let packet_max = locked(state).rules.packet_max as usize;
    let Ok(first) = wire::read(link, packet_max) else {
        return Ok(());
    };

    let (head, body) = first?;
    let Packet::Connect(connect) = wire::parse(head, &body)? else {
        return Err(Violation::new(
            PROTOCOL,
            "a first packet that is not CONNECT",
        ));
    };

    // A client that sends nothing is gone, by half more than it said.
    let patience = Duration::from_millis(1500 * u64::from(connect.keep_alive));
    if !patience.is_zero() {
        link.set_read_timeout(Some(patience)).expect("not zero");
    }

    let ours = link.try_clone().expect("a handle");
    locked(state).connect(&connect, ours);
    loop {
        match wire::read(link, packet_max) {
            Ok(packet) => {
                let (head, body) = packet?;
                let packet = wire::parse(head, &body)?;
                let is_last = matches!(packet, Packet::Disconnect);
                locked(state).take(&connect.client, packet)?;
                if is_last {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(Violation::new(0x8d, "no sign of life"));
            }
            Err(_) => return Ok(()),
        }
    }
}
