//! Commands from the broker to the command handler, and the answers back.
//!
//! A command is acknowledged to the broker after its answers are on the way; until then it comes
//! again with the next connection, and its id is known. The outcome of a command is told on every
//! connection until the broker has it.

use super::Publisher;
use crate::base::health::Health;
use crate::base::text::is_forbidden;
use crate::mqtt::session::{
    AckTarget, COMMANDS_KEPT, MqttMessage, OUTCOMES_KEPT, REFUSED_KEPT, Refused, Session,
};
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::command::{self, Command, Refusal};
use crate::protocol::condition::{COMMANDS, FENCES};
use crate::protocol::event::CommandOutcome;
use crate::protocol::request::{Reply, ReplyTo, ReplyToken, Request, RequestSource};
use crate::protocol::values;
use crossbeam::channel::TrySendError;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties, SubscribeReasonCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for the first fence of a connection to come back.
const FENCE_PATIENCE: Duration = Duration::from_secs(5);
/// Time until a refused subscription is asked for again.
const SUBSCRIBES_AGAIN: Duration = Duration::from_secs(30);
/// Bytes of a command's response topic, and of its correlation data, that are kept for the answer.
const RESPONSE_MAX: usize = 512;
/// Reason of a command that the broker would deliver with every connection.
const RETAINED: &str =
    "a retained command: it would come again with every connection; publish it without retain";

impl Publisher {
    /// The broker's answer to our subscription. A refusal is told by health, and asked about again.
    pub(super) fn on_subscribed(&mut self, codes: &[SubscribeReasonCode]) {
        // One code for each filter, in the order of the filters. Either refusal leaves the line
        // without commands: without its fence each of them is stale.
        let mut refused = codes
            .iter()
            .filter(|code| !matches!(code, SubscribeReasonCode::Success(_)));

        if let Some(code) = refused.next() {
            let words = format!(
                "the broker lets us hear none ({code:?}); let this user read {0}/cmd/+ and {0}/fence",
                self.topics
            );

            tracing::error!("commands: {words}");
            let health = if self.wiring.needs_commands {
                Health::Failure
            } else {
                Health::OffSpec
            };

            self.wiring.causes.set(COMMANDS, health, words);
            self.subscribes_at = Some(Instant::now() + SUBSCRIBES_AGAIN);
            return;
        }

        self.wiring.causes.clear(COMMANDS);
        if codes.contains(&SubscribeReasonCode::Success(QoS::AtMostOnce)) {
            tracing::warn!(
                "the broker passes commands at QoS 0 only: those that come while we are away are lost"
            );
        }
    }

    /// A message from the broker: a command, or our own fence.
    pub(super) fn on_publish(&mut self, session: &mut Session, publish: Publish) {
        session.owed.owe(&publish);
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        if topic == self.topic("fence") {
            // A fence of an earlier connection may still come; its number tells it apart.
            self.on_fence(session, &publish.payload);
            session.acknowledge(&publish);
            return;
        }

        // The broker sends what was subscribed. Anything else is no command; left without its
        // acknowledgement it would hold those behind it up.
        let Some(name) = topic.strip_prefix(&self.topic("cmd/")) else {
            return session.acknowledge(&publish);
        };

        if publish.retain && publish.payload.is_empty() {
            session.acknowledge(&publish);
            return; // how a retained command is taken away
        }

        if let Some(refusal) = oversized(&publish) {
            return refuse(session, name, publish, refusal);
        }

        // The bound is checked for good commands alone: a refusal is small, and has a bound of its
        // own.
        let refusal = match parse(name, &publish, &self.topics) {
            Ok(command) if session.unanswered.len() < COMMANDS_KEPT => {
                return self.take_command(session, name, command, publish);
            }
            Ok(command) => Refusal {
                id: command.id,
                reason: format!("more than {COMMANDS_KEPT} commands at once; wait for answers"),
            },
            Err(refusal) => refusal,
        };

        refuse(session, name, publish, refusal);
    }

