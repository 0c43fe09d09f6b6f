//! Messages of the line to the broker: who and how it is, its results, and pictures where there is
//! room.

use super::retained_topics::status_topic;
use super::{DRAIN, METRICS_EVERY, Publisher, STEADY};
use crate::base::health::{LineCondition, LineState};
use crate::base::text::escaped;
use crate::data::report::Report;
use crate::mqtt::session::{BEST_EFFORT_WAITING, MqttMessage, Session};
use crate::protocol::condition;
use crate::protocol::event::Event;
use crate::store::{LinkLoad, OutboxEntry};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, PublishProperties};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Publisher {
    /// Subscribes, and says who the line is and how everything is: after every connect.
    pub(super) fn greet(&mut self, session: &mut Session) {
        self.subscribe(session);
        self.introduce(session);
        self.clear_leftovers(session);
    }

    /// Asks the broker for commands, and sends the fence through it.
    pub(super) fn subscribe(&mut self, session: &mut Session) {
        // The retain flag is kept as it was published: a retained command must be told from one that
        // was sent just now.
        let mut commands = Filter::new(self.topic("cmd/+"), QoS::AtLeastOnce);
        commands.preserve_retain = true;
        let fence = Filter::new(self.topic("fence"), QoS::AtLeastOnce);
        let _ = session.client.try_subscribe_many([commands, fence]); // a new client has room

        // The fence goes after the subscription. When it comes back, everything that the broker had
        // kept for us came before it.
        self.publish_fence(session);
    }

    /// Says `online`, who the line is and how everything is.
    pub(super) fn introduce(&mut self, session: &mut Session) {
        self.publish_birth(session);
        self.publish_retained(session, "availability", "online");
        session.condition = None;
        self.publish_condition(session);

        // The status of each camera is retained, and another winspect may have left an old one
        // there.
        let cameras: Vec<Arc<str>> = self.cameras.keys().cloned().collect();

        for name in cameras {
            self.publish_camera(session, &name);
        }
    }

    /// Publishes a fence, where the age of commands is of interest: a line whose triggers all say
    /// their time, or that has none, needs only the first one.
    pub(super) fn publish_next_fence(&self, session: &mut Session) {
        let is_ending = session.is_stopping || self.ending.is_some();

        // A careful connection sends one message at a time: fences in a row would leave no room for
        // results, and come back as old as the row is long.
        let has_room = session.link_age.has_room() && (!session.is_careful || session.is_quiet());

        if self.wiring.times_triggers && !is_ending && has_room {
            self.publish_fence(session);
        }
    }

    fn publish_fence(&self, session: &mut Session) {
        let number = session.link_age.send(Instant::now());
        let payload = format!("{}{number}", self.fence_prefix(session));
        let fence = MqttMessage::new(self.topic("fence"), payload);
        session.tell(fence);
    }

    /// Publishes a message that the broker keeps, to a topic of the line.
    fn publish_retained(&self, session: &mut Session, name: &str, payload: impl Into<Vec<u8>>) {
        let topic = self.topic(name);
        let message = MqttMessage::new(topic, payload).retained();
        session.tell(message);
    }

    fn publish_birth(&self, session: &mut Session) {
        let birth = self.identity.encode();
        self.publish_retained(session, "birth", birth);
    }

    fn publish_camera(&mut self, session: &mut Session, name: &str) {
        let Some(status) = self.cameras.get(name) else {
            return;
        };

        let status = condition::camera_status(status);
        let topic = status_topic(name);
        self.publish_retained(session, &topic, status);
        self.note_retained(topic);
    }

    /// Tells how the line is, if that has changed.
    pub(super) fn publish_condition(&self, session: &mut Session) {
        let condition = (self.wiring.condition)();

        if session.is_stopping || session.condition.as_ref() == Some(&condition) {
            return;
        }

        // The condition is remembered per connection, so that each new one begins with it.
        self.publish_state(session, &condition);
        session.condition = Some(condition);
    }

    fn publish_state(&self, session: &mut Session, condition: &LineCondition) {
        let state = condition::state(condition);
        self.publish_retained(session, "state", state);
    }

    /// A PLC's life bit, and now and then the counters; a full client drops them.
    pub(super) fn beat(&mut self, session: &mut Session) {
        // The counter runs on over connections: a PLC looks for a change, and for nothing else.
        self.beats += 1;
        let beat = MqttMessage::new(self.topic("heartbeat"), condition::heartbeat(self.beats));
        session.send_best_effort(beat, BEST_EFFORT_WAITING);

        if self.beats.is_multiple_of(METRICS_EVERY) && !session.is_careful {
            let metrics = (self.wiring.metrics)().encode();
            let metrics = MqttMessage::new(self.topic("metrics"), metrics);
            session.send_best_effort(metrics, BEST_EFFORT_WAITING);
        }
    }

    /// Hands waiting results to the client, as many as may be in flight.
    pub(super) fn publish_results(&mut self, session: &mut Session) {
        let outbox = self.wiring.store.outbox().clone();

        // The window is ours and not the client's: a full client would refuse in the middle of a
        // burst, and order would be hard to keep.
        let window = self.delivery.window(session);

        // On a line that is always busy there is no moment for those that were put aside.
        if session.unacknowledged() < window {
            self.publish_aside(session, false);
        }

        while session.unacknowledged() < window {
            let Some(entry) = outbox.next() else {
                return self.publish_aside(session, true);
            };

            // Its time may end here: it is late then, and behind older ones.
            let left = left_of(&entry);

            if left.is_none() && entry.until.is_some() {
                outbox.give_back(entry.key);
                continue;
            }

            // The entry goes back to the front, so that results keep their order.
            if !self.publish_result(session, &entry, left) {
                return outbox.give_back(entry.key);
            }
        }
    }

    /// Tries a result that was put aside, one at a time and on a link that is steady: it may end the
    /// connection once more. `is_idle` says that no other result waits; such a moment on a link that is
    /// quiet is waited for, though not for ever.
    fn publish_aside(&mut self, session: &mut Session, is_idle: bool) {
        let is_steady = session
            .connected_at
            .is_some_and(|since| since.elapsed() > STEADY);

        let is_quiet = is_idle && session.is_quiet();
        let link = match self.ending {
            // At the end of the run all of them have one more try: a link that was cut twice at a bad
            // moment leaves nothing to the next run.
            Some(_) if is_quiet => LinkLoad::Ending,
            _ if !is_steady || session.trial.is_some() => return,
            _ if is_quiet => LinkLoad::Quiet,
            _ if session.is_careful => return,
            _ => LinkLoad::Busy,
        };

        let outbox = self.wiring.store.outbox().clone();
        let Some(entry) = outbox.next_aside(link) else {
            return;
        };

        if self.publish_result(session, &entry, left_of(&entry)) {
            session.trial = outbox.was_aside(entry.key).then_some(entry.key);
        } else {
            outbox.give_back(entry.key);
        }
    }

    /// Keeps what a later connection must say. The end of the events is the end of the run.
    pub(super) fn remember(&mut self, event: Option<&Event>) {
        match event {
            Some(Event::Camera { name, status }) => {
                self.cameras.insert(name.clone(), status.clone());
            }

            Some(Event::Identity(identity)) => self.identity = (**identity).clone(),
            Some(Event::Outcome(outcome)) => self.keep_outcome(outcome.clone()),
            // Those are told once, or not at all.
            Some(Event::Heatmap { .. } | Event::Snapshot { .. }) => {}
            Some(Event::Difference(_) | Event::Result(_)) => {}
            None => {
                self.wiring.broker.line_ends();
                self.ending = Some(Instant::now() + DRAIN);
            }
        }
    }

    /// An event of the line while a session is there, connected or not yet.
    pub(super) fn on_event(&mut self, session: &mut Session, event: Option<Event>) {
        self.remember(event.as_ref());
        let Some(event) = event.filter(|_| session.is_connected()) else {
            return; // the next connection begins with what was remembered
        };

        match event {
            Event::Camera { name, .. } => self.publish_camera(session, &name),
            Event::Identity(_) => {
                self.publish_birth(session);
                self.clear_leftovers(session);
            }

            Event::Difference(difference) => {
                let message = MqttMessage::new(self.topic("shadow"), difference.encode());
                session.send_best_effort(message, BEST_EFFORT_WAITING);
            }

            Event::Heatmap { report, png } => self.send_heatmap(&report, &png),
            Event::Snapshot { camera, png } => {
                let topic = self.topic(&format!("snapshot/{camera}"));
                self.pictures.send(MqttMessage::new(topic, &*png));
            }

            // Outcomes are told as there is room; results come from the outbox.
            Event::Outcome(_) | Event::Result(_) => {}
        }
    }

    fn send_heatmap(&self, report: &Arc<Report>, png: &[u8]) {
        let request = &report.part.request;

        // The same names as in the PNG file's texts, for readers that do not open the picture.
        let values = [
            ("seq", Some(report.part.seq.to_string())),
            ("region", request.region.as_deref().map(str::to_owned)),
            ("part_id", request.part_id.as_deref().map(str::to_owned)),
        ];

        // What the part does not have is left out, and not sent empty. A file's name may hold what no
        // message may; it is escaped.
        let user_properties = values
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), escaped(&value?))))
            .collect();

        let properties = PublishProperties {
            user_properties,
            ..PublishProperties::default()
        };

        let topic = self.topic(&format!("heatmap/{}", report.seen_by));
        let message = MqttMessage::new(topic, png).with(properties);
        self.pictures.send(message);
    }

    /// Says that the line has stopped, and disconnects.
    pub(super) fn say_goodbye(&self, session: &mut Session) {
        session.is_stopping = true;

        // Health is told as it is: a fault at the end of the run is news for whoever looks at the
        // halted line.
        let halted = LineCondition {
            state: LineState::Halted,
            ..(self.wiring.condition)()
        };

        self.publish_state(session, &halted);
        self.publish_retained(session, "availability", "stopped");

        // A full client says no goodbye; the broker then says `offline` after the line's silence.
        let _ = session.client.try_disconnect();
    }
}

/// The time for which the gate can still act on a result. `None` where it is over.
fn left_of(entry: &OutboxEntry) -> Option<Duration> {
    let left = entry.until?.saturating_duration_since(Instant::now());

    (!left.is_zero()).then_some(left)
}
