//! Commands about the revisions of a recipe while the line runs: teach, label, forget, rollback; edit and shadow, which are
//! done in `recipe_edit` and `shadow/command.rs`.
//!
//! ```text
//! lesson, or label: pictures in files --> draft of the next revision
//! forget: a picture less -------------------^   |
//!                                               v
//!        written beside the current revision, prepared as it would judge, odd pictures kept apart
//!                     |-- it cannot judge --> taken back, rejected
//!                     v
//!        its label kept in the store --> current in the library --> taken over between two parts --> done
//! ```
//! A crash at any point leaves the old revision or the new one, and the next run gives the second answer
//! by which of them is current.

use crate::base::stop::Stop;
use crate::base::systemd::Heartbeat;
use crate::config;
use crate::line::changeover::{Changeover, PreparedRecipe, STOPPING, WantedChange, name_in};
use crate::line::lesson::{PartFile, PartFiles};
use crate::line::selection::Selection;
use crate::line::suggestion::known_group;
use crate::protocol::answer::{Answer, AnswerStatus};
use crate::protocol::teaching::{RecipeChange, RollbackCommand, TaughtAs, TeachCommand};
use crate::recipe::adopt::{adopted, note_of};
use crate::recipe::default_block;
use crate::recipe::library::draft::Draft;
use crate::recipe::library::manifest::PictureUse;
use crate::recipe::library::promotion::Promotion;
use crate::recipe::library::revision::Revision;
use crate::recipe::library::writer::LibraryWriter;
use crate::recipe::references::References;
use crate::recipe::spec::RecipeSpec;
use crate::recipe::teach::{OddOne, OnKnown, take_odd_ones_out, teach_parts};
use std::sync::PoisonError;
use std::time::Instant;

/// A change of a draft.
pub(super) enum Edit {
    /// Pictures of known parts are added.
    Add(TaughtAs, PartFiles, OnKnown),
    /// Pictures of a suggested group are added: a person has looked at them, so that none of them is odd.
    Group(TaughtAs, PartFiles),
    /// A picture is taken out.
    Forget(String),
}

/// Place of a new revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Becomes {
    /// It judges.
    Current,
    /// It waits beside the current one.
    Candidate,
}

impl Becomes {
    pub(super) fn of(change: &RecipeChange) -> Self {
        match change.makes_candidate() {
            true => Becomes::Candidate,
            false => Becomes::Current,
        }
    }
}

/// A revision that was written and prepared, and does not judge yet.
pub(super) struct Proven {
    pub revision: Revision,
    pub spec: RecipeSpec,
    pub prepared: PreparedRecipe,
}

impl Proven {
    /// Its label and its pictures, in words.
    fn counts(&self) -> String {
        let manifest = self.revision.manifest();
        let label = manifest.label();
        let good = manifest.count(PictureUse::Good);
        let bad = manifest.count(PictureUse::Bad);
        let by = &manifest.by;

        format!("{label} has {good} good and {bad} bad pictures ({by})")
    }
}

impl Changeover {
    /// Does what a command asks for, or begins a lesson.
    pub(super) fn change_recipe(&mut self, wanted: WantedChange, stop: &Stop, pulse: &Heartbeat) {
        let WantedChange {
            selection,
            recipe,
            change,
            source,
        } = wanted;

        let becomes = Becomes::of(&change);
        let edit = match change {
            RecipeChange::Suggest(_) => return self.suggest(selection, &recipe, stop),
            RecipeChange::Teach(TeachCommand {
                group: Some(group),
                run_id,
                taught_as,
                ..
            }) => {
                let taken = self.group(&recipe, group, run_id.as_deref());
                return self.finish(selection, |this, selection| {
                    let (files, parts) = taken?;
                    let edit = Edit::Group(taught_as, files);
                    let told = this.edit(selection, &recipe, (edit, becomes), stop, pulse)?;
                    this.forget_group(group, &parts);
                    Ok(told)
                });
            }

            RecipeChange::Teach(command) => {
                return self.begin_lesson(selection, recipe, command, &source);
            }

            RecipeChange::Rollback(command) => {
                let outcome = |this: &mut Self, selection: &mut Selection| {
                    this.roll_back(selection, &recipe, &command, stop, pulse)
                };

                return self.finish(selection, outcome);
            }

            RecipeChange::Edit(command) => {
                return self.finish(selection, |this, selection| {
                    this.edit_command(selection, &recipe, &command, stop, pulse)
                });
            }

            RecipeChange::Shadow(command) => {
                return self.finish(selection, |this, selection| {
                    this.shadow_command(selection, &recipe, &command)
                });
            }

            // The command handler sends it to the what-if stage.
            RecipeChange::WhatIf(_) => Err("not here".to_owned()),
            RecipeChange::Forget(command) => Ok::<_, String>(Edit::Forget(command.picture)),
            RecipeChange::Label(command) => self.labelled(&command, source, &recipe.name),
        };

        self.finish(selection, |this, selection| {
            this.edit(selection, &recipe, (edit?, becomes), stop, pulse)
        });
    }

