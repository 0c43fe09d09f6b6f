//! The loop that owns the MQTT client: results out of the store, commands in, events beside them.
//!
//! ```text
//! connect --ConnAck--> online, birth, state, camera status --results, events--> ...
//!    ^        \--commands--> command handler --replies--> ack/<name>, PUBACK --> ...
//!    +------- wait (backoff) <--- rewind the outbox <--- error, silence -+
//! ```
//! A result leaves the store only with its PUBACK, and a command is acknowledged only when the
//! command handler has answered it. Each connection has a client of its own: what was not
//! acknowledged comes again from the store, in order, and from the broker, which keeps our session;
//! so rumqttc's memory queue is never the one that counts.
//!
//! `outgoing.rs` holds what is said, `incoming.rs` what is heard, `session.rs` a connection's state.
//!
//! The broker does not say how old a command is: it may have been kept for us, or have waited in a link
//! or a process that stood still. Messages of our own (the fences) tell (`mqtt/link_age.rs`).

mod delivery;
mod gate;
mod incoming;
mod lost;
mod outgoing;
mod part_messages;
mod presence;
mod refusal;
mod responses;
mod retained;
mod retained_topics;

pub use self::retained_topics::RETAINED_TOPICS;

use self::delivery::{Delivery, is_accepted};
use self::lost::Lost;
use self::retained_topics::{RetainedTopics, recovered};
use super::link_age::FENCE_EVERY;
use super::pictures::{Pictures, pictures};
use super::plc_state::{PlcStateSender, StateNow};
use super::reason::before_connack;
use super::session::{
    AckTarget, COMMANDS_MAX, REPLIES_WAITING, REQUESTS, SILENCE, Session, options,
};
use super::{LOCAL_WAIT, MqttSettings, is_this_machine};
use crate::base::backoff::Backoff;
use crate::base::health::{Diagnostics, LineCondition};
use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::camera::CameraStatus;
use crate::protocol::birth::Identity;
use crate::protocol::broker::BrokerLink;
use crate::protocol::event::{CommandOutcome, Event, ListenerState};
use crate::protocol::metrics::Metrics;
use crate::protocol::request::{Reply, Request};
use crate::store::Store;
use crossbeam::channel::Sender;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, LastWill, Packet, PubAck};
use rumqttc::v5::{AsyncClient, EventLoop, MqttOptions};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// Connections of the publisher to the rest of the line.
pub struct PublisherWiring {
    /// Results, and how many of them wait.
    pub store: Store,
    /// Events of the line; their end is the end of the run.
    pub events: mpsc::Receiver<Event>,
    /// Commands, to the command handler.
    pub requests: Sender<Request>,
    /// State and health of the line at the moment.
    pub condition: Box<dyn Fn() -> LineCondition + Send>,
    /// The line as `plc/state` tells it.
    pub plc_state: StateNow,
    /// Counters of the line at the moment.
    pub metrics: Box<dyn Fn() -> Metrics + Send>,
    /// True where triggers may come that say no time: the age of commands is measured all the time.
    pub times_triggers: bool,
    /// Sign of life of the publisher.
    pub pulse: Heartbeat,
    /// Faults of the moment: what the broker refuses goes there.
    pub causes: Diagnostics,
    /// Whether the broker is there, for others.
    pub broker: BrokerLink,
    /// Counter of pictures that were not sent.
    pub pictures_dropped: Arc<ListenerState>,
    /// True where a camera waits for commands: without them nothing is inspected.
    pub needs_commands: bool,
    /// Names under which parts come: cameras, and the names that several share.
    pub part_cameras: Vec<Arc<str>>,
    /// Retained topics as an earlier run kept them, under [`RETAINED_TOPICS`].
    pub retained: String,
}

