//! Messages that a broker refuses, and messages that end its connections.
//!
//! Nothing is thrown away because of what a broker says for a while:
//! ```text
//! result refused for what it says --> aside for a moment, while others go --accepted--> it comes back
//!    \--some in a row--> back to the outbox, pause (1 s, doubling, at most 60 s), the first as a try
//!         \--refused four times--> aside, another one is the try --accepted--> all of those come back
//!    \--refused again although another was accepted since--> aside alone, the others go on
//! connection ended --> the next one works as ever: a link is cut now and then
//!    \--ended again before the same messages are acknowledged--> the next one is careful: each goes alone
//!         \--ended by one alone--> aside (a result), or left out (any other); the rest flows again
//! ```
//! What is aside still waits, is counted (`store.aside`), told by health, and tried again later, the
//! later the more often. Refused messages that are no results are told again after a pause.

use super::refusal::{refusal_in_words, way_out};
use super::responses::Responses;
use crate::base::backoff::Backoff;
use crate::base::health::{Diagnostics, Health};
use crate::mqtt::session::{AckTarget, IN_FLIGHT, Session};
use crate::protocol::condition::RESULTS;
use crate::store::Outbox;
use rumqttc::v5::mqttbytes::v5::PubAckReason;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Diagnostics source of results that were put aside.
const ASIDE: &str = "results aside";
/// Diagnostics source of other messages that the broker refuses.
const MESSAGES: &str = "messages";
/// Wait before a refused message is tried again, at first.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
/// Wait before a refused message is tried again, at most.
const AGAIN_MOST: Duration = Duration::from_secs(60);
/// Time for which a topic whose message ended connections is left out.
const MUTED: Duration = Duration::from_secs(600);
/// Connections that end before a message is acknowledged until each message goes alone.
const CUTS_CAREFUL: u32 = 2;
/// Such connections until a message that was alone at the last of them is put aside.
const CUTS_MOST: u32 = 3;
/// Connections that a message ends alone until it is put aside.
const ENDS: u32 = 2;
/// Messages that are suspected; beyond, all of them are forgotten and begin anew.
const SUSPECTS_MAX: usize = 1024;
/// Time of a connection after which the messages that were suspected have all had their turn.
const CLEARED: Duration = Duration::from_secs(10);
/// Results refused in a row, after one that was accepted, for which nothing is paused: each may be
/// refused for what it says.
const IN_A_ROW: u32 = 4;
/// Time from the first of them to the last.
const ROW_TIME: Duration = Duration::from_secs(1);
/// Tries of one result, 7 s of them, until another one is the try: its camera's order is then lost.
const SAME_TRIES: u32 = 3;
/// Results whose refusals are known; beyond, they are learnt anew.
const REFUSED_KNOWN: usize = 1024;
/// Refused topics that are named to a person.
const NAMED: usize = 3;

/// What the publisher knows of the broker's refusals. It outlives connections.
pub(super) struct Delivery {
    outbox: Arc<Outbox>,
    causes: Diagnostics,
    /// `<prefix>/<station>`, for words.
    topics: String,
    /// True once a refusal was logged, until the broker takes everything again.
    is_logged: bool,
    /// Waits between two tries of a result.
    backoff: Backoff,
    /// Moment until which no result is sent.
    paused_until: Option<Instant>,
    /// True while the broker refuses: results go one by one.
    is_probing: bool,
    /// True once the first of them is doubted: each try is another one then.
    is_in_turns: bool,
    /// Moment at which the newest result that the broker took was sent. `None` before the first.
    newest_accepted: Option<Instant>,
    /// Moment at which the newest result that the broker refused was sent. `None` before the first.
    newest_refused: Option<Instant>,
    /// Refusals of results that it has not taken since, by key.
    refused: HashMap<u64, Refusals>,
    /// Refusals since the last result that it took. `None` without one.
    row: Option<RefusalRow>,
    /// The reason of the last result that it refused alone.
    alone: Option<PubAckReason>,
    /// The last result that ended connections: its size, and how.
    ended: Option<String>,
    /// Other topics that it refuses, with its reason.
    refused_topics: BTreeMap<String, PubAckReason>,
    /// Waits until those are told again.
    again: Backoff,
    again_at: Option<Instant>,
    /// Messages that were not acknowledged when a connection ended, and have not been since.
    suspects: HashMap<AckTarget, Suspicion>,
    /// Messages that end connections, and until when they are left out.
    muted: HashMap<AckTarget, Instant>,
    /// Answers to topics that others chose.
    responses: Responses,
}