    /// Makes a change and tells how it ended. One that the line's end cut after it stood is told by the
    /// next run.
    pub(super) fn finish(
        &mut self,
        mut selection: Selection,
        change: impl FnOnce(&mut Self, &mut Selection) -> Result<String, String>,
    ) {
        let id = selection.id.clone();
        let answer = match change(self, &mut selection) {
            Ok(words) => {
                tracing::info!("{}: {words}", selection.command);
                self.store.audit(words.clone());

                Answer::new(id.as_deref(), AnswerStatus::Done, Some(words))
            }

            Err(why) if why == STOPPING => return,
            Err(why) => {
                tracing::error!("{} was refused: {why}", selection.command);

                Answer::rejected(id.as_deref(), selection.refusal(why))
            }
        };

        self.tell(selection, answer);
    }

    /// Makes the next revision of a recipe. Returns words on what it is.
    pub(super) fn edit(
        &mut self,
        selection: &mut Selection,
        recipe: &RecipeSpec,
        (edit, becomes): (Edit, Becomes),
        stop: &Stop,
        pulse: &Heartbeat,
    ) -> Result<String, String> {
        // A threshold that was set a moment ago belongs to the revision that is changed.
        self.revisions.keep(Instant::now(), pulse);
        let writer = LibraryWriter::lock(&self.library).map_err(words)?;
        let (before, mut draft) = self.base(&writer, recipe)?;
        let told = match &edit {
            Edit::Forget(picture) => {
                let forgotten = draft.forget(picture).map_err(words)?;

                format!("forgot {}", forgotten.from)
            }

            Edit::Add(taught_as, files, on_known) => add(&mut draft, *taught_as, files, *on_known)?,
            // What was labelled one by one since stays what it is.
            Edit::Group(taught_as, files) => match known_group(&draft, *taught_as, files)? {
                Some(words) => return Ok(words),
                None => add(&mut draft, *taught_as, files, OnKnown::PassOver)?,
            },
        };

        draft.by = format!("{}: {told}", selection.command);
        let mut proven = self.prove(&writer, &draft)?;
        let mut odd = vec![];

        // Those that a person has labelled one by one are what the person says.
        if let Edit::Add(TaughtAs::Good, _, OnKnown::PassOver) = edit {
            (proven, odd) = self.without_odd_ones(&writer, &mut draft, proven)?;
        }

        if let Edit::Add(_, files, OnKnown::PassOver) = &edit {
            self.settle_lesson(files, &draft, &odd);
        }

        self.tell_scores(&mut proven);

        if becomes == Becomes::Candidate {
            return self.keep_candidate(selection, &writer, &proven);
        }

        let counts = proven.counts();
        self.make_current(selection, writer, &proven)?;
        let judges = self.take_over(proven, Some(before), stop, pulse)?;

        Ok(format!("{counts}; {judges}"))
    }

    /// Keeps a revision that was proven as a candidate. Returns words on it.
    pub(super) fn keep_candidate(
        &self,
        selection: &mut Selection,
        writer: &LibraryWriter,
        proven: &Proven,
    ) -> Result<String, String> {
        writer.keep_candidate(&proven.revision).map_err(words)?;
        selection.is_candidate = true;
        let label = proven.revision.manifest().label();
        self.keep_label(selection, &label)?;

        let mut told = vec![proven.counts()];
        told.extend(proven.prepared.known_bad_words());
        told.push(format!("it is a candidate, {} judges", self.judging()));

        Ok(told.join("; "))
    }

    /// Makes a revision that was proven the current one, and ends the writing. Nothing stays of one that does not become it.
    pub(super) fn make_current(
        &self,
        selection: &mut Selection,
        writer: LibraryWriter,
        proven: &Proven,
    ) -> Result<(), String> {
        let revision = &proven.revision;
        let label = revision.manifest().label();
        self.keep_label(selection, &label)
            .inspect_err(|_| writer.discard(revision))?;

        let made = writer.make_current(revision).map_err(words);

        // Where only the last sync failed, it is current all the same, and a start would judge by it.
        if self.is_current(&label) {
            return Ok(());
        }

        // A pointer that cannot be read may say that it is.
        let is_known = self.library.pointer(&proven.spec.name).is_ok();
        made.inspect_err(|_| {
            if is_known {
                writer.discard(revision);
            }
        })
    }

