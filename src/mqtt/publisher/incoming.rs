//! Commands from the broker to the foreman, and his answers back. A command is acknowledged to the broker after its
//! answers are on the way; until then it comes again with the next connection, and its id is known.

use super::{Publisher, Session};
use crate::mqtt::session::{AckTarget, Refused};
use crate::protocol::answer::Answer;
use crate::protocol::command;
use crate::protocol::command::Command;
use crossbeam::channel::TrySendError;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties, SubscribeReasonCode};
use std::time::Instant;

/// A command on its way to the foreman.
#[derive(Debug)]
pub struct Request {
    pub order: Command,
    pub name: String,
    /// It waited at the broker, nobody knows how long.
    pub stale: bool,
    pub came: Instant,
    token: Token,
}

/// Which connection's which command.
type Token = (u64, u64);

/// The foreman's answer.
#[derive(Debug)]
pub struct Reply {
    name: String,
    token: Option<Token>,
    /// [`Answer::encode`].
    payload: String,
    /// Where the store keeps it until the broker has it.
    kept: Option<String>,
}

impl Request {
    pub fn answered(self, payload: String) -> Reply {
        Reply {
            name: self.name,
            token: Some(self.token),
            payload,
            kept: None,
        }
    }
}

impl Reply {
    /// What became of a command that was acknowledged before; `kept` is the key under which the store keeps that until the
    /// broker has it.
    pub fn outcome(name: &str, payload: String, kept: Option<String>) -> Reply {
        Reply {
            name: name.to_owned(),
            token: None,
            payload,
            kept,
        }
    }
}

/// Commands that a connection holds for the foreman at most: mosquitto 2.0 sends more than it may when a session goes on.
const ORDERS_KEPT: usize = 2048;
/// Refused ones, some hundred bytes each, for the same reason; beyond, the connection begins anew.
const REFUSED_KEPT: usize = 16_384;
/// Outcomes of commands, told later than their answers, that wait for the broker.
const OUTCOMES_KEPT: usize = 16;

impl Publisher {
    pub(super) fn subscribed(&self, codes: &[SubscribeReasonCode]) {
        if codes
            .iter()
            .any(|code| !matches!(code, SubscribeReasonCode::Success(_)))
        {
            tracing::error!(
                "the broker lets us hear no commands; let this user read {0}/cmd/+ and {0}/fence",
                self.topics
            );
        } else if codes.contains(&SubscribeReasonCode::Success(QoS::AtMostOnce)) {
            tracing::warn!(
                "the broker passes commands at QoS 0 only: those that come while we are away are lost"
            );
        }
    }

    /// A command, or our own fence.
    pub(super) fn receive(&mut self, session: &mut Session, publish: Publish) {
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        if topic == self.topic("fence") {
            session.fresh |= publish.payload == self.fence(session);
            session.acknowledge(&publish);
            return;
        }
        let Some(name) = topic.strip_prefix(&format!("{}/cmd/", self.topics)) else {
            return;
        };
        if publish.retain && publish.payload.is_empty() {
            session.acknowledge(&publish);
            return; // how a retained command is taken away
        }
        let parsed = if publish.retain {
            let id = command::parse(name, &publish.payload)
                .map_or_else(|refusal| refusal.id, |order| order.id);
            let reason = "a retained command: it would come again with every connection; publish it without retain";
            Err(command::Refusal {
                id,
                reason: reason.to_owned(),
            })
        } else {
            command::parse(name, &publish.payload)
        };
        let refusal = match parsed {
            Ok(order) if session.ordered.len() < ORDERS_KEPT => {
                let token = (session.number, session.next_order);
                let (stale, came) = (!session.fresh, Instant::now());
                session.orders.push_back(Request {
                    order,
                    name: name.to_owned(),
                    stale,
                    came,
                    token,
                });
                session.ordered.insert(session.next_order, publish);
                session.next_order += 1;
                return;
            }
            Ok(order) => command::Refusal {
                id: order.id,
                reason: format!("more than {ORDERS_KEPT} commands at once; wait for answers"),
            },
            Err(refusal) => refusal,
        };
        let answer = Answer {
            id: refusal.id,
            status: "rejected",
            reason: Some(refusal.reason),
            ..Answer::default()
        };
        // A name that is no command may be anything: it must not choose our topic.
        let name = if command::NAMES.contains(&name) {
            name
        } else {
            "unknown"
        };
        let answer = answer.encode();
        if session.refused.len() < REFUSED_KEPT {
            session.refused.push_back(Refused {
                publish: without_content(publish),
                name: name.to_owned(),
                answer,
            });
        } else {
            session.overrun = true;
        }
    }

