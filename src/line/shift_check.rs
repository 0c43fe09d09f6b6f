//! The shift checks of a line: the one that is under way, those before it, and when the next one is due.
//!
//! ```text
//! start --> places for the next parts, the bad ones first --> results --> gate, signature --> history
//! ```
//! Parts claim a place when they are requested, as those of a challenge do: the bad ones first, the good ones
//! behind them without a step in between, so that nobody has to stand at the screen. A part that comes when
//! all places are taken is production. A challenge and a check are never under way together. Another recipe or
//! threshold ends a check that is not over: it would prove what does not judge any more.
//!
//! Bounds: 500 (`HISTORY_MAX`) checks are kept, in the store and here. An open check waits for its next step
//! without end; the clock of the last passed one goes on meanwhile.

mod places;
mod record;

use self::places::{KnownPlaces, Places};
use self::record::{kept, key_of, name_of, recovered, word};
use crate::base::health::{Diagnostics, Health};
use crate::data::report::Report;
use crate::data::verdict::Verdict;
use crate::line::selection::Selection;
use crate::protocol::check_due::{CheckDue, CheckFigures};
use crate::protocol::shift_check::{
    CheckReason, CheckStage, CheckStep, CheckWord, KnownParts, RECORD_VERSION, ShiftCheck,
    ShiftCheckCommand,
};
use crate::store::KeyValue;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Checks that are kept; beyond, the oldest are forgotten.
const HISTORY_MAX: usize = 500;
/// Key under which the store keeps since when checks are asked for.
const SINCE_KEY: &str = "shift_checks_since";
/// Diagnostics source of a check that is under way.
const UNDER_WAY: &str = "shift check under way";
/// Diagnostics source of a check that failed.
const FAILED: &str = "shift check";
/// Diagnostics source of a check that is due.
const OVERDUE: &str = "shift check overdue";
/// Reason of a check that was under way when an earlier run ended.
const ENDED_BEFORE: &str = "winspect ended before its last part had a result";

/// All shift checks of a line. Clones share one state.
#[derive(Debug, Clone)]
pub struct ShiftChecks {
    state: Arc<Mutex<CheckState>>,
    diagnostics: Diagnostics,
}

#[derive(Debug)]
struct CheckState {
    /// The oldest first; the last one may be under way.
    history: VecDeque<ShiftCheck>,
    /// Places for known parts; `None` while none are waited for.
    places: Option<KnownPlaces>,
    due: CheckDue,
    /// Cameras of parts, and names that several share; none before they are known.
    cameras: Vec<Arc<str>>,
    /// Name of the recipe that judges; empty before one does.
    judging: String,
    /// Since when checks are asked for. `None` where they were not so far.
    since: Option<Timestamp>,
    /// Values for the store, and ends; the command handler takes them twice a second.
    events: Vec<CheckEvent>,
    /// True when a check was overdue at the last look.
    is_overdue: bool,
    /// True when a part was counted since the last look.
    is_counted: bool,
}

/// A change to be told, and kept for later runs.
#[derive(Debug)]
pub enum CheckEvent {
    /// A key for the store with its value; a value that stands there already stays.
    Begin(String, String),
    /// A key for the store with its new value.
    Keep(KeyValue),
    /// How far the check is that the command began.
    Counted(Selection, String),
    /// The parts of the check are over that the command began.
    PartsOver(Selection, Box<ShiftCheck>),
}

/// What a counted part changes.
#[derive(Debug)]
pub struct CountedPart {
    /// Values to be kept with the part's result.
    pub kept: Vec<KeyValue>,
    /// True when it was the last one, and all parts got the verdict that they must have.
    pub is_met: bool,
}

/// A check that is to begin.
#[derive(Debug)]
pub struct CheckStart<'a> {
    /// The command, whose second answer is kept.
    pub command: Selection,
    /// Why the line is checked.
    pub why: CheckReason,
    /// Number of bad parts.
    pub bad: u32,
    /// Number of good parts.
    pub good: u32,
    /// Camera of the parts; any where `None`.
    pub camera: Option<&'a str>,
    /// `name@revision` of the recipe that judges.
    pub recipe: String,
    /// Who begins it.
    pub who: String,
    /// Parts that are requested after this moment belong to it.
    pub since: Instant,
}