    /// Queues a command for the command handler.
    fn take_command(&self, session: &mut Session, name: &str, command: Command, publish: Publish) {
        // The token brings the reply back to this packet, on this connection alone.
        let number = session.next_request;
        let token = ReplyToken {
            connection: session.number,
            request: number,
        };

        session.commands.push_back(Request {
            command,
            name: name.to_owned(),
            source: RequestSource::Mqtt,
            user: None,
            came_at: Instant::now(),
            is_stale: session.link_age.is_stale(Instant::now()),
            reply: ReplyTo {
                replies: self.reply_sender.clone(),
                token,
            },
        });

        // The packet stays here until its answer: it names the response topic, and the
        // acknowledgement needs its id.
        // The command is parsed: its content would only take memory until the answer.
        let kept = without_content(publish, session.answers_topics());
        session.unanswered.insert(number, kept);
        session.next_request += 1;
    }

    /// Refusals are told as there is room: in a flood of bad commands the client would be full,
    /// and one that is neither answered nor acknowledged keeps the broker from passing on another.
    pub(super) fn publish_refused(&self, session: &mut Session) {
        while session.has_room_for_refusals()
            && let Some(refused) = session.refused.pop_front()
        {
            // Refusals leave in the order of their commands.
            let answer = &refused.answer;
            self.publish_answer(session, &refused.publish, &refused.name, answer);
        }
    }

