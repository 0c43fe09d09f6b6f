//! The examination of a broker by `winspect check`, before the line runs.
//!
//! Each topic that the line will write and each of its subscriptions is tried under the line's own
//! user, because rules are made topic by topic. The messages say that they are a trial
//! (`{"schema":2,"check":true}`), are not kept by the broker, and are no line's result: the only way to
//! know whether a broker takes a message is to send it. A PLC looks for its keys and for nothing else: its topics
//! get a part without a number and a line that is not there.

use super::MqttSettings;
use super::plc_state::TOPIC as PLC_STATE;
use super::reason::{before_connack, reason};
use super::session::{REQUESTS, RESULT_MAX, SILENCE, options};
use crate::data::result::SCHEMA;
use crate::protocol::fit::MESSAGE_MAX;
use crate::protocol::plc::{self, PlcState};
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAckProperties, Filter, Packet, PubAckReason, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, EventLoop};
use std::collections::{HashMap, VecDeque};

/// Topics of one try at most, so that the client has room for all of them.
const TOPICS_MAX: usize = REQUESTS - 8;

/// Topics that are tried.
#[derive(Debug, Clone, Default)]
pub struct ProbeTopics {
    /// `<prefix>/<station>`.
    pub station: String,
    /// Last levels of the topics that the line writes. Empty where a line of that name runs now: its
    /// subscribers must not hear of a trial.
    pub written: Vec<String>,
}

impl ProbeTopics {
    /// The topics of a line with these cameras, and these names under which parts come. The line's
    /// signs of life (`availability`, `heartbeat`) are left out: somebody may be waiting for them.
    pub fn of_line(
        station: &str,
        cameras: &[&str],
        parts: &[&str],
        settings: &MqttSettings,
    ) -> Self {
        let mut written = vec![];

        for name in [
            "result",
            "result/late",
            "birth",
            "state",
            "metrics",
            "shadow",
            "ack/trigger",
        ] {
            written.push(name.to_owned());
        }

        for camera in cameras {
            written.push(format!("camera/{camera}/status"));
            written.push(format!("heatmap/{camera}"));
            written.push(format!("snapshot/{camera}"));
        }

        for part in parts {
            written.push(format!("result/last/{part}"));
        }

        if settings.plc {
            for name in ["plc", "plc/late", PLC_STATE] {
                written.push(name.to_owned());
            }
        }

        if settings.timed_reject {
            written.push("reject".to_owned());
            written.push("reject/missed".to_owned());
        }

        written.truncate(TOPICS_MAX);
        ProbeTopics {
            station: station.to_owned(),
            written,
        }
    }
}

/// The try at work.
struct Probe<'a> {
    settings: &'a MqttSettings,
    topics: &'a ProbeTopics,
    client: AsyncClient,
    /// Topics whose messages the client has not written yet, in order.
    requested: VecDeque<String>,
    /// Topics whose messages the broker has not answered, by packet.
    in_flight: HashMap<u16, String>,
    /// Topics that it refuses, with its reason.
    refused: Vec<String>,
    /// True once the broker took the connection.
    is_connected: bool,
    /// True once the subscriptions were answered.
    is_subscribed: bool,
    /// True once a message of a result's size was sent.
    is_large_tried: bool,
}

/// Finds out whether the broker would take this line's messages and pass on its commands: connects
/// under a name of its own, beside a line that runs. Gives the broker's answer in words.
///
/// # Errors
/// When the broker would not; with the reason, and what to do.
pub fn probe(settings: &MqttSettings, topics: &ProbeTopics) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;

    let client_id = format!("{}-check", settings.client_id);
    let (client, mut events) = AsyncClient::new(options(settings, &client_id), REQUESTS);
    let probe = Probe {
        settings,
        topics,
        client,
        requested: VecDeque::new(),
        in_flight: HashMap::new(),
        refused: vec![],
        is_connected: false,
        is_subscribed: false,
        is_large_tried: false,
    };

    runtime.block_on(async {
        let told = tokio::time::timeout(SILENCE, probe.run(&mut events)).await;
        told.unwrap_or_else(|_| Err(format!("no acknowledgement for {} s", SILENCE.as_secs())))
    })
}

