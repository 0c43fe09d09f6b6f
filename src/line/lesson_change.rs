//! A lesson on the changeover's side, from its command to the revision that it makes; each step is shown on the board.

use crate::base::stop::Stop;
use crate::base::systemd::Heartbeat;
use crate::line::changeover::{ChangeSource, Changeover};
use crate::line::lesson::{Lesson, PartFiles};
use crate::line::lessons::TaughtPicture;
use crate::line::recipe_change::{Becomes, Edit};
use crate::line::selection::Selection;
use crate::page;
use crate::protocol::lesson_board::{LessonStep, PartFate};
use crate::protocol::teaching::{RecipeChange, TeachCommand};
use crate::recipe::library::draft::Draft;
use crate::recipe::spec::RecipeSpec;
use crate::recipe::teach::{OddOne, OnKnown};
use std::time::Instant;

impl Changeover {
    pub(super) fn begin_lesson(
        &mut self,
        selection: Selection,
        recipe: RecipeSpec,
        command: TeachCommand,
        source: &ChangeSource,
    ) {
        // The one before was cut, and has not been looked at since.
        self.end_cut_lesson();
        let ChangeSource::Lesson(number) = *source else {
            return self.finish(
                selection,
                |_, _| Err("a lesson without a number".to_owned()),
            );
        };

        // The lesson keeps a copy, so that a failure can still be told.
        let own = selection.clone();
        let lesson = Lesson::new(own, recipe, (number, command), &self.library);

        match lesson {
            Ok(lesson) => {
                self.board.begin(lesson.shown());
                self.lesson = Some(lesson);
            }

            Err(error) => self.give_lesson_up((number, selection), &error.to_string()),
        }
    }

    /// Takes a picture of the lesson.
    pub(super) fn take_picture(&mut self, taught: TaughtPicture) {
        let lesson = self.lesson.as_mut();
        let Some(lesson) = lesson.filter(|lesson| lesson.number == taught.lesson) else {
            return; // it came as its lesson ended
        };

        let taken = lesson.take(&taught, Instant::now());
        if taken.is_ok() && self.board.is_wanted() {
            let picture = page::small_picture(&taught.picture);
            self.board.see(taught.lesson, taught.part, picture);
        }

        match taken {
            Ok(None) => {}
            Ok(Some(so_far)) => self.answers.progress(&lesson.selection, so_far),
            Err(error) => {
                if let Some(lesson) = self.lesson.take() {
                    self.give_lesson_up((lesson.number, lesson.selection), &error.to_string());
                }
            }
        }
    }

    /// Ends a lesson that is complete, or that was cut, or to which no part comes.
    pub(super) fn look_at_lesson(&mut self, stop: &Stop, pulse: &Heartbeat) {
        self.end_cut_lesson();
        let now = Instant::now();
        let is_complete = self.lesson.as_ref().is_some_and(Lesson::is_complete);

        let ended = self
            .lesson
            .take_if(|lesson| is_complete || lesson.is_given_up(now));

        let Some(lesson) = ended else {
            return;
        };

        if !is_complete {
            let why = format!("no part came for 10 minutes; {}", lesson.so_far());
            return self.give_lesson_up((lesson.number, lesson.selection), &why);
        }

        // Whoever took control a moment ago has cut it; from here on nobody is given control.
        let under_way = self.hold.begin_change();

        if let Some(why) = self.lessons.cut_by(lesson.number) {
            return self.give_lesson_up((lesson.number, lesson.selection), why);
        }

        // Parts that come from now on are none of it, however long the writing takes.
        self.lessons.end(lesson.number);
        self.board.step(lesson.number, LessonStep::Comparing);
        let taught_as = lesson.command.taught_as;
        let edit = Edit::Add(taught_as, lesson.pictures, OnKnown::PassOver);
        let becomes = Becomes::of(&RecipeChange::Teach(lesson.command));
        let recipe = lesson.recipe;
        let number = lesson.number;
        self.finish(lesson.selection, |this, selection| {
            let told = this.edit(selection, &recipe, (edit, becomes), stop, pulse);
            this.board.step(number, LessonStep::of(&told));
            told
        });

        drop(under_way);
    }

    /// Ends the lesson if a command has cut it.
    fn end_cut_lesson(&mut self) {
        let Some(lesson) = &self.lesson else {
            return;
        };

        let Some(why) = self.lessons.cut_by(lesson.number) else {
            return;
        };

        let why = format!("{why}; {}", lesson.so_far());
        if let Some(lesson) = self.lesson.take() {
            self.give_lesson_up((lesson.number, lesson.selection), &why);
        }
    }

    fn give_lesson_up(&mut self, (number, selection): (u64, Selection), why: &str) {
        self.lessons.end(number);
        let why = format!("nothing was taught: {why}");
        self.board.step(number, LessonStep::Refused(why.clone()));
        self.finish(selection, |_, _| Err(why));
    }

    /// Shows what became of each part of the lesson that made a draft.
    pub(super) fn settle_lesson(&self, files: &PartFiles, draft: &Draft, odd: &[OddOne]) {
        let Some(lesson) = self.board.lesson() else {
            return;
        };

        let is_of_lesson = |part: &str| files.files.iter().any(|file| file.part == part);
        self.board.settle(lesson.number, |part| {
            if let Some(odd) = odd.iter().find(|odd| odd.from == part) {
                return PartFate::Apart {
                    score: odd.score,
                    highest: odd.highest,
                };
            }

            let mut pictures = draft.pictures.iter();
            let is_taken = pictures.any(|picture| !picture.is_held && picture.from == part);

            match is_taken && is_of_lesson(part) {
                true => PartFate::Accepted,
                false => PartFate::PassedOver(
                    "the recipe has this picture, or it shows nothing".to_owned(),
                ),
            }
        });
    }
}