/// Refusals of one result.
#[derive(Debug, Clone, Copy, Default)]
struct Refusals {
    times: u32,
    /// Moment at which the last try was sent.
    sent: Option<Instant>,
}

/// Refusals in a row.
#[derive(Debug, Clone, Copy)]
struct RefusalRow {
    count: u32,
    since: Instant,
    /// Moment at which the first of them was sent.
    sent: Instant,
}

/// Ends of connections before a message was acknowledged.
#[derive(Debug, Clone, Copy, Default)]
struct Suspicion {
    /// Connections that ended.
    cuts: u32,
    /// Those of them on which nothing else was unacknowledged.
    alone: u32,
    /// True once the message was put aside or left out.
    is_found: bool,
}

impl Delivery {
    pub(super) fn new(outbox: Arc<Outbox>, causes: Diagnostics, topics: String) -> Self {
        Delivery {
            outbox,
            causes,
            topics,
            is_logged: false,
            backoff: Backoff::new(AGAIN_FIRST, AGAIN_MOST),
            paused_until: None,
            is_probing: false,
            is_in_turns: false,
            newest_accepted: None,
            newest_refused: None,
            refused: HashMap::new(),
            row: None,
            alone: None,
            ended: None,
            refused_topics: BTreeMap::new(),
            again: Backoff::new(AGAIN_FIRST * 5, AGAIN_MOST),
            again_at: None,
            suspects: HashMap::new(),
            muted: HashMap::new(),
            responses: Responses::default(),
        }
    }

    /// Prepares a new connection. One cut of the link is an ordinary thing; a second one before the
    /// same messages were acknowledged makes the connection careful.
    pub(super) fn begin(&mut self, session: &mut Session) {
        self.unmute();
        session.muted = self.muted.keys().cloned().collect();
        session.is_careful = self.needs_care();
        session.answered = self.responses.begin();
    }

    fn needs_care(&self) -> bool {
        // A reject is seldom sent again on the next connection, so that no care would find it there.
        let mut suspects = self.suspects.iter();
        suspects.any(|(target, suspicion)| {
            !suspicion.is_found && suspicion.cuts >= CUTS_CAREFUL && !is_reject(target)
        })
    }

    /// Results that may be in flight now.
    pub(super) fn window(&self, session: &Session) -> usize {
        let is_paused = self
            .paused_until
            .is_some_and(|until| Instant::now() < until);

        if is_paused {
            0
        } else if self.is_probing || session.is_careful {
            1
        } else {
            IN_FLIGHT
        }
    }

    /// The broker took a result that was `sent` at that moment. Of others it says something only if they
    /// were sent before it: acknowledgements may come in another order than refusals.
    pub(super) fn on_result_accepted(&mut self, key: u64, sent: Instant) {
        self.newest_accepted = self.newest_accepted.max(Some(sent));
        self.refused.remove(&key);
        self.suspects.remove(&AckTarget::Result(key));
        if !self.is_probing {
            if self.row.take_if(|row| row.sent < sent).is_some() {
                self.outbox.take_back();
            }

            return;
        }

        // One that was sent before the refused one says nothing.
        if self.newest_refused > Some(sent) {
            return;
        }

        // The refusal is over. Those that were aside only because everything was refused come back.
        tracing::info!("the broker takes results again");
        self.is_probing = false;
        self.is_in_turns = false;
        self.is_logged = !self.refused_topics.is_empty();
        self.paused_until = None;
        self.backoff.reset();
        self.outbox.take_back();
        self.causes.clear(RESULTS);
    }