    /// Makes another revision the current one. Returns words on what it is.
    fn roll_back(
        &mut self,
        selection: &mut Selection,
        recipe: &RecipeSpec,
        command: &RollbackCommand,
        stop: &Stop,
        pulse: &Heartbeat,
    ) -> Result<String, String> {
        self.revisions.keep(Instant::now(), pulse);
        let writer = LibraryWriter::lock(&self.library).map_err(words)?;
        let name = &recipe.name;
        let pointer = self.library.pointer(name).map_err(words)?;

        let before = pointer.and_then(|pointer| pointer.before);
        let Some(to) = command.revision.or(before) else {
            return Err(format!(
                "recipe {name} has no revision before the current one"
            ));
        };

        let revision = self.library.revision(name, to).map_err(words)?;
        let promotion = Promotion::to(&revision, &self.library, command.force).map_err(words)?;
        let mut proven = self.prepared(revision)?;
        self.tell_scores(&mut proven);
        let label = proven.revision.manifest().label();
        self.keep_label(selection, &label)?;

        // As in `edit`: where only the last sync failed, it is current all the same.
        let made = writer.roll_back(name, Some(to)).map_err(words);

        if !self.is_current(&label) {
            made?;
        }

        drop(writer);
        let judges = self.take_over(proven, None, stop, pulse)?;

        Ok(format!("{}; {judges}", promotion.words()))
    }

    /// The label of the revision that is changed, and its draft. A recipe out of a file becomes a revision first, so that there
    /// is one to go back to.
    pub(super) fn base(
        &self,
        writer: &LibraryWriter,
        recipe: &RecipeSpec,
    ) -> Result<(String, Draft), String> {
        let now = config::as_of_now(recipe, &self.library).map_err(words)?;
        let label = now.label();
        let model = &self.preparer.model;

        if let Some(revision) = &now.library {
            let mut draft = Draft::after(revision, String::new()).map_err(words)?;
            draft.model = Some(note_of(model));

            // The block that judges now stays, although another version may have another default.
            default_block::record(&mut draft.table, &now.winclip, &model.spec);
            return Ok((label, draft));
        }

        let by = "added from the line's file".to_owned();
        let mut first = adopted(&now, model, by).map_err(words)?;

        // What cannot judge is none to go back to; results have its label all the same, so that the
        // first revision is the next one.
        if !self.preparer.is_taught(&now) {
            first.least_number += 1;
            return Ok((label, first));
        }

        self.check_gallery(&now)?;
        let first = writer.commit(&first).map_err(words)?;
        let draft = Draft::after(&first, String::new()).map_err(words)?;

        Ok((label, draft))
    }

    /// Refuses references that were changed since the line began to judge by them: a revision of that label is
    /// what its results were judged by.
    fn check_gallery(&self, recipe: &RecipeSpec) -> Result<(), String> {
        let label = recipe.label();
        let gallery = {
            let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            let judges = identity.recipe == label;
            judges.then(|| identity.gallery.clone())
        };

        let references = References::read(&recipe.references, &mut |_| {});
        let references = references.map_err(|failure| failure.message)?;

        // Of a recipe that does not judge now no gallery is known to compare with.
        let Some(gallery) = gallery else {
            return Ok(());
        };

        if gallery == references.hash() {
            return Ok(());
        }

        Err(format!(
            "the reference files of {label} were changed since the line began to judge by them; start the line again, then teach"
        ))
    }

    /// Writes a draft and prepares it as it would judge. Nothing stays of one that cannot.
    pub(super) fn prove(
        &mut self,
        writer: &LibraryWriter,
        draft: &Draft,
    ) -> Result<Proven, String> {
        let revision = writer.write(draft).map_err(words)?;
        let written = revision.clone();

        let proven = self.prepared(revision);
        proven.inspect_err(|_| writer.discard(&written))
    }

    fn prepared(&mut self, revision: Revision) -> Result<Proven, String> {
        let spec = config::recipe_of(revision.clone()).map_err(words)?;
        let prepared = self.prepare(&spec)?;
        Ok(Proven {
            revision,
            spec,
            prepared,
        })
    }

