//! The hold: one user has control of the line's set-up for a few minutes, and `ready` is off meanwhile.
//!
//! ```text
//! free --take_control--> held by WHO --release_control, or HOLD_MAX over--> free
//! ```
//! A change that is being prepared was asked for while its sender might change the set-up. It would land while somebody else
//! has control, so nobody is given control until it has ended ([`Hold::begin_change`]).
//! Who holds may change recipes and thresholds, and all others are refused; so a person who selects a recipe at the
//! page and a PLC that does the same do not undo each other's work. Parts that come all the same are judged. Taking it
//! again begins its time anew. A hold is of this process's clock, and ends with the process.

use crate::base::health::{Diagnostics, Health};
use crate::protocol::command::Action;
use crate::protocol::condition::{HELD, Holder};
use crate::protocol::teaching::RecipeChange;
use jiff::{SignedDuration, Timestamp};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Refusal while a change is being prepared.
const UNDER_WAY: &str = "the recipe is being changed; take control once that has ended";

/// Longest time of a hold.
pub const HOLD_MAX: Duration = Duration::from_secs(10 * 60);

/// Handle of the hold; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Hold {
    held: Arc<Mutex<Option<Held>>>,
    /// Changes of the set-up that are being prepared.
    changes: Arc<AtomicUsize>,
    diagnostics: Diagnostics,
}

/// A change of the set-up that is being prepared. It has ended when this is dropped.
#[derive(Debug)]
pub struct ChangeUnderWay(Arc<AtomicUsize>);

impl Drop for ChangeUnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone)]
struct Held {
    holder: Holder,
    /// Moment of its end, on the monotonic clock.
    until: Instant,
}

impl Hold {
    /// Nobody holds; a holder is told by `diagnostics`.
    pub fn new(diagnostics: Diagnostics) -> Self {
        Hold {
            held: Arc::default(),
            changes: Arc::default(),
            diagnostics,
        }
    }

    /// Gives somebody control; returns what is to be said.
    ///
    /// # Errors
    /// When somebody else has it, or a change is being prepared that whoever has control did not ask for.
    pub fn take(&self, who: &str, now: Instant) -> Result<String, String> {
        self.check(who, now)?;

        // Whoever has control already asked for what is being prepared.
        if self.holder().is_none() && self.changes.load(Ordering::Relaxed) > 0 {
            return Err(UNDER_WAY.to_owned());
        }

        let until = Timestamp::now() + SignedDuration::from_secs(HOLD_MAX.as_secs() as i64);

        let holder = Holder {
            who: who.to_owned(),
            until,
        };

        let words = format!("{}; ready is off until control is released", holder.words());

        self.diagnostics
            .set(HELD, Health::CheckFunction, words.clone());

        *self.held() = Some(Held {
            holder,
            until: now + HOLD_MAX,
        });

        Ok(words)
    }

    /// Says that a change of the set-up is being prepared.
    pub fn begin_change(&self) -> ChangeUnderWay {
        self.changes.fetch_add(1, Ordering::Relaxed);

        ChangeUnderWay(self.changes.clone())
    }

    /// Ends somebody's hold.
    ///
    /// # Errors
    /// When somebody else has control, or nobody.
    pub fn release(&self, who: &str, now: Instant) -> Result<(), String> {
        self.check(who, now)?;

        if self.held().take().is_none() {
            return Err("nobody has control".to_owned());
        }

        self.diagnostics.clear(HELD);

        Ok(())
    }

    /// Ends a hold whose time is over; returns who had it.
    pub fn look(&self, now: Instant) -> Option<String> {
        // The clock is this process's own: a clock that is set ends no hold.
        let mut held = self.held();
        let over = held.take_if(|held| now >= held.until)?;

        self.diagnostics.clear(HELD);

        Some(over.holder.who)
    }

    /// Who has control.
    pub fn holder(&self) -> Option<Holder> {
        let held = self.held();
        let held = held.as_ref()?;

        Some(held.holder.clone())
    }

