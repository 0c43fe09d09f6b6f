//! The nearest references of failed parts, for the page: found beside the line, by the stage that judges stored parts again.
//!
//! ```text
//! page --asks by stem--> NearestBoard --newest wish--> what-if stage: NearestFinder --answer--> NearestBoard --> page
//! ```
//! Bounds: [`KEPT`] answers, one wish that waits (a newer one takes its place), and one recipe that stays prepared for
//! [`IDLE`] after the last question. No verdict waits for any of it: the stage's thread has the lowest priority.

use crate::base::live::Live;
use crate::config;
use crate::data::nearest::{NearestAnswer, NearestFound};
use crate::evidence::kept;
use crate::recipe::library::folder::Library;
use crate::recipe::library::hold::RevisionHold;
use crate::recipe::library::revision::Revision;
use crate::recipe::prepare::{PrepareMode, RecipePreparer};
use crate::recipe::replay::Replayer;
use crate::recipe::spec::RecipeSpec;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Parts whose answers are kept; each has up to six small pictures.
const KEPT: usize = 16;
/// Time for which a recipe stays prepared after the last question: another part of it is then told at once.
const IDLE: Duration = Duration::from_secs(60);

type Answer = Arc<Result<NearestFound, String>>;

/// Questions and answers; clones share them.
#[derive(Clone, Default)]
pub struct NearestBoard(Arc<Mutex<Board>>);

#[derive(Default)]
struct Board {
    /// The newest last.
    answers: VecDeque<(String, Answer)>,
    /// Stem of the part that is asked for next.
    wanted: Option<String>,
    /// The part that is looked at, since when.
    under_way: Option<(String, Instant)>,
}

impl NearestBoard {
    /// The nearest references of a kept part by its stem. Where they are not known, they are looked for from now on.
    pub fn ask(&self, stem: &str) -> NearestAnswer {
        let mut board = self.board();
        if let Some((_, answer)) = board.answers.iter().find(|(known, _)| known == stem) {
            return NearestAnswer::Done(answer.clone());
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

        board.answers.push_back((stem, Arc::new(answer)));
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A recipe that is ready to look at parts.
struct Prepared {
    replayer: Replayer,
    /// No writer prunes its revision meanwhile.
    _hold: Option<RevisionHold>,
    used_at: Instant,
}

/// Finds nearest references, on the thread of the stage that owns it.
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
        board: NearestBoard,
        preparer: RecipePreparer,
        library: Library,
        recipes: Live<Vec<RecipeSpec>>,
        evidence: Option<Arc<Path>>,
    ) -> Self {
        NearestFinder {
            board,
            preparer,
            library,
            recipes,
            evidence,
            prepared: None,
        }
    }

    /// Answers the newest question, if there is one, and lets a recipe go that nobody asks for any more.
    pub fn serve(&mut self) {
        if let Some(stem) = self.board.next() {
            let found = self.find(&stem);
            self.board.answer(stem, found);
        }

        let is_idle = |prepared: &Prepared| prepared.used_at.elapsed() >= IDLE;
        if self.prepared.as_ref().is_some_and(is_idle) {
            self.rest();
        }
    }

    /// Lets the prepared recipe go: another engine needs its memory.
    pub fn rest(&mut self) {
        self.prepared = None;
    }

    fn find(&mut self, stem: &str) -> Result<NearestFound, String> {
        let folder = self.evidence.clone();
        let folder = folder.ok_or("the line keeps no pictures of parts (table [evidence])")?;
        let part = kept::read(&folder, stem).map_err(words)?;
        let mut prepared = self.prepared_for(&part.facts.recipe)?;
        let found = prepared.replayer.nearest(&part);

        prepared.used_at = Instant::now();
        self.prepared = Some(prepared);
        found
    }

    /// The prepared revision that judged a part; another one that is prepared is let go before.
    fn prepared_for(&mut self, label: &str) -> Result<Prepared, String> {
        let known = self.prepared.take();
        let fitting = known.filter(|known| known.replayer.recipe() == label);
        if let Some(known) = fitting {
            return Ok(known);
        }

        let spec = self.spec(label)?;
        let revision = spec.library.as_ref();
        let hold = revision.map(RevisionHold::of).transpose();
        let hold = hold.map_err(words)?;

        let replayer = Replayer::prepare(&self.preparer, &spec, PrepareMode::Beside);
        let replayer = replayer.map_err(|failure| failure.message)?;

        Ok(Prepared {
            replayer,
            _hold: hold,
            used_at: Instant::now(),
        })
    }

    /// The revision of that label: of the line's file, or of the library.
    fn spec(&self, label: &str) -> Result<RecipeSpec, String> {
        let mut recipes = self.recipes.now().into_iter();
        let own = recipes.find(|spec| spec.label() == label);
        if let Some(own) = own {
            return Ok(own);
        }

        let revision = self.revision(label);
        let revision = revision.ok_or_else(|| {
            format!("{label} judged the part, and is not in the recipe library any more")
        })?;

        let spec = config::recipe_of(revision);
        spec.map_err(words)
    }

    /// The library's revision of that label; `None` where it is gone.
    fn revision(&self, label: &str) -> Option<Revision> {
        let (name, number) = label.rsplit_once('@')?;
        let number = number.parse().ok()?;

        self.library.revision(name, number).ok()
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
