//! The line's control: pause, thresholds and challenges, which commands change while the line runs.
//! Shared by the stages.

use crate::base::health::{Diagnostics, Health};
use crate::data::report::{DecisionPolicy, Report};
use crate::data::verdict::OnUndecided;
use crate::line::challenge::{Challenge, MET_KEY, recipe_of, recovered_met};

use crate::line::set_thresholds::{
    SetThresholds, ThresholdsByKey, by_recipe, carried, no_such_region,
};
use crate::line::shift_check::{CheckStart, ShiftChecks};
use crate::protocol::command::ChallengeSpec;
use crate::protocol::condition::GATE;
use crate::recipe::active::{RecipePolicy, RegionPolicies, UNTAUGHT};
use crate::store::{GIVEN_UP, KeyValue, MOVED_ASIDE};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Diagnostics source of a region without a threshold.
pub const THRESHOLD: &str = "threshold";
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
/// Diagnostics source of known bad parts that pass.
const KNOWN_BAD: &str = "known bad parts";
/// Diagnostics source of an id that came with two commands.
pub const COMMAND_IDS: &str = "command ids";
/// Beginning of the diagnostics sources of webs that went by unseen; `reset` confirms them.
pub const WEB_OF: &str = "web of ";
/// Beginning of the diagnostics sources of objects that became the line's own; `reset` confirms them.
pub const LINE_OF: &str = "empty line of ";
/// Beginning of the diagnostics sources of cameras that have drifted from what they were taught; `reset`
/// confirms them.
pub const DRIFT_OF: &str = "drift of ";
/// Diagnostics source of thresholds that could not be kept in the recipe library.
pub const LIBRARY: &str = "recipe library";
/// Diagnostics source of a shadow that ended by itself; the next one confirms it too.
pub const SHADOW: &str = "shadow";
/// Key under which the store keeps that a challenge was missed; empty once one is met, or after a
/// reset.
const MISSED_KEY: &str = "challenge_missed";

/// Handle of the line's control; clones share one state.
#[derive(Debug, Clone)]
pub struct LineControl {
    state: Arc<Mutex<ControlState>>,
    /// The shift checks, whose parts claim their places here too.
    pub checks: ShiftChecks,
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
    /// Thresholds that commands set, by recipe and region: they hold until the line starts again, or a
    /// revision of the library has them, and no selection undoes them.
    set_thresholds: ThresholdsByKey,
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
        // A missed challenge outlives a restart: only a met one, or a person's `reset`, ends it.
        if let Some(words) = kept.get(MISSED_KEY)
            && !words.is_empty()
        {
            // The words are those of the earlier run, which name the challenge.
            diagnostics.set(MISSED, Health::Failure, words);
        }

        // Challenges of earlier runs have ended with those runs. Their outcomes are told by the
        // command handler's first look.
        let ended = Challenge::recovered(kept);
        let state = ControlState {
            policy: RecipePolicy::default(),
            is_paused: false,
            challenge: None,
            met: recovered_met(kept),
            set_thresholds: BTreeMap::new(),
            events: ended.into_iter().map(ControlEvent::Ended).collect(),
        };

        let control = LineControl {
            state: Arc::new(Mutex::new(state)),
            checks: ShiftChecks::new(kept, diagnostics.clone()),
            diagnostics,
        };

