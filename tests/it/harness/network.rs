//! Bad ways between a line and its broker: slow ones, ones that lose acknowledgements or end in
//! nothing, and another machine whose cable can be pulled.

use super::PATIENCE;
use super::program::Running;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A port of this machine that somebody listens on, and who that is.
fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    (listener, port)
}

fn again(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a handle")
}

/// A port at which the broker of `port` is, as if it were far away: every packet takes `delay`, in
/// each direction.
pub fn far_away(port: u16, delay: Duration) -> u16 {
    let (listener, way) = listen();
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else {
                return;
            };

            let there = (again(&near), again(&far));
            thread::spawn(move || carry_slowly(there.0, there.1, delay));
            thread::spawn(move || carry_slowly(far, near, delay));
        }
    });

    way
}

fn carry_slowly(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let mut packet = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut packet) {
        thread::sleep(delay); // the way's own time
        if to.write_all(&packet[..count]).is_err() {
            return;
        }
    }

    let _ = to.shutdown(Shutdown::Both); // it may be gone
}

/// Between a line and its broker: knows the packets that the broker sends, and may keep its
/// PUBACKs.
pub struct Between {
    /// Port that the line takes for the broker's.
    pub port: u16,
    way: Arc<Mutex<Way>>,
    opened: Receiver<()>,
}

/// State of the way.
pub struct Way {
    /// Port of the broker. `None`: every connection is closed at once.
    pub broker: Option<u16>,
    /// False: PUBACKs are kept.
    pub acknowledges: bool,
    /// True: what the broker sends waits.
    pub stands_still: bool,
    /// Signs of life of the broker that were passed on.
    pub pings: usize,
}

const PUBACK: u8 = 4;
const PINGRESP: u8 = 13;

impl Between {
    /// A way to the broker of this port, good at first. `None`: to no broker.
    pub fn start(broker: Option<u16>) -> Self {
        let (listener, port) = listen();
        let way = Arc::new(Mutex::new(Way {
            broker,
            acknowledges: true,
            stands_still: false,
            pings: 0,
        }));

        let (told, opened) = channel();
        let shared = way.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if let Some(broker) = locked(&shared, |way| way.broker) {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", broker)) else {
                        continue;
                    };

                    carry(near, far, shared.clone());
                }

                let _ = told.send(()); // the test may have ended
            }
        });

        Between { port, way, opened }
    }

    /// Changes or reads the state of the way.
    pub fn set<T>(&self, change: impl FnOnce(&mut Way) -> T) -> T {
        locked(&self.way, change)
    }

    /// True if a connection was opened that no wait has seen.
    pub fn is_opened(&self) -> bool {
        self.opened.try_recv().is_ok()
    }

    /// Waits for the line's next connection.
    #[track_caller]
    pub fn next_connection(&self) {
        self.opened
            .recv_timeout(PATIENCE)
            .expect("the line connects");
    }
}

fn locked<T>(way: &Mutex<Way>, change: impl FnOnce(&mut Way) -> T) -> T {
    change(&mut way.lock().unwrap_or_else(PoisonError::into_inner))
}

fn carry(near: TcpStream, far: TcpStream, way: Arc<Mutex<Way>>) {
    let mut from_line = again(&near);
    let mut to_broker = again(&far);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_line, &mut to_broker);
        let _ = to_broker.shutdown(Shutdown::Both); // it may be gone
    });

    thread::spawn(move || carry_packets(far, near, &way));
}

fn carry_packets(mut from_broker: TcpStream, mut to_line: TcpStream, way: &Mutex<Way>) {
    while let Ok(packet) = packet(&mut from_broker) {
        let kind = packet[0] >> 4;
        while locked(way, |way| way.stands_still) {
            thread::sleep(Duration::from_millis(5));
        }

        let passes = locked(way, |way| {
            way.pings += usize::from(kind == PINGRESP);
            way.acknowledges || kind != PUBACK
        });

        if passes && to_line.write_all(&packet).is_err() {
            break;
        }
    }

    let _ = to_line.shutdown(Shutdown::Both); // it may be gone
}

/// A whole packet: a byte of its kind, its length in groups of seven bits, so many bytes.
fn packet(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut packet = vec![0; 2];
    stream.read_exact(&mut packet)?;
    let mut length = usize::from(packet[1] & 0x7f);
    while packet[packet.len() - 1] & 0x80 != 0 {
        let mut more = [0];
        stream.read_exact(&mut more)?;
        length |= usize::from(more[0] & 0x7f) << (7 * (packet.len() - 1));
        packet.push(more[0]);
    }

    let head = packet.len();
    packet.resize(head + length, 0);
    stream.read_exact(&mut packet[head..])?;
    Ok(packet)
}

/// Another machine on the same network, as far as the system can pretend. It is gone when it is
/// dropped.
pub struct Elsewhere {
    name: String,
}

/// Tries whether another machine can be made.
pub fn can_be_made() -> Result<(), String> {
    Elsewhere::try_make("probe", "10.203.78").map(drop)
}

impl Elsewhere {
    /// Address of this machine, as the other one sees it.
    pub const HERE: &str = "10.203.77.1";

    /// Another machine, where [`can_be_made`] has said so.
    pub fn make() -> Self {
        Self::try_make("", "10.203.77").expect("it could be made before")
    }

    fn try_make(word: &str, addresses: &str) -> Result<Self, String> {
        let name = format!("wi{word}{}", std::process::id());
        let elsewhere = Elsewhere { name: name.clone() };
        let inside = format!("netns exec {name}");
        for words in [
            format!("netns add {name}"),
            format!("link add {name}a type veth peer name {name}b netns {name}"),
            format!("addr add {addresses}.1/30 dev {name}a"),
            format!("link set {name}a up"),
            format!("{inside} ip addr add {addresses}.2/30 dev {name}b"),
            format!("{inside} ip link set {name}b up"),
            format!("{inside} ip link set lo up"),
        ] {
            ip(&words)?;
        }

        Ok(elsewhere)
    }

    /// The line of a folder, on that machine.
    pub fn start_line(&self, folder: &Path) -> Running {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.name])
            .args([env!("CARGO_BIN_EXE_winspect"), "run"])
            .arg(folder.join("line.toml"));

        Running::start(&mut command)
    }

    /// Pulls the cable (`"down"`) or puts it back (`"up"`).
    pub fn cable(&self, state: &str) {
        ip(&format!("link set {}a {state}", self.name)).expect("the cable was there");
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.name));
    }
}

fn ip(words: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(words.split(' ')).stdin(Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(super::program::errors(&output).trim().to_owned()),
        Err(error) => Err(format!("ip: {error}")),
    }
}