    /// The broker refused a result: it is kept, and tried again.
    pub(super) fn on_result_refused(&mut self, key: u64, sent: Instant, reason: PubAckReason) {
        if self.refused.len() >= REFUSED_KNOWN {
            self.refused.clear();
        }

        self.newest_refused = self.newest_refused.max(Some(sent));
        // One that was aside is tried for its own sake, and says nothing of the others.
        if self.outbox.was_aside(key) && self.outbox.put_aside(key, true) {
            return self.on_refused_alone(key, reason);
        }

        let refusals = self.refused.entry(key).or_default();
        let is_alone = refusals.sent.is_some() && self.newest_accepted > refusals.sent;
        refusals.times += 1;
        refusals.sent = Some(sent);
        let times = refusals.times;
        if is_alone && self.outbox.put_aside(key, true) {
            return self.on_refused_alone(key, reason);
        }

        // The same one again, for what it says: the others need not wait for it.
        let is_its_own = times > 1 && is_of_content(reason) && !self.is_probing;
        if is_its_own && self.outbox.put_aside(key, true) {
            return self.on_refused_alone(key, reason);
        }

        if is_of_content(reason) && self.is_in_a_row(sent) && self.outbox.put_aside(key, false) {
            return;
        }

        // The same one is tried again, which keeps the order; after some tries the others are in turns,
        // since the first may be refused for what it says.
        self.is_in_turns |= times > SAME_TRIES;
        if !self.is_in_turns || !self.outbox.put_aside(key, false) {
            self.outbox.give_back(key);
        }

        self.pause(reason);
    }

    /// The result stands aside, and the others go on.
    fn on_refused_alone(&mut self, key: u64, reason: PubAckReason) {
        self.refused.remove(&key);
        // Health counts those that follow.
        if self.alone.replace(reason) != Some(reason) {
            tracing::error!("the broker takes other results and refuses one alone: {reason:?}");
        }
    }

    /// True for one of the first refusals after a result that was accepted.
    fn is_in_a_row(&mut self, sent: Instant) -> bool {
        let row = self.row.get_or_insert(RefusalRow {
            count: 0,
            since: Instant::now(),
            sent,
        });

        row.count += 1;
        let is_short = row.count <= IN_A_ROW && row.since.elapsed() < ROW_TIME;
        is_short && self.newest_accepted.is_some() && !self.is_probing
    }

    /// Nothing is sent for a while, then one result as a try.
    fn pause(&mut self, reason: PubAckReason) {
        let now = Instant::now();
        if !self.is_probing {
            self.log(RESULTS, reason);
            let words = refusal_in_words(reason, &self.topics);
            let health = match reason {
                // Neither goes away by itself.
                PubAckReason::NotAuthorized | PubAckReason::TopicNameInvalid => Health::Failure,
                _ => Health::OffSpec,
            };

            self.causes.set(RESULTS, health, words);
            // Those that stood aside for a moment are in their places again.
            self.outbox.take_back();
        }

        self.is_probing = true;
        // Those that were in flight together are refused together: one wait for all of them.
        if self.paused_until.is_none_or(|until| until <= now) {
            self.paused_until = Some(now + self.backoff.next_wait());
        }
    }

    /// The broker took or refused a message that is no result.
    pub(super) fn on_message(&mut self, target: &AckTarget, reason: PubAckReason) {
        let is_accepted = is_accepted(reason);
        let topic = match target {
            AckTarget::Response(_) if is_accepted => return self.responses.on_accepted(),
            AckTarget::Response(topic) => return self.responses.on_refused(topic, reason),
            AckTarget::Topic(topic) => topic.as_str(),
            AckTarget::Outcome(_) => "ack",
            AckTarget::Reject(_) => "reject",
            AckTarget::Result(_) | AckTarget::Plc(_) => return, // told apart
        };

        // One that was refused may have ended the connection all the same.
        if is_accepted {
            self.suspects.remove(&target.kind());
        }

        if is_accepted {
            if self.refused_topics.remove(topic).is_some() {
                self.tell_topics();
            }

            return;
        }

        let known = self.refused_topics.insert(topic.to_owned(), reason);
        if known != Some(reason) {
            self.log(topic, reason);
            self.tell_topics();
        }

        if self.again_at.is_none() {
            self.again_at = Some(Instant::now() + self.again.next_wait());
        }
    }

