//! A foreign client at the broker, as a PLC is one: it hears all messages of a topic, sends
//! commands, and waits for their answers. Made of mosquitto's own clients.

use super::{PATIENCE, json};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

/// Sends a message to a topic of the station `plant/box`, at QoS 1 by MQTT 5.
pub fn publish(port: u16, topic: &str, payload: &str, arguments: &[&str]) {
    let sent = Command::new("mosquitto_pub")
        .args(["-V", "5", "-q", "1", "-p", &port.to_string()])
        .args(["-t", &format!("plant/box/{topic}"), "-m", payload])
        .args(arguments)
        .status();

    assert!(
        sent.expect("tools/setup installs mosquitto-clients")
            .success()
    );
}

/// `mosquitto_sub` on a topic: lines of `topic payload`.
pub struct Listener {
    port: u16,
    child: Child,
    lines: Receiver<String>,
    /// What came while something else was waited for.
    kept: RefCell<VecDeque<String>>,
}

impl Listener {
    /// Hears a topic at a broker that takes everybody. Returns when it is subscribed.
    #[track_caller]
    pub fn start(port: u16, topic: &str) -> Self {
        Self::with(port, topic, &[])
    }

    /// Hears all messages of the station `plant/box`.
    #[track_caller]
    pub fn station(port: u16) -> Self {
        Self::start(port, "plant/box/#")
    }

    /// Hears all results of the station `plant/box`, late ones too.
    #[track_caller]
    pub fn results(port: u16) -> Self {
        Self::with(port, "plant/box/result", &["-t", "plant/box/result/late"])
    }

    /// Hears a topic, with more arguments of `mosquitto_sub`.
    #[track_caller]
    pub fn with(port: u16, topic: &str, arguments: &[&str]) -> Self {
        // By lines: what -d says would else wait for the first message.
        let mut command = Command::new("stdbuf");
        command
            .args([
                "-oL",
                "mosquitto_sub",
                "-d",
                "-p",
                &port.to_string(),
                "-q",
                "1",
                "-t",
                topic,
            ])
            .args(["-F", "%t %p"])
            .args(arguments)
            .stdout(Stdio::piped());

        let mut child = command
            .spawn()
            .expect("tools/setup installs mosquitto-clients");

        let out = child.stdout.take().expect("piped");
        let (sender, lines) = channel();
        let (subscribed, is_subscribed) = channel();
        std::thread::spawn(move || pass_on(out, &subscribed, &sender));
        let listener = Listener {
            port,
            child,
            lines,
            kept: RefCell::default(),
        };

        is_subscribed
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("no subscription to {topic} on port {port}"));

        listener
    }

    /// Sends a command.
    #[track_caller]
    pub fn send(&self, name: &str, payload: &str) {
        publish(self.port, &format!("cmd/{name}"), payload, &[]);
    }

    /// Sends a command, and returns its answer.
    #[track_caller]
    pub fn tell(&self, name: &str, payload: &str) -> Value {
        self.send(name, payload);
        self.answered(name)
    }

    /// Sends a command that must be answered with this status.
    #[track_caller]
    pub fn ask(&self, name: &str, payload: &str, status: &str) -> Value {
        let answer = self.tell(name, payload);
        assert_eq!(answer["status"], status, "{answer}");
        answer
    }

    /// Sends a command that must be refused with these words.
    #[track_caller]
    pub fn ask_in_vain(&self, name: &str, payload: &str, words: &str) {
        let answer = self.ask(name, payload, "rejected");
        let reason = answer["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(words), "{words:?} is not in {answer}");
    }

    /// The next answer to such a command; what comes before it is kept.
    #[track_caller]
    pub fn answered(&self, name: &str) -> Value {
        json(&self.answer(&format!("ack/{name}")))
    }

    /// The next message of a topic; what comes before it is forgotten.
    #[track_caller]
    pub fn next(&self, topic: &str) -> Value {
        json(&self.wait_for(topic, 1)[0])
    }

    /// The next message of a topic that has this value; what comes before it is forgotten.
    #[track_caller]
    pub fn until(&self, topic: &str, key: &str, value: &str) -> Value {
        self.until_fits(topic, |message| message[key] == value)
    }

    /// The next message of a topic that fits; what comes before it is forgotten.
    #[track_caller]
    pub fn until_fits(&self, topic: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + 2 * PATIENCE;
        loop {
            let message = self.next(topic);
            if fits(&message) {
                return message;
            }

            assert!(Instant::now() < end, "not on {topic}; the last: {message}");
        }
    }

    /// The next payload of a topic; what comes before it, which may as well come after it, is kept.
    #[track_caller]
    pub fn answer(&self, topic: &str) -> String {
        let until = Instant::now() + PATIENCE;
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

    /// Topic and payload of the next message.
    #[track_caller]
    pub fn any(&self, until: Instant) -> (String, String) {
        let line = self.next_line(until).expect("a message");
        let (topic, payload) = line.split_once(' ').unwrap_or((&line, ""));
        (topic.to_owned(), payload.to_owned())
    }

    /// The next message, if one comes within so long a time.
    pub fn any_within(&self, time: std::time::Duration) -> Option<String> {
        self.next_line(Instant::now() + time)
    }

    fn next_line(&self, until: Instant) -> Option<String> {
        let kept = self.kept.borrow_mut().pop_front();
        let left = until.saturating_duration_since(Instant::now());
        kept.or_else(|| self.lines.recv_timeout(left).ok())
    }

    /// The next `count` payloads of a topic; what comes between is forgotten.
    #[track_caller]
    pub fn wait_for(&self, topic: &str, count: usize) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
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

/// Tells when `mosquitto_sub` is subscribed, which `-d` makes it say, and passes messages on.
fn pass_on(out: impl Read, subscribed: &Sender<()>, messages: &Sender<String>) {
    for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
        // Heat maps are no text.
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.starts_with("Subscribed (mid") {
            let _ = subscribed.send(()); // a second time nobody waits
        } else if !line.starts_with("Client ") && messages.send(line).is_err() {
            return;
        }
    }
}
