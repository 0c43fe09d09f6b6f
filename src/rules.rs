//! Layer 3: what commands may change while the line runs: pause, threshold, challenge. Shared by the stages.

use crate::condition::{Causes, Health};
use crate::publish::command::Expect;
use crate::report::Judge;
use crate::verdict::{OnUndecided, Verdict};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How each region of the recipe is judged; one without a name where it names none.
pub type Judges = Vec<(Option<Arc<str>>, Judge)>;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rules {
    state: Arc<Mutex<State>>,
    causes: Causes,
}

#[derive(Debug)]
struct State {
    judges: Judges,
    is_paused: bool,
    challenge: Option<Challenge>,
    /// How often a challenge is due, and since when the last one that was met is past.
    interval: Option<Duration>,
    met: Instant,
}

/// Known parts on their way: does the line still see?
#[derive(Debug, Clone)]
pub struct Challenge {
    pub id: Arc<str>,
    pub expect: Expect,
    pub parts: u32,
    /// Judged so far, and those with the expected verdict.
    pub judged: u32,
    pub caught: u32,
}

const NO_THRESHOLD: &str = "there is none; every part is undecided(not_ready)";

impl Rules {
    /// `met` is when a challenge was met last, in an earlier run; the clock of a challenge begins now where none was.
    pub fn new(judges: Judges, interval: Option<Duration>, met: Option<Timestamp>, causes: Causes) -> Self {
        let ago = met.and_then(|met| Duration::try_from(Timestamp::now().duration_since(met)).ok());
        let met = ago.and_then(|ago| Instant::now().checked_sub(ago)).unwrap_or_else(Instant::now);
        let state = State { judges: vec![], is_paused: false, challenge: None, interval, met };
        let rules = Rules { state: Arc::new(Mutex::new(state)), causes };
        let _ = rules.change(judges, interval); // there is no challenge yet
        rules
    }

    /// How a region is judged; one that the recipe does not know has no threshold.
    pub fn judge(&self, region: Option<&str>) -> Judge {
        let state = self.state();
        let known = state.judges.iter().find(|(name, _)| name.as_deref() == region);
        known.or(state.judges.first()).map_or_else(
            || Judge { recipe: "".into(), threshold: None, on_undecided: OnUndecided::Fail },
            |(name, judge)| {
                let threshold = judge.threshold.filter(|_| name.as_deref() == region);
                Judge { threshold, ..judge.clone() }
            },
        )
    }

    /// The parts in one view.
    pub fn regions(&self) -> Vec<Option<Arc<str>>> {
        self.state().judges.iter().map(|(region, _)| region.clone()).collect()
    }

    /// True when every region has a threshold.
    pub fn can_judge(&self) -> bool {
        self.state().judges.iter().all(|(_, judge)| judge.threshold.is_some())
    }

    /// Another recipe judges from now on. `interval` is its challenge's; one that was under way for the recipe before
    /// ends here.
    pub fn change(&self, judges: Judges, interval: Option<Duration>) -> Option<Challenge> {
        let mut state = self.state();
        (state.judges, state.interval) = (judges, interval);
        let ended = state.challenge.take();
        drop(state);
        self.causes.clear("challenge under way");
        self.tell_thresholds();
        ended
    }

