//! The command `edit` while the line runs: a recipe looks elsewhere, finds its threshold otherwise, or begins.
//!
//! ```text
//! edit --like--> draft without pictures, in the line's list of recipes --+
//!     \--------> draft of the next revision -----------------------------+--> view, threshold --> written, prepared --> current
//! ```
//! A recipe that begins is one of the library. The store keeps its name, so that the next run can select it although the line's
//! file does not name it.

mod masking;

use crate::base::stop::Stop;
use crate::base::systemd::Heartbeat;
use crate::config;
use crate::line::changeover::{Changeover, PreparedRecipe};
use crate::line::opening::BEGUN_RECIPES;
use crate::line::recipe_change::{Proven, words};
use crate::line::selection::Selection;
use crate::line::set_thresholds::SetThresholds;
use crate::protocol::editing::{EditCommand, ThresholdWish, ViewSpec};
use crate::protocol::lesson_board::{BadScore, RecipeScores, RegionScores};
use crate::recipe::adopt::note_of;
use crate::recipe::default_block;
use crate::recipe::library::draft::Draft;
use crate::recipe::library::manifest::{ChangeKind, PictureUse};
use crate::recipe::library::table::{self, Table, VIEW_KEYS};
use crate::recipe::library::writer::LibraryWriter;
use crate::recipe::spec::RecipeSpec;
use serde_json::Value;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// Recipes that commands may have begun and the line's file does not name.
const BEGUN_MAX: usize = 64;
/// Keys that belong to the pictures of the recipe that a new one is like.
const PICTURE_KEYS: [&str; 4] = ["references", "calibration", "self_test", "locate"];
/// Words on a threshold that a person asked for.
const ASKED: &str = "asked for by edit";

impl Changeover {
    /// Makes a recipe's next revision with another view or threshold, or the first one of a new recipe. Returns words on
    /// what it is.
    pub(super) fn edit_command(
        &mut self,
        selection: &mut Selection,
        recipe: &RecipeSpec,
        command: &EditCommand,
        stop: &Stop,
        pulse: &Heartbeat,
    ) -> Result<String, String> {
        // A threshold that was set a moment ago belongs to the revision that is changed.
        let set_before = self.control.set_by_commands();
        self.revisions.keep(Instant::now(), pulse);

        if let Some(view) = &command.view {
            self.check_in_pictures(view)?;
        }

        let writer = LibraryWriter::lock(&self.library).map_err(words)?;
        let begins = command.like.as_ref().and(command.recipe.as_deref());

        if begins.is_some() {
            self.check_begun_max()?;
        }

        let mut draft = match begins {
            Some(name) => self.new_draft(recipe, name)?,
            None => self.base(&writer, recipe)?.1,
        };

        let mut told = vec![];
        if begins.is_some() {
            told.push(format!("like {}", recipe.name));
        }

        told.extend(change_draft(&mut draft, command)?);
        told.extend(self.mask_out(&mut draft, command)?);
        draft.by = format!("edit: {}", told.join(", "));
        draft.change = ChangeKind::Taught;
        let mut proven = self.prove(&writer, &draft)?;

        if let Err(why) = has_thresholds(&mut proven) {
            writer.discard(&proven.revision);
            return Err(why);
        }

        self.tell_scores(&mut proven);
        if command.candidate {
            return self.keep_candidate(selection, &writer, &proven);
        }

        let standing = match begins {
            Some(_) => self.keep_begun(&proven.spec),
            None => check_unset(&recipe.name, &set_before, &self.control.set_by_commands()),
        };

        // Nothing stays of a revision that does not become current: the name of a recipe that begins would be taken.
        standing.inspect_err(|_| writer.discard(&proven.revision))?;
        self.make_current(selection, writer, &proven)?;
        let spec = proven.spec.clone();
        let by = proven.revision.manifest().by.clone();

        // What a command set for another view, or before this threshold was asked for, holds no longer.
        let judges = self.take_over(proven, None, stop, pulse)?;

        if begins.is_some() {
            let mut recipes = self.settings.recipes.now();
            recipes.push(spec.clone());
            self.list_recipes(&recipes, None);
            self.settings.recipes.set(recipes);
        }

        Ok(format!("{} ({by}); {judges}", spec.label()))
    }

