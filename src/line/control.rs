//! The line's control: pause, thresholds and challenges, which commands change while the line runs.
//! Shared by the stages.

use crate::base::health::{Diagnostics, Health};
use crate::data::report::{DecisionPolicy, Report};
use crate::data::verdict::OnUndecided;
use crate::line::challenge::Challenge;
use crate::protocol::command::ChallengeSpec;
use crate::recipe::active::{RecipePolicy, RegionPolicies};
use crate::store::{KeyValue, MOVED_ASIDE};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Diagnostics source of a region without a threshold.
const THRESHOLD: &str = "threshold";
/// Diagnostics source of a pause.
const PAUSED: &str = "paused";
/// Diagnostics source of a challenge that is under way.
const UNDER_WAY: &str = "challenge under way";
/// Diagnostics source of a challenge that was missed.
const MISSED: &str = "challenge";
/// Diagnostics source of a challenge that is due.
const OVERDUE: &str = "challenge overdue";
/// Diagnostics source of self-test pictures that a threshold contradicts.
const PROOF: &str = "self-test pictures";
/// Key under which the store keeps that a challenge was missed; empty once one is met, or after a
/// reset.
const MISSED_KEY: &str = "challenge_missed";
/// Beginning of the keys under which the store keeps when a challenge of a recipe was met last.
const MET_KEY: &str = "challenge_met/";

/// Handle of the line's control; clones share one state.
#[derive(Debug, Clone)]
pub struct LineControl {
    state: Arc<Mutex<ControlState>>,
    diagnostics: Diagnostics,
}

#[derive(Debug)]
struct ControlState {
    policy: RecipePolicy,
    is_paused: bool,
    challenge: Option<Challenge>,
    /// Time at which a challenge of each recipe was met last, or, where none was, at which the recipe
    /// began to judge.
    met: HashMap<String, Instant>,
    /// Events for the command handler. It takes them twice a second, and each command adds a few at
    /// most.
    events: Vec<ControlEvent>,
}

/// A change to be told, and kept for later runs.
#[derive(Debug)]
pub enum ControlEvent {
    /// A challenge has ended.
    Ended(Challenge),
    /// A key for the store with its value; a value that stands there already stays.
    Begin(String, String),
    /// A key for the store with its new value.
    Keep(KeyValue),
}

impl LineControl {
    /// `kept` holds the values of earlier runs. A challenge that was under way then has ended; one that
    /// was missed still counts.
    pub fn new(
        policy: RecipePolicy,
        kept: &BTreeMap<String, String>,
        diagnostics: Diagnostics,
    ) -> Self {
        if let Some(words) = kept.get(MISSED_KEY)
            && !words.is_empty()
        {
            diagnostics.set(MISSED, Health::Failure, words);
        }

        let ended = Challenge::recovered(kept);
        let state = ControlState {
            policy: RecipePolicy::default(),
            is_paused: false,
            challenge: None,
            met: recovered_met(kept),
            events: ended.into_iter().map(ControlEvent::Ended).collect(),
        };

        let control = LineControl {
            state: Arc::new(Mutex::new(state)),
            diagnostics,
        };

        control.change(policy);
        control
    }

    /// Returns how a region is decided. One that the recipe does not know has no threshold.
    pub fn policy_for(&self, region: Option<&str>) -> DecisionPolicy {
        let state = self.state();
        let regions = &state.policy.regions;
        if let Some((_, policy)) = regions.iter().find(|(name, _)| name.as_deref() == region) {
            return policy.clone();
        }

        let recipe = regions.first().map(|(_, policy)| policy.clone());
        DecisionPolicy {
            threshold: None,
            ..recipe.unwrap_or(DecisionPolicy {
                recipe: "".into(),
                threshold: None,
                on_undecided: OnUndecided::Fail,
            })
        }
    }

    /// Returns the regions of a view; one without a name where the recipe has none.
    pub fn regions(&self) -> Vec<Option<Arc<str>>> {
        let state = self.state();
        let regions = state.policy.regions.iter();
        regions.map(|(region, _)| region.clone()).collect()
    }

    /// Returns true when every region has a threshold.
    pub fn can_judge(&self) -> bool {
        let state = self.state();
        let mut regions = state.policy.regions.iter();
        regions.all(|(_, policy)| policy.threshold.is_some())
    }

    /// Takes over another recipe's policy. A challenge that was under way ends.
    pub fn change(&self, policy: RecipePolicy) {
        let mut state = self.state();
        let recipe = recipe_of(&policy);
        if policy.challenge_every.is_some() && !state.met.contains_key(&recipe) {
            let key = format!("{MET_KEY}{recipe}");
            let now = Timestamp::now().to_string();
            state.events.push(ControlEvent::Begin(key, now));
            state.met.insert(recipe, Instant::now());
        }

        state.cut("another recipe judges now");
        state.policy = policy;
        self.diagnostics.clear(UNDER_WAY);
        drop(state);
        self.tell_thresholds();
    }

