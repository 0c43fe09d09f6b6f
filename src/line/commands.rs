//! Layer 6: the foreman does what commands say and answers them, one after the other.
//!
//! A trigger is answered when its parts are on the disk, so that the broker may forget it. The same id within an hour
//! gets the first answer again and is not done twice.

use crate::base::stop::Stop;
use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::data::part::{Part, PartRequest};
use crate::data::report::Report;
use crate::data::verdict::Reason;
use crate::line::admission::{Admission, PartSource};
use crate::line::challenge::Challenge;
use crate::line::changeover::RecipeRequest;
use crate::line::control::{ControlEvent, LineControl};
use crate::line::overlays::Snapshot;
use crate::line::shared::Shared;
use crate::mqtt::publisher::{BestEffort, Reply, Request};
use crate::protocol::command;
use crate::protocol::command::{Action, Trigger};
use crate::protocol::message;
use crate::protocol::message::{Answer, AnsweredPart, Identity};
use crate::recipe::spec::RecipeSpec;
use crate::store::{ANSWERS_MAX, Pending, Store};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

pub struct CommandHandler {
    pub orders: Receiver<Request>,
    pub answers: mpsc::Sender<Reply>,
    pub side: mpsc::Sender<BestEffort>,
    /// To the artist.
    pub snapshots: Sender<Snapshot>,
    pub store: Store,
    pub rules: LineControl,
    /// All cameras by name.
    pub entrances: BTreeMap<Arc<str>, Arc<Admission>>,
    pub stations: Vec<CameraGroup>,
    pub identity: Arc<Mutex<Identity>>,
    pub known: AnswerCache,
    pub pace: RateLimit,
    /// Those that can be selected.
    pub recipes: Vec<RecipeSpec>,
    pub wanted: Sender<RecipeRequest>,
}

/// Who sees a part that a command tells of: a camera, or several under one name.
pub struct CameraGroup {
    pub asking: PartSource,
    pub cameras: Vec<Arc<Admission>>,
}

/// A command that was begun.
enum PendingAnswer {
    Done(String),
    /// The same id may come again, and be done then.
    NotNow(String),
    /// The answer, once it is on the disk.
    Written(String, Pending<()>),
    Parts {
        accepting: Pending<(Vec<Part>, String)>,
        /// Places among the stations.
        meant: Vec<usize>,
        /// Nothing where nobody knows.
        at: Option<Timestamp>,
    },
}

/// A part's time may be this far ahead of our clock.
const AHEAD_MAX: SignedDuration = SignedDuration::from_secs(1);
/// An answered id is remembered so long, and [`ANSWERS_MAX`] at most; the oldest are forgotten first.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
/// Commands but triggers in that time.
const PACE_MAX: usize = 20;
const PACE_TIME: Duration = Duration::from_secs(1);

/// The answers of the last hour by the sender's id.
#[derive(Default)]
pub struct AnswerCache {
    answers: HashMap<Arc<str>, Box<str>>,
    order: VecDeque<(Instant, Arc<str>)>,
}

impl AnswerCache {
    /// What earlier runs answered, the oldest first.
    pub fn new(answers: Vec<(String, String)>, now: Instant) -> Self {
        let mut known = AnswerCache::default();
        answers
            .into_iter()
            .for_each(|(id, answer)| known.add(&id, &answer, now));
        known
    }

    fn add(&mut self, id: &str, answer: &str, now: Instant) {
        while let Some((at, _)) = self.order.front()
            && (now.saturating_duration_since(*at) > KNOWN_FOR || self.order.len() >= ANSWERS_MAX)
            && let Some((_, old)) = self.order.pop_front()
        {
            self.answers.remove(&old);
        }
        if !self.answers.contains_key(id) {
            let id: Arc<str> = id.into();
            self.answers.insert(id.clone(), answer.into());
            self.order.push_back((now, id));
        }
    }
}

/// When the last commands were done. Each has its lines in the audit log and its place in a commit: a sender that repeats
/// itself in a loop must neither push the log's lines out nor hold triggers up.
#[derive(Default)]
pub struct RateLimit(VecDeque<Instant>);

