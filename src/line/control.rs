//! Layer 3: what commands may change while the line runs: pause, threshold, challenge. Shared by the stages.

use crate::base::health::{Diagnostics, Health};
use crate::data::report::{DecisionPolicy, Report};
use crate::data::verdict::{OnUndecided, Verdict};
use crate::protocol::command::{ChallengeSpec, Expect};
use crate::recipe::active::{RecipePolicy, RegionPolicies};
use crate::store::{KeyValue, MOVED_ASIDE};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct LineControl {
    state: Arc<Mutex<ControlState>>,
    causes: Diagnostics,
}

#[derive(Debug)]
struct ControlState {
    judging: RecipePolicy,
    is_paused: bool,
    challenge: Option<Challenge>,
    /// When a challenge of each recipe was met last, or, where none was, the recipe judged first.
    met: HashMap<String, Instant>,
    /// For the foreman.
    events: Vec<ControlEvent>,
}

/// What is to be told, and kept for later runs.
#[derive(Debug)]
pub enum ControlEvent {
    Ended(Challenge),
    /// In the store under that key; what stands there already stays.
    Begin(String, String),
    /// In the store under that key.
    Keep(KeyValue),
}

/// Known parts on their way: does the line still see?
#[derive(Debug, Clone)]
pub struct Challenge {
    /// No other challenge has this very one, whatever it says.
    pub id: Arc<str>,
    /// Where the store keeps it.
    pub key: String,
    since: Instant,
    /// Given to a part so far.
    asked: u32,
    pub so_far: SoFar,
}

/// What is kept of a challenge until the broker has its outcome.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct SoFar {
    id: String,
    order: ChallengeSpec,
    /// Parts that have a result, and those of them that have the expected one.
    judged: u32,
    caught: u32,
    /// Why it ended before its last part had a result.
    cut: Option<String>,
    /// Its outcome stands in the audit log.
    pub is_noted: bool,
}

const NO_THRESHOLD: &str = "there is none; every part is undecided(not_ready)";
/// Among the causes.
const IS_UNDER_WAY: &str = "challenge under way";
const MISSED: &str = "challenge";
const OVERDUE: &str = "challenge overdue";
const PROOF: &str = "self-test pictures";
/// Under these the store keeps each challenge, that one was missed, and by recipe when one was met last.
const KEPT: &str = "challenge/";
const KEPT_MISSED: &str = "challenge_missed";
const KEPT_MET: &str = "challenge_met/";

impl LineControl {
    /// `kept` is what earlier runs kept. A challenge that was under way then has ended; one that was missed still counts.
    pub fn new(
        judging: RecipePolicy,
        kept: &BTreeMap<String, String>,
        causes: Diagnostics,
    ) -> Self {
        // A clock that was set back since: as if it was now.
        let ago = |at: &str| {
            let ago = Timestamp::now().duration_since(at.parse().ok()?);
            Some(Duration::try_from(ago).unwrap_or_default())
        };
        let met = |(key, at): (&String, &String)| {
            let since = Instant::now().checked_sub(ago(at)?)?;
            Some((key.strip_prefix(KEPT_MET)?.to_owned(), since))
        };
        let challenge = |(key, text): (&String, &String)| {
            key.strip_prefix(KEPT)?;
            let mut so_far: SoFar = serde_json::from_str(text).ok()?;
            if so_far.cut.is_none() && so_far.judged < so_far.order.parts {
                so_far.cut = Some("winspect ended before its last part had a result".to_owned());
            }
            let (id, key) = (so_far.id.as_str().into(), key.clone());
            Some(ControlEvent::Ended(Challenge {
                id,
                key,
                since: Instant::now(),
                asked: 0,
                so_far,
            }))
        };
        let events = kept.iter().filter_map(challenge).collect();
        if let Some(words) = kept.get(KEPT_MISSED).filter(|words| !words.is_empty()) {
            causes.set(MISSED, Health::Failure, words);
        }
        let met = kept.iter().filter_map(met).collect();
        let state = ControlState {
            judging: RecipePolicy::default(),
            is_paused: false,
            challenge: None,
            met,
            events,
        };
        let rules = LineControl {
            state: Arc::new(Mutex::new(state)),
            causes,
        };
        rules.change(judging);
        rules
    }

