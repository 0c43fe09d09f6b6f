//! The nearest references of failed parts, for the page: found beside the line, by a stage of their own.
//!
//! ```text
//! page --asks by stem--> NearestBoard --newest wish--> NearestFinder --answer--> NearestBoard --> page
//! ```
//! Bounds: `KEPT` answers, failures among them for `FAILURE_KEPT`, one wish that waits (a newer one takes its place), and one
//! recipe that stays prepared for `IDLE` after the last question, in half of the memory that was available.
//!
//! No verdict waits for any of it: the stage's thread has the lowest priority. Nor does the line's end: the stage holds neither
//! store nor events, and a thread that hangs at a share, or prepares a recipe, is left behind.

use crate::base::exit::Failure;
use crate::base::live::Live;
use crate::base::priority;
use crate::base::stop::Stop;
use crate::config;
use crate::data::nearest::{NearestAnswer, NearestFound};
use crate::evidence::kept;
use crate::recipe::library::error::LibraryError;
use crate::recipe::library::folder::Library;
use crate::recipe::library::hold::RevisionHold;
use crate::recipe::prepare::RecipePreparer;
use crate::recipe::replay::NearestReferences;
use crate::recipe::spec::RecipeSpec;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Parts whose answers are kept; each has up to six small pictures.
const KEPT: usize = 16;
/// Time for which a recipe stays prepared after the last question: another part of it is then told at once.
const IDLE: Duration = Duration::from_secs(60);
/// Time for which a failure is told; whoever asks later lets it be tried again.
const FAILURE_KEPT: Duration = Duration::from_secs(30);
/// Time between two looks at the stop and at wishes.
const LOOK: Duration = Duration::from_millis(200);

type Answer = Arc<Result<NearestFound, String>>;

/// Questions and answers; clones share them.
#[derive(Clone, Default)]
pub struct NearestBoard(Arc<Mutex<Board>>);

#[derive(Default)]
struct Board {
    /// The newest last.
    answers: VecDeque<KnownAnswer>,
    /// Stem of the part that is asked for next.
    wanted: Option<String>,
    /// The part that is looked at, since when.
    under_way: Option<(String, Instant)>,
}

struct KnownAnswer {
    stem: String,
    answer: Answer,
    at: Instant,
}

impl KnownAnswer {
    /// True for what was found, and for a failure of a short time ago.
    fn still_stands(&self, now: Instant) -> bool {
        self.answer.is_ok() || now.saturating_duration_since(self.at) < FAILURE_KEPT
    }
}

impl NearestBoard {
    /// The nearest references of a kept part by its stem. Where they are not known, they are looked for from now on.
    pub fn ask(&self, stem: &str) -> NearestAnswer {
        self.ask_at(stem, Instant::now())
    }

    fn ask_at(&self, stem: &str, now: Instant) -> NearestAnswer {
        let mut board = self.board();
        board.answers.retain(|known| known.still_stands(now));

        if let Some(known) = board.answers.iter().find(|known| known.stem == stem) {
            return NearestAnswer::Done(known.answer.clone());
        }

        match &board.under_way {
            Some((known, since)) if known == stem => {
                let seconds = since.elapsed().as_secs();

                NearestAnswer::UnderWay(format!("they are being looked for, for {seconds} s"))
            }

            _ => {
                board.wanted = Some(stem.to_owned());

                NearestAnswer::UnderWay("they are looked for next".to_owned())
            }
        }
    }

    /// Takes the stem that is asked for.
    fn next(&self) -> Option<String> {
        let mut board = self.board();
        let stem = board.wanted.take()?;
        board.under_way = Some((stem.clone(), Instant::now()));

        Some(stem)
    }