impl ShiftChecks {
    /// `kept` holds the values of earlier runs. A check whose parts were under way then has failed; one that
    /// waited for an answer still does.
    pub fn new(kept: &BTreeMap<String, String>, diagnostics: Diagnostics) -> Self {
        let since = kept.get(SINCE_KEY);

        let state = CheckState {
            history: recovered(kept),
            places: None,
            events: vec![],
            due: CheckDue::default(),
            cameras: vec![],
            judging: String::new(),
            since: since.and_then(|at| at.parse().ok()),
            is_overdue: false,
            is_counted: false,
        };

        let checks = ShiftChecks {
            state: Arc::new(Mutex::new(state)),
            diagnostics,
        };

        checks.cut(ENDED_BEFORE);
        checks.tell(&checks.state());

        checks
    }

    /// Asks for checks of these cameras' parts from now on, or for none any more.
    pub fn ask(&self, due: CheckDue, cameras: Vec<Arc<str>>) {
        let mut state = self.state();
        state.cameras = cameras;

        // The store keeps the first time alone, so that a box that restarts every night still becomes
        // overdue.
        if due.is_asked() && state.since.is_none() {
            let now = Timestamp::now();
            let begin = CheckEvent::Begin(SINCE_KEY.to_owned(), now.to_string());

            state.since = Some(now);

            state.events.push(begin);
        }

        state.due = due;
    }

    /// Begins a check. Returns its words.
    ///
    /// # Errors
    /// When one is under way.
    pub fn begin(&self, start: CheckStart) -> Result<String, String> {
        let mut state = self.state();

        if let Some(open) = state.open() {
            return Err(format!(
                "shift check {} is under way: {}; or abort it",
                open.check,
                open.words()
            ));
        }

        let largest = state.history.iter().map(|check| check.order).max();

        let check = ShiftCheck {
            version: RECORD_VERSION,
            order: largest.map_or(1, |largest| largest.saturating_add(1)),
            check: ulid::Ulid::generate().to_string(),
            why: start.why,
            recipe: start.recipe,
            camera: start.camera.map(str::to_owned),
            began: word(&start.who, ""),
            bad: KnownParts::announced(start.bad),
            good: KnownParts::announced(start.good),
            unexpected: vec![],
            cut: None,
            removed: None,
            gate: None,
            signed: None,
            acknowledged: None,
        };

        let words = check.words();

        state.places = Some(KnownPlaces {
            command: start.command,
            since: start.since,
            camera: check.camera.clone(),
            bad: Places::new(&check.check, start.bad),
            good: Places::new(&check.check, start.good),
        });

        state.add(check);
        self.tell(&state);

        Ok(words)
    }

    /// True while parts of a check are waited for.
    pub fn is_under_way(&self) -> bool {
        self.state().places.is_some()
    }

    /// Claims a place for a part that is requested by `camera` at `since`; `None` where the part is none of a
    /// check.
    pub fn claim(&self, camera: &str, since: Instant) -> Option<Arc<str>> {
        let mut state = self.state();
        let places = state.places.as_mut()?;

        places.claim(camera, since)
    }

    /// Counts a part's result; `None` where the part is none of the check that is under way.
    pub fn on_result(&self, report: &Report) -> Option<CountedPart> {
        let token = report.part.request.challenge.as_ref()?;
        let mut state = self.state();
        let places = state.places.as_ref()?;

        let is_bad = Arc::ptr_eq(token, &places.bad.token);

        if !is_bad && !Arc::ptr_eq(token, &places.good.token) {
            return None;
        }

        let expected = match is_bad {
            true => Verdict::Fail,
            false => Verdict::Pass,
        };

        let is_expected = report.verdict == expected;
        let check = state.history.back_mut()?;

        check.count(is_bad, is_expected, name_of(report, is_bad));
        let check = check.clone();

        let mut counted = CountedPart {
            kept: vec![kept(&check)],
            is_met: false,
        };

        if check.stage() == CheckStage::Parts {
            state.is_counted = true;

            return Some(counted);
        }

        counted.is_met = check.stage() == CheckStage::Gate;
        state.end_parts(check);
        self.tell(&state);

        Some(counted)
    }

    /// Does a step that is no start. Returns the words of its answer.
    ///
    /// # Errors
    /// When it is not its turn.
    pub fn step(&self, command: &ShiftCheckCommand, who: &str) -> Result<String, String> {
        let mut state = self.state();
        let words = state.step(command, who)?;

        self.tell(&state);

        Ok(words)
    }