/// Time for what waits at the end of a run to be acknowledged.
const DRAIN: Duration = Duration::from_secs(5);
/// Time of [`DRAIN`] that is left when pictures are waited for no more.
const PICTURES_LEFT: Duration = Duration::from_secs(3);
/// Time for which the broker keeps commands for us.
const SESSION_KEPT: Duration = Duration::from_secs(24 * 3600);
/// A connection that lasted this long was a good one. Mosquitto 2.0 does not tell a client that
/// another one took its name: two daemons of one name must not throw each other out at every
/// moment.
const STEADY: Duration = Duration::from_secs(5);
/// Interval of log lines on rejected parts that went by.
const MISSED_EVERY: Duration = Duration::from_secs(60);
/// Interval of heartbeat messages.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// Heartbeats between two messages of counters.
const METRICS_EVERY: u64 = 10;

/// Publishes until the senders of events are gone and the outbox is drained. Blocks; for a thread
/// of its own.
///
/// # Errors
/// When the asynchronous runtime cannot be made.
pub fn run(
    settings: MqttSettings,
    identity: Identity,
    wiring: PublisherWiring,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;

    // One thread for everything: the client, the timers and the line's channels are all waited for
    // by the same `select`.
    let dropped = wiring.pictures_dropped.clone();
    let (pictures, sender) = pictures(&settings, dropped, wiring.causes.clone());
    let plc = PlcStateSender::new(
        &settings,
        &identity,
        wiring.plc_state.clone(),
        wiring.causes.clone(),
    );
    let mut publisher = Publisher::new(settings, identity, wiring, pictures);
    runtime.block_on(async {
        tokio::select! {
            () = publisher.run() => {}
            () = sender.run() => {}
            () = plc.run() => {}
        }
    });

    let untold = publisher.wiring.store.outbox().forget_rejects();
    if untold > 0 {
        tracing::warn!(
            "{untold} rejected parts are not at their gates yet, and no message will say when they are"
        );
    }

    Ok(())
}

/// Ends at that moment; never without one.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

struct Publisher {
    settings: MqttSettings,
    identity: Identity,
    /// `<prefix>/<station>`.
    topics: String,
    wiring: PublisherWiring,
    /// What the broker refuses.
    delivery: Delivery,
    /// Pictures have a connection of their own.
    pictures: Pictures,
    /// Topics of cameras and regions that the broker keeps messages of.
    retained: RetainedTopics,
    /// Moment at which commands are subscribed to again, after a refusal.
    subscribes_at: Option<Instant>,
    /// Sender of answers, which goes along with each request.
    reply_sender: mpsc::Sender<Reply>,
    /// Answers of the command handler.
    replies: mpsc::Receiver<Reply>,
    /// Outcomes of commands that the broker does not have yet, by number.
    outcomes: VecDeque<(u64, Arc<CommandOutcome>)>,
    /// Number of the newest outcome.
    outcomes_so_far: u64,
    /// The newest status of each camera, for every new connection.
    cameras: HashMap<Arc<str>, CameraStatus>,
    /// Number of connections so far.
    sessions: u64,
    /// Heartbeat messages so far.
    beats: u64,
    /// Moment until which everything must be out, once the stages have left.
    ending: Option<Instant>,
    /// Moment since which the broker has been away.
    away_since: Option<Instant>,
    /// Since when the broker had stood still at the end of the last connection that could tell.
    silent_since: Option<Instant>,
    /// Connections in a row that did not last.
    unsteady: u32,
    /// Reasons of this absence that were logged: they may come in turns, and each is told once.
    reasons_logged: BTreeSet<String>,
    /// Rejected parts that went by untold, as health was told last.
    rejects_told: u64,
    /// The same, as logged last.
    rejects_logged: u64,
    /// Moment of that log line.
    rejects_logged_at: Option<Instant>,
}

impl Publisher {
    fn new(
        settings: MqttSettings,
        identity: Identity,
        wiring: PublisherWiring,
        pictures: Pictures,
    ) -> Self {
        let (reply_sender, replies) = mpsc::channel(REPLIES_WAITING);
        let outbox = wiring.store.outbox().clone();
        let topics = format!("{}/{}", identity.prefix, identity.station);
        Publisher {
            delivery: Delivery::new(outbox, wiring.causes.clone(), topics.clone()),
            pictures,
            retained: recovered(&wiring.retained),
            subscribes_at: None,
            topics,
            settings,
            identity,
            wiring,
            reply_sender,
            replies,
            outcomes: VecDeque::new(),
            outcomes_so_far: 0,
            cameras: HashMap::new(),
            sessions: 0,
            beats: 0,
            ending: None,
            away_since: None,
            silent_since: None,
            unsteady: 0,
            reasons_logged: BTreeSet::new(),
            rejects_told: 0,
            rejects_logged: 0,
            rejects_logged_at: None,
        }
    }

