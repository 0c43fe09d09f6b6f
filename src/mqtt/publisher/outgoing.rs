//! What the line tells the broker: who it is, how it is, its results, and pictures where there is room.

use super::super::session::AckTarget;
use super::{BESIDE, BestEffort, IN_FLIGHT, METRICS_EVERY, Publisher, Session};
use crate::base::health::{LineCondition, LineState};
use crate::protocol::{condition, result};
use crate::store::OutboxEntry;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, PublishProperties};
use std::time::Instant;

/// Pictures that may wait in the client: a slow link must not fill with them.
const BESIDE_PICTURES: usize = 8;

impl Publisher {
    /// `online`, who we are and how everything is: after every connect.
    pub(super) fn greet(&mut self, session: &mut Session) {
        let mut commands = Filter::new(self.topic("cmd/+"), QoS::AtLeastOnce);
        commands.preserve_retain = true;
        let fence = Filter::new(self.topic("fence"), QoS::AtLeastOnce);
        let _ = session.client.try_subscribe_many([commands, fence]); // a new client has room
        session.publish(
            self.topic("fence"),
            false,
            self.fence(session),
            None,
            AckTarget::Nothing,
        );
        session.publish(
            self.topic("birth"),
            true,
            self.identity.encode(),
            None,
            AckTarget::Nothing,
        );
        session.publish(
            self.topic("availability"),
            true,
            b"online".to_vec(),
            None,
            AckTarget::Nothing,
        );
        self.tell_condition(session);
        self.cameras
            .keys()
            .for_each(|name| self.publish_camera(session, name));
        self.tell_outcomes(session);
    }

    fn publish_camera(&self, session: &mut Session, name: &str) {
        if let Some(status) = self.cameras.get(name) {
            let topic = self.topic(&format!("camera/{name}/status"));
            session.publish(
                topic,
                true,
                condition::camera_status(status),
                None,
                AckTarget::Nothing,
            );
        }
    }

    pub(super) fn tell_condition(&self, session: &mut Session) {
        let condition = (self.wiring.condition)();
        if !session.stopping && session.condition.as_ref() != Some(&condition) {
            session.publish(
                self.topic("state"),
                true,
                condition::state(&condition),
                None,
                AckTarget::Nothing,
            );
            session.condition = Some(condition);
        }
    }

    /// A PLC's life bit, and now and then the counters; a full client drops them.
    pub(super) fn beat(&mut self, session: &mut Session) {
        self.beats += 1;
        let beat = condition::heartbeat(self.beats);
        session.beside(self.topic("heartbeat"), false, beat, None, BESIDE);
        if self.beats.is_multiple_of(METRICS_EVERY) {
            let metrics = (self.wiring.metrics)().encode();
            session.beside(self.topic("metrics"), false, metrics, None, BESIDE);
        }
    }

    /// Hands waiting results to the client, as many as may be on their way.
    pub(super) fn hand_over(&self, session: &mut Session) {
        while session.in_flight.len() + session.requested.len() < IN_FLIGHT {
            let Some(waiting) = self.wiring.store.outbox().next() else {
                return;
            };
            if !self.publish_result(session, &waiting) {
                return self.wiring.store.outbox().give_back(waiting);
            }
        }
    }

    /// Rejected parts that are at their gates now. On a link that is slow they would come when another part is there.
    pub(super) fn tell_rejects(&self, session: &mut Session) {
        let outbox = self.wiring.store.outbox();
        while let Some(reject) = outbox.next_reject() {
            let properties = PublishProperties {
                message_expiry_interval: Some(1),
                ..PublishProperties::default()
            };
            let (topic, body) = (self.topic("reject"), reject.body);
            let can = session.is_prompt() && session.fits(&topic, &body, Some(&properties));
            let sent =
                can && session.publish(topic, false, body, Some(properties), AckTarget::Nothing);
            outbox.reject_told(sent);
        }
    }

    /// False when the client has no room for it.
    fn publish_result(&self, session: &mut Session, waiting: &OutboxEntry) -> bool {
        let left = waiting
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        let live = left.filter(|left| !left.is_zero());
        let payload = result::encode(&waiting.row, live.is_none(), waiting.given_up_before);
        let topic = self.topic(if live.is_some() {
            "result"
        } else {
            "result/late"
        });
        if !session.fits(&topic, &payload, None) {
            self.wiring.store.acked(waiting.key, false); // as one that it refuses
            return true;
        }
        let Some(left) = live else {
            return session.publish(topic, false, payload, None, AckTarget::Result(waiting.key));
        };
        let expiry = u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX);
        let properties = PublishProperties {
            message_expiry_interval: Some(expiry),
            ..PublishProperties::default()
        };
        let sent = session.publish(
            topic,
            false,
            payload.clone(),
            Some(properties),
            AckTarget::Result(waiting.key),
        );
        if sent {
            let last = self.topic(&format!("result/last/{}", waiting.row.place()));
            session.beside(last, true, payload, None, BESIDE);
        }
        sent
    }

    pub(super) fn side(&mut self, session: &mut Session, side: Option<BestEffort>) {
        match &side {
            Some(BestEffort::Heatmap { report, png }) if session.connected.is_some() => {
                let ask = &report.part.ask;
                let mut properties = PublishProperties::default();
                properties
                    .user_properties
                    .push(("seq".to_owned(), report.part.seq.to_string()));
                if let Some(region) = &ask.region {
                    properties
                        .user_properties
                        .push(("region".to_owned(), region.to_string()));
                }
                if let Some(part) = &ask.part_id {
                    properties
                        .user_properties
                        .push(("part_id".to_owned(), part.clone()));
                }
                let topic = self.topic(&format!("heatmap/{}", report.seen_by));
                session.beside(topic, false, png.clone(), Some(properties), BESIDE_PICTURES);
            }
            Some(BestEffort::Snapshot { camera, png }) if session.connected.is_some() => {
                let topic = self.topic(&format!("snapshot/{camera}"));
                session.beside(topic, false, png.clone(), None, BESIDE_PICTURES);
            }
            _ => {}
        }
        let changed = match &side {
            Some(BestEffort::Camera { name, .. }) => Some(name.clone()),
            _ => None,
        };
        let is_identity = matches!(side, Some(BestEffort::Identity(_)));
        self.note(side);
        if let Some(name) = changed.filter(|_| session.connected.is_some()) {
            self.publish_camera(session, &name);
        }
        if is_identity && session.connected.is_some() {
            session.publish(
                self.topic("birth"),
                true,
                self.identity.encode(),
                None,
                AckTarget::Nothing,
            );
        }
    }

    pub(super) fn say_goodbye(&self, session: &mut Session) {
        session.stopping = true;
        let halted = LineCondition {
            state: LineState::Halted,
            ..(self.wiring.condition)()
        };
        session.publish(
            self.topic("state"),
            true,
            condition::state(&halted),
            None,
            AckTarget::Nothing,
        );
        session.publish(
            self.topic("availability"),
            true,
            b"stopped".to_vec(),
            None,
            AckTarget::Nothing,
        );
        let _ = session.client.try_disconnect();
    }
}
