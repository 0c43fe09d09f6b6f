//! Commands about recipes, which select one or change one of the library: they are begun here, and done by
//! the changeover.

use super::label::Labelled;
use super::{CommandHandler, Done};
use crate::line::changeover::{ChangeSource, RecipeRequest, RecipeWish, name_in, other_revision};
use crate::line::hold::recipe_changes;
use crate::line::selection::{SELECT, Selection};
use crate::protocol::recipe_number::RecipeRef;
use crate::protocol::teaching::RecipeChange;
use crate::recipe::spec::RecipeSpec;
use crossbeam::channel::bounded;
use std::sync::PoisonError;
use std::time::Instant;

/// First answer to a change that needs no part.
const PREPARED: &str = "the revision is prepared; the outcome comes as done";
/// First answer to a recipe that begins.
const BEGINS: &str = "the recipe begins; the outcome comes as done";
/// First answer to a suggestion.
const GROUPED: &str = "the doubtful parts are grouped; the outcome comes as done";
/// First answer to a what-if.
const JUDGED_AGAIN: &str = "the last parts are judged again; the outcome comes as done";
/// First answer to the end of a shadow.
const SHADOW_ENDS: &str = "the shadow ends; the outcome comes as done";

/// How a change of a recipe begins.
enum Begun {
    /// It is handed to the changeover, with these pictures and this first answer.
    With(ChangeSource, String),
    /// It is done already, in words.
    Done(String),
}

impl CommandHandler {
    pub(super) fn select(
        &mut self,
        id: Option<&str>,
        wanted: &RecipeRef,
        revision: Option<u64>,
    ) -> Result<Done, String> {
        let name = self.name_of(wanted)?;
        let recipe = self.recipe_of_name(&name)?;

        // A sender that names a revision means those parameters; others under the same name would
        // judge by other rules. The library may have gone on since: the changeover asks it, because
        // this thread waits for no disk.
        let is_in_file = !self.is_of_library(&recipe);

        if let Some(wanted) = revision.filter(|wanted| is_in_file && *wanted != recipe.revision) {
            return Err(other_revision(&recipe, wanted));
        }

        // The selection is on the disk no later than its answer: a crash from then on still brings the
        // second answer, with the next run.
        let selection = Selection::new(SELECT, id, &recipe.label());
        self.ask_stage(selection, recipe, RecipeWish::Select(revision))?;

        Ok(Done::begun("it is prepared; the outcome comes as done"))
    }

    /// The name of the recipe that a command means.
    pub(super) fn name_of(&self, wanted: &RecipeRef) -> Result<String, String> {
        let number = match wanted {
            RecipeRef::Name(name) => return Ok(name.clone()),
            RecipeRef::Number(number) => *number,
        };

        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let name = identity.recipe_numbers.name_of(number);
        name.map(str::to_owned).ok_or_else(|| {
            let numbered = identity.recipe_numbers.words();
            format!("no recipe has the number {number} in [recipe_numbers]; there are {numbered}")
        })
    }

    /// The line's recipe of that name.
    fn recipe_of_name(&self, name: &str) -> Result<RecipeSpec, String> {
        // Only recipes of the configuration can be selected: a message must not choose a file.
        let recipes = self.recipes.now();
        let found = recipes.iter().find(|recipe| recipe.name == name);
        found.cloned().ok_or_else(|| {
            let names: Vec<String> = recipes.iter().map(RecipeSpec::label).collect();
            format!(
                "there is no recipe {name:?}; there are {}",
                names.join(", ")
            )
        })
    }

    /// Hands a command to the stage that gives its second answer: the changeover, or the what-if stage.
    fn ask_stage(
        &mut self,
        selection: Selection,
        recipe: RecipeSpec,
        wish: RecipeWish,
    ) -> Result<(), String> {
        let key = selection.key.clone();
        drop(self.store.set(&key, &selection.kept()));
        let (stage, busy) = match &wish {
            RecipeWish::Change(change, _) if matches!(**change, RecipeChange::WhatIf(_)) => (
                &self.what_ifs,
                "other parts are being judged again; wait for that outcome",
            ),
            _ => (
                &self.wanted,
                "another recipe is being prepared; wait for its outcome",
            ),
        };

        let busy = selection.refusal(busy.to_owned());
        let changes = match &wish {
            RecipeWish::Select(_) => true,
            RecipeWish::Change(change, _) => recipe_changes(change),
        };

        let (unanswered, answered) = bounded(0);
        let wanted = RecipeRequest {
            selection,
            recipe,
            wish,
            under_way: changes.then(|| self.hold.begin_change()),
            answered,
        };

        // The channel holds one: a second recipe would be prepared for nothing while the first is
        // not yet taken over.
        if stage.try_send(wanted).is_err() {
            drop(self.store.set(&key, ""));
            return Err(busy);
        }

        self.unanswered.push(unanswered);
        Ok(())
    }