    /// Of that region, or of the only one. What it was.
    ///
    /// # Errors
    /// When there is no such region, or it is not clear which one is meant.
    pub fn set_threshold(&self, region: Option<&str>, threshold: f32) -> Result<Option<f32>, String> {
        let mut state = self.state();
        let names: Vec<String> = state.judges.iter().filter_map(|(name, _)| Some(name.as_ref()?.to_string())).collect();
        let (_, judge) = state.judges.iter_mut().find(|(name, _)| name.as_deref() == region).ok_or_else(|| {
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
    }

    pub fn judges(&self) -> Judges {
        self.state().judges.clone()
    }

    pub fn is_paused(&self) -> bool {
        self.state().is_paused
    }

    pub fn pause(&self, paused: bool) {
        self.state().is_paused = paused;
        if paused {
            self.causes.set("paused", Health::CheckFunction, "by a command; resume goes on");
        } else {
            self.causes.clear("paused");
        }
    }

    /// The next `parts` parts are known.
    ///
    /// # Errors
    /// When a challenge is under way.
    pub fn challenge(&self, id: &str, parts: u32, expect: Expect) -> Result<(), String> {
        let mut state = self.state();
        if let Some(challenge) = &state.challenge {
            return Err(format!(
                "challenge {:?} is under way, {} of {} parts; reset ends it",
                challenge.id, challenge.judged, challenge.parts
            ));
        }
        state.challenge = Some(Challenge { id: id.into(), expect, parts, judged: 0, caught: 0 });
        self.causes.set("challenge under way", Health::CheckFunction, id);
        Ok(())
    }

    /// A part was judged: the challenge that it belongs to, and that one again when it was the last.
    pub fn judged(&self, verdict: Verdict) -> (Option<Arc<str>>, Option<Challenge>) {
        let mut state = self.state();
        let Some(challenge) = &mut state.challenge else { return (None, None) };
        challenge.judged += 1;
        challenge.caught += u32::from(challenge.expect.is(verdict));
        let id = challenge.id.clone();
        if challenge.judged < challenge.parts {
            return (Some(id), None);
        }
        let ended = state.challenge.take();
        if let Some(ended) = &ended {
            self.causes.clear("challenge under way");
            if ended.is_met() {
                state.met = Instant::now();
                self.causes.clear("challenge");
            } else {
                self.causes.set("challenge", Health::Failure, ended.words());
            }
        }
        (Some(id), ended)
    }

    /// Ends what an operator has seen: a challenge under way, one that was not met.
    pub fn reset(&self) {
        self.state().challenge = None;
        self.causes.clear("challenge under way");
        self.causes.clear("challenge");
    }

    /// Tells when the challenge is overdue.
    pub fn look(&self, now: Instant) {
        let state = self.state();
        let since = now.saturating_duration_since(state.met);
        if let Some(interval) = state.interval.filter(|interval| since > *interval) {
            let words = format!("none was met for more than {} min", interval.as_secs() / 60);
            self.causes.set("challenge overdue", Health::OffSpec, words);
        } else {
            self.causes.clear("challenge overdue");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expect {
    fn is(self, verdict: Verdict) -> bool {
        verdict == if self == Expect::Pass { Verdict::Pass } else { Verdict::Fail }
    }
}

impl Challenge {
    pub fn is_met(&self) -> bool {
        self.caught == self.parts
    }

    pub fn words(&self) -> String {
        let expect = if self.expect == Expect::Pass { "pass" } else { "fail" };
        format!("challenge {}: {} of {} parts got the verdict {expect}", self.id, self.caught, self.parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(interval: Option<Duration>) -> (Rules, Causes) {
        let causes = Causes::default();
        let judge = Judge { recipe: "nut@1".into(), threshold: Some(0.5), on_undecided: OnUndecided::Fail };
        (Rules::new(vec![(None, judge)], interval, None, causes.clone()), causes)
    }

    #[test]
    fn a_challenge_ends_with_its_last_part_and_a_missed_one_is_a_failure_until_it_is_met() {
        let (rules, causes) = rules(None);
        rules.challenge("c1", 2, Expect::Fail).expect("none is under way");
        assert!(rules.challenge("c2", 2, Expect::Fail).is_err_and(|why| why.contains("0 of 2 parts")));
        assert_eq!(causes.all().0, Health::CheckFunction);
        assert!(rules.judged(Verdict::Fail).1.is_none());
        let ended = rules.judged(Verdict::Undecided).1.expect("the last");
        assert_eq!((ended.is_met(), causes.all().0), (false, Health::Failure));
        rules.challenge("c3", 1, Expect::Fail).expect("the first has ended");
        assert!(rules.judged(Verdict::Fail).1.is_some_and(|ended| ended.is_met()));
        assert_eq!(causes.all().0, Health::Normal);
        assert_eq!(rules.judged(Verdict::Fail).0, None);
    }

    #[test]
    fn a_challenge_that_is_overdue_is_off_spec() {
        let (rules, causes) = rules(Some(Duration::from_secs(60)));
        rules.look(Instant::now() + Duration::from_secs(59));
        assert_eq!(causes.all().0, Health::Normal);
        rules.look(Instant::now() + Duration::from_secs(61));
        assert_eq!(causes.all().0, Health::OffSpec);
        // Another recipe asks for none.
        rules.change(rules.judges(), None);
        rules.look(Instant::now() + Duration::from_secs(61));
        assert_eq!(causes.all().0, Health::Normal);
    }

    #[test]
    fn a_challenge_that_an_earlier_run_met_counts_from_then() {
        let causes = Causes::default();
        let met = Timestamp::now() - jiff::SignedDuration::from_secs(50);
        let rules = Rules::new(vec![], Some(Duration::from_secs(60)), Some(met), causes.clone());
        rules.look(Instant::now() + Duration::from_secs(5));
        assert!(!causes.all().1.iter().any(|cause| cause.contains("overdue")));
        rules.look(Instant::now() + Duration::from_secs(15));
        assert!(causes.all().1.iter().any(|cause| cause.contains("overdue")));
    }

    #[test]
    fn each_region_has_its_own_threshold_and_an_unknown_one_none() {
        let causes = Causes::default();
        let judge = |threshold| Judge { recipe: "tray@1".into(), threshold, on_undecided: OnUndecided::Fail };
        let judges = vec![(Some("left".into()), judge(Some(0.5))), (Some("right".into()), judge(None))];
        let rules = Rules::new(judges, None, None, causes.clone());
        let threshold = |region| rules.judge(region).threshold;
        assert_eq!((threshold(Some("left")), threshold(Some("right")), threshold(None)), (Some(0.5), None, None));
        assert_eq!((rules.can_judge(), causes.all().0), (false, Health::Failure));
        assert!(rules.set_threshold(None, 0.1).is_err_and(|why| why == "region must be one of left, right"));
        assert_eq!(rules.set_threshold(Some("right"), 0.1), Ok(None));
        assert_eq!((rules.can_judge(), causes.all().0), (true, Health::Normal));
    }
}
