//! Another recipe, or another revision of one, while the line runs: prepared beside it, taken over between
//! two parts.
//!
//! The choice is kept in the store: after a power cut the line must not judge by the recipe of
//! another part. The outcome is an event: the broker is told until it has it. Commands that change a
//! recipe of the library are done in `recipe_change`.

use crate::base::health::Diagnostics;
use crate::base::stop::Stop;
use crate::base::systemd::{HEARTBEAT, Heartbeat};
use crate::config::{self, ConfigKeys, LineConfig};
use crate::line::control::LineControl;
use crate::line::events::Events;
use crate::line::hold::{ChangeUnderWay, Hold};
use crate::line::lesson::{Lesson, remove_leftovers};
use crate::line::lessons::{Lessons, TaughtPicture};
use crate::line::live_settings::{LiveSettings, ReloadRequest};
use crate::line::opening::SELECTED_RECIPE;
use crate::line::revisions::RevisionKeeper;
use crate::line::second_answers::SecondAnswers;
use crate::line::selection::Selection;
use crate::line::shadow::handle::Shadow;
use crate::line::shadow::stage::PreparedShadow;
use crate::line::shared::{NewestFrames, Shared};
use crate::line::suggested_groups::Suggestion;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::birth::Identity;
use crate::protocol::event::Event;
use crate::protocol::lesson_board::LessonBoard;
use crate::protocol::recipe_number::RecipeNumbers;
use crate::protocol::teaching::RecipeChange;
use crate::recipe::active::{ActiveRecipe, RegionPolicies};
use crate::recipe::library::folder::Library;
use crate::recipe::prepare::{PrepareMode, RecipePreparer};
use crate::recipe::spec::RecipeSpec;
use crate::store::Store;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, select_biased};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A recipe that was asked for, or is to be changed, by a command.
pub struct RecipeRequest {
    /// The command, which the store keeps until its second answer is told.
    pub selection: Selection,
    /// The recipe, as the line's file had it at the start.
    pub recipe: RecipeSpec,
    /// Wish of the command.
    pub wish: RecipeWish,
    /// Until it has ended, or its lesson has begun; `None` of what changes no set-up.
    pub under_way: Option<ChangeUnderWay>,
    /// Disconnected once the first answer is out: the second, which may be a refusal that takes no
    /// time, comes behind it.
    pub answered: Receiver<Infallible>,
}

/// Wish of a command about a recipe.
pub enum RecipeWish {
    /// It is to judge, in this revision if one is named.
    Select(Option<u64>),
    /// It is to be changed.
    Change(Box<RecipeChange>, ChangeSource),
}

/// Pictures that come with a change.
#[derive(Debug)]
pub enum ChangeSource {
    /// None.
    Nothing,
    /// A label's part.
    Part(TaughtPicture),
    /// A label's part whose picture is to be found in the evidence.
    StoredPart,
    /// Those of the lesson of that number.
    Lesson(u64),
}

/// A prepared recipe on its way to the inspector.
pub struct RecipeSwap {
    /// The recipe, ready to judge.
    pub prepared: ActiveRecipe,
    /// Thresholds of the recipe.
    pub judges: RegionPolicies,
    /// Label of the revision whose place it takes; `None` where it takes none's.
    pub from: Option<String>,
    /// Told once the inspector judges by it.
    pub done: Sender<()>,
}

/// A change that a command asks for.
pub struct WantedChange {
    /// The command, which the store keeps until its second answer is told.
    pub selection: Selection,
    /// The recipe, as the line's file had it at the start.
    pub recipe: RecipeSpec,
    /// The change.
    pub change: RecipeChange,
    /// Pictures that come with it.
    pub source: ChangeSource,
}

/// A recipe that was prepared beside the line.
pub(super) struct PreparedRecipe {
    /// The recipe, ready to judge.
    pub active: ActiveRecipe,
    /// Its thresholds.
    pub judges: RegionPolicies,
}

impl PreparedRecipe {
    /// Words on the known bad parts, as they will be judged.
    pub fn known_bad_words(&self) -> Vec<String> {
        self.active.known_bad_words(&self.judges)
    }
}