    /// Begins a change of a recipe.
    pub(super) fn change_recipe(
        &mut self,
        id: Option<&str>,
        change: &RecipeChange,
        who: &str,
        came_at: Instant,
    ) -> Result<Done, String> {
        let judging = self.judging();
        let mut named = change.recipe().unwrap_or(&judging).to_owned();
        let (source, words) = match self.source_of(change, &mut named, who)? {
            Begun::With(source, words) => (source, words),
            Begun::Done(words) => return Ok(Done::with(words)),
        };

        // A recipe that begins is like another one.
        let found = match change {
            RecipeChange::Edit(command) => command.like.as_deref().unwrap_or(&named),
            _ => &named,
        };

        // A revision is named once it is known.
        let selection = Selection::new(change.name(), id, "");
        let recipe = self.recipe_of_name(found);
        let recipe = recipe.map_err(|why| selection.refusal(why))?;
        let lesson = match (change, &source) {
            (RecipeChange::Teach(command), ChangeSource::Lesson(number)) => {
                Some((command, *number))
            }

            _ => None,
        };

        self.ask_stage(
            selection,
            recipe,
            RecipeWish::Change(Box::new(change.clone()), source),
        )?;

        if is_a_change(change) {
            self.changed.insert(named);
        }

        // The changeover knows of the lesson before the first of its pictures comes.
        if let Some((command, number)) = lesson {
            self.lessons.begin(number, command, &judging, came_at);
        }

        Ok(Done::begun(words))
    }

    /// The pictures that come with a change, and the words of its first answer; `named` becomes the recipe that is meant.
    fn source_of(
        &mut self,
        change: &RecipeChange,
        named: &mut String,
        who: &str,
    ) -> Result<Begun, String> {
        let words = match change {
            RecipeChange::Teach(command) if command.group.is_none() => {
                self.check_camera(command.camera.as_deref())?;
                let number = self.lessons.reserve()?;
                let words = format!(
                    "the next {} parts are taught; the outcome comes as done",
                    command.parts
                );

                return Ok(Begun::With(ChangeSource::Lesson(number), words));
            }

            RecipeChange::Label(command) => {
                let source = match self.label(command, who)? {
                    Labelled::Taught(part) => {
                        // A part is one of the product whose recipe judged it.
                        if command.recipe.is_none() {
                            *named = part.recipe;
                        }

                        ChangeSource::Part(part.picture)
                    }

                    // This thread waits for no folder: the changeover looks for the picture.
                    Labelled::Stored => ChangeSource::StoredPart,
                    Labelled::Kept(words) => return Ok(Begun::Done(words)),
                };

                return Ok(Begun::With(source, PREPARED.to_owned()));
            }

            RecipeChange::Suggest(_) => GROUPED,
            RecipeChange::WhatIf(_) => JUDGED_AGAIN,
            RecipeChange::Shadow(command) if command.off => SHADOW_ENDS,
            RecipeChange::Edit(command) if command.like.is_some() => {
                self.check_new(named)?;

                BEGINS
            }

            RecipeChange::Teach(_)
            | RecipeChange::Edit(_)
            | RecipeChange::Forget(_)
            | RecipeChange::Rollback(_)
            | RecipeChange::Shadow(_) => PREPARED,
        };

        Ok(Begun::With(ChangeSource::Nothing, words.to_owned()))
    }

    /// Refuses the name of a recipe that the line has.
    fn check_new(&self, name: &str) -> Result<(), String> {
        match self.recipes.now().iter().any(|known| known.name == name) {
            true => Err(format!(
                "there is a recipe {name:?} already; give another name"
            )),
            false => Ok(()),
        }
    }

    /// True for a recipe that is, or may have become, one of the library.
    pub(super) fn is_of_library(&self, recipe: &RecipeSpec) -> bool {
        recipe.library.is_some() || self.changed.contains(&recipe.name)
    }

    /// Name of the recipe that judges.
    fn judging(&self) -> String {
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);

        name_in(&identity.recipe).to_owned()
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
}

/// True for a command after which the recipe may be another one.
fn is_a_change(change: &RecipeChange) -> bool {
    !matches!(
        change,
        RecipeChange::Shadow(_) | RecipeChange::Suggest(_) | RecipeChange::WhatIf(_)
    )
}