impl RateLimit {
    fn allows(&mut self, now: Instant) -> bool {
        self.0
            .retain(|done| now.saturating_duration_since(*done) < PACE_TIME);
        let allows = self.0.len() < PACE_MAX;
        if allows {
            self.0.push_back(now);
        }
        allows
    }
}

/// The command handler's ends of the line's channels.
pub struct CommandEnds {
    /// Commands to do.
    pub requests: Receiver<Request>,
    /// Their answers.
    pub replies: mpsc::Sender<Reply>,
    /// Changes of the recipe's policy, for the publisher.
    pub events: mpsc::Sender<BestEffort>,
    /// Pictures to encode, for the overlay stage.
    pub snapshots: Sender<Snapshot>,
    /// Recipes to prepare, for the changeover.
    pub recipes: Sender<RecipeRequest>,
}

impl CommandHandler {
    /// `groups` wait for triggers, `recipes` can be selected, `known` are the answers of earlier runs.
    pub fn new(
        shared: &Shared,
        admissions: BTreeMap<Arc<str>, Arc<Admission>>,
        groups: Vec<CameraGroup>,
        recipes: Vec<RecipeSpec>,
        known: AnswerCache,
        ends: CommandEnds,
    ) -> Self {
        CommandHandler {
            orders: ends.requests,
            answers: ends.replies,
            side: ends.events,
            snapshots: ends.snapshots,
            store: shared.store.clone(),
            rules: shared.control.clone(),
            entrances: admissions,
            stations: groups,
            identity: shared.identity.clone(),
            known,
            pace: RateLimit::default(),
            recipes,
            wanted: ends.recipes,
        }
    }

