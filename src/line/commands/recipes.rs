//! Commands about recipes, which select one or change one of the library: they are begun here, and done by
//! the changeover.

use super::{CommandHandler, Done};
use crate::line::changeover::{RecipeRequest, RecipeWish, other_revision};
use crate::line::lessons::TaughtPicture;
use crate::line::selection::{SELECT, Selection};
use crate::protocol::teaching::{Label, LabelCommand, RecipeChange};
use crate::recipe::spec::RecipeSpec;
use crossbeam::channel::bounded;
use std::sync::PoisonError;
use std::time::Instant;

impl CommandHandler {
    pub(super) fn select(
        &mut self,
        id: Option<&str>,
        name: &str,
        revision: Option<u64>,
    ) -> Result<Done, String> {
        let recipe = self.recipe_of_name(name)?.clone();
        // A sender that names a revision means those parameters; others under the same name would
        // judge by other rules. The library may have gone on since: the changeover asks it, because
        // this thread waits for no disk.
        let is_in_file = recipe.library.is_none();
        if let Some(wanted) = revision.filter(|wanted| is_in_file && *wanted != recipe.revision) {
            return Err(other_revision(&recipe, wanted));
        }

        // The selection is on the disk no later than its answer: a crash from then on still brings the
        // second answer, with the next run.
        let selection = Selection::new(SELECT, id, &recipe.label());
        self.ask_changeover(selection, recipe, RecipeWish::Select(revision))?;
        Ok(Done::begun("it is prepared; the outcome comes as done"))
    }

    /// The line's recipe of that name.
    fn recipe_of_name(&self, name: &str) -> Result<&RecipeSpec, String> {
        // Only recipes of the configuration can be selected: a message must not choose a file.
        let found = self.recipes.iter().find(|recipe| recipe.name == name);
        found.ok_or_else(|| {
            let names: Vec<String> = self.recipes.iter().map(RecipeSpec::label).collect();
            format!(
                "there is no recipe {name:?}; there are {}",
                names.join(", ")
            )
        })
    }

    /// Hands a command to the changeover, which gives its second answer.
    fn ask_changeover(
        &mut self,
        selection: Selection,
        recipe: RecipeSpec,
        wish: RecipeWish,
    ) -> Result<(), String> {
        let key = selection.key.clone();
        drop(self.store.set(&key, &selection.kept()));
        let (unanswered, answered) = bounded(0);
        let wanted = RecipeRequest {
            selection,
            recipe,
            wish,
            answered,
        };

        // The channel holds one: a second recipe would be prepared for nothing while the first is
        // not yet taken over.
        if self.wanted.try_send(wanted).is_err() {
            drop(self.store.set(&key, ""));
            return Err("another recipe is being prepared; wait for its outcome".to_owned());
        }

        self.unanswered.push(unanswered);
        Ok(())
    }

    /// Begins a change of a recipe.
    pub(super) fn change_recipe(
        &mut self,
        id: Option<&str>,
        change: &RecipeChange,
        came_at: Instant,
    ) -> Result<Done, String> {
        let recipe = self.changed_recipe(change.recipe())?;
        let mut picture = None;
        let words = match change {
            RecipeChange::Teach(command) => {
                self.check_camera(command.camera.as_deref())?;
                let camera = command.camera.as_deref();
                self.lessons.begin(camera, command.parts, came_at)?;
                format!(
                    "the next {} parts are taught; the outcome comes as done",
                    command.parts
                )
            }
            RecipeChange::Label(command) => {
                picture = Some(self.labelled(command)?);
                "the revision is prepared; the outcome comes as done".to_owned()
            }
            RecipeChange::Forget(_) | RecipeChange::Rollback(_) => {
                "the revision is prepared; the outcome comes as done".to_owned()
            }
        };

        // A revision is named once it is known.
        let selection = Selection::new(change.name(), id, "");
        let begun = self.ask_changeover(
            selection,
            recipe,
            RecipeWish::Change(change.clone(), picture),
        );
        if begun.is_err() && matches!(change, RecipeChange::Teach(_)) {
            self.lessons.end();
        }

        begun.map(|()| Done::begun(words))
    }

    /// The recipe of that name, else the one that judges.
    fn changed_recipe(&self, name: Option<&str>) -> Result<RecipeSpec, String> {
        let judging = {
            let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            identity.recipe.clone()
        };

        let judging = judging.rsplit_once('@').map_or(&*judging, |(name, _)| name);
        self.recipe_of_name(name.unwrap_or(judging)).cloned()
    }

    fn check_camera(&self, camera: Option<&str>) -> Result<(), String> {
        let mut names = self.part_cameras();
        names.extend(self.admissions.keys().map(|name| &**name));
        match camera {
            Some(camera) if !names.contains(camera) => {
                let names: Vec<&str> = names.into_iter().collect();
                let names = names.join(", ");
                Err(format!("there is no camera {camera:?}; there are {names}"))
            }
            _ => Ok(()),
        }
    }

    /// The picture of the part that a label is about.
    fn labelled(&self, command: &LabelCommand) -> Result<TaughtPicture, String> {
        let run_id = match &command.run_id {
            Some(run_id) => run_id.clone(),
            None => {
                let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
                identity.run_id.clone()
            }
        };

        let found = self.lessons.find(&run_id, &command.camera, command.seq);
        let (picture, has_passed) = found?;
        if command.label == Label::FalseReject && has_passed {
            let part = picture.part;
            return Err(format!(
                "part {part} passed, so that it is no false reject; label it good to teach it"
            ));
        }

        Ok(picture)
    }
}
