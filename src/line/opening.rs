//! The store of a run, opened before anything else: it knows which recipe was selected last.

use crate::base::exit::{Exit, Failure};
use crate::base::health::{Diagnostics, Health};
use crate::config::{self, LineConfig};
use crate::recipe::spec::RecipeSpec;
use crate::store::{OpenStore, Recovered, Store, StoreSettings};

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

    /// Returns the recipe that was selected last, if the line still has one of that name, in its file or among those that
    /// were `begun`; else the line's first.
    pub fn selected<'a>(&self, config: &'a LineConfig, begun: &'a [RecipeSpec]) -> &'a RecipeSpec {
        let Some(name) = self.recovered.kept.get(SELECTED_RECIPE) else {
            return &config.recipe;
        };

        let named = config.recipes.iter().chain([&config.recipe]);
        named
            .chain(begun)
            .find(|recipe| recipe.name == *name)
            .unwrap_or_else(|| {
                tracing::warn!(
                    "recipe {name} was selected last, and is no more; {} judges",
                    config.recipe.name
                );

                &config.recipe
            })
    }

    /// Tells the line's health when the last selection stands in a file that cannot be read, and
    /// `active` may not be the recipe that should judge.
    pub fn warn_of_unread_selection(&self, config: &LineConfig, active: &RecipeSpec) {
        if !self.recovered.is_unread || config.recipes.is_empty() {
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