impl Probe<'_> {
    async fn run(mut self, events: &mut EventLoop) -> Result<String, String> {
        loop {
            let event = events.poll().await.map_err(|error| {
                let why = reason(&error, &self.settings.host);
                self.with_suspects(why)
            })?;

            match event {
                Event::Incoming(Packet::ConnAck(ack)) => {
                    self.is_connected = true;
                    suits(ack.properties.as_ref())?;
                    self.begin()?;
                }

                Event::Outgoing(Outgoing::Publish(id)) => {
                    if let Some(topic) = self.requested.pop_front() {
                        self.in_flight.insert(id, topic);
                    }
                }

                Event::Incoming(Packet::PubAck(ack)) => self.on_acked(ack.pkid, ack.reason),
                Event::Incoming(Packet::SubAck(ack)) => self.on_subscribed(&ack.return_codes),
                _ => {}
            }

            let is_answered = self.requested.is_empty() && self.in_flight.is_empty();
            if self.is_subscribed && is_answered {
                if self.is_large_tried || !self.refused.is_empty() {
                    return self.outcome();
                }

                self.begin_large()?;
            }
        }
    }

    /// Subscribes as the line does, and sends one message to each topic.
    fn begin(&mut self) -> Result<(), String> {
        let station = &self.topics.station;
        let filters = ["cmd/+", "fence"]
            .map(|name| Filter::new(format!("{station}/{name}"), QoS::AtLeastOnce));

        self.client
            .try_subscribe_many(filters)
            .map_err(|error| error.to_string())?;

        // `check` is a topic of this command alone, which also a running line's subscribers may hear.
        let own = ["check".to_owned(), "fence".to_owned()];

        for name in own.iter().chain(&self.topics.written) {
            let topic = format!("{station}/{name}");
            self.publish(&topic, trial_of(name))?;
            self.requested.push_back(topic);
        }

        Ok(())
    }

    /// Sends a message that is as large as a result may be, alone: a broker may have a limit that it does
    /// not tell, and end the connection at it.
    fn begin_large(&mut self) -> Result<(), String> {
        self.is_large_tried = true;
        let topic = format!("{}/check", self.topics.station);
        self.publish(&topic, format!("{:MESSAGE_MAX$}", trial()).into_bytes())?;
        let words = format!("{topic} of {MESSAGE_MAX} bytes, as large as a result may be");
        self.requested.push_back(words);

        Ok(())
    }

    fn publish(&self, topic: &str, payload: Vec<u8>) -> Result<(), String> {
        self.client
            .try_publish(topic, QoS::AtLeastOnce, false, payload)
            .map_err(|error| error.to_string())
    }

    fn on_acked(&mut self, packet: u16, reason: PubAckReason) {
        let Some(topic) = self.in_flight.remove(&packet) else {
            return;
        };

        match reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {}
            refused => self.refused.push(format!("{topic} ({refused:?})")),
        }
    }

    fn on_subscribed(&mut self, codes: &[SubscribeReasonCode]) {
        self.is_subscribed = true;

        for (name, code) in ["cmd/+", "fence"].into_iter().zip(codes) {
            if !matches!(code, SubscribeReasonCode::Success(_)) {
                let station = &self.topics.station;
                self.refused
                    .push(format!("reading {station}/{name} ({code:?})"));
            }
        }
    }

    /// The reason of an ended connection, with the message that may have ended it.
    fn with_suspects(&self, why: String) -> String {
        if !self.is_connected {
            return before_connack(why);
        }

        let oldest = self.in_flight.iter().min_by_key(|(packet, _)| **packet);
        match oldest {
            Some((_, topic)) => format!("{why}, after a message to {topic}"),
            None => why,
        }
    }

    fn outcome(self) -> Result<String, String> {
        let station = &self.topics.station;

        if !self.refused.is_empty() {
            return Err(format!(
                "it refuses {}; let this user write to {station}/# and read {station}/cmd/+ and \
                 {station}/fence (docs/mqtt.md, Security)",
                self.refused.join(", ")
            ));
        }

        let link = if self.settings.tls.is_some() {
            "TLS"
        } else {
            "plain TCP"
        };

        let beside = if self.topics.written.is_empty() {
            "; a line of that name runs, so that its own topics were not tried"
        } else {
            ""
        };

        Ok(format!(
            "{link} and takes messages to {station}/#, and passes on commands{beside}"
        ))
    }
}

/// Content of the trial of a topic. A PLC takes a missing key for the worst, and would move its gate.
fn trial_of(name: &str) -> Vec<u8> {
    match name {
        "plc" | "plc/late" => plc::trial(),
        PLC_STATE => PlcState::NO_LINE.encode(),
        _ => trial().into_bytes(),
    }
}

/// Content of a trial that is no PLC's.
fn trial() -> String {
    format!("{{\"schema\":{SCHEMA},\"check\":true}}")
}

/// Checks that the broker keeps retained messages, acknowledges, and takes packets of our size.
fn suits(properties: Option<&ConnAckProperties>) -> Result<(), String> {
    let Some(properties) = properties else {
        return Ok(());
    };

    if properties.retain_available == Some(0) {
        return Err(
            "it keeps no retained messages: availability and birth would be lost; allow them there"
                .to_owned(),
        );
    }

    if properties.max_qos == Some(0) {
        return Err(
            "it acknowledges nothing (QoS 0 only): results could be lost; allow QoS 1 there"
                .to_owned(),
        );
    }

    match properties.max_packet_size {
        Some(limit) if limit < RESULT_MAX => Err(format!(
            "it takes packets of {limit} bytes at most; a result may have {RESULT_MAX}"
        )),
        _ => Ok(()),
    }
}
