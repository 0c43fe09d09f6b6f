//! A real mosquitto of the test's own, on a free loopback port, and a foreign client that listens.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub struct Broker {
    pub port: u16,
    child: Child,
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port()
}

impl Broker {
    pub fn start(port: u16) -> Self {
        Self::with(port, &["-p", &port.to_string()])
    }

    /// `arguments` make it listen on `port`.
    pub fn with(port: u16, arguments: &[&str]) -> Self {
        let mut command = Command::new("mosquitto");
        command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .expect("mosquitto is installed by tools/setup");
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < until,
                "mosquitto does not listen on {port}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Broker { port, child }
    }

    /// STOP: it holds its connections and does nothing. CONT: it goes on.
    pub fn signal(&self, name: &str) {
        crate::line::signal(&self.child, name);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `mosquitto_sub` on everything: lines of `topic payload`.
pub struct Listener {
    child: Child,
    lines: Receiver<String>,
    /// What came while an answer was waited for.
    kept: RefCell<VecDeque<String>>,
}

impl Listener {
    pub fn start(port: u16, topic: &str) -> Self {
        Self::with(port, topic, &[])
    }

    /// `arguments` say who it is and whom it believes.
    pub fn with(port: u16, topic: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("mosquitto_sub");
        command
            .args([
                "-p",
                &port.to_string(),
                "-q",
                "1",
                "-t",
                topic,
                "-F",
                "%t %p",
            ])
            .args(arguments)
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .expect("mosquitto-clients is installed by tools/setup");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        // Heat maps are no text.
        let lossy = |line: Vec<u8>| String::from_utf8_lossy(&line).into_owned();
        std::thread::spawn(move || {
            out.split(b'\n')
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(lossy(line)))
        });
        // mosquitto_sub says nothing when it is subscribed.
        std::thread::sleep(Duration::from_millis(500));
        Listener {
            child,
            lines,
            kept: RefCell::default(),
        }
    }

    /// The next payload of `topic`; what comes before it, which may as well come after it, is there for later.
    #[track_caller]
    pub fn answer(&self, topic: &str) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        let mut others = VecDeque::new();
        loop {
            let line = self
                .next_line(until)
                .unwrap_or_else(|| panic!("nothing on {topic}"));
            match line.split_once(' ') {
                Some((at, payload)) if at.ends_with(topic) => {
                    others.append(&mut self.kept.borrow_mut());
                    self.kept.replace(others);
                    return payload.to_owned();
                }
                _ => others.push_back(line),
            }
        }
    }

    /// The next message, whatever its topic.
    #[track_caller]
    pub fn any(&self, until: Instant) -> (String, String) {
        let line = self.next_line(until).expect("a message");
        let (topic, payload) = line.split_once(' ').unwrap_or((&line, ""));
        (topic.to_owned(), payload.to_owned())
    }

    fn next_line(&self, until: Instant) -> Option<String> {
        let kept = self.kept.borrow_mut().pop_front();
        kept.or_else(|| {
            self.lines
                .recv_timeout(until.saturating_duration_since(Instant::now()))
                .ok()
        })
    }

    /// The payloads of `topic` until `count` have come; what comes between is forgotten.
    #[track_caller]
    pub fn wait_for(&self, topic: &str, count: usize) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(60);
        let mut found = vec![];
        while found.len() < count {
            let line = self
                .next_line(until)
                .unwrap_or_else(|| panic!("{} of {count} on {topic}", found.len()));
            if let Some((at, payload)) = line.split_once(' ')
                && at.ends_with(topic)
            {
                found.push(payload.to_owned());
            }
        }
        found
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
