//! The gate's messages: a rejected part is there now, or went by untold.

use super::{MISSED_EVERY, Publisher};
use crate::base::health::Health;
use crate::mqtt::session::{MqttMessage, Session};
use crate::protocol::condition::GATE;
use std::time::Instant;

impl Publisher {
    /// Tells the gate of rejected parts that are there now. On a slow link the message would come
    /// when another part is there, so it is not sent.
    pub(super) fn publish_rejects(&self, session: &mut Session) {
        let outbox = self.wiring.store.outbox();
        while let Some(reject) = outbox.next_reject() {
            // The broker drops it after one second, the shortest time that MQTT knows: a gate that
            // connects later must not act on it.
            let message =
                MqttMessage::new(self.topic("reject"), reject.body.clone()).expires_after(1);

            if let Err(reject) = session.publish_reject(message, reject) {
                outbox.reject_missed(reject);
            }
        }

        self.publish_missed(session);
    }

    /// The broker took the message of that number, or refused it: the gate hears nothing then.
    pub(super) fn on_reject_acked(&self, session: &mut Session, number: u64, is_accepted: bool) {
        let outbox = self.wiring.store.outbox();
        match session.rejects.remove(&number) {
            Some(reject) if !is_accepted => outbox.reject_missed(reject),
            _ => outbox.reject_told(),
        }
    }

    /// Takes those back that the broker had not acknowledged when the connection ended: each is told
    /// again while it is in time, and as missed then.
    pub(super) fn take_rejects_back(&self, session: &mut Session) {
        for (_, reject) in session.rejects.drain() {
            self.wiring.store.outbox().give_back_reject(reject);
        }
    }

    /// Tells of parts that went by untold, as there is room: for the record, and for whoever takes
    /// them out by hand.
    fn publish_missed(&self, session: &mut Session) {
        let outbox = self.wiring.store.outbox();
        while session.has_room()
            && let Some(body) = outbox.next_missed_reject()
        {
            let message = MqttMessage::new(self.topic("reject/missed"), body.clone());
            if !session.tell(message) {
                return outbox.keep_missed_reject(body);
            }
        }
    }

    /// Counts rejected parts that go by their gates untold because there is no connection. A person
    /// is told of that, in the log and by health.
    pub(super) fn look_at_rejects(&mut self, is_connected: bool) {
        let outbox = self.wiring.store.outbox();
        if !is_connected {
            outbox.miss_rejects();
        }

        // A line that rejects many parts while the broker is away would fill the log; one line a
        // minute tells the sum.
        let missed = outbox.count().rejects_missed;
        if missed > self.rejects_told {
            self.rejects_told = missed;
            let words = format!(
                "{missed} rejected parts went by and no message said so in time; `reset` confirms it"
            );

            self.wiring.causes.set(GATE, Health::OffSpec, words);
        }

        let is_due = self
            .rejects_logged_at
            .is_none_or(|at| at.elapsed() > MISSED_EVERY);

        if missed > self.rejects_logged && is_due {
            let more = missed - self.rejects_logged;
            tracing::warn!(
                "{more} rejected parts were at the gate and no message said so in time ({missed} in this run)"
            );

            self.rejects_logged = missed;
            self.rejects_logged_at = Some(Instant::now());
        }
    }
}