    /// How a region is judged; one that the recipe does not know has no threshold.
    pub fn judge(&self, region: Option<&str>) -> DecisionPolicy {
        let state = self.state();
        let judges = &state.judging.regions;
        let known = judges.iter().find(|(name, _)| name.as_deref() == region);
        known.or(judges.first()).map_or_else(
            || DecisionPolicy {
                recipe: "".into(),
                threshold: None,
                on_undecided: OnUndecided::Fail,
            },
            |(name, judge)| {
                let threshold = judge.threshold.filter(|_| name.as_deref() == region);
                DecisionPolicy {
                    threshold,
                    ..judge.clone()
                }
            },
        )
    }

    /// The parts in one view.
    pub fn regions(&self) -> Vec<Option<Arc<str>>> {
        self.state()
            .judging
            .regions
            .iter()
            .map(|(region, _)| region.clone())
            .collect()
    }

    /// True when every region has a threshold.
    pub fn can_judge(&self) -> bool {
        self.state()
            .judging
            .regions
            .iter()
            .all(|(_, judge)| judge.threshold.is_some())
    }

    /// Another recipe judges from now on. A challenge that was under way for the one before ends here.
    pub fn change(&self, judging: RecipePolicy) {
        let mut state = self.state();
        let recipe = recipe_of(&judging);
        let is_new = judging.challenge_every.is_some() && !state.met.contains_key(&recipe);
        if is_new {
            state.met.insert(recipe.clone(), Instant::now());
            state.events.push(ControlEvent::Begin(
                format!("{KEPT_MET}{recipe}"),
                Timestamp::now().to_string(),
            ));
        }
        state.cut("another recipe judges now");
        state.judging = judging;
        self.causes.clear(IS_UNDER_WAY);
        drop(state);
        self.tell_thresholds();
    }

    /// Of that region, or of the only one. What it was.
    ///
    /// # Errors
    /// When there is no such region, or it is not clear which one is meant.
    pub fn set_threshold(
        &self,
        region: Option<&str>,
        threshold: f32,
    ) -> Result<Option<f32>, String> {
        let mut state = self.state();
        let judges = &mut state.judging.regions;
        let names: Vec<String> = judges
            .iter()
            .filter_map(|(name, _)| Some(name.as_ref()?.to_string()))
            .collect();
        let (_, judge) = judges
            .iter_mut()
            .find(|(name, _)| name.as_deref() == region)
            .ok_or_else(|| {
                if names.is_empty() {
                    "the recipe names no regions; leave region out".to_owned()
                } else {
                    format!("region must be one of {}", names.join(", "))
                }
            })?;
        let before = judge.threshold.replace(threshold);
        drop(state);
        self.tell_thresholds();
        Ok(before)
    }

    fn tell_thresholds(&self) {
        if self.can_judge() {
            self.causes.clear("threshold");
        } else {
            self.causes.set("threshold", Health::Failure, NO_THRESHOLD);
        }
        let state = self.state();
        match state
            .judging
            .proof
            .as_ref()
            .and_then(|proof| proof.flaw(&state.judging.regions))
        {
            Some(flaw) => {
                tracing::error!(
                    "recipe.self_test: {flaw}; give another picture, or another threshold"
                );
                self.causes.set(PROOF, Health::Failure, flaw);
            }
            None => self.causes.clear(PROOF),
        }
    }

    pub fn judges(&self) -> RegionPolicies {
        self.state().judging.regions.clone()
    }

    pub fn is_paused(&self) -> bool {
        self.state().is_paused
    }

    pub fn pause(&self, paused: bool) {
        self.state().is_paused = paused;
        if paused {
            self.causes.set(
                "paused",
                Health::CheckFunction,
                "by a command; resume goes on",
            );
        } else {
            self.causes.clear("paused");
        }
    }

    /// The next parts are known: those that are asked for after `since`.
    ///
    /// # Errors
    /// When a challenge is under way.
    pub fn challenge(&self, id: &str, order: &ChallengeSpec, since: Instant) -> Result<(), String> {
        let mut state = self.state();
        if let Some(challenge) = &state.challenge {
            return Err(format!(
                "challenge {:?} is under way, {} of {} parts; reset ends it",
                challenge.id, challenge.so_far.judged, challenge.so_far.order.parts
            ));
        }
        let so_far = SoFar {
            id: id.to_owned(),
            order: order.clone(),
            judged: 0,
            caught: 0,
            cut: None,
            is_noted: false,
        };
        let key = format!("{KEPT}{}", ulid::Ulid::generate());
        let challenge = Challenge {
            id: id.into(),
            key,
            since,
            asked: 0,
            so_far,
        };
        state.events.push(ControlEvent::Keep(challenge.kept()));
        state.challenge = Some(challenge);
        self.causes.set(IS_UNDER_WAY, Health::CheckFunction, id);
        Ok(())
    }