    /// Connection after connection, until the run is over.
    async fn run(&mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            self.wiring.pulse.beat();
            // A new client for each connection begins with empty queues: what the broker did not
            // acknowledge comes again from the store, and from nowhere else.
            let (client, mut events) = AsyncClient::new(self.options(), REQUESTS);
            self.sessions += 1;
            let mut session = Session::new(self.sessions, client);
            self.delivery.begin(&mut session);
            let mut end = self.run_session(&mut session, &mut events).await;
            if let Some(lost) = end.as_mut().filter(|lost| lost.is_cut)
                && session.is_connected()
            {
                self.delivery.on_cut(&session, &lost.reason);
                lost.is_unexplained &= session.refused_lately().is_none();
            }

            // Everything that was handed out and not acknowledged is handed out again, also when
            // the run ends: it then counts as waiting.
            self.wiring.store.outbox().rewind();
            self.take_rejects_back(&mut session);
            let waiting = self.wiring.store.count().waiting;
            if waiting > 0 && (end.is_none() || self.is_over()) {
                tracing::warn!("{waiting} results wait in the store for the next run");
            }

            // A connection that ends before its first fence tells nothing new.
            if session.link_age.has_come_back() {
                self.silent_since = session.link_age.silent_since(Instant::now());
            }

            let Some(mut lost) = end else { return };
            if session.connected_at.is_none() {
                lost.reason = before_connack(lost.reason);
            }

            self.judge_steadiness(&session, &mut backoff, &mut lost);
            if self.is_over() {
                return; // what waits was told
            }

            self.on_lost(&lost.reason);
            // A known wait stands even at the end of the line; the backoff may be cut short then.
            let mut wait = lost.wait.unwrap_or_else(|| backoff.next_wait());
            // A broker of this machine that restarts is there again in a moment, and asking it costs
            // nothing. One that was there and ended the connection is not asked so often.
            if session.connected_at.is_none() && is_this_machine(&self.settings.host) {
                wait = wait.min(LOCAL_WAIT);
            }

            self.pause(wait, lost.wait.is_none()).await;
        }
    }

    /// Waits for the next connection. The end of the line ends the wait if `may_hurry`: it is the
    /// last chance to deliver, though not for the price of throwing out a client of our name.
    async fn pause(&mut self, wait: Duration, may_hurry: bool) {
        let pause = tokio::time::sleep(wait);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                event = self.wiring.events.recv(), if self.ending.is_none() => {
                    self.remember(event.as_ref());
                    if self.ending.is_some() && may_hurry {
                        return;
                    }
                }
                // The command comes again with the next connection, and its id is known.
                Some(_) = self.replies.recv() => {}
                () = tokio::time::sleep(HEARTBEAT) => {
                    self.wiring.pulse.beat();
                    self.look_at_rejects(false);
                    if self.is_over() {
                        return;
                    }
                }
            }
        }
    }

    fn options(&self) -> MqttOptions {
        let mut options = options(&self.settings, &self.settings.client_id);
        // The broker keeps the session, and with it commands at QoS 1, while this machine restarts.
        // It passes on only as many at once as may be unanswered.
        options.set_clean_start(false);
        options.set_session_expiry_interval(Some(SESSION_KEPT.as_secs() as u32));
        options.set_receive_maximum(Some(COMMANDS_MAX));
        // A command is acknowledged after its answer: until then the broker brings it again.
        options.set_manual_acks(true);
        // The broker says `offline` for the line where the link ends without a goodbye.
        let topic = self.topic("availability");
        let will = LastWill::new(topic, "offline", QoS::AtLeastOnce, true, None);
        options.set_last_will(will);
        options
    }

    fn topic(&self, name: &str) -> String {
        format!("{}/{name}", self.topics)
    }

    /// The life of one connection: its end, or `None` when everything is delivered.
    async fn run_session(&mut self, session: &mut Session, events: &mut EventLoop) -> Option<Lost> {
        // There are two clocks: one for this loop's own sign of life, and one for the PLC's.
        let mut tick = tokio::time::interval(HEARTBEAT);
        let mut heart = tokio::time::interval(HEARTBEAT_EVERY);
        let mut fences = tokio::time::interval(FENCE_EVERY);
        fences.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outbox = self.wiring.store.outbox().clone();
        loop {
            // Held until it has something to tell: one that is dropped half-way begins its
            // connection again, or forgets the packet that it was writing.
            let mut event = std::pin::pin!(events.poll());
            let event = loop {
                self.wiring.pulse.beat();
                if session.is_connected() {
                    self.publish_all(session);
                }

                let is_connected = session.is_connected();
                tokio::select! {
                    event = &mut event => break event,
                    () = outbox.notified(), if is_connected => {}
                    () = reached(outbox.reject_due()), if is_connected => {}
                    // Always: the command handler must not wait for a link that stands still.
                    Some(reply) = self.replies.recv() => session.answers.push_back(reply),
                    event = self.wiring.events.recv(), if self.ending.is_none() => {
                        self.on_event(session, event);
                    }
                    _ = heart.tick(), if is_connected => self.beat(session),
                    _ = fences.tick(), if is_connected => self.publish_next_fence(session),
                    _ = tick.tick() => {
                        if let Some(reason) = self.look(session) {
                            return Some(Lost::because(reason));
                        }
                    }
                }
            };

            match event {
                Ok(event) => self.on_client_event(event, session),
                Err(_) if session.is_stopping => return None,
                Err(error) => return Some(Lost::by(&error, &self.settings)),
            }
        }
    }

    /// Publishes all that waits and has room.
    fn publish_all(&mut self, session: &mut Session) {
        // Commands and their answers go first. Results may be many, and a sender that waits for its
        // answer would send again.
        self.pass_commands(session);
        self.publish_refused(session);
        // An answer is sent before the outcome of its command.
        while let Ok(reply) = self.replies.try_recv() {
            session.answers.push_back(reply);
        }

        while session.has_room()
            && let Some(reply) = session.answers.pop_front()
        {
            self.on_reply(session, &reply);
        }

        session.send_acks();
        self.publish_outcomes(session);
        self.publish_rejects(session);
        self.publish_results(session);
        // Goodbye is said as soon as all is told, and not at the end of the time for it.
        if self.is_finished(session) {
            self.say_goodbye(session);
        }
    }

    /// Now and then: tells how the line is. Gives the reason why the connection is of no use any
    /// more, if it is so.
    fn look(&mut self, session: &mut Session) -> Option<String> {
        self.look_at_rejects(session.is_connected());
        if session.is_connected() {
            self.delivery.look(session);
            self.look_at_fences(session);
            self.tell_again(session);
            self.publish_condition(session);
            if self.is_over() && !session.is_stopping {
                self.say_goodbye(session); // in order, though results wait for the next run
            }
        }

        if session.is_overrun {
            let reason = "it passes on more commands at once than it may; they come again";
            return Some(reason.to_owned());
        }

        if session.is_quiet() {
            session.last_ack = Instant::now();
        } else if session.last_ack.elapsed() > SILENCE {
            return Some(format!("no acknowledgement for {} s", SILENCE.as_secs()));
        }

        // After the goodbye the broker closes the connection. One that does not is left alone after
        // a while.
        let patience = if session.is_stopping {
            DRAIN
        } else {
            Duration::ZERO
        };

        let is_over = self
            .ending
            .is_some_and(|end| Instant::now() > end + patience);

        is_over.then(|| "the run is over".to_owned())
    }

    /// What the broker refused may be allowed by now: nothing that it says is final.
    fn tell_again(&mut self, session: &mut Session) {
        if session.is_stopping {
            return;
        }

        if self.subscribes_at.is_some_and(|at| at <= Instant::now()) {
            self.subscribes_at = None;
            self.subscribe(session);
        }

        if self.delivery.tells_again() {
            self.introduce(session);
            session.last_outcome = 0;
        }
    }

    /// An event of the MQTT client.
    fn on_client_event(&mut self, event: rumqttc::v5::Event, session: &mut Session) {
        match event {
            rumqttc::v5::Event::Incoming(packet) => self.on_packet(packet, session),
            // Packet id 0 is QoS 0: it left for the link, and nothing more is heard of it.
            rumqttc::v5::Event::Outgoing(Outgoing::Publish(0)) => {
                session.best_effort = session.best_effort.saturating_sub(1);
            }
            rumqttc::v5::Event::Outgoing(Outgoing::PubAck(_)) => {
                session.acks = session.acks.saturating_sub(1);
            }
            // The client writes in the order of the requests, so that the first one that waits is
            // the one that got this packet id.
            rumqttc::v5::Event::Outgoing(Outgoing::Publish(id)) => {
                if let Some(message) = session.requested.pop_front() {
                    session.in_flight.insert(id, message);
                }
            }
            rumqttc::v5::Event::Outgoing(_) => {}
        }
    }

    fn on_packet(&mut self, packet: Packet, session: &mut Session) {
        match packet {
            Packet::ConnAck(ack) => self.on_connected(session, &ack),
            Packet::PubAck(ack) => self.on_acked(session, &ack),
            Packet::Publish(publish) => self.on_publish(session, publish),
            Packet::SubAck(ack) => self.on_subscribed(&ack.return_codes),
            _ => {}
        }
    }

    fn on_connected(&mut self, session: &mut Session, ack: &ConnAck) {
        let now = Instant::now();
        session.connected_at = Some(now);
        // Without a session of ours the broker kept no commands: none is stale.
        if !ack.session_present {
            session.link_age.begin_fresh(now);
        }

        if let Some(since) = self.silent_since {
            let silent = now.saturating_duration_since(since);
            session.link_age.begin_after_silence(now, silent);
        }

        session.packet_max = ack
            .properties
            .as_ref()
            .and_then(|properties| properties.max_packet_size);

        self.on_back();
        self.greet(session);
    }

    fn on_acked(&mut self, session: &mut Session, ack: &PubAck) {
        session.last_ack = Instant::now();
        let Some(message) = session.in_flight.remove(&ack.pkid) else {
            return;
        };

        let is_accepted = is_accepted(ack.reason);
        if !is_accepted {
            session.refused_last = Some((Instant::now(), message.clone()));
        }

        self.delivery.on_message(&message.target, ack.reason);
        match message.target {
            AckTarget::Result(key) | AckTarget::Plc(key) => {
                self.on_part_answered(session, key, &message, ack.reason);
            }
            AckTarget::Outcome(number) if is_accepted => self.on_outcome_acked(number),
            AckTarget::Reject(number) => self.on_reject_acked(session, number, is_accepted),
            AckTarget::Outcome(_) | AckTarget::Response(_) | AckTarget::Topic(_) => {}
        }

        session.send_held();
    }

    fn is_over(&self) -> bool {
        self.ending.is_some_and(|end| Instant::now() > end)
    }

    /// True if everything is acknowledged and nothing more comes.
    fn is_finished(&self, session: &Session) -> bool {
        let Some(end) = self.ending else {
            return false;
        };

        // The run is finished when nothing waits anywhere: answers, refusals, outcomes, results,
        // and parts on their way to a gate within the time that is left.
        let store = &self.wiring.store;
        let is_told = self.replies.is_empty()
            && session.answers.is_empty()
            && session.refused.is_empty()
            && !self.owes_outcomes(session);

        let no_gate_waits = store.outbox().reject_due().is_none_or(|due| due > end);
        let pictures_are_out = self.pictures.is_quiet() || Instant::now() + PICTURES_LEFT > end;
        no_gate_waits
            && is_told
            && pictures_are_out
            && !session.is_stopping
            && session.is_quiet()
            && store.count().waiting == 0
    }
}
