//! Layer 6: the foreman does what commands say and answers them, one after the other.
//!
//! A trigger is answered when its parts are on the disk, so that the broker may forget it. The same id within an hour
//! gets the first answer again and is not done twice.

use crate::base::notify::{Pulse, SIGN};
use crate::base::stop::Stop;
use crate::changeover::Wanted;
use crate::config::RecipeConfig;
use crate::entrance::{Asking, Entrance};
use crate::part::{Ask, Part};
use crate::publish::command::{Command, Trigger};
use crate::publish::heatmap;
use crate::publish::message::{self, Answer, AnsweredPart, Identity};
use crate::publish::mqtt::{Answered, Ordered, Side};
use crate::report::Report;
use crate::rules::Rules;
use crate::store::Store;
use crate::verdict::Reason;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

pub struct Foreman {
    pub orders: Receiver<Ordered>,
    pub answers: mpsc::Sender<Answered>,
    pub side: mpsc::Sender<Side>,
    pub store: Store,
    pub rules: Rules,
    /// All cameras by name.
    pub entrances: BTreeMap<Arc<str>, Arc<Entrance>>,
    pub stations: Vec<Station>,
    pub identity: Arc<Mutex<Identity>>,
    pub known: Known,
    /// Those that can be selected.
    pub recipes: Vec<RecipeConfig>,
    pub wanted: Sender<Wanted>,
}

/// Who sees a part that a command tells of: a camera, or several under one name.
pub struct Station {
    pub asking: Asking,
    pub cameras: Vec<Arc<Entrance>>,
}

/// A part's time may be this far ahead of our clock.
const AHEAD_MAX: SignedDuration = SignedDuration::from_secs(1);
/// An answered id is remembered so long, and so many at most; the oldest are forgotten first.
const KNOWN_FOR: Duration = Duration::from_secs(3600);
const KNOWN_MAX: usize = 100_000;

/// The answers of the last hour by the sender's id.
#[derive(Default)]
pub struct Known {
    answers: HashMap<String, String>,
    order: std::collections::VecDeque<(Instant, String)>,
}

impl Known {
    /// What earlier runs answered, the oldest first.
    pub fn new(answers: Vec<(String, String)>, now: Instant) -> Self {
        let mut known = Known::default();
        answers.into_iter().for_each(|(id, answer)| known.add(id, answer, now));
        known
    }

    fn add(&mut self, id: String, answer: String, now: Instant) {
        while let Some((at, _)) = self.order.front()
            && (now.saturating_duration_since(*at) > KNOWN_FOR || self.order.len() >= KNOWN_MAX)
            && let Some((_, old)) = self.order.pop_front()
        {
            self.answers.remove(&old);
        }
        if self.answers.insert(id.clone(), answer).is_none() {
            self.order.push_back((now, id));
        }
    }
}