    /// The revision without the new pictures that are unlike the other references; `by` of it names them.
    fn without_odd_ones(
        &mut self,
        writer: &LibraryWriter,
        draft: &mut Draft,
        mut proven: Proven,
    ) -> Result<(Proven, Vec<OddOne>), String> {
        let active = &mut proven.prepared.active;
        let odd = take_odd_ones_out(draft, active, &proven.revision).map_err(words)?;

        if odd.is_empty() {
            return Ok((proven, odd));
        }

        writer.discard(&proven.revision);
        drop(proven); // its engine goes before the next one is opened
        let count = odd.len();
        let words: Vec<String> = odd.iter().map(OddOne::to_string).collect();
        let named = first_few(&words);
        let apart = format!(
            "{count} of them kept apart, label them good while their pictures are kept if they are: {named}"
        );

        let has_references = draft.pictures.iter().any(|picture| !picture.is_held);
        if !has_references {
            return Err(format!("none of them is like the references: {apart}"));
        }

        draft.by = format!("{}, {apart}", draft.by);
        self.prove(writer, draft).map(|proven| (proven, odd))
    }

    /// Lets the recipe judge in its new revision, where that recipe judges. Returns words on what judges.
    pub(super) fn take_over(
        &mut self,
        proven: Proven,
        from: Option<String>,
        stop: &Stop,
        pulse: &Heartbeat,
    ) -> Result<String, String> {
        let judging = self.judging();
        let label = proven.spec.label();

        if name_in(&judging) != proven.spec.name {
            if let Some(from) = from {
                self.control.carry_thresholds(&from, &label);
            }

            return Ok(format!("{judging} judges"));
        }

        // A threshold that a command set is the operator's last word, unless the operator goes back.
        self.swap(proven.prepared, from.map(|_| judging), stop, pulse)?;
        let mut thresholds = vec![];

        for (region, policy) in self.control.policies() {
            let of_region = region.as_deref().map(|name| format!(" of {name}"));
            let of_region = of_region.unwrap_or_default();

            let value = policy.threshold.map(|value| format!("{value:.4}"));
            let value = value.as_deref().unwrap_or("none");
            thresholds.push(format!("threshold{of_region} {value}"));
        }

        let mut words = vec![format!("it judges, {}", thresholds.join(", "))];
        words.extend(self.control.known_bad_words());

        Ok(words.join("; "))
    }

    /// Keeps the label that a change is about to make current: after a crash the library says whether it did.
    ///
    /// # Errors
    /// When the line stops.
    pub(super) fn keep_label(&self, selection: &mut Selection, label: &str) -> Result<(), String> {
        label.clone_into(&mut selection.recipe);

        // It is waited for: the library must not change before the label is on the disk.
        let value = selection.kept();
        let kept = self.store.set(&selection.key, &value).wait();

        kept.map_err(|_| STOPPING.to_owned())
    }

    /// True if that `name@revision` is the library's current revision of its recipe.
    pub(super) fn is_current(&self, label: &str) -> bool {
        let Some((name, number)) = label.rsplit_once('@') else {
            return false;
        };

        let pointer = self.library.pointer(name);
        matches!(pointer, Ok(Some(pointer)) if pointer.current.to_string() == number)
    }
}

/// Adds pictures of parts to a draft. Returns words on what was added.
fn add(
    draft: &mut Draft,
    taught_as: TaughtAs,
    files: &PartFiles,
    on_known: OnKnown,
) -> Result<String, String> {
    let used_as = match taught_as {
        TaughtAs::Good => PictureUse::Good,
        TaughtAs::Bad => PictureUse::Bad,
    };

    let mut parts = vec![];
    for PartFile { file, part } in &files.files {
        parts.push((file.clone(), part.clone()));
    }

    let added = teach_parts(draft, used_as, parts, on_known);
    let added = added.map_err(|failure| failure.message)?;

    let passed_over = match added.passed_over.len() {
        0 => String::new(),
        count => {
            let named = first_few(&added.passed_over);

            format!(", {count} passed over: {named}")
        }
    };

    Ok(format!(
        "taught {} good and {} bad parts{passed_over}",
        added.good, added.bad
    ))
}

/// Things that are named in an answer; of more the number is told.
const NAMED: usize = 3;

fn first_few(all: &[String]) -> String {
    let named = all.len().min(NAMED);
    let left_out = all.len() - named;
    let words = all[..named].join("; ");

    match left_out {
        0 => words,
        more => format!("{words}; and {more} more"),
    }
}

pub(super) fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
