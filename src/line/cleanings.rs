//! Lenses that somebody has cleaned: the figures before, and after the next passed parts.
//!
//! ```text
//! cleaned --figures before--> the next parts that pass --figures after--> outcome, audit log
//! ```
//! One cleaning a camera is under way at most.

use crate::data::lens::{LensView, Lenses};
use crate::line::selection::Selection;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Passed parts after which a lens that was cleaned is looked at.
pub const CLEANED_PARTS: u64 = 20;

/// The cleanings of a line. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Cleanings(Arc<Mutex<CleaningState>>);

#[derive(Debug, Default)]
struct CleaningState {
    under_way: BTreeMap<String, Cleaning>,
    /// Ended ones, which the command handler takes twice a second.
    ended: Vec<EndedCleaning>,
}

#[derive(Debug)]
struct Cleaning {
    /// The command, whose second answer is kept.
    selection: Selection,
    /// The figures before, in words.
    before: String,
    /// True once the parts of before are forgotten.
    is_begun: bool,
}

/// A cleaning that has ended.
#[derive(Debug, PartialEq)]
pub struct EndedCleaning {
    /// The command, whose second answer is kept.
    pub selection: Selection,
    /// What was seen, or why nothing was.
    pub outcome: Result<String, String>,
}

impl Cleanings {
    /// Begins to look at a lens that was cleaned. Returns the answer's words.
    ///
    /// # Errors
    /// When one of this camera is under way.
    pub fn begin(
        &self,
        camera: &str,
        selection: Selection,
        lenses: &Lenses,
    ) -> Result<String, String> {
        let mut state = self.state();

        if state.under_way.contains_key(camera) {
            return Err(format!(
                "{camera} was said to be cleaned already, and its next {CLEANED_PARTS} parts are \
                 waited for; reset ends that"
            ));
        }

        let before = lenses.of(camera);
        let before = before.map_or("no part had passed".to_owned(), |view| view.words());
        let words =
            format!("before: {before}; the next {CLEANED_PARTS} passed parts say what it is now");
        let cleaning = Cleaning {
            selection,
            before,
            is_begun: false,
        };

        state.under_way.insert(camera.to_owned(), cleaning);

        Ok(words)
    }

    /// True once for each cleaning of a camera: its parts of before are to be forgotten.
    pub fn takes_over(&self, camera: &str) -> bool {
        let mut state = self.state();
        let cleaning = state.under_way.get_mut(camera);

        cleaning.is_some_and(|cleaning| !std::mem::replace(&mut cleaning.is_begun, true))
    }

    /// Looks at a lens after so many parts that have passed since it was cleaned.
    pub fn look(&self, camera: &str, parts: u64, view: &LensView) {
        if parts < CLEANED_PARTS {
            return;
        }

        let mut state = self.state();
        let is_begun = state
            .under_way
            .get(camera)
            .is_some_and(|cleaning| cleaning.is_begun);

        if !is_begun {
            return;
        }

        if let Some(cleaning) = state.under_way.remove(camera) {
            let after = view.words();
            let words = format!("{camera}: before: {}; after: {after}", cleaning.before);

            state.ended.push(EndedCleaning {
                selection: cleaning.selection,
                outcome: Ok(words),
            });
        }
    }

    /// Ends the cleaning of a camera, or all of them, before its parts have come.
    pub fn cut(&self, camera: Option<&str>, why: &str) {
        let mut state = self.state();
        let all = std::mem::take(&mut state.under_way);

        for (name, cleaning) in all {
            // One that has not begun is about parts to come: they are judged by the other recipe.
            if camera.is_none_or(|camera| camera == name) && (camera.is_none() || cleaning.is_begun)
            {
                state.ended.push(EndedCleaning {
                    selection: cleaning.selection,
                    outcome: Err(format!("{name}: {why}; before: {}", cleaning.before)),
                });
            } else {
                state.under_way.insert(name, cleaning);
            }
        }
    }

    /// Takes those that have ended since the last look.
    pub fn ended(&self) -> Vec<EndedCleaning> {
        std::mem::take(&mut self.state().ended)
    }

    fn state(&self) -> MutexGuard<'_, CleaningState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::lens::LensFigures;
    use crate::protocol::command::CLEANED;

    fn command(id: &str) -> Selection {
        Selection::new(CLEANED, Some(id), "")
    }

    fn view(sharpness: f32) -> LensView {
        LensView {
            camera: "top".into(),
            size: (160, 120),
            parts: 20,
            figures: LensFigures {
                brightness: 80.0,
                sharpness,
                saturated: 0.0,
            },
            brightness: None,
            sharpness: None,
            watches_places: false,
            places: vec![],
            told: vec![],
            drift: vec![],
            good: None,
            newest: None,
        }
    }

    #[test]
    fn a_cleaned_lens_is_compared_by_the_parts_after() {
        let cleanings = Cleanings::default();
        let lenses = Lenses::default();
        lenses.show(view(400.0));
        cleanings
            .begin("top", command("1"), &lenses)
            .expect("none is under way");
        assert!(cleanings.begin("top", command("2"), &lenses).is_err());
        // Parts of before do not count: the inspector has not begun anew.
        cleanings.look("top", 70, &view(400.0));
        assert!(cleanings.takes_over("top") && !cleanings.takes_over("top"));
        cleanings.look("top", 19, &view(900.0));
        assert_eq!(cleanings.ended(), []);
        cleanings.look("top", 20, &view(1300.0));
        let words = "top: before: sharpness 400, brightness 80, 0.0 % saturated; \
                     after: sharpness 1300, brightness 80, 0.0 % saturated";
        let ended = cleanings.ended();
        assert_eq!(ended.len(), 1);
        assert_eq!(ended[0].selection.id.as_deref(), Some("1"));
        assert_eq!(ended[0].outcome, Ok(words.to_owned()));
    }

    #[test]
    fn another_recipe_ends_a_comparison_that_has_begun() {
        let cleanings = Cleanings::default();
        let lenses = Lenses::default();
        cleanings
            .begin("top", command("1"), &lenses)
            .expect("none is under way");
        cleanings.cut(Some("top"), "another recipe judges");
        assert_eq!(cleanings.ended(), [], "its parts are still to come");
        cleanings.takes_over("top");
        cleanings.cut(Some("side"), "another recipe judges");
        assert_eq!(cleanings.ended(), []);
        cleanings.cut(None, "reset");
        assert!(cleanings.ended()[0].outcome.is_err());
    }
}
