//! What a lesson has seen so far and what became of each of its parts, and the scores by which recipes find their
//! thresholds: shared by the line, which writes it, and the page, which shows it.
//!
//! ```text
//! lesson begins --> parts, each seen --> the revision is written and prepared --> each accepted, kept apart or passed over
//! ```
//! Bounds: the last lesson alone, of at most 256 parts with a small picture each; scores of [`RECIPES_MAX`] recipes. Nothing is
//! kept until somebody asks for it ([`LessonBoard::want`]).

use super::teaching::TaughtAs;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Recipes whose scores are kept, the newest.
pub const RECIPES_MAX: usize = 16;

/// Handle of a line's board; clones share one.
#[derive(Debug, Clone, Default)]
pub struct LessonBoard(Arc<Board>);

#[derive(Debug, Default)]
struct Board {
    is_wanted: AtomicBool,
    state: Mutex<BoardState>,
}

#[derive(Debug, Default)]
struct BoardState {
    lesson: Option<ShownLesson>,
    scores: VecDeque<RecipeScores>,
}

/// The last lesson.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownLesson {
    /// Its number in this run.
    pub number: u64,
    /// Name of the recipe that is taught.
    pub recipe: String,
    /// Kind of its parts.
    pub taught_as: TaughtAs,
    /// Parts that are asked for.
    pub wanted: u32,
    /// Parts so far.
    pub parts: Vec<ShownPart>,
    /// How far it is.
    pub step: LessonStep,
}

/// How far a lesson is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LessonStep {
    /// Parts are missing.
    Seeing,
    /// All were seen; the revision is written and prepared.
    Comparing,
    /// The revision stands, in words.
    Done(String),
    /// Nothing was taught, with the reason.
    Refused(String),
}

impl LessonStep {
    /// The end of a lesson by its outcome.
    pub fn of(outcome: &Result<String, String>) -> Self {
        match outcome {
            Ok(words) => LessonStep::Done(words.clone()),
            Err(why) => LessonStep::Refused(why.clone()),
        }
    }
}

/// A part of a lesson.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownPart {
    /// `run/camera/seq`, and the camera that saw it where several see a part.
    pub part: String,
    /// A small picture, as a JPEG file.
    pub picture: Option<Arc<[u8]>>,
    /// What became of it.
    pub fate: PartFate,
}

/// What became of a part of a lesson.
#[derive(Debug, Clone, PartialEq)]
pub enum PartFate {
    /// It was seen.
    Seen,
    /// It is a picture of the recipe.
    Accepted,
    /// It is unlike the others, and is not taken until a person says so.
    Apart {
        /// Its score against the others.
        score: f32,
        /// The highest score of the others.
        highest: f32,
    },
    /// It was not taken, for a reason in words.
    PassedOver(String),
    /// It was kept apart, and a person has said that it is good.
    Kept,
    /// It was kept apart, and a person has said that it is none of them.
    Left,
}

/// Scores of a recipe's known parts, by which its threshold is found.
#[derive(Debug, Clone, PartialEq)]
pub struct RecipeScores {
    /// `name@revision`.
    pub label: String,
    /// Each region of the recipe, in its order.
    pub regions: Vec<RegionScores>,
}

/// Scores in one region.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionScores {
    /// The region; `None` in a recipe without regions.
    pub name: Option<String>,
    /// The threshold; `None` where there is none.
    pub threshold: Option<f32>,
    /// The references, each against the others.
    pub good: Vec<f32>,
    /// The known bad parts.
    pub bad: Vec<BadScore>,
}

/// Scores of one known bad part in a region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BadScore {
    /// By all that the recipe knows, its looks included.
    pub score: f32,
    /// By the good parts alone: what other parts with such a fault score.
    pub unknown: f32,
}

impl LessonBoard {
    /// Asks for lessons and scores from now on.
    pub fn want(&self) {
        self.0.is_wanted.store(true, Ordering::Relaxed);
    }

    /// True where somebody shows lessons: small pictures cost time.
    pub fn is_wanted(&self) -> bool {
        self.0.is_wanted.load(Ordering::Relaxed)
    }

    /// The last lesson.
    pub fn lesson(&self) -> Option<ShownLesson> {
        self.state().lesson.clone()
    }

    /// A lesson begins, in place of the one before.
    pub fn begin(&self, lesson: ShownLesson) {
        if self.is_wanted() {
            self.state().lesson = Some(lesson);
        }
    }