    /// Hands commands to the command handler as it has room: it may still be busy with those of
    /// the connection before.
    pub(super) fn pass_commands(&self, session: &mut Session) {
        while let Some(request) = session.commands.pop_front() {
            match self.wiring.requests.try_send(request) {
                Ok(()) => {}
                Err(TrySendError::Full(request)) => return session.commands.push_front(request),
                // Not acknowledged: the next run gets it.
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }

    /// The command handler's answer. An answer to a command of a connection that is gone is not
    /// needed: the command comes again, and its id is known.
    pub(super) fn on_reply(&self, session: &mut Session, reply: &Reply) {
        if reply.token.connection != session.number {
            return;
        }

        // The sender hears the answer on `ack/<name>`, and on the topic that it named.
        if let Some(publish) = session.unanswered.remove(&reply.token.request) {
            let answer = reply.answer.encode();
            self.publish_answer(session, &publish, &reply.name, &answer);
        }
    }

    /// Keeps an outcome until the broker has it.
    pub(super) fn keep_outcome(&mut self, outcome: Arc<CommandOutcome>) {
        // Numbers grow over the whole run, so that a connection knows by one number what it has
        // told.
        self.outcomes_so_far += 1;
        // What is told of a command replaces how far it was: nothing piles up while the broker is away.
        self.outcomes.retain(|(_, earlier)| {
            earlier.answer.status != AnswerStatus::Progress
                || earlier.answer.id != outcome.answer.id
        });

        self.outcomes.push_back((self.outcomes_so_far, outcome));
        let beyond = self.outcomes.len().saturating_sub(OUTCOMES_KEPT);
        self.outcomes.drain(..beyond);
    }

    /// The first outcome that was not told on this connection, with its number.
    fn next_outcome(&self, session: &Session) -> Option<(u64, Arc<CommandOutcome>)> {
        self.outcomes
            .iter()
            .find(|(number, _)| *number > session.last_outcome)
            .cloned()
    }

    /// True if an outcome was not told on this connection.
    pub(super) fn owes_outcomes(&self, session: &Session) -> bool {
        self.next_outcome(session).is_some()
    }

    /// Tells the outcomes that the broker does not have yet, as there is room.
    pub(super) fn publish_outcomes(&mut self, session: &mut Session) {
        while session.has_room()
            && let Some((number, outcome)) = self.next_outcome(session)
        {
            // It counts as told on this connection whatever becomes of it; the next connection
            // tells it again unless it was acknowledged.
            session.last_outcome = number;
            let topic = self.topic(&format!("ack/{}", outcome.name));
            let message = MqttMessage::new(topic, outcome.answer.encode());
            if session.fits(&message) {
                session.publish(message, AckTarget::Outcome(number));
            } else {
                self.on_outcome_acked(number); // the broker never takes it
            }
        }
    }

    /// The broker has the outcome of that number.
    pub(super) fn on_outcome_acked(&mut self, number: u64) {
        // It may be gone already, as one of too many.
        let Some(place) = self.outcomes.iter().position(|(its, _)| *its == number) else {
            return;
        };

        if let Some((_, outcome)) = self.outcomes.remove(place)
            // The broker has it: no later run needs to tell it again.
            && let Some(key) = &outcome.kept
        {
            drop(self.wiring.store.set(key, ""));
        }
    }

    /// Answers to `ack/<name>`, and to the sender's response topic if there is one. The command is
    /// acknowledged after its answers: a broker that forgets it has them, and a link that is cut
    /// before brings it again.
    fn publish_answer(&self, session: &mut Session, publish: &Publish, name: &str, answer: &str) {
        // Both answers are handed over before the acknowledgement. The client keeps their order,
        // and so does the broker.
        let response = response_to(publish, answer, &self.topics);
        let is_told = response.is_none_or(|told| session.respond(told));
        let ack = MqttMessage::new(self.topic(&format!("ack/{name}")), answer);
        if session.tell(ack) && is_told {
            session.acknowledge_answered(publish);
        }
    }

    /// Tells of a broker that takes our fences and passes none back: each trigger without a time is then
    /// taken for an old one.
    pub(super) fn look_at_fences(&self, session: &mut Session) {
        let is_silent = session
            .link_age
            .give_up_lost(Instant::now(), FENCE_PATIENCE);

        if !is_silent {
            if session.link_age.has_come_back() {
                self.wiring.causes.clear(FENCES);
            }

            return;
        }

        if self.wiring.times_triggers && self.subscribes_at.is_none() {
            let words = format!(
                "{0}/fence, our own message, does not come back; let this user read {0}/fence",
                self.topics
            );

            self.wiring.causes.set(FENCES, Health::Failure, words);
        }
    }

    /// A fence has come back. Those of other connections and of others tell nothing.
    fn on_fence(&self, session: &mut Session, payload: &[u8]) {
        let prefix = self.fence_prefix(session);
        let number = std::str::from_utf8(payload)
            .ok()
            .and_then(|text| text.strip_prefix(&prefix))
            .and_then(|number| number.parse().ok());

        if let Some(number) = number {
            session.link_age.come_back(number, Instant::now());
        }
    }

    /// Payload of this connection's fences, without their number.
    pub(super) fn fence_prefix(&self, session: &Session) -> String {
        format!("{}/{}/", self.identity.run_id, session.number)
    }
}

/// The command of a packet, unless the packet itself is at fault: kept by the broker, or with a
/// response topic of ours.
fn parse(name: &str, publish: &Publish, topics: &str) -> Result<Command, Refusal> {
    // The id is read even from a command that is refused, so that its sender finds the refusal.
    let parsed = command::parse(name, &publish.payload);
    let reason = match response_topic(publish) {
        _ if publish.retain => RETAINED.to_owned(),
        Some(topic) if is_below(topic, topics) => format!(
            "the response topic {topic:?} is one of this station's own, which only the station \
             writes; give another"
        ),
        _ => return parsed,
    };

    let id = match parsed {
        Ok(command) => command.id,
        Err(refusal) => refusal.id,
    };

    Err(Refusal { id, reason })
}

fn response_topic(publish: &Publish) -> Option<&str> {
    publish.properties.as_ref()?.response_topic.as_deref()
}

/// True for `topics` itself and everything below it.
fn is_below(topic: &str, topics: &str) -> bool {
    let rest = topic.strip_prefix(topics);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The refusal of a command whose response topic or correlation data is larger than is kept for its
/// answer.
fn oversized(publish: &Publish) -> Option<Refusal> {
    let asked = publish.properties.as_ref()?;
    let topic = asked.response_topic.as_ref().map_or(0, String::len);
    let data = asked.correlation_data.as_ref().map_or(0, |data| data.len());
    if topic <= RESPONSE_MAX && data <= RESPONSE_MAX {
        return None;
    }

    let payload = &publish.payload;
    let id = values::id_of(&payload[..payload.len().min(command::PAYLOAD_MAX)]);
    let reason = format!(
        "a response topic of {topic} bytes and correlation data of {data}; at most {RESPONSE_MAX} of each are kept"
    );

    Some(Refusal { id, reason })
}

/// Queues the answer to a command that is not done.
fn refuse(session: &mut Session, name: &str, publish: Publish, refusal: Refusal) {
    // Beyond the bound nothing is kept, also not the packet: the broker brings it again with the
    // next connection.
    if session.refused.len() >= REFUSED_KEPT {
        session.is_overrun = true;
        return;
    }

    // A name that is no command may be anything: it must not choose our topic.
    let is_known = command::NAMES.contains(&name);
    let name = if is_known { name } else { "unknown" };
    let answer = Answer::rejected(refusal.id.as_deref(), refusal.reason);
    session.refused.push_back(Refused {
        publish: without_content(publish, session.answers_topics()),
        name: name.to_owned(),
        answer: answer.encode(),
    });
}

/// The answer to the topic that the sender of a command named, with the data that was sent along.
fn response_to(publish: &Publish, answer: &str, topics: &str) -> Option<MqttMessage> {
    // MQTT 5 names where an answer shall go, and gives data that lets the sender find its question.
    let asked = publish.properties.as_ref()?;
    let topic = asked.response_topic.clone()?;
    let properties = PublishProperties {
        correlation_data: asked.correlation_data.clone(),
        ..PublishProperties::default()
    };

    let message = MqttMessage::new(topic.clone(), answer).with(properties);
    let is_allowed = is_topic(&topic) && !is_below(&topic, topics);
    is_allowed.then_some(message)
}

/// The parts of a command's packet that an answer and an acknowledgement need. The packet itself,
/// which may be large, is not kept with them, nor is the response topic where it gets no answer.
fn without_content(publish: Publish, answers_topic: bool) -> Publish {
    // The data is copied out: a slice of the packet would keep the whole packet in memory.
    // Copies of their own: the packet's buffer, with all its properties, is let go. What is too
    // large to be kept is refused, and the refusal goes to `ack/<name>` alone.
    let properties = publish.properties.map(|properties| PublishProperties {
        response_topic: properties
            .response_topic
            .filter(|topic| answers_topic && topic.len() <= RESPONSE_MAX),
        correlation_data: properties
            .correlation_data
            .filter(|data| data.len() <= RESPONSE_MAX)
            .map(|data| data.to_vec().into()),
        ..PublishProperties::default()
    });

    Publish {
        topic: Default::default(),
        payload: Default::default(),
        properties,
        ..publish
    }
}

/// True if a message may be published to that topic.
fn is_topic(topic: &str) -> bool {
    // Topics that begin with `$` are the broker's own.
    !topic.is_empty()
        && !topic.starts_with('$')
        && !topic.contains(['+', '#'])
        && !topic.contains(is_forbidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(topic: &str) -> Publish {
        let properties = PublishProperties {
            response_topic: Some(topic.to_owned()),
            ..PublishProperties::default()
        };

        let mut publish = Publish::new("x", QoS::AtLeastOnce, r#"{"id":"a"}"#, None);
        publish.properties = Some(properties);
        publish
    }

    #[test]
    fn a_response_topic_of_the_station_itself_is_refused_with_the_id() {
        for (topic, is_refused) in [
            ("plant/box/reject", true),
            ("plant/box/cmd/pause", true),
            ("plant/box", true),
            ("plant/boxes/answers", false),
            ("plant/other/reject", false),
            ("answers", false),
        ] {
            let parsed = parse("pause", &command(topic), "plant/box");
            assert_eq!(parsed.is_err(), is_refused, "{topic}: {parsed:?}");
            if let Err(refusal) = parsed {
                assert_eq!(refusal.id.as_deref(), Some("a"));
            }

            let told = response_to(&command(topic), "{}", "plant/box");
            assert_eq!(told.is_none(), is_refused, "{topic}");
        }
    }

    #[test]
    fn no_answer_goes_to_the_brokers_own_topics_or_to_many() {
        for topic in ["$SYS/broker", "$share/a/b", "a/#", "+", ""] {
            assert!(
                response_to(&command(topic), "{}", "plant/box").is_none(),
                "{topic}"
            );
        }
    }
}