/// The stage that prepares another recipe.
pub struct Changeover {
    /// Recipes that are asked for, one at a time.
    wanted: Receiver<RecipeRequest>,
    /// Wishes to read the line's file again.
    reloads: Receiver<ReloadRequest>,
    /// Values that a reload changes.
    pub(super) settings: LiveSettings,
    /// The configuration that is in force.
    pub(super) running: ConfigKeys,
    /// The line's file.
    pub(super) file: PathBuf,
    /// Pictures of the lesson.
    pictures: Receiver<TaughtPicture>,
    /// The lesson that is under way.
    pub(super) lesson: Option<Lesson>,
    /// Tells the inspector which parts are taught.
    pub(super) lessons: Lessons,
    /// Prepares a recipe.
    pub(super) preparer: RecipePreparer,
    /// Prepared recipes, to the inspector.
    swap: Sender<RecipeSwap>,
    /// The revision that judges beside the line, if one does.
    pub(super) shadow: Shadow,
    /// Prepared revisions, to the shadow stage.
    pub(super) shadows: Sender<PreparedShadow>,
    /// Outcomes, and the new identity.
    pub(super) events: Events,
    /// The identity that `birth` tells.
    pub(super) identity: Arc<Mutex<Identity>>,
    /// Second answers to commands.
    pub(super) answers: SecondAnswers,
    /// Store that keeps the choice.
    pub(super) store: Store,
    /// Thresholds of the line.
    pub(super) control: LineControl,
    /// Values that earlier runs kept.
    kept: BTreeMap<String, String>,
    /// Faults of the moment, by source.
    pub(super) diagnostics: Diagnostics,
    /// The library, which may have gone on since the start.
    pub(super) library: Library,
    /// The last suggestion, with the pictures of its groups.
    pub(super) suggestion: Suggestion,
    /// Folder where pictures of parts are kept; `None` where none are.
    pub(super) evidence: Option<Arc<Path>>,
    /// Makes revisions of thresholds.
    pub(super) revisions: RevisionKeeper,
    /// Shows lessons and scores.
    pub(super) board: LessonBoard,
    /// Gives nobody control while a change is being prepared.
    pub(super) hold: Hold,
    /// The cameras' newest frames.
    pub(super) frames: NewestFrames,
}

/// The changeover's ends of the line's channels.
pub struct ChangeoverEnds {
    /// Recipes to prepare.
    pub recipes: Receiver<RecipeRequest>,
    /// Wishes to read the line's file again.
    pub reloads: Receiver<ReloadRequest>,
    /// Pictures of the lesson, from the inspector.
    pub pictures: Receiver<TaughtPicture>,
    /// Prepared recipes, for the inspector.
    pub swaps: Sender<RecipeSwap>,
    /// Prepared revisions, for the shadow stage.
    pub shadows: Sender<PreparedShadow>,
    /// Outcomes of the commands, and changes of the recipe.
    pub events: Events,
}

/// The configuration that a line starts with, by which a reload knows what has changed.
pub struct ReloadBase {
    /// Values that a reload changes.
    pub settings: LiveSettings,
    /// The configuration by key.
    pub running: ConfigKeys,
    /// The line's file.
    pub file: PathBuf,
}

impl ReloadBase {
    /// That of a configuration, whose live values the stages share.
    pub fn of(config: &LineConfig, settings: &LiveSettings) -> Self {
        ReloadBase {
            settings: settings.clone(),
            running: config.keys.clone(),
            file: config.file.clone(),
        }
    }
}

/// Reason of a changeover that the end of the line cut.
pub(super) const STOPPING: &str = "the line is stopping";

impl Changeover {
    /// `kept` are the values that earlier runs kept in the store.
    pub fn new(
        shared: &Shared,
        preparer: RecipePreparer,
        kept: BTreeMap<String, String>,
        library: Library,
        base: ReloadBase,
        ends: ChangeoverEnds,
    ) -> Self {
        Changeover {
            wanted: ends.recipes,
            reloads: ends.reloads,
            settings: base.settings,
            running: base.running,
            file: base.file,
            pictures: ends.pictures,
            lesson: None,
            lessons: shared.lessons.clone(),
            preparer,
            swap: ends.swaps,
            shadow: shared.shadow.clone(),
            shadows: ends.shadows,
            revisions: RevisionKeeper::new(shared, library.clone(), ends.events.clone()),
            answers: SecondAnswers::new(shared, ends.events.clone()),
            events: ends.events,
            identity: shared.identity.clone(),
            store: shared.store.clone(),
            control: shared.control.clone(),
            diagnostics: shared.diagnostics.clone(),
            kept,
            evidence: shared.evidence.clone(),
            library,
            suggestion: Suggestion::default(),
            board: shared.board.clone(),
            hold: shared.hold.clone(),
            frames: shared.newest_frames.clone(),
        }
    }

