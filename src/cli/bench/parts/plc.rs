//! The PLC of the measurement: a client on the same broker that sends triggers at a steady rate and
//! hears the results.

use super::arguments::PartsArguments;
use super::latencies::Latencies;
use super::stages::Sample;
use crate::base::exit::{Exit, Failure};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{Client, Connection, Event, MqttOptions};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Time without any message after which a round ends.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time that the broker is given to take the line's subscription to commands, from its birth on.
const SUBSCRIBING: Duration = Duration::from_millis(500);
/// Topics that the PLC hears.
const HEARD: [&str; 3] = ["result", "result/late", "birth"];

/// Times at which triggers were given to the client, by the part's id.
type SentAt = Arc<Mutex<HashMap<String, Instant>>>;

/// Results that the PLC heard, and the triggers that it sent.
#[derive(Default)]
pub struct Heard {
    /// Triggers, and the times until their results had come back.
    pub latencies: Latencies,
    /// Time until the whole backlog was delivered; `None` when it was not.
    pub drained: Option<Duration>,
    /// Times at which triggers were sent, by the part's id.
    pub sent: HashMap<String, Instant>,
}

/// A connected PLC.
pub struct Plc {
    client: Client,
    connection: Connection,
    topics: String,
}

/// Results so far.
#[derive(Default)]
struct ResultCount {
    took: Vec<Duration>,
    undecided: usize,
    late: usize,
    began: Option<Instant>,
    drained: Option<Duration>,
}

impl Plc {
    /// Connects and subscribes.
    ///
    /// # Errors
    /// When the broker is away, or does not answer.
    pub fn connect(arguments: &PartsArguments) -> Result<Self, Failure> {
        // Ids and topics hold the process's number: two benches may share a broker.
        let id = format!("winspect-bench-plc-{}", std::process::id());
        let mut options = MqttOptions::new(id, &arguments.host, arguments.port);
        options.set_keep_alive(Duration::from_secs(30));

        // Nagle's algorithm would hold small messages back for up to 40 ms.
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let (client, connection) = Client::new(options, 10_000);
        let topics = format!("winspect-bench/{}", std::process::id());

        // The PLC hears at quality of service 0: an acknowledgement of its own would be in the
        // figures.
        for topic in HEARD {
            client
                .try_subscribe(format!("{topics}/{topic}"), QoS::AtMostOnce)
                .map_err(|error| Failure::new(Exit::Unavailable, error))?;
        }

        let mut plc = Plc {
            client,
            connection,
            topics,
        };

        plc.wait_for_subscriptions()?;
        Ok(plc)
    }

    fn wait_for_subscriptions(&mut self) -> Result<(), Failure> {
        // The broker confirms each subscription; other events, such as the connection's, come
        // between.
        let mut subscribed = 0;
        while subscribed < HEARD.len() {
            match self.connection.recv_timeout(PATIENCE) {
                Ok(Ok(Event::Incoming(Packet::SubAck(_)))) => subscribed += 1,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Failure::new(Exit::Unavailable, error)),
                Err(_) => {
                    let words = "the broker does not answer";
                    return Err(Failure::words(Exit::Unavailable, words));
                }
            }
        }

        Ok(())
    }

    /// Sends triggers from the line's birth on, and hears until all results and `backlog` late ones
    /// have come, or nothing comes any more.
    pub fn measure(mut self, arguments: &PartsArguments, backlog: usize) -> Heard {
        // Triggers are sent by a thread of their own: this one hears, and notes times at once.
        let count = usize::from(arguments.rate) * usize::from(arguments.seconds);
        let gap = Duration::from_secs(1) / u32::from(arguments.rate);
        let sent = SentAt::default();
        let mut results = ResultCount::default();
        let mut sender = None;
        while results.took.len() < count || results.late < backlog {
            // Silence for 10 s, or a broken connection, ends the round with what has come.
            let Ok(Ok(event)) = self.connection.recv_timeout(PATIENCE) else {
                break;
            };

            let Event::Incoming(Packet::Publish(publish)) = event else {
                continue;
            };

            // The line's birth starts the clock of the backlog and the triggers.
            if publish.topic.ends_with(b"/birth") {
                results.began = Some(Instant::now());
                sender = Some(self.send(count, gap, sent.clone()));
            } else {
                results.hear(&publish, backlog, &sent);
            }
        }

        // The sender is joined before its times are taken: it may still be noting the last one.
        if let Some(sender) = sender {
            sender.join().expect("the sender does not panic");
        }

        let sent = std::mem::take(&mut *sent.lock().expect("the sender does not panic"));
        Heard {
            latencies: Latencies {
                sent: count,
                back: Sample::new(results.took),
                undecided: results.undecided,
                ..Latencies::default()
            },
            drained: results.drained,
            sent,
        }
    }

    fn send(&self, count: usize, gap: Duration, sent: SentAt) -> JoinHandle<()> {
        let client = self.client.clone();
        let topic = format!("{}/cmd/trigger", self.topics);
        thread::spawn(move || {
            // The line subscribes just before its birth. The broker is given a moment to take that,
            // since a trigger before it would be lost.
            thread::sleep(SUBSCRIBING);
            let start = Instant::now();
            for number in 0..count {
                // Times are planned from the start, so that a late trigger does not delay all that
                // follow.
                let due = start + gap * number as u32;
                thread::sleep(due.saturating_duration_since(Instant::now()));

                // The time is noted before the trigger is given away: its result may come back at
                // once.
                let part = number.to_string();
                let trigger = json!({ "id": part, "part_id": part }).to_string();
                let mut sent = sent.lock().expect("no code panics while holding it");
                sent.insert(part, Instant::now());
                drop(sent);
                let _ = client.publish(&topic, QoS::AtLeastOnce, false, trigger); // we hold its connection
            }
        })
    }
}

impl ResultCount {
    fn hear(&mut self, publish: &Publish, backlog: usize, sent: &SentAt) {
        // Late results are the backlog's. The last of them ends its clock.
        if publish.topic.ends_with(b"/late") {
            self.late += 1;
            if self.late == backlog {
                self.drained = self.began.map(|began| began.elapsed());
            }

            return;
        }

        // The time is taken before the payload is parsed.
        let now = Instant::now();
        let result: Value = serde_json::from_slice(&publish.payload).unwrap_or_default();
        self.undecided += usize::from(result["verdict"] == "undecided");

        // A result of none of these triggers has no time, and is not counted.
        let part = result["part_id"].as_str().unwrap_or_default();
        let sent = sent.lock().expect("the sender does not panic");
        if let Some(sent) = sent.get(part) {
            self.took.push(now.duration_since(*sent));
        }
    }
}