    fn answer(&self, stem: String, answer: Result<NearestFound, String>) {
        let mut board = self.board();
        board.under_way = None;

        if board.answers.len() >= KEPT {
            board.answers.pop_front();
        }

        board.answers.push_back(KnownAnswer {
            stem,
            answer: Arc::new(answer),
            at: Instant::now(),
        });
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A recipe that is ready to look at parts.
struct Prepared {
    references: NearestReferences,
    /// No writer prunes its revision meanwhile.
    _hold: Option<RevisionHold>,
    used_at: Instant,
}

/// The stage that finds nearest references.
pub struct NearestFinder {
    board: NearestBoard,
    preparer: RecipePreparer,
    library: Library,
    recipes: Live<Vec<RecipeSpec>>,
    evidence: Option<Arc<Path>>,
    prepared: Option<Prepared>,
}

impl NearestFinder {
    /// `recipes` are the line's, as they can be selected now.
    pub fn new(
        (board, evidence): (&NearestBoard, Option<Arc<Path>>),
        preparer: &RecipePreparer,
        library: &Library,
        recipes: Live<Vec<RecipeSpec>>,
    ) -> Self {
        NearestFinder {
            board: board.clone(),
            preparer: preparer.clone(),
            library: library.clone(),
            recipes,
            evidence,
            prepared: None,
        }
    }

    /// Answers questions until the line stops.
    ///
    /// # Errors
    /// Never, so far.
    pub fn run(mut self, stop: &Stop) -> Result<(), Failure> {
        priority::lower_own();

        while !stop.stopped_within(LOOK) {
            self.serve(stop);
        }

        Ok(())
    }

    /// Answers the newest question, if there is one, and lets a recipe go that nobody asks for any more.
    fn serve(&mut self, stop: &Stop) {
        if let Some(stem) = self.board.next() {
            let found = self.find(&stem, stop);
            self.board.answer(stem, found);
        }

        let is_idle = |prepared: &Prepared| prepared.used_at.elapsed() >= IDLE;
        if self.prepared.as_ref().is_some_and(is_idle) {
            self.prepared = None;
        }
    }

    fn find(&mut self, stem: &str, stop: &Stop) -> Result<NearestFound, String> {
        let folder = self.evidence.clone();
        let folder = folder.ok_or("the line keeps no pictures of parts (table [evidence])")?;
        let part = kept::read(&folder, stem);
        let part = part.map_err(|error| error.to_string())?;

        let mut prepared = self.prepared_for(&part.facts.recipe, stop)?;

        going_on(stop)?;
        let found = prepared.references.nearest(&part);

        prepared.used_at = Instant::now();
        self.prepared = Some(prepared);

        found
    }

    /// The prepared revision that judged a part; another one that is prepared is let go before.
    fn prepared_for(&mut self, label: &str, stop: &Stop) -> Result<Prepared, String> {
        let known = self.prepared.take();

        if let Some(known) = known.filter(|known| known.references.recipe() == label) {
            return Ok(known);
        }

        let spec = self.spec(label)?;
        let hold = spec.library.as_ref().map(RevisionHold::of).transpose();
        let hold = hold.map_err(|error| error.to_string())?;

        // This is what takes long, and cannot be cut.
        going_on(stop)?;
        let references = NearestReferences::prepare(&self.preparer, &spec);
        Ok(Prepared {
            references: references.map_err(|failure| failure.message)?,
            _hold: hold,
            used_at: Instant::now(),
        })
    }

    /// The revision of that label: of the line's file, or of the library.
    fn spec(&self, label: &str) -> Result<RecipeSpec, String> {
        let recipes = self.recipes.now();

        if let Some(own) = recipes.into_iter().find(|spec| spec.label() == label) {
            return Ok(own);
        }

        let gone = || format!("{label} judged the part, and is not in the recipe library any more");
        let (name, number) = label.rsplit_once('@').ok_or_else(gone)?;
        let number = number.parse().map_err(|_| gone())?;

        // A fault of the disk is told as it is: it may pass.
        let revision = self.library.revision(name, number);
        let revision = revision.map_err(|error| match error {
            LibraryError::Missing(_) => gone(),
            other => other.to_string(),
        })?;

        config::recipe_of(revision).map_err(|problems| problems.to_string())
    }
}

/// Refuses to go on once the line stops.
fn going_on(stop: &Stop) -> Result<(), String> {
    match stop.is_stopped() {
        true => Err("the line is stopping".to_owned()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> NearestFound {
        NearestFound {
            recipe: "nut@1".to_owned(),
            pairs: vec![],
            notes: vec![],
        }
    }

    #[test]
    fn a_failure_is_forgotten_and_tried_again_and_what_was_found_stays() {
        let board = NearestBoard::default();
        for (stem, answer) in [
            ("gone", Err("the share hung".to_owned())),
            ("seen", Ok(found())),
        ] {
            board.ask(stem);
            assert_eq!(board.next().as_deref(), Some(stem));
            board.answer(stem.to_owned(), answer);
        }

        let soon = Instant::now() + FAILURE_KEPT / 2;
        let later = Instant::now() + FAILURE_KEPT;
        let is_done = |stem, now| matches!(board.ask_at(stem, now), NearestAnswer::Done(_));
        assert!(is_done("gone", soon) && is_done("seen", soon));
        assert_eq!(board.next(), None);

        assert!(!is_done("gone", later) && is_done("seen", later));
        assert_eq!(board.next().as_deref(), Some("gone"));
    }
}
