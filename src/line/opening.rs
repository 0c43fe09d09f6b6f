//! The store of a run, opened before anything else: it knows which recipe was selected last.

use crate::base::exit::{Exit, Failure};
use crate::base::health::{Diagnostics, Health};
use crate::config::{self, LineConfig};
use crate::protocol::codes::is_told_apart;
use crate::recipe::spec::RecipeSpec;
use crate::store::{OpenStore, Previous, Recovered, Store, StoreSettings};

/// Key under which the store keeps the name of the selected recipe; diagnostics source where that is
/// not known.
pub const SELECTED_RECIPE: &str = "recipe";

/// Key under which the store keeps the names of the recipes that commands have begun, as a list in JSON.
pub const BEGUN_RECIPES: &str = "begun_recipes";

/// An open store whose writer has no thread yet, with what earlier runs left in it.
pub struct Opening {
    /// Handle for the stages.
    pub store: Store,
    /// The file, to be given to the store's thread.
    pub open_store: OpenStore,
    /// Backlog, answers and kept values of earlier runs.
    pub recovered: Recovered,
    /// Diagnostics of the line; the store has told about its file already.
    pub diagnostics: Diagnostics,
}

impl Opening {
    /// Opens the store's file.
    ///
    /// # Errors
    /// When the file is another process's, or cannot be made.
    pub fn open(settings: StoreSettings, run_id: &str) -> Result<Self, Failure> {
        let diagnostics = Diagnostics::default();
        let (store, open_store, recovered) = Store::open(settings, run_id, diagnostics.clone())
            .map_err(|error| Failure::new(Exit::Unavailable, error))?;

        Ok(Opening {
            store,
            open_store,
            recovered,
            diagnostics,
        })
    }

    /// Opens the file for a new run, and returns the run's id. A PLC tells runs apart by 16 bits of their ids: the id is
    /// drawn again while those are the bits of a camera's last run, whose numbers a PLC may still remember.
    ///
    /// # Errors
    /// As [`Opening::open`].
    pub fn of_new_run(settings: StoreSettings) -> Result<(Self, String), Failure> {
        // Which runs there were stands in the file, which opens under an id.
        let first = drawn();
        let mut opening = Opening::open(settings, &first)?;
        let run_id = told_apart(first, &opening.recovered.previous, drawn);
        opening.open_store.rename_run(&run_id);

        Ok((opening, run_id))
    }

    /// The recipes that commands of earlier runs began, as the library has them now, without those that the file names. One
    /// that cannot be read is told and left out.
    pub fn begun(&self, config: &LineConfig) -> Vec<RecipeSpec> {
        let kept = self.recovered.kept.get(BEGUN_RECIPES);
        let names = kept.and_then(|kept| serde_json::from_str::<Vec<String>>(kept).ok());
        let mut begun: Vec<RecipeSpec> = vec![];

        for name in names.unwrap_or_default() {
            let is_known = {
                let named = config.recipes.iter().chain([&config.recipe]);
                let mut known = named.chain(&begun);
                known.any(|known| known.name == name)
            };

            if is_known {
                continue;
            }

            match config::held_recipe(&name, &config.library) {
                Ok(recipe) => begun.push(recipe),
                Err(problems) => {
                    tracing::warn!(
                        "recipe {name}, begun by a command, cannot be selected: {problems}"
                    );
                }
            }
        }

        begun
    }

    /// Returns the recipe that was selected last, of the line's file or of those that were `begun`; the line's first where
    /// none was selected.
    ///
    /// # Errors
    /// When there is no recipe of that name any more, or it cannot be read: another one would judge another product.
    pub fn selected<'a>(
        &self,
        config: &'a LineConfig,
        begun: &'a [RecipeSpec],
    ) -> Result<&'a RecipeSpec, Failure> {
        let Some(name) = self.recovered.kept.get(SELECTED_RECIPE) else {
            return Ok(&config.recipe);
        };

        let named = config.recipes.iter().chain([&config.recipe]);
        let mut known = named.chain(begun);
        known.find(|recipe| recipe.name == *name).ok_or_else(|| {
            let why = match config::held_recipe(name, &config.library) {
                Ok(_) => "the line's file does not name it".to_owned(),
                Err(problems) => problems.to_string(),
            };

            not_found(name, &why)
        })
    }

    /// Tells the line's health when the last selection stands in a file that cannot be read, and
    /// `active` may not be the recipe that should judge.
    pub fn warn_of_unread_selection(&self, config: &LineConfig, active: &RecipeSpec) {
        if !self.recovered.is_unread || !has_others(config) {
            return;
        }

        let words = format!(
            "{} judges; which one was selected last stands in the store, which cannot be read: select one",
            active.label()
        );

        self.diagnostics
            .set(SELECTED_RECIPE, Health::Failure, words);
    }
}

/// A new id, a ULID.
fn drawn() -> String {
    ulid::Ulid::generate().to_string()
}

/// The id, or the next one drawn whose number none of these runs has. They are as many as the cameras, and the numbers
/// 65,536.
fn told_apart(first: String, previous: &[Previous], mut draw: impl FnMut() -> String) -> String {
    let mut run_id = first;

    while !is_told_apart(&run_id, previous.iter().map(|run| run.run_id.as_str())) {
        run_id = draw();
    }

    run_id
}

/// The refusal to start where the recipe that was selected last is not found.
fn not_found(name: &str, why: &str) -> Failure {
    let words = format!(
        "recipe {name} was selected last, and cannot judge: {why}; mend it in the recipe library, or name it in the line's \
         file (recipes); to leave it out, start the line with it once more and select another one"
    );

    Failure::words(Exit::Config, words)
}

/// True if another recipe than the line's first may have been selected: one that the file names, or one of the library that a
/// command has begun.
fn has_others(config: &LineConfig) -> bool {
    let is_other = |name: &String| *name != config.recipe.name;
    let in_library = config.library.names();

    // A library that cannot be read may have any.
    !config.recipes.is_empty() || in_library.map_or(true, |names| names.iter().any(is_other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_number_is_that_of_a_cameras_last_one_is_drawn_again() {
        let previous = |run_id: &str| Previous {
            run_id: run_id.to_owned(),
            camera: "top".to_owned(),
            last_seq: 7,
        };

        let runs = [previous("01A"), previous("01B")];
        let mut draws = ["01B", "01A", "01C", "01D"].map(str::to_owned).into_iter();
        let run_id = told_apart("01A".to_owned(), &runs, || draws.next().expect("one more"));
        assert_eq!(run_id, "01C");
        let kept = told_apart("01C".to_owned(), &runs, || unreachable!("it has its own"));
        assert_eq!(kept, "01C");
    }

    #[test]
    fn a_recipe_that_is_not_found_refuses_the_start_with_a_way_out() {
        let failure = not_found("bolt", "bolt@2 is damaged");
        assert_eq!(failure.exit, Exit::Config);
        assert!(failure.message.starts_with("recipe bolt was selected last"));
        assert!(failure.message.contains("bolt@2 is damaged; mend it"));
    }
}