    /// Refusals are told as there is room: in a flood of bad commands the client would be full, and one that is neither
    /// answered nor acknowledged keeps the broker from passing on another.
    pub(super) fn tell_refused(&self, session: &mut Session) {
        while session.has_room_for_refusals()
            && let Some(Refused {
                publish,
                name,
                answer,
            }) = session.refused.pop_front()
        {
            self.answer_to(session, Some(&publish), &name, &answer);
        }
    }

    /// Commands go to the foreman as he has room: he may still be at those of the connection before.
    pub(super) fn pass_orders(&self, session: &mut Session) {
        while let Some(ordered) = session.orders.pop_front() {
            match self.wiring.orders.try_send(ordered) {
                Ok(()) => {}
                Err(TrySendError::Full(ordered)) => return session.orders.push_front(ordered),
                // Not acknowledged: the next run gets it.
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }

    pub(super) fn answer(&mut self, session: &mut Session, answered: Reply) {
        let publish = match answered.token {
            Some((number, order)) if number == session.number => session.ordered.remove(&order),
            _ => None,
        };
        if answered.token.is_none() {
            self.keep_outcome(answered);
            if session.connected.is_some() {
                self.tell_outcome(session, self.outcomes_so_far);
            }
        } else if let Some(publish) = publish {
            self.answer_to(session, Some(&publish), &answered.name, &answered.payload);
        }
    }

    /// Until the broker has it. What answers a command of a connection that is gone is not needed: the command comes again,
    /// and its id is known.
    pub(super) fn keep_outcome(&mut self, answered: Reply) {
        if answered.token.is_none() {
            self.outcomes_so_far += 1;
            self.outcomes.push_back((self.outcomes_so_far, answered));
            let beyond = self.outcomes.len().saturating_sub(OUTCOMES_KEPT);
            self.outcomes.drain(..beyond);
        }
    }

    /// What the broker does not have yet.
    pub(super) fn tell_outcomes(&mut self, session: &mut Session) {
        let all: Vec<u64> = self.outcomes.iter().map(|(number, _)| *number).collect();
        all.into_iter()
            .for_each(|number| self.tell_outcome(session, number));
    }

    fn tell_outcome(&mut self, session: &mut Session, number: u64) {
        let Some((_, outcome)) = self.outcomes.iter().find(|(its, _)| *its == number) else {
            return;
        };
        let (topic, payload) = (
            self.topic(&format!("ack/{}", outcome.name)),
            outcome.payload.clone().into_bytes(),
        );
        if session.fits(&topic, &payload, None) {
            session.publish(topic, false, payload, None, AckTarget::Outcome(number));
        } else {
            self.outcome_landed(number); // it never will
        }
    }

    /// The broker has it.
    pub(super) fn outcome_landed(&mut self, number: u64) {
        let Some(place) = self.outcomes.iter().position(|(its, _)| *its == number) else {
            return;
        };
        if let Some((
            _,
            Reply {
                kept: Some(key), ..
            },
        )) = self.outcomes.remove(place)
        {
            drop(self.wiring.store.set(&key, ""));
        }
    }

    /// To `ack/<name>`, and to whoever asked where he said so. The command is acknowledged after its answers: a broker
    /// that forgets it has them, and a link that is cut before brings it again.
    fn answer_to(
        &self,
        session: &mut Session,
        publish: Option<&Publish>,
        name: &str,
        payload: &str,
    ) {
        let payload = payload.as_bytes().to_vec();
        let properties = publish.and_then(|publish| publish.properties.as_ref());
        let response = properties
            .and_then(|p| p.response_topic.clone())
            .filter(|topic| is_topic(topic));
        let mut told = true;
        if let Some(topic) = response {
            let correlation_data = properties.and_then(|p| p.correlation_data.clone());
            let properties = PublishProperties {
                correlation_data,
                ..PublishProperties::default()
            };
            told &= session.publish(
                topic,
                false,
                payload.clone(),
                Some(properties),
                AckTarget::Nothing,
            );
        }
        told &= session.publish(
            self.topic(&format!("ack/{name}")),
            false,
            payload,
            None,
            AckTarget::Nothing,
        );
        if let Some(publish) = publish.filter(|_| told) {
            session.acknowledge(publish);
        }
    }

    pub(super) fn fence(&self, session: &Session) -> Vec<u8> {
        format!("{}/{}", self.identity.run_id, session.number).into_bytes()
    }
}

/// What an answer and an acknowledgement need of a command. Its packet, which may be large, is not kept with it.
fn without_content(publish: Publish) -> Publish {
    let properties = publish.properties.map(|properties| PublishProperties {
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data.map(|data| data.to_vec().into()),
        ..PublishProperties::default()
    });
    Publish {
        topic: Default::default(),
        payload: Default::default(),
        properties,
        ..publish
    }
}

/// What may be published to.
fn is_topic(topic: &str) -> bool {
    !topic.is_empty() && !topic.contains(['+', '#', '\0'])
}