    /// Sets the threshold of a region, or of the only one. Returns the threshold before.
    ///
    /// # Errors
    /// When there is no such region, or it is not clear which one is meant.
    pub fn set_threshold(
        &self,
        region: Option<&str>,
        threshold: f32,
    ) -> Result<Option<f32>, String> {
        let mut state = self.state();
        let regions = &mut state.policy.regions;
        let place = regions
            .iter()
            .position(|(name, _)| name.as_deref() == region);

        let Some(place) = place else {
            return Err(no_such_region(regions));
        };

        let before = regions[place].1.threshold.replace(threshold);
        drop(state);
        self.tell_thresholds();
        Ok(before)
    }

    /// Tells the line's health about regions without a threshold, and about self-test pictures that a
    /// threshold contradicts.
    fn tell_thresholds(&self) {
        if self.can_judge() {
            self.diagnostics.clear(THRESHOLD);
        } else {
            let words = "there is none; every part is undecided(not_ready)";
            self.diagnostics.set(THRESHOLD, Health::Failure, words);
        }

        let state = self.state();
        let proof = state.policy.proof.as_ref();
        match proof.and_then(|proof| proof.flaw(&state.policy.regions)) {
            Some(flaw) => {
                tracing::error!(
                    "recipe.self_test: {flaw}; give another picture, or another threshold"
                );

                self.diagnostics.set(PROOF, Health::Failure, flaw);
            }
            None => self.diagnostics.clear(PROOF),
        }
    }

    /// Returns how each region is decided.
    pub fn policies(&self) -> RegionPolicies {
        self.state().policy.regions.clone()
    }

    /// Returns true while the line is paused.
    pub fn is_paused(&self) -> bool {
        self.state().is_paused
    }

    /// Pauses the line, or lets it go on: no part is accepted meanwhile.
    pub fn pause(&self, paused: bool) {
        self.state().is_paused = paused;
        if paused {
            let words = "by a command; resume goes on";
            self.diagnostics.set(PAUSED, Health::CheckFunction, words);
        } else {
            self.diagnostics.clear(PAUSED);
        }
    }

    /// Begins a challenge: the next parts that are requested after `since` are known.
    ///
    /// # Errors
    /// When a challenge is under way.
    pub fn challenge(&self, id: &str, spec: &ChallengeSpec, since: Instant) -> Result<(), String> {
        let mut state = self.state();
        if let Some(challenge) = &state.challenge {
            return Err(challenge.progress());
        }

        let challenge = Challenge::new(id, spec, since);
        state.events.push(ControlEvent::Keep(challenge.kept()));
        state.challenge = Some(challenge);
        self.diagnostics.set(UNDER_WAY, Health::CheckFunction, id);
        Ok(())
    }

    /// Claims a place in a running challenge for a part that `camera` requests at `since`. Returns the
    /// challenge's id, or `None` where the part belongs to none.
    pub fn claim(&self, camera: &str, since: Instant) -> Option<Arc<str>> {
        let mut state = self.state();
        let challenge = state.challenge.as_mut()?;
        let is_claimed = challenge.claim(camera, since);
        is_claimed.then(|| challenge.id.clone())
    }

    /// Counts a part's result for the challenge that the part belongs to. Returns what is to be kept
    /// with the result.
    pub fn on_result(&self, report: &Report) -> Vec<KeyValue> {
        let Some(id) = &report.part.request.challenge else {
            return vec![];
        };

        let mut state = self.state();
        let Some(mut challenge) = state.challenge.take() else {
            return vec![];
        };

        let is_its_part = Arc::ptr_eq(&challenge.id, id);
        let is_last = is_its_part && challenge.count(report.verdict);
        let mut kept = vec![];
        if is_its_part {
            kept.push(challenge.kept());
        }

        if !is_last {
            state.challenge = Some(challenge);
            return kept;
        }

        kept.extend(self.outcome(&challenge, &mut state));
        state.events.push(ControlEvent::Ended(challenge));
        kept
    }

    /// Tells the line's health how a challenge has ended. Returns what is to be kept of that.
    fn outcome(&self, ended: &Challenge, state: &mut ControlState) -> Vec<KeyValue> {
        self.diagnostics.clear(UNDER_WAY);
        let missed = MISSED_KEY.to_owned();
        if !ended.is_met() {
            self.diagnostics.set(MISSED, Health::Failure, ended.words());
            return vec![(missed, ended.words())];
        }

        self.diagnostics.clear(MISSED);
        let recipe = recipe_of(&state.policy);
        let met = format!("{MET_KEY}{recipe}");
        state.met.insert(recipe, Instant::now());
        vec![(met, Timestamp::now().to_string()), (missed, String::new())]
    }

    /// Ends what an operator has seen: a challenge that is under way or was missed, and the notice of a
    /// broken store that was moved aside.
    pub fn reset(&self) {
        let mut state = self.state();
        state.cut("reset by a command");
        let none_missed = (MISSED_KEY.to_owned(), String::new());
        state.events.push(ControlEvent::Keep(none_missed));
        drop(state);
        for source in [UNDER_WAY, MISSED, MOVED_ASIDE] {
            self.diagnostics.clear(source);
        }
    }