    /// Refuses what would change the set-up while somebody else has control.
    ///
    /// # Errors
    /// Who has control, in words.
    pub fn check(&self, who: &str, now: Instant) -> Result<(), String> {
        // A hold that is over keeps nobody out, whether or not somebody has looked.
        self.look(now);

        match self.holder() {
            Some(holder) if holder.who != who => Err(holder.words()),
            _ => Ok(()),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True for a command that changes what parts are judged by.
pub fn changes_set_up(action: &Action) -> bool {
    match action {
        // The file may name other recipes and thresholds.
        Action::SelectRecipe { .. } | Action::SetThreshold { .. } | Action::Reload => true,
        Action::Change(change) => recipe_changes(change),
        _ => false,
    }
}

/// The same of a change of a recipe.
pub fn recipe_changes(change: &RecipeChange) -> bool {
    match change {
        // A label that teaches makes a revision that judges, unless it is to wait as a candidate.
        RecipeChange::Label(label) => {
            let teaches = label.label.is_some_and(|label| label.taught_as().is_some());

            label.teach && teaches && !label.candidate
        }

        // Groups of doubtful parts change nothing.
        RecipeChange::Suggest(_) | RecipeChange::WhatIf(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::command::parse;

    const ANNA: &str = "anna (page)";
    const PLC: &str = "mqtt";

    #[test]
    fn one_has_control_until_it_is_released() {
        let diagnostics = Diagnostics::default();
        let hold = Hold::new(diagnostics.clone());
        let now = Instant::now();
        assert_eq!(hold.check(PLC, now), Ok(()));
        hold.take(ANNA, now).expect("it is free");
        let (health, causes) = diagnostics.all();
        assert_eq!(health, Health::CheckFunction);
        assert!(
            causes[0].starts_with("control held: anna (page) has control until"),
            "{causes:?}"
        );

        let refused = hold.take(PLC, now).expect_err("it is held");
        assert!(refused.contains(ANNA), "{refused}");
        assert!(hold.release(PLC, now).is_err());
        assert!(hold.check(PLC, now).is_err());
        assert_eq!(hold.check(ANNA, now), Ok(()));
        assert_eq!(hold.release(ANNA, now), Ok(()));
        assert_eq!(hold.check(PLC, now), Ok(()));
        assert!(hold.release(ANNA, now).is_err());
        assert_eq!(diagnostics.all().0, Health::Normal);
    }

    #[test]
    fn control_waits_for_a_change_that_is_being_prepared() {
        let hold = Hold::new(Diagnostics::default());
        let now = Instant::now();
        let change = hold.begin_change();
        assert_eq!(hold.take(ANNA, now), Err(UNDER_WAY.to_owned()));
        assert_eq!(hold.check(PLC, now), Ok(()), "nobody has control");

        drop(change);
        hold.take(ANNA, now).expect("it has ended");
        let _change = hold.begin_change();
        hold.take(ANNA, now).expect("it is their own change");
    }

    #[test]
    fn a_label_changes_the_set_up_where_it_teaches_what_judges() {
        for (extra, expected) in [
            (r#""as":"good""#, true),
            (r#""as":"good","candidate":true"#, false),
            (r#""as":"good","teach":false"#, false),
            (r#""note":"scratch""#, false),
        ] {
            let payload = format!(r#"{{"id":"a","run_id":"01A","camera":"top","seq":7,{extra}}}"#);
            let command = parse("label", payload.as_bytes()).expect("a label");
            assert_eq!(changes_set_up(&command.action), expected, "{payload}");
        }
    }

    #[test]
    fn a_hold_ends_by_itself_and_begins_anew_when_it_is_taken_again() {
        let diagnostics = Diagnostics::default();
        let hold = Hold::new(diagnostics.clone());
        let start = Instant::now();
        hold.take(ANNA, start).expect("it is free");
        let half = start + HOLD_MAX / 2;
        hold.take(ANNA, half).expect("it is theirs");
        assert_eq!(hold.look(start + HOLD_MAX), None);
        assert_eq!(hold.look(half + HOLD_MAX).as_deref(), Some(ANNA));
        assert_eq!(hold.holder(), None);
        assert_eq!(diagnostics.all().1, [""; 0]);

        // Nobody needs to have looked for another one to take it.
        hold.take(ANNA, start).expect("it is free");
        hold.take(PLC, start + HOLD_MAX).expect("it is over");
    }
}