    /// Logs the first of several refusals: health names the others, and the way out is one for all.
    fn log(&mut self, what: &str, reason: PubAckReason) {
        if !std::mem::replace(&mut self.is_logged, true) {
            let waits = if what == RESULTS {
                "; results wait"
            } else {
                ""
            };
            let way_out = way_out(reason, &self.topics);
            tracing::error!("the broker refuses {what}: {reason:?}; {way_out}{waits}");
        }
    }

    fn tell_topics(&mut self) {
        if self.refused_topics.is_empty() {
            self.is_logged = self.is_probing;
            self.again.reset();
            self.again_at = None;
            self.causes.clear(MESSAGES);
            return;
        }

        let mut words = vec![];
        for (topic, reason) in self.refused_topics.iter().take(NAMED) {
            words.push(format!("{topic} ({reason:?})"));
        }

        let words = format!("the broker refuses {}", words.join(", "));
        self.causes.set(MESSAGES, Health::OffSpec, words);
    }

    /// True when the time has come to tell again what was refused.
    pub(super) fn tells_again(&mut self) -> bool {
        let is_due = self.again_at.is_some_and(|at| at <= Instant::now());
        if is_due {
            let waits = !self.refused_topics.is_empty();
            self.again_at = waits.then(|| Instant::now() + self.again.next_wait());
        }

        is_due
    }

    /// A connection ended. The messages that were not acknowledged are suspected; one that was alone,
    /// and not for the first time, is put aside or left out. A message that was refused just before is
    /// suspected alone: the broker closed because of it. Else one that was aside before is why, whatever
    /// was on its way with it, and answers to topics that others chose are suspected before all else.
    pub(super) fn on_cut(&mut self, session: &Session, reason: &str) {
        let mut messages: HashMap<AckTarget, usize> = HashMap::new();
        for message in session.unacknowledged_messages() {
            *messages.entry(message.target.kind()).or_default() += message.bytes;
        }

        let mut is_alone = session.unacknowledged() == 1 || is_one_result(&messages);
        let refused = session.refused_lately();
        if let Some(refused) = refused {
            is_alone = true;
            messages.clear();
            messages.insert(refused.target.kind(), refused.bytes);
        } else if let Some(key) = session.trial {
            return self.on_trial_cut(key, &messages, reason);
        }

        if messages.keys().any(is_response) {
            return self.responses.on_cut(refused.is_some(), reason);
        }

        if self.suspects.len() >= SUSPECTS_MAX {
            self.suspects.clear();
        }

        // Fences are always on their way, and hold nothing that could end a connection.
        messages.retain(|target, _| !is_fence(target));
        for (target, bytes) in messages {
            let suspicion = self.suspects.entry(target.clone()).or_default();
            suspicion.cuts += 1;
            suspicion.alone += u32::from(is_alone);
            let is_known = suspicion.cuts >= CUTS_MOST || suspicion.alone >= ENDS;
            if is_alone && is_known {
                let how = format!("{bytes} bytes, {} connections: {reason}", suspicion.cuts);
                self.stand_aside(&target, how);
            }
        }
    }

    /// A connection ended while a result that was aside before was on its way again.
    fn on_trial_cut(&mut self, key: u64, messages: &HashMap<AckTarget, usize>, reason: &str) {
        let result = AckTarget::Result(key);
        let bytes = messages.get(&result).copied().unwrap_or_default();
        let suspicion = self.suspects.entry(result.clone()).or_default();
        suspicion.cuts += 1;
        let how = format!("{bytes} bytes, {} connections: {reason}", suspicion.cuts);
        self.stand_aside(&result, how);
    }

    /// Takes a message out of the others' way that ended connections. `how` is its size, and their
    /// end.
    fn stand_aside(&mut self, target: &AckTarget, how: String) {
        match target {
            AckTarget::Result(key) | AckTarget::Plc(key) => {
                tracing::error!("a result ends connections ({how}): it is put aside");
                self.outbox.put_aside(*key, true);
                self.ended = Some(how);
            }
            AckTarget::Topic(_) | AckTarget::Outcome(_) | AckTarget::Reject(_) => {
                let name = self.name(target);
                tracing::error!("{name} ends connections ({how}): it is left out for a while");
                self.muted.insert(target.clone(), Instant::now() + MUTED);
            }
            AckTarget::Response(_) => return, // left out together
        }

        // The others were only there when it happened. They flow again, and one more cut is enough for
        // a second look at them.
        for (other, suspicion) in &mut self.suspects {
            suspicion.is_found |= other == target;
            suspicion.cuts = suspicion.cuts.min(CUTS_CAREFUL - 1);
        }
    }

