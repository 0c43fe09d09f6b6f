//! `plc/state`: the line in six integers, once a second and on change, over a connection of its own.
//!
//! The connection has a last will of its own, ready 0: MQTT gives each connection one, and that of the results
//! says `offline` on `availability`. It belongs to the publisher's thread, so that its beat stops when that one
//! stands still. Where it is away the broker says ready 0, and the line goes on.

use super::reason::{before_connack, reason};
use super::session::options;
use super::{LOCAL_WAIT, MqttSettings, is_this_machine};
use crate::base::backoff::Backoff;
use crate::base::health::{Diagnostics, Health};
use crate::protocol::birth::Identity;
use crate::protocol::plc::PlcState;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, Packet, PubAckReason};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior};

/// Name of the topic below the station's.
pub(super) const TOPIC: &str = "plc/state";
/// Requests that the client may hold: a link that stands still gets no more states, and the newest soon after.
const REQUESTS: usize = 4;
/// Interval of looks at the line; a change is told at the next.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Interval of states without a change.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A connection that lasted this long was a good one.
const STEADY: Duration = Duration::from_secs(5);
/// Connections in a row without a state that the broker took, until a person is told.
const REFUSED_TOLD: u32 = 3;
/// Diagnostics source of a state that is not told.
const PLC_STATE: &str = "plc/state";

/// Asks the line how it is.
pub type StateNow = Arc<dyn Fn() -> PlcState + Send + Sync>;

/// The connection.
pub(super) struct PlcStateSender {
    settings: MqttSettings,
    /// The whole topic.
    topic: String,
    state: StateNow,
    causes: Diagnostics,
    /// States told so far; they count on over connections.
    beats: u64,
    /// The state that was told last on this connection.
    told: Option<PlcState>,
    /// Moment at which it was told.
    told_at: Instant,
    /// The last reason that was logged.
    last_logged: String,
    /// Connections in a row that ended before the broker took a state. A broker may take a connection and end it at
    /// each message of this topic.
    in_vain: u32,
    /// Since when the broker has this connection; `None` until it answers.
    connected_at: Option<Instant>,
}

impl PlcStateSender {
    /// A sender of what `state` says; what keeps it from that goes to `causes`.
    pub(super) fn new(
        settings: &MqttSettings,
        identity: &Identity,
        state: StateNow,
        causes: Diagnostics,
    ) -> Self {
        PlcStateSender {
            settings: settings.clone(),
            topic: format!("{}/{}/{TOPIC}", identity.prefix, identity.station),
            state,
            causes,
            beats: 0,
            told: None,
            told_at: Instant::now(),
            last_logged: String::new(),
            in_vain: 0,
            connected_at: None,
        }
    }

    /// Tells the state for as long as it is polled. A line that tells no PLC has no such connection.
    pub(super) async fn run(mut self) {
        if !self.settings.plc {
            return std::future::pending().await;
        }

        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);

        loop {
            let (client, mut events) = AsyncClient::new(self.options(), REQUESTS);
            self.told = None;
            self.connected_at = None;

            // The broker's first good answer takes this back.
            self.in_vain += 1;
            let lost = self.run_session(&client, &mut events, &mut looks).await;

            let lasted = self.connected_at.map(|at| at.elapsed());
            if lasted.is_some_and(|lasted| lasted > STEADY) {
                backoff.reset();
            }

            self.tell_lost(lost);

            // A broker on this machine is back soon, and it costs little to ask.
            let mut wait = backoff.next_wait();
            if lasted.is_none() && is_this_machine(&self.settings.host) {
                wait = wait.min(LOCAL_WAIT);
            }

            tokio::time::sleep(wait).await;
        }
    }

    fn options(&self) -> MqttOptions {
        let client_id = format!("{}-plc", self.settings.client_id);
        let mut options = options(&self.settings, &client_id);
        let gone = PlcState::NO_LINE.encode();
        let will = LastWill::new(&self.topic, gone, QoS::AtLeastOnce, true, None);
        options.set_last_will(will);

        options
    }

    /// One connection, until its end; gives the reason.
    async fn run_session(
        &mut self,
        client: &AsyncClient,
        events: &mut EventLoop,
        looks: &mut Interval,
    ) -> String {
        loop {
            let mut event = std::pin::pin!(events.poll());
            let event = loop {
                tokio::select! {
                    event = &mut event => break event,
                    _ = looks.tick(), if self.connected_at.is_some() => self.tell(client),
                }
            };

            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    self.connected_at = Some(Instant::now());
                }

                Ok(Event::Incoming(Packet::PubAck(ack))) => self.on_answer(ack.reason),
                Ok(_) => {}
                Err(error) => {
                    let words = reason(&error, &self.settings.host);

                    if self.connected_at.is_some() {
                        return words;
                    }

                    return before_connack(words);
                }
            }
        }
    }

    /// Tells the state where it has changed, or a second has gone by.
    fn tell(&mut self, client: &AsyncClient) {
        let state = (self.state)();
        let is_news = self.told.is_none_or(|told| told.differs_from(&state));

        if !is_news && self.told_at.elapsed() < BEAT_EVERY {
            return;
        }

        // A client without room says no: the next look tries again.
        let payload = state.at_beat(self.beats + 1).encode();
        let sent = client.try_publish(&self.topic, QoS::AtLeastOnce, true, payload);

        if sent.is_ok() {
            self.beats += 1;
            self.told = Some(state);
            self.told_at = Instant::now();
        }
    }

    fn on_answer(&mut self, answer: PubAckReason) {
        match answer {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                self.in_vain = 0;
                self.causes.clear(PLC_STATE);
                self.last_logged.clear();
            }

            // A broker without leave for the topic says so each time.
            refused => {
                let topic = &self.topic;
                let words =
                    format!("the broker refuses it ({refused:?}); let this user write {topic}");
                self.causes.set(PLC_STATE, Health::OffSpec, &words);
                self.log(words);
            }
        }
    }

    /// Results may flow all the same: health tells that the PLC is told otherwise.
    fn tell_lost(&mut self, lost: String) {
        if self.in_vain >= REFUSED_TOLD {
            let words = format!("not told: {lost}");
            self.causes.set(PLC_STATE, Health::OffSpec, words);
        }

        self.log(lost);
    }

    /// Logs each reason once.
    fn log(&mut self, words: String) {
        if self.last_logged != words {
            tracing::warn!("{}: {words}", self.topic);
            self.last_logged = words;
        }
    }
}
