//! Messages that the broker keeps about cameras and regions that are gone: taken away at birth.
//!
//! The line may not read its own topics (docs/mqtt.md, Security), so the store keeps which retained
//! topics were ever written. A topic that the line of today cannot write is cleared by an empty
//! message, which takes it from the broker, and forgotten.

use super::Publisher;
use super::retained_topics::{RETAINED_TOPICS, is_place_of, status_topic};
use crate::mqtt::session::{MqttMessage, Session};

impl Publisher {
    /// Notes that the broker keeps a message under that topic, on the disk for later runs.
    pub(super) fn note_retained(&mut self, name: String) {
        if self.retained.insert(name) {
            self.keep_retained();
        }
    }

    /// Clears what is kept about cameras and regions that this line has not.
    pub(super) fn clear_leftovers(&mut self, session: &mut Session) {
        let topics = self.retained.clone();
        let count = topics.len();
        for name in topics {
            if self.is_ours(&name) {
                continue;
            }

            let message = MqttMessage::new(self.topic(&name), vec![]).retained();
            if session.tell(message) {
                self.retained.remove(&name);
            }
        }

        if self.retained.len() < count {
            self.keep_retained();
        }
    }

    /// True for a topic that this line may write.
    fn is_ours(&self, name: &str) -> bool {
        let identity = &self.identity;
        if let Some(place) = name.strip_prefix("result/last/") {
            return self
                .wiring
                .part_cameras
                .iter()
                .any(|camera| is_place_of(place, camera, identity.regions.keys()));
        }

        let mut cameras = identity.cameras.iter();
        cameras.any(|camera| name == status_topic(camera))
    }

    fn keep_retained(&self) {
        let text = serde_json::to_string(&self.retained).expect("a list of names");
        drop(self.wiring.store.set(RETAINED_TOPICS, &text));
    }
}