    /// A recipe without pictures that judges as another one does.
    fn new_draft(&self, like: &RecipeSpec, name: &str) -> Result<Draft, String> {
        let numbers = self.library.numbers(name).map_err(words)?;

        if !numbers.is_empty() {
            return Err(format!(
                "the library has a recipe {name:?} already; give another name"
            ));
        }

        let like = config::as_of_now(like, &self.library).map_err(words)?;
        let mut table = like.table.clone();

        for key in PICTURE_KEYS.iter().chain(&VIEW_KEYS) {
            table.remove(*key);
        }

        // A number, or a rate, was chosen for the other recipe's parts.
        table::set_auto(&mut table);
        let model = &self.preparer.model;
        default_block::record(&mut table, &like.winclip, &model.spec);
        Ok(Draft {
            name: name.to_owned(),
            least_number: 1,
            thresholds: table::thresholds(&table, "a new recipe"),
            table,
            pictures: vec![],
            by: String::new(),
            change: ChangeKind::Taught,
            parent: None,
            origin: None,
            model: Some(note_of(model)),
            choice: None,
        })
    }

    /// Keeps the name of a recipe that begins, before it is there.
    fn keep_begun(&self, spec: &RecipeSpec) -> Result<(), String> {
        let settings = &self.settings.begun;
        let mut begun = settings.now();

        // An earlier try kept it.
        begun.retain(|name| *name != spec.name);
        begun.push(spec.name.clone());
        let value = Value::from(begun.clone());
        let text = value.to_string();

        let kept = self.store.set(BEGUN_RECIPES, &text);
        if kept.wait().is_err() {
            let words = "the store did not keep the recipe's name";
            return Err(words.to_owned());
        }

        settings.set(begun);
        Ok(())
    }

    /// Refuses one more recipe where so many have begun that the store's list would grow without end.
    fn check_begun_max(&self) -> Result<(), String> {
        let begun = self.settings.begun.now().len();

        match begun < BEGUN_MAX {
            true => Ok(()),
            false => Err(format!(
                "{begun} recipes have begun by commands, and {BEGUN_MAX} may; name those that stay in the line's file \
                 (recipes) and start the line again"
            )),
        }
    }

    /// Refuses a view that is beyond the pictures of each camera that has shown one.
    fn check_in_pictures(&self, view: &ViewSpec) -> Result<(), String> {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sizes = frames
            .values()
            .map(|frame| (frame.picture.width() as u64, frame.picture.height() as u64))
            .collect::<Vec<_>>();

        sizes.sort_unstable();
        let Some((width, height)) = sizes.last().copied() else {
            return Ok(());
        };

        for (region, [x, y, w, h]) in view.rectangles() {
            let is_inside = |end: Option<u64>, limit| end.is_some_and(|end| end <= limit);
            let is_seen = w > 0 && h > 0;
            let fits = |(width, height): &(u64, u64)| {
                is_inside(x.checked_add(w), *width) && is_inside(y.checked_add(h), *height)
            };

            if is_seen && sizes.iter().any(fits) {
                continue;
            }

            let of = region.map_or(String::new(), |name| format!(" of region {name}"));
            return Err(format!(
                "crop{of} {x},{y},{w},{h} (x,y,width,height) is not inside of a picture of {width} x {height} pixels"
            ));
        }

        Ok(())
    }

    /// Shows the scores of a revision.
    pub(super) fn tell_scores(&self, proven: &mut Proven) {
        let label = proven.spec.label();
        self.tell_scores_of(&label, &mut proven.prepared);
    }

    /// Shows the scores by which a prepared recipe of that label finds its thresholds.
    pub(super) fn tell_scores_of(&self, label: &str, prepared: &mut PreparedRecipe) {
        if !self.board.is_wanted() || !prepared.active.is_taught {
            return;
        }

        // Known already where a threshold was found by them; a failure here is told where it matters.
        let Ok(left_out) = prepared.active.inspector.leave_one_out() else {
            return;
        };

        let bad = prepared.active.bad.as_ref();
        let mut regions = vec![];

        for (place, (name, policy)) in prepared.judges.iter().enumerate() {
            let good = left_out.get(place).into_iter().flatten();
            let bad = bad.map(|bad| {
                let of_region = |all: &[Vec<f32>]| all.get(place).cloned().unwrap_or_default();
                let known = of_region(&bad.judged.scores).into_iter();
                let pairs = known.zip(of_region(&bad.unknown));
                pairs.map(|(score, unknown)| BadScore { score, unknown })
            });

            regions.push(RegionScores {
                name: name.as_deref().map(str::to_owned),
                threshold: policy.threshold,
                good: good.map(|(score, _)| *score).collect(),
                bad: bad.into_iter().flatten().collect(),
            });
        }

        self.board.score(RecipeScores {
            label: label.to_owned(),
            regions,
        });
    }
}