    /// Ends a check whose parts are under way: it has failed.
    pub fn cut(&self, why: &str) {
        let mut state = self.state();
        let is_under_way = state
            .open()
            .is_some_and(|open| open.stage() == CheckStage::Parts);

        if is_under_way {
            state.cut(word("winspect", why));

            self.tell(&state);
        }
    }

    /// Ends a check that is not over, in whatever stage: it has failed.
    pub fn fail(&self, why: &str) {
        let mut state = self.state();

        if state.open().is_some() {
            state.cut(word("winspect", why));

            self.tell(&state);
        }
    }

    /// A recipe of that `name@revision` judges from now on: a check that is not over has failed.
    pub fn judged_by(&self, label: &str) {
        let mut state = self.state();
        let name = name_in(label).to_owned();
        let is_start = std::mem::replace(&mut state.judging, name).is_empty();

        let is_its_recipe = state.open().is_some_and(|open| open.recipe == label);
        drop(state);

        // One that waited through a restart goes on, if the same revision judges.
        if !is_start || !is_its_recipe {
            self.fail("another recipe judges now");
        }
    }

    /// The revision that judges has another `name@revision`, and judges by the same values.
    pub fn relabel(&self, from: &str, to: &str) {
        let mut state = self.state();

        if state.open().is_some_and(|open| open.recipe == from) {
            // There is one, and it is kept.
            let _ = state.change(|check| to.clone_into(&mut check.recipe));
        }
    }

    /// Tells the line's health when a check is overdue. Takes the events since the last call.
    pub fn poll(&self, now: Timestamp) -> Vec<CheckEvent> {
        let mut state = self.state();
        let zone = TimeZone::system();
        let since = state.since.unwrap_or(now);

        let overdue = state.due.overdue(state.passed(), since, now, &zone);
        state.is_overdue = overdue.is_some();

        match overdue {
            Some(words) => self.diagnostics.set(OVERDUE, Health::OffSpec, words),
            None => self.diagnostics.clear(OVERDUE),
        }

        let mut events = std::mem::take(&mut state.events);
        events.extend(state.counted());

        events
    }

    /// The newest checks, the newest first.
    pub fn newest(&self, most: usize) -> Vec<ShiftCheck> {
        let state = self.state();
        let newest = state.history.iter().rev().take(most);

        newest.cloned().collect()
    }

    /// How the checks are. Of several cameras, the one counts whose last passed check is oldest.
    pub fn figures(&self) -> CheckFigures {
        let state = self.state();
        let mut stages = state.history.iter().rev().map(ShiftCheck::stage);
        let over = stages.find(|stage| matches!(stage, CheckStage::Passed | CheckStage::Failed));

        CheckFigures {
            is_overdue: state.due.is_asked().then_some(state.is_overdue),
            has_passed: over.map(|stage| stage == CheckStage::Passed),
            passed_at: state.passed(),
        }
    }

    /// Tells the line's health how the checks are.
    fn tell(&self, state: &CheckState) {
        match state.open().map(|open| (open.stage(), open.words())) {
            Some((CheckStage::Parts, _)) => {
                // Without the counts: each would be a new `state`.
                let words = "the next parts are known ones";

                self.diagnostics
                    .set(UNDER_WAY, Health::CheckFunction, words);
            }

            Some((_, words)) => {
                self.diagnostics
                    .set(UNDER_WAY, Health::MaintenanceRequired, words);
            }

            None => self.diagnostics.clear(UNDER_WAY),
        }

        match state.unseen_failure() {
            Some(failed) => {
                let words = format!("{} {}", failed.check, failed.words());

                self.diagnostics.set(FAILED, Health::Failure, words);
            }

            None => self.diagnostics.clear(FAILED),
        }
    }

    fn state(&self) -> MutexGuard<'_, CheckState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CheckState {
    /// The check that is under way, or waits for an answer.
    fn open(&self) -> Option<&ShiftCheck> {
        let last = self.history.back()?;
        let is_over = matches!(last.stage(), CheckStage::Passed | CheckStage::Failed);

        (!is_over).then_some(last)
    }

    /// How far the parts are, where one was counted since the last look.
    fn counted(&mut self) -> Option<CheckEvent> {
        let is_counted = std::mem::take(&mut self.is_counted);

        if !is_counted {
            return None;
        }

        let command = self.places.as_ref()?.command.clone();
        let check = self.history.back()?;

        Some(CheckEvent::Counted(command, check.words()))
    }

