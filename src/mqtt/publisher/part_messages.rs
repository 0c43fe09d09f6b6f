//! The messages of one result: `plc`, where the line tells PLCs, and then `result`.
//!
//! Both are one delivery. The row leaves the store when the broker has both; a refusal of either is the
//! result's; and what the broker has taken already is not sent again, unless the row had to wait in the file meanwhile:
//! ```text
//! plc, result --both accepted--> the store is told
//!    |  \--one refused--> once the other is answered too: refused (delivery.rs); the next try sends that one alone
//!    \--connection ended--> the next one sends those without PUBACK
//! ```

use super::Publisher;
use super::delivery::is_accepted;
use super::retained_topics::last_topic;
use crate::mqtt::owed_parts::PartAnswer;
use crate::mqtt::session::{AckTarget, BEST_EFFORT_WAITING, MqttMessage, Session, Unacknowledged};
use crate::protocol::{plc, result};
use crate::store::OutboxEntry;
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use std::time::Duration;

impl Publisher {
    /// False if the client has no room for the result.
    /// `left` is the time for which the gate can still act; without any the result is for the record.
    pub(super) fn publish_result(
        &mut self,
        session: &mut Session,
        entry: &OutboxEntry,
        left: Option<Duration>,
    ) -> bool {
        let messages = self.messages_of(entry, left);

        let fit = messages.iter().all(|(message, _)| session.fits(message));

        if !fit {
            // A broker with a higher limit takes it later. Beyond the room for such results it is given
            // up, counted and told.
            if !self.wiring.store.outbox().put_aside(entry.key, true) {
                self.wiring.store.acked(entry.key, false);
            }

            return true;
        }

        // Half of a result would be answered, and be sent a second time.
        if !session.has_places(messages.len()) {
            return false;
        }

        session.parts.owe(entry.key, messages.len());
        for (message, target) in messages {
            let payload = message.payload().to_vec();
            let is_result = matches!(target, AckTarget::Result(_));

            if !session.publish(message, target) {
                session.parts.forget(entry.key);
                return false;
            }

            if is_result && left.is_some() {
                self.publish_last(session, entry, payload);
            }
        }

        true
    }

    /// What the broker does not have yet of a result, in the order in which it is sent: a PLC hears of a part
    /// no later than others.
    fn messages_of(
        &self,
        entry: &OutboxEntry,
        left: Option<Duration>,
    ) -> Vec<(MqttMessage, AckTarget)> {
        let late = match left {
            Some(_) => "",
            None => "/late",
        };

        let mut messages = vec![];
        if self.settings.plc && !entry.taken.plc {
            let payload = plc::encode(&entry.row, &self.identity, entry.at_gate);
            let topic = self.topic(&format!("plc{late}"));
            let target = AckTarget::Plc(entry.key);
            messages.push((MqttMessage::new(topic, payload), target));
        }

        if !entry.taken.result {
            // The payload is made anew for each try: whether it is late, and what was given up before
            // it, are known only now.
            let payload = result::encode(&entry.row, left.is_none(), entry.given_up_before);
            let topic = self.topic(&format!("result{late}"));
            let target = AckTarget::Result(entry.key);
            messages.push((MqttMessage::new(topic, payload), target));
        }

        let Some(left) = left else {
            return messages;
        };

        // The broker drops what a subscriber did not take in time. Seconds are rounded up: a result
        // must not expire early.
        let seconds = u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX);
        let mut expiring = vec![];

        for (message, target) in messages {
            let message = message.expires_after(seconds);
            expiring.push((message, target));
        }

        expiring
    }

    /// Panels that connect later see the newest verdict. It is sent at QoS 0, after the result, and
    /// may be dropped; never while it is being found out what ends the connections.
    fn publish_last(&mut self, session: &mut Session, entry: &OutboxEntry, payload: Vec<u8>) {
        if session.is_careful {
            return;
        }

        let name = last_topic(&entry.row.place());
        let last = MqttMessage::new(self.topic(&name), payload).retained();
        session.send_best_effort(last, BEST_EFFORT_WAITING);
        self.note_retained(name);
    }

    /// The broker has a message of the result of that key, or refuses it.
    pub(super) fn on_part_answered(
        &mut self,
        session: &mut Session,
        key: u64,
        message: &Unacknowledged,
        reason: PubAckReason,
    ) {
        let is_plc = matches!(message.target, AckTarget::Plc(_));
        let is_accepted = is_accepted(reason);

        if is_accepted {
            let outbox = self.wiring.store.outbox();
            outbox.note_taken(key, |taken| {
                taken.plc |= is_plc;
                taken.result |= !is_plc;
            });
        }

        let answer = (is_accepted, reason);
        let Some(answer) = session.parts.on_answer(key, message.sent, answer) else {
            return;
        };

        session.trial.take_if(|trial| *trial == key);
        match answer {
            PartAnswer::Taken(sent) => {
                self.wiring.store.acked(key, true);
                self.delivery.on_result_accepted(key, sent);
            }

            // A refused result is kept: the broker may take it later.
            PartAnswer::Refused(reason, sent) => {
                self.delivery.on_result_refused(key, sent, reason);
            }
        }
    }
}