    /// Until the line stops; what was not answered then comes again from the broker.
    pub fn work(mut self, stop: &Stop, pulse: &Heartbeat) {
        while !stop.is_stopped() {
            pulse.beat();
            self.look_at_challenges();
            match self.orders.recv_timeout(HEARTBEAT) {
                Ok(first) => self.serve(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.rules.stop();
        self.look_at_challenges();
    }

    /// What became of them: on the disk before anybody is told.
    fn look_at_challenges(&self) {
        let mut ended = vec![];
        // What is kept goes to the store at once: the clerk keeps more of a challenge with its parts' results.
        for event in self.rules.look(Instant::now()) {
            match event {
                ControlEvent::Begin(key, value) => drop(self.store.begin(&key, &value)),
                ControlEvent::Keep((key, value)) => drop(self.store.keep(&key, &value)),
                ControlEvent::Ended(challenge) => ended.push(challenge),
            }
        }
        ended
            .into_iter()
            .for_each(|challenge| self.tell_challenge(challenge));
    }

    fn tell_challenge(&self, mut ended: Challenge) {
        let words = ended.words();
        match &ended {
            ended if ended.is_met() => tracing::info!("{words}"),
            ended if ended.is_cut() => tracing::warn!("{words}"),
            _ => tracing::error!("{words}: it does not see what it should; stop the line and look"),
        }
        // A run that had no time to tell it has noted it already.
        if !std::mem::replace(&mut ended.so_far.is_noted, true) {
            self.store.note(words.clone());
        }
        let (key, kept) = ended.kept();
        let _ = self.store.keep(&key, &kept).wait();
        let status = if ended.is_met() { "done" } else { "rejected" };
        let answer = Answer {
            id: Some(ended.id.to_string()),
            status,
            reason: Some(words),
            ..Answer::default()
        };
        let _ = self.answers.blocking_send(Reply::outcome(
            "challenge",
            message::answer(&answer),
            Some(key),
        ));
    }

    /// What waits, together: the store then writes it together.
    fn serve(&mut self, first: Request) {
        let orders: Vec<Request> = std::iter::once(first)
            .chain(self.orders.try_iter())
            .collect();
        let mut begun: Vec<(Request, PendingAnswer)> = vec![];
        for ordered in orders {
            let id = &ordered.order.id;
            if id.is_some() && begun.iter().any(|(other, _)| other.order.id == *id) {
                self.finish(std::mem::take(&mut begun)); // its repetition needs the answer
            }
            let how = self.begin(&ordered);
            begun.push((ordered, how));
        }
        self.finish(begun);
    }

    fn begin(&mut self, ordered: &Request) -> PendingAnswer {
        let known = ordered
            .order
            .id
            .as_ref()
            .and_then(|id| self.known.answers.get(id.as_str()));
        match (known, &ordered.order.command) {
            (Some(payload), _) => PendingAnswer::Done(payload.to_string()),
            (None, Action::Trigger(trigger)) => self.trigger(trigger, ordered),
            (None, command) if self.pace.allows(Instant::now()) => self.obey(command, ordered),
            (None, _) => {
                let why = format!(
                    "more than {PACE_MAX} commands but triggers in a second; send it again later"
                );
                PendingAnswer::NotNow(message::answer(&rejected(ordered.order.id.as_deref(), why)))
            }
        }
    }

    /// Answers, in the order of the commands, what is on the disk.
    fn finish(&mut self, begun: Vec<(Request, PendingAnswer)>) {
        for (ordered, how) in begun {
            let is_answer = !matches!(how, PendingAnswer::NotNow(_));
            let payload = match how {
                PendingAnswer::Done(payload) | PendingAnswer::NotNow(payload) => Some(payload),
                PendingAnswer::Written(payload, written) => written.wait().ok().map(|()| payload),
                PendingAnswer::Parts {
                    accepting,
                    meant,
                    at,
                } => accepting
                    .wait()
                    .ok()
                    .map(|(parts, payload)| self.dispatch(parts, payload, &meant, at)),
            };
            let Some(payload) = payload else { continue }; // the line is stopping
            if let Some(id) = ordered.order.id.as_ref().filter(|_| is_answer) {
                self.known.add(id, &payload, Instant::now());
            }
            // Waits for the publisher, which never waits for us.
            let _ = self.answers.blocking_send(ordered.answered(payload));
        }
    }

    fn obey(&mut self, command: &Action, ordered: &Request) -> PendingAnswer {
        let id = ordered.order.id.as_deref();
        let done = |outcome: Result<Option<String>, String>| match outcome {
            Ok(reason) => Answer {
                id: id.map(str::to_owned),
                status: "done",
                reason,
                parts: vec![],
            },
            Err(why) => rejected(id, why),
        };
        let begun = |outcome: Result<String, String>| match outcome {
            Ok(reason) => Answer {
                id: id.map(str::to_owned),
                status: "accepted",
                reason: Some(reason),
                parts: vec![],
            },
            Err(why) => rejected(id, why),
        };
        let answer = match command {
            Action::Trigger(_) => rejected(id, "not here".to_owned()), // see `begin`
            Action::SelectRecipe { recipe, revision } => {
                let selected = self.select(id, recipe, *revision);
                begun(selected.map(|()| "it is prepared; the outcome comes as done".to_owned()))
            }
            Action::Challenge(known) => {
                begun(self.challenge(id.unwrap_or_default(), known, ordered.came))
            }
            Action::SetThreshold { region, value } => {
                done(self.set_threshold(region.as_deref(), *value))
            }
            Action::Snapshot { camera } => done(self.snapshot(camera.as_deref())),
            Action::Pause => done(self.paused(true)),
            Action::Resume => done(self.paused(false)),
            Action::Reset => {
                self.rules.reset();
                self.look_at_challenges();
                done(Ok(None))
            }
        };
        if answer.status != "rejected" {
            tracing::info!("command {}: {command:?}", ordered.name);
            self.store.note(format!(
                "command {} {}: {command:?}",
                ordered.name,
                id.unwrap_or("")
            ));
        }
        self.written(id, message::answer(&answer))
    }

    fn written(&self, id: Option<&str>, payload: String) -> PendingAnswer {
        match id.map(|id| self.store.answered(id, &payload)) {
            Some(written) => PendingAnswer::Written(payload, written),
            None => PendingAnswer::Done(payload),
        }
    }

    fn trigger(&mut self, trigger: &Trigger, ordered: &Request) -> PendingAnswer {
        let id = ordered.order.id.clone();
        let meant = match self.triggered(trigger) {
            Ok(meant) => meant,
            Err(why) => {
                return self.written(
                    id.as_deref(),
                    message::answer(&rejected(id.as_deref(), why)),
                );
            }
        };
        let now = before(Timestamp::now(), ordered.came.elapsed());
        let at = trigger.at.unwrap_or(now);
        let asks = meant
            .iter()
            .flat_map(|place| asks(&self.stations[*place].asking, trigger, ordered.came, at));
        let (asks, answered): (Vec<PartRequest>, _) = (asks.collect(), id.clone());
        let accepting = self
            .store
            .accepting(asks, id, move |parts| accepted(answered, parts));
        // Nobody knows how long it waited.
        let at = (!ordered.stale || trigger.at.is_some()).then_some(at);
        PendingAnswer::Parts {
            accepting,
            meant,
            at,
        }
    }

    /// To the cameras that see them; without a time they cannot be judged.
    fn dispatch(
        &self,
        parts: Vec<Part>,
        payload: String,
        meant: &[usize],
        at: Option<Timestamp>,
    ) -> String {
        let Some(at) = at else {
            let undecided = |part: Part| {
                let judge = self.rules.judge(part.ask.region.as_deref());
                let mut report = Report::undecided(part, Reason::NotReady, &judge);
                report.detail =
                    Some("the trigger waited at the broker, and says no time".to_owned());
                report
            };
            self.store
                .settle(parts.into_iter().map(undecided).collect());
            return payload;
        };
        for station in meant.iter().map(|place| &self.stations[*place]) {
            let its = parts
                .iter()
                .filter(|part| *part.camera() == station.asking.camera)
                .cloned();
            let its: Vec<Part> = its.collect();
            station
                .cameras
                .iter()
                .for_each(|entrance| entrance.on_trigger(its.clone(), at));
        }
        payload
    }

    /// Who a trigger means: places among the stations.
    fn triggered(&self, trigger: &Trigger) -> Result<Vec<usize>, String> {
        if self.rules.is_paused() {
            return Err("the line is paused; resume it".to_owned());
        }
        if let Some(ahead) = trigger
            .at
            .map(|at| at.duration_since(Timestamp::now()))
            .filter(|ahead| *ahead > AHEAD_MAX)
        {
            return Err(format!(
                "at is {:.1} s ahead of our clock; set the clocks",
                ahead.as_secs_f64()
            ));
        }
        let name = trigger.camera.as_deref();
        let is_meant =
            |place: &usize| name.is_none_or(|name| name == &*self.stations[*place].asking.camera);
        let meant: Vec<usize> = (0..self.stations.len()).filter(is_meant).collect();
        if meant.is_empty() {
            let names: Vec<&str> = self
                .stations
                .iter()
                .map(|station| &*station.asking.camera)
                .collect();
            return Err(match names.as_slice() {
                [] => "no camera waits for commands; give one trigger = \"command\"".to_owned(),
                names => format!(
                    "no camera of that name waits for commands; there are {}",
                    names.join(", ")
                ),
            });
        }
        Ok(meant)
    }

    fn challenge(
        &self,
        id: &str,
        known: &command::ChallengeSpec,
        came: Instant,
    ) -> Result<String, String> {
        let joined = |entrance: &&Arc<Admission>| {
            self.stations
                .iter()
                .all(|s| s.cameras.iter().all(|c| c.camera != entrance.camera))
        };
        let names = self
            .entrances
            .values()
            .filter(joined)
            .map(|entrance| &*entrance.camera);
        let names: BTreeSet<&str> = names
            .chain(self.stations.iter().map(|s| &*s.asking.camera))
            .collect();
        if let Some(name) = known.camera.as_deref().filter(|name| !names.contains(name)) {
            let names: Vec<&str> = names.into_iter().collect();
            return Err(format!(
                "no parts come from a camera {name:?}; there are {}",
                names.join(", ")
            ));
        }
        self.look_at_challenges(); // of those before
        self.rules.challenge(id, known, came)?;
        self.look_at_challenges(); // it is on the disk with its answer
        Ok(format!(
            "the next {} parts are its; the outcome comes as done",
            known.parts
        ))
    }

    fn select(&self, id: Option<&str>, name: &str, revision: Option<u64>) -> Result<(), String> {
        let Some(recipe) = self.recipes.iter().find(|recipe| recipe.name == name) else {
            let names: Vec<String> = self.recipes.iter().map(RecipeSpec::label).collect();
            return Err(format!(
                "there is no recipe {name:?}; there are {}",
                names.join(", ")
            ));
        };
        if let Some(wanted) = revision.filter(|wanted| *wanted != recipe.revision) {
            return Err(format!(
                "recipe {name} has revision {} here, not {wanted}",
                recipe.revision
            ));
        }
        let wanted = RecipeRequest {
            id: id.map(str::to_owned),
            recipe: recipe.clone(),
        };
        self.wanted
            .try_send(wanted)
            .map_err(|_| "another recipe is being prepared; wait for its outcome".to_owned())
    }

    fn set_threshold(
        &mut self,
        region: Option<&str>,
        value: f32,
    ) -> Result<Option<String>, String> {
        let before = self.rules.set_threshold(region, value)?;
        let identity = {
            let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            identity.judged_by(&self.rules.judges());
            identity.clone()
        };
        // The publisher is there as long as we are.
        let _ = self
            .side
            .blocking_send(BestEffort::Identity(Box::new(identity)));
        Ok(Some(match before {
            Some(before) => format!("was {before}; until the line starts again"),
            None => "there was none; until the line starts again".to_owned(),
        }))
    }

    fn snapshot(&self, camera: Option<&str>) -> Result<Option<String>, String> {
        let entrance = match camera {
            Some(name) => self.entrances.get(name),
            None if self.entrances.len() == 1 => self.entrances.values().next(),
            None => return Err("camera is missing: there are several".to_owned()),
        };
        let entrance = entrance.ok_or("there is no camera of that name")?;
        let picture = entrance.newest().ok_or("it has shown nothing yet")?;
        let name = entrance.camera.clone();
        let topic = format!("snapshot/{name}");
        let sent = self.snapshots.try_send(Snapshot {
            camera: name,
            picture,
        });
        sent.map(|()| Some(topic))
            .map_err(|_| "pictures are in the way; ask again".to_owned())
    }

    fn paused(&self, paused: bool) -> Result<Option<String>, String> {
        self.rules.pause(paused);
        Ok(None)
    }
}

fn before(now: Timestamp, ago: Duration) -> Timestamp {
    SignedDuration::try_from(ago)
        .ok()
        .and_then(|ago| now.checked_sub(ago).ok())
        .unwrap_or(now)
}

fn asks(asking: &PartSource, trigger: &Trigger, came: Instant, at: Timestamp) -> Vec<PartRequest> {
    let ask = asking.ask(came, at);
    let (part_id, count, position) = (trigger.part_id.clone(), trigger.count, trigger.position);
    asking.each(&PartRequest {
        part_id,
        count,
        position,
        ..ask
    })
}

fn accepted(id: Option<String>, parts: &[Part]) -> String {
    let reason = id
        .is_none()
        .then(|| "without id: its repetition would be another part".to_owned());
    let part = |part: &Part| AnsweredPart {
        run_id: part.run_id.to_string(),
        camera: part.camera().to_string(),
        region: part.ask.region.as_deref().map(str::to_owned),
        seq: part.seq,
    };
    message::answer(&Answer {
        id,
        status: "accepted",
        reason,
        parts: parts.iter().map(part).collect(),
    })
}

fn rejected(id: Option<&str>, why: String) -> Answer {
    Answer {
        id: id.map(str::to_owned),
        status: "rejected",
        reason: Some(why),
        parts: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_commands_are_done_in_a_second_and_more_in_the_next() {
        let (now, mut pace) = (Instant::now(), RateLimit::default());
        let allowed = (0..100).filter(|_| pace.allows(now)).count();
        assert_eq!(allowed, PACE_MAX);
        assert!(!pace.allows(now + PACE_TIME / 2) && pace.allows(now + PACE_TIME));
    }

    #[test]
    fn an_id_is_known_for_an_hour() {
        let now = Instant::now();
        let mut known = AnswerCache::new(vec![("a".into(), "first".into())], now);
        known.add("b", "second", now + KNOWN_FOR);
        assert_eq!(known.answers.len(), 2);
        known.add("c", "third", now + KNOWN_FOR + Duration::from_secs(1));
        assert!(!known.answers.contains_key("a") && known.answers.contains_key("b"));
    }
}