    /// A part of this camera is asked for, since then: the challenge that it belongs to.
    pub fn claim(&self, camera: &str, since: Instant) -> Option<Arc<str>> {
        let mut state = self.state();
        let challenge = state.challenge.as_mut()?;
        let is_its = challenge
            .so_far
            .order
            .camera
            .as_deref()
            .is_none_or(|its| its == camera)
            && since >= challenge.since;
        if !is_its || challenge.asked == challenge.so_far.order.parts {
            return None;
        }
        challenge.asked += 1;
        Some(challenge.id.clone())
    }

    /// A part has its result: whatever it is, it counts for the challenge that the part belongs to. What is to be kept with
    /// that result.
    pub fn judged(&self, report: &Report) -> Vec<KeyValue> {
        let Some(id) = &report.part.ask.challenge else {
            return vec![];
        };
        let mut state = self.state();
        let Some(challenge) = state
            .challenge
            .as_mut()
            .filter(|challenge| Arc::ptr_eq(&challenge.id, id))
        else {
            return vec![];
        };
        challenge.so_far.judged += 1;
        challenge.so_far.caught += u32::from(challenge.so_far.order.expect.is(report.verdict));
        let mut kept = vec![challenge.kept()];
        if challenge.so_far.judged < challenge.so_far.order.parts {
            return kept;
        }
        let Some(ended) = state.challenge.take() else {
            return kept;
        };
        self.causes.clear(IS_UNDER_WAY);
        if ended.is_met() {
            let recipe = recipe_of(&state.judging);
            kept.push((format!("{KEPT_MET}{recipe}"), Timestamp::now().to_string()));
            kept.push((KEPT_MISSED.to_owned(), String::new()));
            state.met.insert(recipe, Instant::now());
            self.causes.clear(MISSED);
        } else {
            kept.push((KEPT_MISSED.to_owned(), ended.words()));
            self.causes.set(MISSED, Health::Failure, ended.words());
        }
        state.events.push(ControlEvent::Ended(ended));
        kept
    }

    /// Ends what an operator has seen: a challenge under way, one that was not met, a broken store that was moved aside.
    pub fn reset(&self) {
        let mut state = self.state();
        state.cut("reset by a command");
        state
            .events
            .push(ControlEvent::Keep((KEPT_MISSED.to_owned(), String::new())));
        drop(state);
        [IS_UNDER_WAY, MISSED, MOVED_ASIDE]
            .iter()
            .for_each(|who| self.causes.clear(who));
    }

    /// No more parts come.
    pub fn stop(&self) {
        self.state().cut("the line stops");
    }

    /// Tells when the challenge is overdue; what there is to be told and kept.
    pub fn look(&self, now: Instant) -> Vec<ControlEvent> {
        let mut state = self.state();
        let met = state.met.get(&recipe_of(&state.judging)).copied();
        let since = met.map_or(Duration::ZERO, |met| now.saturating_duration_since(met));
        if let Some(interval) = state
            .judging
            .challenge_every
            .filter(|interval| since > *interval)
        {
            let words = format!("none was met for more than {} min", interval.as_secs() / 60);
            self.causes.set(OVERDUE, Health::OffSpec, words);
        } else {
            self.causes.clear(OVERDUE);
        }
        std::mem::take(&mut state.events)
    }