    /// Ends a challenge that is under way: the line stops, and no more parts come.
    pub fn stop(&self) {
        self.state().cut("the line stops");
    }

    /// Tells the line's health when a challenge is overdue. Takes the events since the last call.
    pub fn poll(&self, now: Instant) -> Vec<ControlEvent> {
        let mut state = self.state();
        match state.overdue(now) {
            Some(interval) => {
                let minutes = interval.as_secs() / 60;
                let words = format!("none was met for more than {minutes} min");
                self.diagnostics.set(OVERDUE, Health::OffSpec, words);
            }
            None => self.diagnostics.clear(OVERDUE),
        }

        std::mem::take(&mut state.events)
    }

    fn state(&self) -> MutexGuard<'_, ControlState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ControlState {
    /// Ends a challenge that is under way before its last part has a result.
    fn cut(&mut self, why: &str) {
        if let Some(mut challenge) = self.challenge.take() {
            challenge.cut(why);
            self.events.push(ControlEvent::Keep(challenge.kept()));
            self.events.push(ControlEvent::Ended(challenge));
        }
    }

    /// Returns the interval of the recipe's challenges when none was met for longer.
    fn overdue(&self, now: Instant) -> Option<Duration> {
        let interval = self.policy.challenge_every?;
        let met = self.met.get(&recipe_of(&self.policy))?;
        let since = now.saturating_duration_since(*met);
        (since > interval).then_some(interval)
    }
}

/// Returns the recipe's name. Its revision does not matter: another one is no other part.
fn recipe_of(policy: &RecipePolicy) -> String {
    let Some((_, policy)) = policy.regions.first() else {
        return String::new();
    };

    match policy.recipe.rsplit_once('@') {
        Some((name, _)) => name.to_owned(),
        None => policy.recipe.to_string(),
    }
}

/// Returns when a challenge of each recipe was met last, by the recipe's name.
fn recovered_met(kept: &BTreeMap<String, String>) -> HashMap<String, Instant> {
    let mut met = HashMap::new();
    for (key, at) in kept {
        let Some(recipe) = key.strip_prefix(MET_KEY) else {
            continue;
        };

        let ago = time_since(at);
        if let Some(since) = ago.and_then(|ago| Instant::now().checked_sub(ago)) {
            met.insert(recipe.to_owned(), since);
        }
    }

    met
}

/// Returns the time since `at`; none has passed where the clock was set back since.
fn time_since(at: &str) -> Option<Duration> {
    let at: Timestamp = at.parse().ok()?;
    let ago = Timestamp::now().duration_since(at);
    Some(Duration::try_from(ago).unwrap_or_default())
}

fn no_such_region(regions: &RegionPolicies) -> String {
    let names: Vec<&str> = regions
        .iter()
        .filter_map(|(name, _)| name.as_deref())
        .collect();

    if names.is_empty() {
        return "the recipe names no regions; leave region out".to_owned();
    }

    format!("region must be one of {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::part::Part;
    use crate::data::part::tests::ask;
    use crate::data::verdict::Reason;
    use crate::data::verdict::Verdict;
    use crate::protocol::command::Expect;
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
        let mut report = Report::undecided(part.clone(), Reason::Late, &rules.policy_for(None));
        report.verdict = verdict;
        rules.on_result(&report)
    }

    /// Outcomes that the command handler is told, and values that it keeps by the way.
    fn told(rules: &LineControl, kept: &mut BTreeMap<String, String>) -> Vec<(bool, String)> {
        let mut told = vec![];
        for event in rules.poll(Instant::now()) {
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
                before.request.challenge.is_some(),
                after.request.challenge.is_some()
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
                .claim("top", two.request.since - Duration::from_secs(1))
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
            .map(|camera| part(&rules, camera).request.challenge.is_some());

        assert_eq!(known, [false, true, false, true, false]);
    }

    #[test]
    fn a_challenge_that_is_overdue_is_off_spec() {
        let (rules, causes) = rules(Some(Duration::from_secs(60)));
        rules.poll(Instant::now() + Duration::from_secs(59));
        assert_eq!(causes.all().0, Health::Normal);
        rules.poll(Instant::now() + Duration::from_secs(61));
        assert_eq!(causes.all().0, Health::OffSpec);
        // Another recipe asks for none.
        rules.change(judging("bolt@1", None));
        rules.poll(Instant::now() + Duration::from_secs(61));
        assert_eq!(causes.all().0, Health::Normal);
    }

    #[test]
    fn the_time_of_a_challenge_goes_on_over_restarts_for_each_recipe() {
        let minute = Some(Duration::from_secs(60));
        let ago =
            |seconds| (Timestamp::now() - jiff::SignedDuration::from_secs(seconds)).to_string();

        let mut kept: BTreeMap<String, String> = [("challenge_met/nut".to_owned(), ago(50))].into();
        let is_overdue = |rules: &LineControl, causes: &Diagnostics, seconds| {
            rules.poll(Instant::now() + Duration::from_secs(seconds));
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

        let threshold = |region| rules.policy_for(region).threshold;
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
