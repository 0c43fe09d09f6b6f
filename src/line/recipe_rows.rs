//! The line's recipes with their revisions, as the page shows them.

use crate::base::live::Live;
use crate::page::{RecipeRow, RevisionRow};
use crate::recipe::library::error::LibraryError;
use crate::recipe::library::folder::Library;
use crate::recipe::library::manifest::{Manifest, PictureUse};
use crate::recipe::spec::RecipeSpec;
use jiff::tz::TimeZone;

/// Revisions of a recipe that are shown.
const SHOWN: usize = 20;

/// The recipes that can be selected, and the library that some of them are of.
pub struct RecipeRows {
    recipes: Live<Vec<RecipeSpec>>,
    library: Library,
}

impl RecipeRows {
    /// The recipes of a line.
    pub fn new(recipes: Live<Vec<RecipeSpec>>, library: Library) -> Self {
        RecipeRows { recipes, library }
    }

    /// All of them, by name; `judging` is the label of what judges. Reads the disk.
    pub fn read(&self, judging: &str) -> Vec<RecipeRow> {
        let mut rows = vec![];

        for recipe in self.recipes.now() {
            rows.push(self.row(&recipe.name, judging));
        }

        rows.sort_by(|one, other| one.name.cmp(&other.name));

        rows
    }

    fn row(&self, name: &str, judging: &str) -> RecipeRow {
        let judged_by = judging.rsplit_once('@').map(|(judging, _)| judging);

        let mut row = RecipeRow {
            name: name.to_owned(),
            judging: (judged_by == Some(name)).then(|| judging.to_owned()),
            is_of_library: false,
            revisions: vec![],
            older: 0,
            problem: None,
        };

        // What can be read is shown, also where something else cannot.
        if let Err(error) = self.add_revisions(&mut row) {
            row.problem = Some(error.to_string());
        }

        row
    }

    fn add_revisions(&self, row: &mut RecipeRow) -> Result<(), LibraryError> {
        // A recipe of the line's file may have become one of the library by a command.
        let numbers = self.library.numbers(&row.name)?;

        row.is_of_library = !numbers.is_empty();

        row.older = numbers.len().saturating_sub(SHOWN);
        // The pointer may be broken where the revisions are whole.
        let pointer = self.library.pointer(&row.name)?;
        let current = pointer.map(|pointer| pointer.current);

        for number in numbers.into_iter().rev().take(SHOWN) {
            let is_current = current == Some(number);

            let shown = match self.library.revision(&row.name, number) {
                Ok(revision) => shown(revision.manifest(), is_current),
                Err(error) => unreadable(number, is_current, &error),
            };

            row.revisions.push(shown);
        }

        Ok(())
    }
}

/// A revision that is not whole; the others are shown all the same.
fn unreadable(number: u64, is_current: bool, error: &LibraryError) -> RevisionRow {
    RevisionRow {
        number,
        is_current,
        made: String::new(),
        by: error.to_string(),
        content: String::new(),
    }
}

fn shown(manifest: &Manifest, is_current: bool) -> RevisionRow {
    let local = manifest.made.to_zoned_datetime(TimeZone::system());
    let good = manifest.count(PictureUse::Good);
    let bad = manifest.count(PictureUse::Bad);

    let thresholds: Vec<String> = manifest
        .thresholds
        .iter()
        .map(|note| match &note.region {
            Some(region) => format!("{region} {}", note.value),
            None => note.value.clone(),
        })
        .collect();

    let thresholds = thresholds.join(", ");

    RevisionRow {
        number: manifest.revision,
        is_current,
        made: local.strftime("%Y-%m-%d %H:%M").to_string(),
        by: manifest.by.clone(),
        content: format!("{good} good, {bad} bad, threshold {thresholds}"),
    }
}