    fn state(&self) -> MutexGuard<'_, ControlState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without its revision: another one is no other part.
fn recipe_of(judging: &RecipePolicy) -> String {
    let label = judging
        .regions
        .first()
        .map_or("", |(_, judge)| &*judge.recipe);
    label
        .rsplit_once('@')
        .map_or(label, |(name, _)| name)
        .to_owned()
}

impl ControlState {
    /// The challenge that is under way ends before its last part has a result.
    fn cut(&mut self, why: &str) {
        if let Some(mut challenge) = self.challenge.take() {
            challenge.so_far.cut = Some(why.to_owned());
            self.events.push(ControlEvent::Keep(challenge.kept()));
            self.events.push(ControlEvent::Ended(challenge));
        }
    }
}

impl Expect {
    fn is(self, verdict: Verdict) -> bool {
        verdict
            == if self == Expect::Pass {
                Verdict::Pass
            } else {
                Verdict::Fail
            }
    }
}

impl Challenge {
    pub fn kept(&self) -> KeyValue {
        (
            self.key.clone(),
            serde_json::to_string(&self.so_far).expect("plain values"),
        )
    }

    pub fn is_met(&self) -> bool {
        !self.is_cut() && self.so_far.caught == self.so_far.order.parts
    }

    /// It ended before its last part had a result: neither met nor missed.
    pub fn is_cut(&self) -> bool {
        self.so_far.cut.is_some()
    }