    /// A part of the lesson of that number was seen.
    pub fn see(&self, number: u64, part: String, picture: Option<Arc<[u8]>>) {
        self.change(number, |lesson| {
            lesson.parts.push(ShownPart {
                part,
                picture,
                fate: PartFate::Seen,
            });
        });
    }

    /// The lesson of that number goes on to another step.
    pub fn step(&self, number: u64, step: LessonStep) {
        self.change(number, |lesson| lesson.step = step);
    }

    /// Says of each part of the lesson of that number what became of it.
    pub fn settle(&self, number: u64, mut fate: impl FnMut(&str) -> PartFate) {
        self.change(number, |lesson| {
            for shown in &mut lesson.parts {
                shown.fate = fate(&shown.part);
            }
        });
    }

    /// A person has decided on a part that was kept apart. False where there is no such part.
    pub fn decide(&self, number: u64, part: &str, fate: PartFate) -> bool {
        let mut is_found = false;
        self.change(number, |lesson| {
            let mut parts = lesson.parts.iter_mut();
            let shown = parts.find(|shown| shown.part == part);
            let apart = shown.filter(|shown| matches!(shown.fate, PartFate::Apart { .. }));
            if let Some(shown) = apart {
                shown.fate = fate;
                is_found = true;
            }
        });

        is_found
    }

    /// Keeps the scores of a recipe's revision, in place of those of an earlier one.
    pub fn score(&self, scores: RecipeScores) {
        let mut state = self.state();
        let name = scores.name().to_owned();
        state.scores.retain(|known| known.name() != name);
        if state.scores.len() >= RECIPES_MAX {
            state.scores.pop_front();
        }

        state.scores.push_back(scores);
    }

    /// The scores of the recipe of that name, of the revision that was prepared last.
    pub fn scores(&self, name: &str) -> Option<RecipeScores> {
        let state = self.state();
        let mut scores = state.scores.iter();
        scores.find(|scores| scores.name() == name).cloned()
    }

    fn change(&self, number: u64, change: impl FnOnce(&mut ShownLesson)) {
        let mut state = self.state();
        let lesson = state.lesson.as_mut();
        if let Some(lesson) = lesson.filter(|lesson| lesson.number == number) {
            change(lesson);
        }
    }

    fn state(&self) -> MutexGuard<'_, BoardState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecipeScores {
    /// The recipe's name.
    fn name(&self) -> &str {
        let label = self.label.rsplit_once('@');
        label.map_or(self.label.as_str(), |(name, _)| name)
    }
}

impl ShownLesson {
    /// Number of parts of a fate.
    pub fn count(&self, is_it: impl Fn(&PartFate) -> bool) -> usize {
        self.parts.iter().filter(|shown| is_it(&shown.fate)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lesson(number: u64) -> ShownLesson {
        ShownLesson {
            number,
            recipe: "nut".to_owned(),
            taught_as: TaughtAs::Good,
            wanted: 2,
            parts: vec![],
            step: LessonStep::Seeing,
        }
    }

    #[test]
    fn a_part_that_was_kept_apart_is_decided_on_once() {
        let board = LessonBoard::default();
        board.begin(lesson(1));
        assert_eq!(board.lesson(), None, "nobody asked for it");
        board.want();
        board.begin(lesson(2));
        board.see(2, "r/top/1".to_owned(), None);
        board.see(2, "r/top/2".to_owned(), None);
        board.see(1, "r/top/3".to_owned(), None);
        board.settle(2, |part| match part {
            "r/top/2" => PartFate::Apart {
                score: 0.26,
                highest: 0.16,
            },
            _ => PartFate::Accepted,
        });

        assert!(!board.decide(2, "r/top/1", PartFate::Kept), "it is taken");
        assert!(board.decide(2, "r/top/2", PartFate::Kept));
        assert!(!board.decide(2, "r/top/2", PartFate::Left));
        let shown = board.lesson().expect("one");
        assert_eq!(shown.parts.len(), 2);
        assert_eq!(shown.count(|fate| *fate == PartFate::Kept), 1);
    }

    #[test]
    fn scores_of_a_later_revision_take_the_place_of_the_earlier_ones() {
        let board = LessonBoard::default();
        let scores = |label: String| RecipeScores {
            label,
            regions: vec![],
        };

        for number in 0..2 * RECIPES_MAX {
            board.score(scores(format!("nut{number}@1")));
            board.score(scores(format!("nut{number}@2")));
        }

        assert_eq!(board.scores("nut0"), None, "the oldest went");
        let newest = format!("nut{}", 2 * RECIPES_MAX - 1);
        let label = board.scores(&newest).map(|scores| scores.label);
        assert_eq!(label, Some(format!("{newest}@2")));
    }
}