    /// When the last check was signed that passed for the recipe that judges: for each camera.
    fn passed(&self) -> Option<Timestamp> {
        if self.cameras.is_empty() {
            return self.passed_for(None);
        }

        let each = self.cameras.iter();
        let each = each.map(|camera| self.passed_for(Some(camera)));

        // A camera without one makes it none.
        each.min().flatten()
    }

    fn passed_for(&self, camera: Option<&str>) -> Option<Timestamp> {
        let mut newest = self.history.iter().rev();

        let passed = newest.find(|check| {
            let is_of_recipe = self.judging.is_empty() || name_in(&check.recipe) == self.judging;
            let is_of_camera = check.camera.is_none() || check.camera.as_deref() == camera;

            is_of_recipe && is_of_camera && check.stage() == CheckStage::Passed
        })?;

        passed.signed.as_ref().map(|signed| signed.at)
    }

    /// The newest failure that nobody has acknowledged, and no passed check has followed.
    fn unseen_failure(&self) -> Option<&ShiftCheck> {
        let newest = self.history.iter().rev();
        let mut since_passed = newest.take_while(|check| check.stage() != CheckStage::Passed);

        since_passed.find(|check| check.is_unseen_failure())
    }

    fn add(&mut self, check: ShiftCheck) {
        self.events.push(CheckEvent::Keep(kept(&check)));
        self.history.push_back(check);

        while self.history.len() > HISTORY_MAX
            && let Some(oldest) = self.history.pop_front()
        {
            let forgotten = (key_of(&oldest), String::new());

            self.events.push(CheckEvent::Keep(forgotten));
        }
    }

    /// The parts are over, one way or the other.
    fn end_parts(&mut self, check: ShiftCheck) {
        if let Some(places) = self.places.take() {
            let over = CheckEvent::PartsOver(places.command, Box::new(check));

            self.events.push(over);
        }
    }

    fn cut(&mut self, cut: CheckWord) {
        let Some(check) = self.history.back_mut() else {
            return;
        };

        check.cut = Some(cut);
        let check = check.clone();

        self.events.push(CheckEvent::Keep(kept(&check)));

        self.end_parts(check);
    }

    fn step(&mut self, command: &ShiftCheckCommand, who: &str) -> Result<String, String> {
        if let CheckStep::Acknowledge { note } = &command.step {
            return self.acknowledge(command.check.as_deref(), word(who, note));
        }

        let open = self.open().ok_or("no shift check is under way")?;
        let stage = open.stage();

        let words = open.words();
        let number = &open.check;

        // A form may be of a check that is over.
        let meant = command.check.as_ref().unwrap_or(number);

        if meant != number {
            return Err(format!(
                "shift check {meant} is over; {number} is under way"
            ));
        }

        match (&command.step, stage) {
            (CheckStep::Gate { removed }, CheckStage::Gate) => {
                let removed = *removed;

                self.change(|check| {
                    check.removed = Some(removed);
                    check.gate = Some(word(who, ""));
                })
            }

            (CheckStep::Sign {}, CheckStage::Signature) => {
                self.change(|check| check.signed = Some(word(who, "")))
            }

            (CheckStep::Abort { note }, _) => {
                let note = note.as_deref().unwrap_or("aborted");
                let cut = word(who, note);

                self.cut(cut);

                Ok(format!("failed: {note}"))
            }

            _ => Err(format!("it is not its turn: {words}")),
        }
    }

    /// Changes the newest check, keeps it and returns its words.
    fn change(&mut self, change: impl FnOnce(&mut ShiftCheck)) -> Result<String, String> {
        let check = self.history.back_mut().ok_or("there is no shift check")?;

        change(check);
        let words = check.words();
        let value = kept(check);

        self.events.push(CheckEvent::Keep(value));

        Ok(words)
    }

    /// Marks failures as seen: the one that is named, or all.
    fn acknowledge(&mut self, check: Option<&str>, seen: CheckWord) -> Result<String, String> {
        let mut count = 0;

        for failed in &mut self.history {
            let is_meant = check.is_none_or(|check| check == failed.check);

            if is_meant && failed.is_unseen_failure() {
                failed.acknowledged = Some(seen.clone());
                self.events.push(CheckEvent::Keep(kept(failed)));

                count += 1;
            }
        }

        match count {
            0 => Err("no failed shift check waits to be acknowledged".to_owned()),
            _ => Ok(format!("acknowledged: {count} failed")),
        }
    }
}

/// The name in `name@revision`.
fn name_in(label: &str) -> &str {
    label.rsplit_once('@').map_or(label, |(name, _)| name)
}

#[cfg(test)]
mod tests;
