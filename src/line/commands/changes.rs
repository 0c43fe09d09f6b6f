//! Commands that change a recipe of the library: they are begun here, and done by the changeover.

use super::{CommandHandler, Done};
use crate::line::changeover::RecipeWish;
use crate::line::lessons::TaughtPicture;
use crate::line::selection::Selection;
use crate::protocol::teaching::{Label, LabelCommand, RecipeChange};
use crate::recipe::spec::RecipeSpec;
use std::sync::PoisonError;
use std::time::Instant;

impl CommandHandler {
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