    /// Prepares recipes until the line stops.
    pub fn run(mut self, stop: &Stop, pulse: &Heartbeat) {
        self.tell_of_earlier_runs();

        while !stop.is_stopped() {
            pulse.beat();

            // The command of a lesson comes before its pictures.
            select_biased! {
                recv(self.wanted) -> wanted => match wanted {
                    Ok(wanted) => self.serve(wanted, stop, pulse),
                    Err(_) => break,
                },
                recv(self.reloads) -> wish => if let Ok(wish) = wish {
                    self.serve_reload(wish, stop, pulse);
                },
                // The inspector leaves after this stage.
                recv(self.pictures) -> picture => if let Ok(picture) = picture {
                    self.take_picture(picture);
                },
                default(HEARTBEAT) => {}
            }

            self.look_at_lesson(stop, pulse);
            self.revisions.keep(Instant::now(), pulse);
        }

        // A threshold that was set a moment ago outlives the run too.
        self.revisions.keep(Instant::now(), pulse);
        self.turn_away();
    }

    /// `name@revision` of the recipe that judges.
    pub(super) fn judging(&self) -> String {
        self.identity().recipe
    }

    /// Line and recipe as they are now.
    pub(super) fn identity(&self) -> Identity {
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);

        identity.clone()
    }

    /// Tells which recipes can be selected from now on, and their numbers where the file gives others.
    pub(super) fn list_recipes(&self, recipes: &[RecipeSpec], numbers: Option<&RecipeNumbers>) {
        let identity = {
            let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);

            if let Some(numbers) = numbers {
                identity.recipe_numbers = numbers.clone();
            }

            let names = recipes.iter().map(|recipe| &*recipe.name);
            let before = identity.recipes.clone();
            identity.selectable(names);
            (identity.recipes != before).then(|| identity.clone())
        };

        if let Some(identity) = identity {
            self.events.tell(Event::Identity(Arc::new(identity)));
        }
    }

    /// Tells how selections of earlier runs ended.
    fn tell_of_earlier_runs(&self) {
        let judges = self.judging();
        remove_leftovers(&self.library);
        let is_current = |label: &str| self.is_current(label);

        for selection in Selection::recovered(&self.kept, &judges, is_current) {
            if let Some(outcome) = selection.outcome.clone() {
                self.tell(selection, outcome);
            }
        }
    }

    /// Rejects the recipes that were accepted and will not be prepared.
    fn turn_away(&mut self) {
        if let Some(lesson) = self.lesson.take() {
            let reason = format!("nothing was taught: {STOPPING}");
            let id = lesson.selection.id.clone();
            self.tell(lesson.selection, Answer::rejected(id.as_deref(), reason));
        }

        for RecipeRequest {
            selection, recipe, ..
        } in self.wanted.try_iter()
        {
            let reason = format!("{}: {STOPPING}", recipe.label());
            let answer = Answer::rejected(selection.id.as_deref(), reason);
            self.tell(selection, answer);
        }

        for wish in self.reloads.try_iter() {
            if let ReloadRequest::Command { selection, .. } = wish {
                let answer = Answer::rejected(selection.id.as_deref(), STOPPING);
                self.tell(*selection, answer);
            }
        }
    }

    /// Keeps the second answer, then tells it.
    pub(super) fn tell(&self, selection: Selection, answer: Answer) {
        self.answers.tell(selection, answer);
    }

    /// Does what a command asks for.
    fn serve(&mut self, wanted: RecipeRequest, stop: &Stop, pulse: &Heartbeat) {
        let RecipeRequest {
            selection,
            recipe,
            wish,
            under_way,
            answered,
        } = wanted;

        let _ = answered.recv(); // nothing is ever sent
        match wish {
            RecipeWish::Select(revision) => {
                self.select(selection, &recipe, revision, stop, pulse);
            }

            RecipeWish::Change(change, source) => {
                let wanted = WantedChange {
                    selection,
                    recipe,
                    change: *change,
                    source,
                };

                self.change_recipe(wanted, stop, pulse);
            }
        }

        drop(under_way);
    }

    fn select(
        &mut self,
        mut selection: Selection,
        recipe: &RecipeSpec,
        revision: Option<u64>,
        stop: &Stop,
        pulse: &Heartbeat,
    ) {
        let name = recipe.name.clone();
        let judged = self.judging();
        let (label, outcome) = match self.as_of_now(recipe, revision) {
            Ok(recipe) => {
                let label = recipe.label();
                self.follow(&mut selection, &label);
                let mut prepared = self.prepare(&recipe);

                if let Ok(prepared) = &mut prepared {
                    self.tell_scores_of(&label, prepared);
                }

                (
                    label,
                    prepared.and_then(|swap| self.swap(swap, None, stop, pulse)),
                )
            }

            Err(reason) => (recipe.label(), Err(reason)),
        };

        let id = selection.id.as_deref();
        let answer = match outcome {
            Ok(gallery) => {
                tracing::info!("recipe {label} judges from now on");
                let gallery = gallery.as_deref().unwrap_or("none");
                let words =
                    format!("recipe {label} judges in the place of {judged}, gallery {gallery}");
                self.store.audit(words);

                // Before the outcome: a crash in between finds the recipe that judges, and so the
                // outcome.
                drop(self.store.set(SELECTED_RECIPE, &name));
                self.diagnostics.clear(SELECTED_RECIPE);

                // Parts of another recipe may be other products.
                if name_in(&judged) != name {
                    self.lessons.cut("another recipe judges");
                }

                let told = self.with_set_thresholds(label);
                Answer::new(id, AnswerStatus::Done, Some(told))
            }

            Err(reason) => {
                tracing::error!("recipe {label} was not taken over: {reason}");

                Answer::rejected(id, reason)
            }
        };

        self.tell(selection, answer);
    }

    /// The recipe as the library has it by now, in the revision that was asked for.
    fn as_of_now(&self, recipe: &RecipeSpec, revision: Option<u64>) -> Result<RecipeSpec, String> {
        let now = config::as_of_now(recipe, &self.library).map_err(|error| error.to_string())?;

        match revision.filter(|wanted| *wanted != now.revision) {
            None => Ok(now),
            Some(wanted) => Err(other_revision(&now, wanted)),
        }
    }

    /// Keeps the revision that a selection means by now: after a crash it is compared with the one that
    /// judges.
    fn follow(&self, selection: &mut Selection, label: &str) {
        if selection.recipe != label {
            label.clone_into(&mut selection.recipe);
            drop(self.store.set(&selection.key, &selection.kept()));
        }
    }

    /// The recipe's label, with the thresholds of commands that it is judged by.
    pub(super) fn with_set_thresholds(&self, label: String) -> String {
        let set = self.control.set_thresholds(&label);

        if set.is_empty() {
            return label;
        }

        format!("{label}, with set_threshold's {}", set.join(", "))
    }

    /// Makes what judges by a recipe, beside the line.
    pub(super) fn prepare(&mut self, recipe: &RecipeSpec) -> Result<PreparedRecipe, String> {
        let prepared = self.preparer.prepare(recipe, PrepareMode::Live);
        let mut active = prepared.map_err(|failure| failure.message)?;
        let judges = active.policies(recipe).map_err(|failure| failure.message)?;
        active.recall_self_test(recipe, &mut self.kept, &self.store);

        Ok(PreparedRecipe { active, judges })
    }

    /// Lets the inspector judge by a recipe. Gives the name of the gallery that judges now.
    pub(super) fn swap(
        &mut self,
        prepared: PreparedRecipe,
        from: Option<String>,
        stop: &Stop,
        pulse: &Heartbeat,
    ) -> Result<Option<String>, String> {
        let PreparedRecipe { active, judges } = prepared;

        // The prepared recipe moves to the inspector's thread; these two are all that is needed of
        // it here.
        let references = active.inspector.reference_count();
        let gallery = active.gallery.clone();

        // The inspector swaps between two batches, so that a batch is judged by one recipe. A line
        // that is stopping never answers, which the loop below notices.
        let (done, swapped) = bounded(1);
        let swap = RecipeSwap {
            prepared: active,
            judges,
            from,
            done,
        };

        self.swap.send(swap).map_err(|_| STOPPING)?;
        loop {
            pulse.beat();

            match swapped.recv_timeout(HEARTBEAT) {
                Ok(()) => break,
                Err(RecvTimeoutError::Timeout) if !stop.is_stopped() => {}
                Err(_) => return Err(STOPPING.to_owned()),
            }
        }

        // The inspector judges by the recipe from here on. Identity is told after that, never
        // before: a birth must not name a recipe that does not judge yet.
        let identity = {
            let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            identity.judged_by(&self.control.policies()); // a threshold may have been set since
            identity.references = references;
            identity.gallery = gallery.clone();
            identity.clone()
        };

        self.end_shadow_of(&identity.recipe);
        self.events.tell(Event::Identity(Arc::new(identity)));

        Ok(gallery)
    }
}

/// The name in `name@revision`.
pub(super) fn name_in(label: &str) -> &str {
    label.rsplit_once('@').map_or(label, |(name, _)| name)
}

/// Refusal of a selection that means another revision than the one that is current.
pub fn other_revision(recipe: &RecipeSpec, wanted: u64) -> String {
    format!(
        "recipe {} has revision {} here, not {wanted}",
        recipe.name, recipe.revision
    )
}
