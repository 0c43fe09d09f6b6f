//! A challenge: known parts on their way through the line, to prove that it still sees.
//!
//! Parts claim a place when they are requested, and count when their result stands, whatever it is. So
//! no part that waited before the challenge counts, and none is skipped because it was not judged. The
//! store keeps each challenge until the broker has its outcome.

use crate::data::verdict::Verdict;
use crate::protocol::command::{ChallengeSpec, Expect};
use crate::recipe::active::RecipePolicy;
use crate::store::KeyValue;
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Beginning of the keys under which the store keeps challenges; each has its own.
const KEY: &str = "challenge/";
/// Beginning of the keys under which the store keeps when a challenge of a recipe was met last.
pub const MET_KEY: &str = "challenge_met/";
/// Reason of a challenge that was under way when an earlier run ended.
const ENDED_BEFORE: &str = "winspect ended before its last part had a result";

/// A challenge that is under way, or has ended.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// Id of the command. Parts carry this very allocation: a later challenge with the same id is
    /// another one.
    pub id: Arc<str>,
    /// Key under which the store keeps the challenge.
    pub key: String,
    /// Parts that are requested later belong to it.
    since: Instant,
    /// Number of parts that have claimed a place.
    claimed: u32,
    /// Results so far.
    pub so_far: ChallengeProgress,
}

/// The state of a challenge as the store keeps it. The keys are part of the store's format.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct ChallengeProgress {
    id: String,
    #[serde(rename = "order")]
    spec: ChallengeSpec,
    /// Number of parts that have a result.
    judged: u32,
    /// Number of results with the expected verdict.
    caught: u32,
    /// Reason of an end before the last part had a result; `None` without one.
    cut: Option<String>,
    /// True when the outcome stands in the audit log.
    pub is_noted: bool,
}

impl Challenge {
    /// Parts that are requested after `since` belong to the challenge.
    pub fn new(id: &str, spec: &ChallengeSpec, since: Instant) -> Self {
        Challenge {
            id: id.into(),
            key: format!("{KEY}{}", ulid::Ulid::generate()),
            since,
            claimed: 0,
            so_far: ChallengeProgress {
                id: id.to_owned(),
                spec: spec.clone(),
                judged: 0,
                caught: 0,
                cut: None,
                is_noted: false,
            },
        }
    }

    /// Returns the challenges that earlier runs kept, all ended: one that was under way was cut.
    pub fn recovered(kept: &BTreeMap<String, String>) -> Vec<Self> {
        let mut challenges = vec![];
        for (key, text) in kept.iter().filter(|(key, _)| key.starts_with(KEY)) {
            let Ok(mut so_far) = serde_json::from_str::<ChallengeProgress>(text) else {
                continue;
            };

            if so_far.cut.is_none() && so_far.judged < so_far.spec.parts {
                so_far.cut = Some(ENDED_BEFORE.to_owned());
            }

            challenges.push(Challenge {
                id: so_far.id.as_str().into(),
                key: key.clone(),
                since: Instant::now(),
                claimed: 0,
                so_far,
            });
        }

        challenges
    }

    /// Claims a place for a part that is requested by `camera` at `since`; false where the part is no
    /// part of the challenge.
    pub fn claim(&mut self, camera: &str, since: Instant) -> bool {
        let spec = &self.so_far.spec;
        let is_its_camera = spec.camera.as_deref().is_none_or(|its| its == camera);
        if !is_its_camera || since < self.since || self.claimed == spec.parts {
            return false;
        }

        self.claimed += 1;
        true
    }

    /// Counts a part's result; returns true when it was the last.
    pub fn count(&mut self, verdict: Verdict) -> bool {
        let so_far = &mut self.so_far;
        so_far.judged += 1;
        so_far.caught += u32::from(verdict == expected(so_far.spec.expect));
        so_far.judged == so_far.spec.parts
    }

    /// Ends the challenge before its last part has a result.
    pub fn cut(&mut self, why: &str) {
        self.so_far.cut = Some(why.to_owned());
    }

    /// Returns key and text for the store.
    pub fn kept(&self) -> KeyValue {
        let text = serde_json::to_string(&self.so_far).expect("plain values");
        (self.key.clone(), text)
    }

    /// Returns true when every part got the expected verdict.
    pub fn is_met(&self) -> bool {
        !self.is_cut() && self.so_far.caught == self.so_far.spec.parts
    }

    /// Returns true when it ended before its last part had a result: neither met nor missed.
    pub fn is_cut(&self) -> bool {
        self.so_far.cut.is_some()
    }

    /// Returns how far it has come, for the command that would begin another one.
    pub fn progress(&self) -> String {
        format!(
            "challenge {:?} is under way, {} of {} parts; reset ends it",
            self.id, self.so_far.judged, self.so_far.spec.parts
        )
    }

    /// Returns the outcome, for a person.
    pub fn words(&self) -> String {
        let id = &self.id;
        let ChallengeProgress {
            spec,
            judged,
            caught,
            cut,
            ..
        } = &self.so_far;

        let parts = spec.parts;
        let expect = match spec.expect {
            Expect::Pass => "pass",
            Expect::Fail => "fail",
        };

        match cut {
            None => format!("challenge {id}: {caught} of {parts} parts got the verdict {expect}"),
            Some(why) => format!(
                "challenge {id}: {why}; {judged} of {parts} parts had a result, {caught} {expect}"
            ),
        }
    }
}

fn expected(expect: Expect) -> Verdict {
    match expect {
        Expect::Pass => Verdict::Pass,
        Expect::Fail => Verdict::Fail,
    }
}

/// Returns when a challenge of each recipe was met last, by the recipe's name.
pub fn recovered_met(kept: &BTreeMap<String, String>) -> HashMap<String, Instant> {
    let mut met = HashMap::new();
    for (key, at) in kept {
        let Some(recipe) = key.strip_prefix(MET_KEY) else {
            continue;
        };

        // The kept time is of the wall clock. On a machine that booted lately the monotonic clock
        // may not reach back that far: the recipe then counts as never challenged.
        let ago = time_since(at);
        if let Some(since) = ago.and_then(|ago| Instant::now().checked_sub(ago)) {
            met.insert(recipe.to_owned(), since);
        }
    }

    met
}

/// Returns the time since `at`; none has passed where the clock was set back since.
pub fn time_since(at: &str) -> Option<Duration> {
    let at: Timestamp = at.parse().ok()?;
    let ago = Timestamp::now().duration_since(at);
    Some(Duration::try_from(ago).unwrap_or_default())
}

/// Returns the name of the recipe whose challenges count. Its revision does not matter: another one is no other part.
pub fn recipe_of(policy: &RecipePolicy) -> String {
    let Some((_, policy)) = policy.regions.first() else {
        return String::new();
    };

    match policy.recipe.rsplit_once('@') {
        Some((name, _)) => name.to_owned(),
        None => policy.recipe.to_string(),
    }
}