/// Refuses an edit while which a threshold of its recipe was set: the revision has it not, and it would be lost.
fn check_unset(
    name: &str,
    before: &[SetThresholds],
    after: &[SetThresholds],
) -> Result<(), String> {
    let is_of_recipe = |set: &&SetThresholds| set.revision().is_some_and(|(of, _)| of == name);
    let mut values = after
        .iter()
        .filter(is_of_recipe)
        .flat_map(|set| &set.values);

    // The label may have changed meanwhile, as some of them became a revision.
    let was_known = |value: &(Option<Arc<str>>, f32)| {
        let mut known = before.iter().filter(is_of_recipe);
        known.any(|set| set.values.contains(value))
    };

    match values.all(was_known) {
        true => Ok(()),
        false => Err("the threshold was set meanwhile; send it again".to_owned()),
    }
}

/// Refuses a recipe with references by which a part would be undecided.
fn has_thresholds(proven: &mut Proven) -> Result<(), String> {
    let active = &mut proven.prepared.active;

    if !active.is_taught {
        return Ok(()); // it waits for its first parts
    }

    let found = active.thresholds(&proven.spec);
    let found = found.map_err(|failure| failure.message)?;
    let missing = found.into_iter().find_map(Result::err);

    missing.map_or(Ok(()), |why| Err(format!("nothing could be judged: {why}")))
}

/// Changes a draft as a command asks for. Returns words on each change.
fn change_draft(draft: &mut Draft, command: &EditCommand) -> Result<Vec<String>, String> {
    let mut told = vec![];

    if let Some(view) = &command.view {
        set_view(&mut draft.table, view)?;
        told.push(view.words());

        // Scores of another view are other scores.
        told.extend(draft.numbers_to_auto("what the recipe looks at has changed"));
        draft.thresholds = table::thresholds(&draft.table, "of another view");
    }

    match (&command.threshold, command.false_reject_rate) {
        (Some(ThresholdWish::Number(value)), _) => {
            draft.set_threshold(None, *value, ASKED).map_err(words)?;
            told.push(format!("threshold {value}"));
        }

        (Some(ThresholdWish::Word(_)), _) => {
            table::set_auto(&mut draft.table);
            told.push("threshold auto".to_owned());
        }

        (None, Some(rate)) => {
            table::set_rate(&mut draft.table, rate);
            told.push(format!("false_reject_rate {rate}"));
        }

        (None, None) => return Ok(told),
    }

    draft.thresholds = table::thresholds(&draft.table, ASKED);
    if !table::has_rate(&draft.table) {
        // Calibration pictures serve a rate alone, and are refused without one.
        let pictures = &mut draft.pictures;
        pictures.retain(|picture| picture.used_as != PictureUse::Calibration);
    }

    Ok(told)
}

/// Puts a view into a recipe's table, in place of the one that it has.
fn set_view(table: &mut Table, view: &ViewSpec) -> Result<(), String> {
    for key in VIEW_KEYS {
        table.remove(key);
    }

    let values = serde_json::to_value(view).map_err(words)?;
    let Value::Object(values) = values else {
        return Ok(());
    };

    for (key, value) in values {
        // A file has one table `[[recipe.region]]` a region.
        let key = match key.as_str() {
            "regions" => "region".to_owned(),
            _ => key,
        };

        table.insert(key, value);
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_threshold_that_was_set_while_an_edit_was_prepared_refuses_it() {
        let set = |recipe: &str, value| SetThresholds {
            recipe: recipe.into(),
            values: vec![(None, value)],
        };

        let before = [set("nut@1", 0.3)];
        assert_eq!(check_unset("nut", &before, &[]), Ok(()), "it was kept");
        assert_eq!(check_unset("nut", &before, &[set("nut@1", 0.3)]), Ok(()));
        assert_eq!(check_unset("nut", &[], &[set("bolt@1", 0.4)]), Ok(()));
        let refused = check_unset("nut", &before, &[set("nut@2", 0.4)]);
        assert!(refused.is_err_and(|why| why.contains("send it again")));
    }

    #[test]
    fn a_view_takes_the_place_of_the_one_before() {
        let mut table = Table::new();
        table.insert("crop".to_owned(), json!([1, 2, 3, 4]));
        table.insert("mask".to_owned(), json!([[[0, 0], [9, 0], [9, 9]]]));
        let regions = json!({"regions": [{"name": "rim", "crop": [0, 0, 8, 8]}]});
        let view: ViewSpec = serde_json::from_value(regions).expect("a view");
        set_view(&mut table, &view).expect("plain values");
        let expected = json!({"region": [{"name": "rim", "crop": [0, 0, 8, 8]}]});
        assert_eq!(Value::Object(table.clone()), expected);
        set_view(&mut table, &ViewSpec::default()).expect("plain values");
        assert!(table.is_empty(), "the whole picture: {table:?}");
    }
}