    pub fn words(&self) -> String {
        let (
            id,
            SoFar {
                order,
                judged,
                caught,
                cut,
                ..
            },
        ) = (&self.id, &self.so_far);
        let (parts, expect) = (
            order.parts,
            if order.expect == Expect::Pass {
                "pass"
            } else {
                "fail"
            },
        );
        match cut {
            None => format!("challenge {id}: {caught} of {parts} parts got the verdict {expect}"),
            Some(why) => format!(
                "challenge {id}: {why}; {judged} of {parts} parts had a result, {caught} {expect}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::part::Part;
    use crate::data::part::tests::ask;
    use crate::data::verdict::Reason;
    use crate::recipe::self_test::Proof;

    const BAD: ChallengeSpec = ChallengeSpec {
        camera: None,
        parts: 2,
        expect: Expect::Fail,
    };

    fn judge(recipe: &str, threshold: Option<f32>) -> DecisionPolicy {
        DecisionPolicy {
            recipe: recipe.into(),
            threshold,
            on_undecided: OnUndecided::Fail,
        }
    }

    fn judging(recipe: &str, challenge_every: Option<Duration>) -> RecipePolicy {
        RecipePolicy {
            regions: vec![(None, judge(recipe, Some(0.5)))],
            challenge_every,
            proof: None,
        }
    }

    fn rules(interval: Option<Duration>) -> (LineControl, Diagnostics) {
        let causes = Diagnostics::default();
        (
            LineControl::new(judging("nut@1", interval), &BTreeMap::new(), causes.clone()),
            causes,
        )
    }

    /// A part of the camera that is asked for now.
    fn part(rules: &LineControl, camera: &str) -> Part {
        let mut asked = ask(camera, Duration::from_secs(1));
        asked.challenge = rules.claim(camera, asked.since);
        Part::new(1, "run".into(), 1, asked)
    }

    /// What is kept with its result.
    fn judged(rules: &LineControl, part: &Part, verdict: Verdict) -> Vec<KeyValue> {
        let mut report = Report::undecided(part.clone(), Reason::Late, &rules.judge(None));
        report.verdict = verdict;
        rules.judged(&report)
    }

    /// What the foreman is told, and what he keeps by the way.
    fn told(rules: &LineControl, kept: &mut BTreeMap<String, String>) -> Vec<(bool, String)> {
        let mut told = vec![];
        for event in rules.look(Instant::now()) {
            match event {
                ControlEvent::Begin(key, value) => drop(kept.entry(key).or_insert(value)),
                ControlEvent::Keep((key, value)) => drop(kept.insert(key, value)),
                ControlEvent::Ended(challenge) => {
                    kept.remove(&challenge.key); // the broker has it
                    told.push((challenge.is_met(), challenge.words()));
                }
            }
        }
        told
    }

    #[test]
    fn a_challenge_is_about_the_parts_that_come_after_it_whatever_becomes_of_them() {
        let (rules, causes) = rules(None);
        let before = part(&rules, "top");
        rules
            .challenge("c1", &BAD, Instant::now())
            .expect("none is under way");
        assert!(
            rules
                .challenge("c2", &BAD, Instant::now())
                .is_err_and(|why| why.contains("0 of 2 parts"))
        );
        assert_eq!(causes.all().0, Health::CheckFunction);
        let (one, two, after) = (
            part(&rules, "top"),
            part(&rules, "top"),
            part(&rules, "top"),
        );
        assert_eq!(
            (
                before.ask.challenge.is_some(),
                after.ask.challenge.is_some()
            ),
            (false, false)
        );
        judged(&rules, &before, Verdict::Fail);
        judged(&rules, &after, Verdict::Fail);
        judged(&rules, &two, Verdict::Fail);
        assert!(told(&rules, &mut BTreeMap::new()).is_empty());
        judged(&rules, &one, Verdict::Undecided); // nobody looked at it: that is no catch
        let words = "challenge c1: 1 of 2 parts got the verdict fail".to_owned();
        assert_eq!(
            (told(&rules, &mut BTreeMap::new()), causes.all().0),
            (vec![(false, words)], Health::Failure)
        );
    }

    #[test]
    fn a_missed_challenge_is_a_failure_until_one_is_met_also_after_a_restart() {
        let (rules, causes) = rules(None);
        let mut kept = BTreeMap::new();
        let challenge = |rules: &LineControl, verdict, kept: &mut BTreeMap<_, _>| {
            rules
                .challenge("c", &ChallengeSpec { parts: 1, ..BAD }, Instant::now())
                .expect("none is under way");
            kept.extend(judged(rules, &part(rules, "top"), verdict));
            told(rules, kept).remove(0).0
        };
        assert!(!challenge(&rules, Verdict::Pass, &mut kept));
        assert_eq!(causes.all().0, Health::Failure);
        let causes = Diagnostics::default();
        let again = LineControl::new(judging("nut@1", None), &kept, causes.clone());
        assert_eq!(causes.all().0, Health::Failure);
        assert!(challenge(&again, Verdict::Fail, &mut kept));
        assert_eq!(causes.all().0, Health::Normal);
        let causes = Diagnostics::default();
        LineControl::new(judging("nut@1", None), &kept, causes.clone());
        assert_eq!(causes.all().0, Health::Normal);
    }

    #[test]
    fn a_challenge_that_does_not_come_to_its_end_says_so() {
        let (rules, causes) = rules(None);
        let mut kept = BTreeMap::new();
        let begin = || {
            rules
                .challenge("c", &BAD, Instant::now())
                .expect("none is under way");
            part(&rules, "top")
        };
        let one = begin();
        judged(&rules, &one, Verdict::Fail);
        rules.reset();
        let cut = vec![(
            false,
            "challenge c: reset by a command; 1 of 2 parts had a result, 1 fail".to_owned(),
        )];
        assert_eq!(
            (told(&rules, &mut kept), causes.all().0),
            (cut, Health::Normal)
        );
        let two = begin();
        judged(&rules, &one, Verdict::Fail); // of a challenge that is over
        assert!(told(&rules, &mut kept).is_empty());
        assert!(
            rules
                .claim("top", two.ask.since - Duration::from_secs(1))
                .is_none(),
            "it was asked for before"
        );
        kept.extend(judged(&rules, &two, Verdict::Fail));
        // The run ends, and the next one knows; it would also know of one that had just come to its end.
        let next = LineControl::new(judging("nut@1", None), &kept, Diagnostics::default());
        let words = "challenge c: winspect ended before its last part had a result; 1 of 2 parts had a result, 1 fail";
        assert_eq!(told(&next, &mut kept.clone()), [(false, words.to_owned())]);
        kept.extend(judged(&rules, &part(&rules, "top"), Verdict::Fail));
        let next = LineControl::new(judging("nut@1", None), &kept, Diagnostics::default());
        assert!(told(&next, &mut kept)[0].0);
        told(&rules, &mut kept);
        begin();
        rules.change(judging("bolt@1", None));
        assert!(told(&rules, &mut kept)[0].1.contains("another recipe"));
        begin();
        rules.stop();
        assert!(told(&rules, &mut kept)[0].1.contains("the line stops"));
        let last = LineControl::new(judging("nut@1", None), &kept, Diagnostics::default());
        assert!(told(&last, &mut kept).is_empty());
    }

    #[test]
    fn a_challenge_of_one_camera_leaves_the_parts_of_others_alone() {
        let (rules, _) = rules(None);
        let order = ChallengeSpec {
            camera: Some("top".to_owned()),
            ..BAD
        };
        rules
            .challenge("c", &order, Instant::now())
            .expect("none is under way");
        let known = ["side", "top", "side", "top", "top"]
            .map(|camera| part(&rules, camera).ask.challenge.is_some());
        assert_eq!(known, [false, true, false, true, false]);
    }

    #[test]
    fn a_challenge_that_is_overdue_is_off_spec() {
        let (rules, causes) = rules(Some(Duration::from_secs(60)));
        rules.look(Instant::now() + Duration::from_secs(59));
        assert_eq!(causes.all().0, Health::Normal);
        rules.look(Instant::now() + Duration::from_secs(61));
        assert_eq!(causes.all().0, Health::OffSpec);
        // Another recipe asks for none.
        rules.change(judging("bolt@1", None));
        rules.look(Instant::now() + Duration::from_secs(61));
        assert_eq!(causes.all().0, Health::Normal);
    }

    #[test]
    fn the_time_of_a_challenge_goes_on_over_restarts_for_each_recipe() {
        let minute = Some(Duration::from_secs(60));
        let ago =
            |seconds| (Timestamp::now() - jiff::SignedDuration::from_secs(seconds)).to_string();
        let mut kept: BTreeMap<String, String> = [("challenge_met/nut".to_owned(), ago(50))].into();
        let is_overdue = |rules: &LineControl, causes: &Diagnostics, seconds| {
            rules.look(Instant::now() + Duration::from_secs(seconds));
            causes.all().1.iter().any(|cause| cause.contains("overdue"))
        };
        let causes = Diagnostics::default();
        let rules = LineControl::new(judging("nut@2", minute), &kept, causes.clone());
        assert!(!is_overdue(&rules, &causes, 5) && is_overdue(&rules, &causes, 15));
        // Where none was ever met the recipe's first start counts, not each one.
        told(
            &LineControl::new(judging("bolt@1", minute), &kept, Diagnostics::default()),
            &mut kept,
        );
        assert!(kept["challenge_met/bolt"] > kept["challenge_met/nut"]);
        kept.insert("challenge_met/bolt".to_owned(), ago(70));
        let causes = Diagnostics::default();
        assert!(is_overdue(
            &LineControl::new(judging("bolt@1", minute), &kept, causes.clone()),
            &causes,
            0
        ));
    }

    #[test]
    fn each_region_has_its_own_threshold_and_an_unknown_one_none() {
        let causes = Diagnostics::default();
        let judge = |threshold| judge("tray@1", threshold);
        let judges = vec![
            (Some("left".into()), judge(Some(0.5))),
            (Some("right".into()), judge(None)),
        ];
        let rules = LineControl::new(
            RecipePolicy {
                regions: judges,
                ..RecipePolicy::default()
            },
            &BTreeMap::new(),
            causes.clone(),
        );
        let threshold = |region| rules.judge(region).threshold;
        assert_eq!(
            (
                threshold(Some("left")),
                threshold(Some("right")),
                threshold(None)
            ),
            (Some(0.5), None, None)
        );
        assert_eq!(
            (rules.can_judge(), causes.all().0),
            (false, Health::Failure)
        );
        assert!(
            rules
                .set_threshold(None, 0.1)
                .is_err_and(|why| why == "region must be one of left, right")
        );
        assert_eq!(rules.set_threshold(Some("right"), 0.1), Ok(None));
        assert_eq!((rules.can_judge(), causes.all().0), (true, Health::Normal));
    }

    #[test]
    fn pictures_that_the_threshold_does_not_tell_apart_are_a_failure_as_soon_as_it_is_set() {
        let causes = Diagnostics::default();
        let proof = Some(Proof {
            good: vec![0.1],
            bad: vec![0.9],
        });
        let rules = LineControl::new(
            RecipePolicy {
                proof,
                ..judging("nut@1", None)
            },
            &BTreeMap::new(),
            causes.clone(),
        );
        let told = |threshold| {
            rules
                .set_threshold(None, threshold)
                .expect("the only region");
            causes.all()
        };
        assert_eq!(told(0.5), (Health::Normal, vec![]));
        for (threshold, words) in [
            (0.95, "the bad picture scores [0.9000]"),
            (0.05, "would fail"),
        ] {
            let (health, causes) = told(threshold);
            assert!(
                health == Health::Failure && causes[0].contains(words),
                "{causes:?}"
            );
        }
    }
}