        // The first recipe is taken over like every later one, so that its causes are told in the
        // same way.
        control.change(policy);
        control
    }

    /// Returns how a region is decided. One that the recipe does not know has no threshold.
    pub fn policy_for(&self, region: Option<&str>) -> DecisionPolicy {
        let state = self.state();
        // A part may belong to a region of the recipe before: it is decided without a threshold, so
        // undecided.
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
        // One region without a threshold is enough: its parts would all be undecided.
        let mut regions = state.policy.regions.iter();
        regions.all(|(_, policy)| policy.threshold.is_some())
    }

    /// Takes over another recipe's policy. A challenge that was under way ends.
    pub fn change(&self, policy: RecipePolicy) {
        self.change_from(None, policy);
    }

    /// Takes over the policy of a revision that takes the place of the one of the label `from`, if one is given: thresholds
    /// that commands have set for that hold for it.
    pub fn change_from(&self, from: Option<&str>, mut policy: RecipePolicy) {
        let mut state = self.state();
        let label = policy
            .regions
            .first()
            .map(|(_, policy)| policy.recipe.clone());
        if let (Some(from), Some(label)) = (from, &label) {
            state.carry_thresholds(from, label);
        }

        // A recipe that was never challenged counts from now: it is overdue one interval from here,
        // not at once.
        let recipe = recipe_of(&policy);
        if policy.challenge_every.is_some() && !state.met.contains_key(&recipe) {
            // The store keeps the first time alone, so that a box that restarts every night still
            // becomes overdue.
            let key = format!("{MET_KEY}{recipe}");
            let now = Timestamp::now().to_string();
            state.events.push(ControlEvent::Begin(key, now));
            state.met.insert(recipe, Instant::now());
        }

        // The parts of a challenge were chosen for the recipe before; their verdicts by another one
        // prove nothing.
        state.cut("another recipe judges now");
        self.checks.judged_by(label.as_deref().unwrap_or_default());
        // A threshold that was set by a command is the operator's, and stays in force.
        for (region, policy) in &mut policy.regions {
            let key = (policy.recipe.clone(), region.clone());
            if let Some(threshold) = state.set_thresholds.get(&key) {
                policy.threshold = Some(*threshold);
            }
        }

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
        // A picture that is compared with nothing would pass under any number.
        if !state.policy.is_taught {
            return Err(UNTAUGHT.to_owned());
        }

        // The region is named exactly as the recipe names it; a recipe without regions has one
        // without a name.
        let regions = &mut state.policy.regions;
        let place = regions
            .iter()
            .position(|(name, _)| name.as_deref() == region);

        let Some(place) = place else {
            return Err(no_such_region(regions));
        };

        let (name, policy) = &mut regions[place];
        let before = policy.threshold.replace(threshold);
        let key = (policy.recipe.clone(), name.clone());
        state.set_thresholds.insert(key, threshold);
        if before != Some(threshold) {
            self.checks.fail("another threshold judges now");
        }

        drop(state);
        self.tell_thresholds();
        Ok(before)
    }

    /// Returns the thresholds that commands set for a recipe, in words.
    pub fn set_thresholds(&self, recipe: &str) -> Vec<String> {
        let mut words = vec![];
        // Another revision of the recipe is another recipe here: its threshold may mean something
        // else.
        for ((of_recipe, region), threshold) in &self.state().set_thresholds {
            if **of_recipe != *recipe {
                continue;
            }

            words.push(match region {
                Some(region) => format!("{threshold} of {region}"),
                None => threshold.to_string(),
            });
        }

        words
    }

    /// Returns the thresholds that commands set and no revision of the library has yet.
    pub fn set_by_commands(&self) -> Vec<SetThresholds> {
        by_recipe(&self.state().set_thresholds)
    }

    /// Returns true if the recipe of that label judges.
    pub fn judges(&self, recipe: &str) -> bool {
        let state = self.state();
        let mut regions = state.policy.regions.iter();
        regions.any(|(_, policy)| *policy.recipe == *recipe)
    }

    /// Lets the thresholds that commands set for one revision hold for another one of the recipe, which takes
    /// its place: they were set while it was made.
    pub fn carry_thresholds(&self, from: &str, to: &str) {
        self.state().carry_thresholds(from, to);
    }

    /// Takes over that a revision of that label has these thresholds. Returns true if its recipe judges.
    pub fn relabel(&self, kept: &SetThresholds, label: &str) -> bool {
        let mut state = self.state();
        let label: Arc<str> = label.into();
        // A threshold that was set again meanwhile is not in the revision.
        let before = std::mem::take(&mut state.set_thresholds);
        for ((recipe, region), threshold) in before {
            if recipe != kept.recipe {
                state.set_thresholds.insert((recipe, region), threshold);
            } else if !kept.values.contains(&(region.clone(), threshold)) {
                state
                    .set_thresholds
                    .insert((label.clone(), region), threshold);
            }
        }

        let mut judges = false;
        for (_, policy) in &mut state.policy.regions {
            if policy.recipe == kept.recipe {
                policy.recipe = label.clone();
                judges = true;
            }
        }

        if judges {
            self.checks.relabel(&kept.recipe, &label);
        }

        judges
    }

    /// Returns, in words, the known bad parts that pass under the thresholds of now.
    pub fn passing_bad(&self) -> Option<String> {
        passing_bad(&self.state().policy)
    }

    /// Returns, in words, the known bad parts that fail by their own looks alone, and those that pass; empty
    /// where the thresholds catch all.
    pub fn known_bad_words(&self) -> Vec<String> {
        let policy = &self.state().policy;
        policy.known_bad.words(&policy.thresholds())
    }

    /// Tells the line's health about regions without a threshold, and about self-test pictures that a
    /// threshold contradicts.
    fn tell_thresholds(&self) {
        let can_judge = self.can_judge();
        let state = self.state();
        if !can_judge {
            let words = match state.policy.is_taught {
                true => "there is none; every part is undecided(not_ready)".to_owned(),
                false => format!("{UNTAUGHT}; every part is undecided(not_ready)"),
            };

            self.diagnostics.set(THRESHOLD, Health::Failure, words);
        } else if let Some(words) = state.policy.passes_everything() {
            tracing::error!("{words}");
            self.diagnostics.set(THRESHOLD, Health::Failure, words);
        } else {
            self.diagnostics.clear(THRESHOLD);
        }

        // A part that was missed once must stay caught, whoever sets the threshold.
        match passing_bad(&state.policy) {
            Some(words) => {
                tracing::warn!("{words}");
                self.diagnostics.set(KNOWN_BAD, Health::OffSpec, words);
            }
            None => self.diagnostics.clear(KNOWN_BAD),
        }

        // The self-test's pictures have known scores: a threshold that puts one of them on the
        // wrong side is wrong, whoever set it.
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
        // The state comes first: from here on no part is accepted, or parts are again, and health
        // follows.
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
        if self.checks.is_under_way() {
            return Err("the parts of a shift check are under way; abort ends it".to_owned());
        }

        let mut state = self.state();
        if let Some(challenge) = &state.challenge {
            return Err(challenge.progress());
        }

        // The command handler hands it to the store with the command's answer: a crash from then on
        // ends it as cut.
        let challenge = Challenge::new(id, spec, since);
        state.events.push(ControlEvent::Keep(challenge.kept()));
        state.challenge = Some(challenge);
        self.diagnostics.set(UNDER_WAY, Health::CheckFunction, id);
        Ok(())
    }

    /// Begins a shift check. Returns its words.
    ///
    /// # Errors
    /// When one is under way, or a challenge.
    pub fn begin_check(&self, start: CheckStart) -> Result<String, String> {
        if let Some(challenge) = &self.state().challenge {
            return Err(challenge.progress());
        }

        self.checks.begin(start)
    }

    /// Claims a place in a running challenge or shift check for a part that `camera` requests at `since`.
    /// Returns its id, or `None` where the part belongs to none.
    pub fn claim(&self, camera: &str, since: Instant) -> Option<Arc<str>> {
        if let Some(check) = self.checks.claim(camera, since) {
            return Some(check);
        }

        let mut state = self.state();
        // Places are counted under the same lock as results, so that no more parts claim one than
        // were announced.
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

        if let Some(mut counted) = self.checks.on_result(report) {
            if counted.is_met {
                counted.kept.push(self.state().meet());
            }

            return counted.kept;
        }

        let mut state = self.state();
        // It is taken out for the count and put back unless this was its last part.
        let Some(mut challenge) = state.challenge.take() else {
            return vec![];
        };

        // Two challenges may have the same id in words; the allocation tells them apart.
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

        // The outcome is kept in the transaction of the last part's result: both stand, or neither.
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
        vec![state.meet(), (missed, String::new())]
    }

    /// Ends what an operator has seen: a challenge that is under way or was missed, and the notices of a
    /// broken store, of results that were given up, of a gate that was not told, of an id that came with
    /// two commands, of a threshold that could not be kept, of a web that went by unseen, of an object that became the line's own, and of
    /// drift, which is then looked for anew.
    pub fn reset(&self) {
        let mut state = self.state();
        state.cut("reset by a command");
        self.checks.cut("reset by a command");
        let none_missed = (MISSED_KEY.to_owned(), String::new());
        state.events.push(ControlEvent::Keep(none_missed));
        drop(state);
        for source in [
            UNDER_WAY,
            MISSED,
            MOVED_ASIDE,
            GIVEN_UP,
            GATE,
            COMMAND_IDS,
            LIBRARY,
            SHADOW,
        ] {
            self.diagnostics.clear(source);
        }

        let begins = [WEB_OF, LINE_OF, DRIFT_OF];
        self.diagnostics
            .clear_all(|source| begins.iter().any(|begin| source.starts_with(begin)));
    }

    /// Ends a challenge that is under way: the line stops, and no more parts come.
    pub fn stop(&self) {
        self.state().cut("the line stops");
        self.checks.cut("the line stops");
    }

    /// Tells the line's health when a challenge is overdue. Takes the events since the last call.
    pub fn poll(&self, now: Instant) -> Vec<ControlEvent> {
        let mut state = self.state();
        match state.overdue(now) {
            Some(interval) => {
                let minutes = interval.as_secs() / 60;
                // The words have whole minutes, and the interval rather than the age: words that
                // change with each look would be a new `state` each time.
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
    fn carry_thresholds(&mut self, from: &str, to: &str) {
        self.set_thresholds = carried(std::mem::take(&mut self.set_thresholds), from, to);
    }

    /// Known parts have proved the recipe that judges, from now on for one interval. Returns what is to be
    /// kept of that.
    fn meet(&mut self) -> KeyValue {
        let recipe = recipe_of(&self.policy);
        let key = format!("{MET_KEY}{recipe}");
        self.met.insert(recipe, Instant::now());
        (key, Timestamp::now().to_string())
    }

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
        // The clock is this process's own: nothing that people do to the wall clock makes a
        // challenge due.
        let since = now.saturating_duration_since(*met);
        (since > interval).then_some(interval)
    }
}

fn passing_bad(policy: &RecipePolicy) -> Option<String> {
    policy.known_bad.passing(&policy.thresholds())
}

#[cfg(test)]
mod tests;