impl Foreman {
    /// Until the line stops; what was not answered then comes again from the broker.
    pub fn work(mut self, stop: &Stop, pulse: &Pulse) {
        while !stop.is_stopped() {
            pulse.beat();
            self.rules.look(Instant::now());
            match self.orders.recv_timeout(SIGN) {
                Ok(ordered) => self.serve(ordered),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn serve(&mut self, ordered: Ordered) {
        let id = ordered.order.id.clone();
        let first = id.as_ref().and_then(|id| self.known.answers.get(id).cloned());
        let answer = match first {
            Some(first) => Some(first),
            None => self.obey(&ordered),
        };
        let Some(payload) = answer else { return }; // the line is stopping
        if let Some(id) = id {
            self.known.add(id, payload.clone(), Instant::now());
        }
        // Waits for the publisher, which never waits for us.
        let _ = self.answers.blocking_send(ordered.answered(payload));
    }

    /// The answer, or nothing when the line is stopping.
    fn obey(&mut self, ordered: &Ordered) -> Option<String> {
        let id = ordered.order.id.as_deref();
        let done = |outcome: Result<Option<String>, String>| match outcome {
            Ok(reason) => Answer { id: id.map(str::to_owned), status: "done", reason, parts: vec![] },
            Err(why) => rejected(id, why),
        };
        let answer = match &ordered.order.command {
            Command::Trigger(trigger) => return self.trigger(trigger, ordered),
            Command::SelectRecipe { recipe, revision } => match self.select(id, recipe, *revision) {
                Ok(()) => {
                    let reason = Some("it is prepared; the outcome comes as done".to_owned());
                    Answer { id: id.map(str::to_owned), status: "accepted", reason, parts: vec![] }
                }
                Err(why) => rejected(id, why),
            },
            Command::SetThreshold { value } => done(Ok(self.set_threshold(*value))),
            Command::Challenge { parts, expect } => {
                match self.rules.challenge(id.unwrap_or_default(), *parts, *expect) {
                    Ok(()) => {
                        let reason = Some(format!("the next {parts} judged parts are its; the outcome comes as done"));
                        Answer { id: id.map(str::to_owned), status: "accepted", reason, parts: vec![] }
                    }
                    Err(why) => rejected(id, why),
                }
            }
            Command::Snapshot { camera } => done(self.snapshot(camera.as_deref())),
            Command::Pause => done(self.paused(true)),
            Command::Resume => done(self.paused(false)),
            Command::Reset => {
                self.rules.reset();
                done(Ok(None))
            }
        };
        let payload = message::answer(&answer);
        if let Some(id) = id {
            self.store.answered(id, &payload);
        }
        if answer.status != "rejected" {
            let command = &ordered.order.command;
            tracing::info!("command {}: {command:?}", ordered.name);
            self.store.note(format!("command {} {}: {command:?}", ordered.name, id.unwrap_or("")));
        }
        Some(payload)
    }

    fn trigger(&mut self, trigger: &Trigger, ordered: &Ordered) -> Option<String> {
        let id = ordered.order.id.clone();
        let stations = match self.triggered(trigger) {
            Ok(stations) => stations,
            Err(why) => {
                let payload = message::answer(&rejected(id.as_deref(), why));
                if let Some(id) = &id {
                    self.store.answered(id, &payload);
                }
                return Some(payload);
            }
        };
        let at = trigger.at.unwrap_or_else(|| before(Timestamp::now(), ordered.came.elapsed()));
        let asks: Vec<Ask> =
            stations.iter().flat_map(|station| asks(&station.asking, trigger, ordered.came, at)).collect();
        let answered = id.clone();
        let (parts, payload) = self.store.accept_with(asks, id, move |parts| accepted(answered, parts)).ok()?;
        if ordered.stale && trigger.at.is_none() {
            let undecided = |part| {
                let mut report = Report::undecided(part, Reason::NotReady, &self.rules.judge());
                report.detail = Some("the trigger waited at the broker, and says no time".to_owned());
                report
            };
            self.store.settle(parts.into_iter().map(undecided).collect());
            return Some(payload);
        }
        for station in stations {
            let its = parts.iter().filter(|part| *part.camera() == station.asking.camera).cloned();
            let its: Vec<Part> = its.collect();
            station.cameras.iter().for_each(|entrance| entrance.command(its.clone(), at));
        }
        Some(payload)
    }

    /// Who a trigger means.
    fn triggered(&self, trigger: &Trigger) -> Result<Vec<&Station>, String> {
        if self.rules.is_paused() {
            return Err("the line is paused; resume it".to_owned());
        }
        if let Some(ahead) = trigger.at.map(|at| at.duration_since(Timestamp::now())).filter(|ahead| *ahead > AHEAD_MAX)
        {
            return Err(format!("at is {:.1} s ahead of our clock; set the clocks", ahead.as_secs_f64()));
        }
        let is_meant =
            |station: &&Station| trigger.camera.as_deref().is_none_or(|name| name == &*station.asking.camera);
        let meant: Vec<&Station> = self.stations.iter().filter(is_meant).collect();
        if meant.is_empty() {
            let names: Vec<&str> = self.stations.iter().map(|station| &*station.asking.camera).collect();
            return Err(match names.as_slice() {
                [] => "no camera waits for commands; give one trigger = \"command\"".to_owned(),
                names => format!("no camera of that name waits for commands; there are {}", names.join(", ")),
            });
        }
        Ok(meant)
    }

    fn select(&self, id: Option<&str>, name: &str, revision: Option<u64>) -> Result<(), String> {
        let Some(recipe) = self.recipes.iter().find(|recipe| recipe.name == name) else {
            let names: Vec<String> = self.recipes.iter().map(RecipeConfig::label).collect();
            return Err(format!("there is no recipe {name:?}; there are {}", names.join(", ")));
        };
        if let Some(wanted) = revision.filter(|wanted| *wanted != recipe.revision) {
            return Err(format!("recipe {name} has revision {} here, not {wanted}", recipe.revision));
        }
        let wanted = Wanted { id: id.map(str::to_owned), recipe: recipe.clone() };
        self.wanted.try_send(wanted).map_err(|_| "another recipe is being prepared; wait for its outcome".to_owned())
    }

    fn set_threshold(&mut self, value: f32) -> Option<String> {
        let before = self.rules.judge().threshold;
        self.rules.set_threshold(value);
        let identity = {
            let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            identity.threshold = Some(value);
            identity.clone()
        };
        // The publisher is there as long as we are.
        let _ = self.side.blocking_send(Side::Identity(Box::new(identity)));
        Some(match before {
            Some(before) => format!("was {before}; until the line starts again"),
            None => "there was none; until the line starts again".to_owned(),
        })
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
        let png = heatmap::png(&picture, &[("camera", &name)]);
        let sent = self.side.try_send(Side::Snapshot { camera: name, png });
        sent.map(|()| Some(topic)).map_err(|_| "pictures are in the way; ask again".to_owned())
    }

    fn paused(&self, paused: bool) -> Result<Option<String>, String> {
        self.rules.pause(paused);
        Ok(None)
    }
}

fn before(now: Timestamp, ago: Duration) -> Timestamp {
    SignedDuration::try_from(ago).ok().and_then(|ago| now.checked_sub(ago).ok()).unwrap_or(now)
}

fn asks(asking: &Asking, trigger: &Trigger, came: Instant, at: Timestamp) -> Vec<Ask> {
    let ask = asking.ask(came, at);
    let (part_id, count, position) = (trigger.part_id.clone(), trigger.count, trigger.position);
    asking.each(&Ask { part_id, count, position, ..ask })
}

fn accepted(id: Option<String>, parts: &[Part]) -> String {
    let reason = id.is_none().then(|| "without id: its repetition would be another part".to_owned());
    let part = |part: &Part| AnsweredPart {
        run_id: part.run_id.to_string(),
        camera: part.camera().to_string(),
        region: part.ask.region.as_deref().map(str::to_owned),
        seq: part.seq,
    };
    message::answer(&Answer { id, status: "accepted", reason, parts: parts.iter().map(part).collect() })
}

fn rejected(id: Option<&str>, why: String) -> Answer {
    Answer { id: id.map(str::to_owned), status: "rejected", reason: Some(why), parts: vec![] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_for_an_hour() {
        let now = Instant::now();
        let mut known = Known::new(vec![("a".into(), "first".into())], now);
        known.add("b".into(), "second".into(), now + KNOWN_FOR);
        assert_eq!(known.answers.len(), 2);
        known.add("c".into(), "third".into(), now + KNOWN_FOR + Duration::from_secs(1));
        assert!(!known.answers.contains_key("a") && known.answers.contains_key("b"));
    }
}