    /// Lets topics be sent again whose time is over, and forgets that they were suspected.
    fn unmute(&mut self) {
        let now = Instant::now();
        let muted_before = self.muted.len();
        let suspects = &mut self.suspects;
        self.muted.retain(|target, until| {
            let is_over = *until <= now;
            if is_over {
                suspects.remove(target);
            }

            !is_over
        });

        if self.muted.is_empty() && muted_before > 0 {
            self.tell_topics();
        }

        if self.muted.len() < muted_before {
            self.again_at = Some(now); // what was left out is told
        }
    }

    /// Now and then: a connection that lasts clears those that were suspected, and health says what is
    /// aside.
    pub(super) fn look(&mut self, session: &mut Session) {
        let lasts = session
            .connected_at
            .is_some_and(|since| since.elapsed() > CLEARED);

        if lasts {
            // One that was found stays known: its next try may end one more.
            // A reject is rare, and so is the next look at it.
            let suspects = &mut self.suspects;
            suspects.retain(|target, suspicion| suspicion.is_found || is_reject(target));
        }

        session.is_careful &= self.needs_care();

        let aside = self.outbox.count().aside;
        if aside > 0 && !self.is_probing {
            let reason = self.alone.map(|reason| format!(" ({reason:?})"));
            let reason = reason.unwrap_or_default();
            let ended = self.ended.as_ref().map(|how| format!(" ({how})"));
            let ended = ended.unwrap_or_default();
            let words = format!(
                "{aside} results that the broker refuses alone{reason}, or that end its \
                 connections{ended}, are put aside and tried again later"
            );

            self.causes.set(ASIDE, Health::OffSpec, words);
        } else {
            self.causes.clear(ASIDE);
        }

        if aside == 0 {
            self.alone = None;
            self.ended = None;
        }

        self.unmute();
        session
            .muted
            .retain(|target| self.muted.contains_key(target));
        if self.muted.is_empty() {
            return;
        }

        let mut names: Vec<String> = self.muted.keys().map(|target| self.name(target)).collect();
        names.sort_unstable();
        names.truncate(NAMED);
        let words = format!("{} ended connections, and is left out", names.join(", "));
        self.causes.set(MESSAGES, Health::OffSpec, words);
    }

    /// A message that is no result, for a person.
    fn name(&self, target: &AckTarget) -> String {
        match target {
            AckTarget::Topic(topic) | AckTarget::Response(topic) => topic.clone(),
            AckTarget::Outcome(_) => "the second answer to a command".to_owned(),
            AckTarget::Reject(_) => format!("{}/reject", self.topics),
            AckTarget::Result(key) | AckTarget::Plc(key) => format!("result {key}"),
        }
    }
}

/// True where both messages of one result were on their way, and nothing else.
fn is_one_result(messages: &HashMap<AckTarget, usize>) -> bool {
    let mut targets = messages.keys();
    let first = targets.next();
    matches!(first, Some(AckTarget::Result(_))) && targets.next().is_none()
}

fn is_reject(target: &AckTarget) -> bool {
    matches!(target, AckTarget::Reject(_))
}

fn is_response(target: &AckTarget) -> bool {
    matches!(target, AckTarget::Response(_))
}

/// True for refusals of a message for what it says. All others are the broker's state: it may take the
/// same message a moment later, and until then the order is kept by a pause.
fn is_of_content(reason: PubAckReason) -> bool {
    matches!(
        reason,
        PubAckReason::PayloadFormatInvalid | PubAckReason::TopicNameInvalid
    )
}

fn is_fence(target: &AckTarget) -> bool {
    matches!(target, AckTarget::Topic(topic) if topic.ends_with("/fence"))
}

/// True for the codes of a message that the broker has.
pub(super) fn is_accepted(reason: PubAckReason) -> bool {
    matches!(
        reason,
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers
    )
}

#[cfg(test)]
mod tests;
