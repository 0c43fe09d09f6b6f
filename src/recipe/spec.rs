//! A recipe's plain values, as its table or file gives them: what is inspected and how.

use crate::data::verdict::OnUndecided;
use crate::recipe::conformal::FalseRejectRate;
use crate::recipe::library::revision::Revision;
use crate::recipe::library::table::Table;
use crate::recipe::locate::LocateSpec;
use crate::recipe::quality;
use crate::winclip::Recipe;
use std::path::PathBuf;
use std::time::Duration;

/// A recipe, checked, before anything of it was prepared.
#[derive(Debug, Clone)]
pub struct RecipeSpec {
    /// Name under which commands select the recipe; unique in a line.
    pub name: String,
    /// Revision that the line's people count up; at least 1.
    pub revision: u64,
    /// Parameters of the algorithm, regions included.
    pub winclip: Recipe,
    /// Pictures of good parts: files, or folders of files. Empty for zero-shot.
    pub references: Vec<PathBuf>,
    /// Pictures of good parts that are not among the references, by which a threshold at a rate is
    /// found: files, or folders of files. Empty: the references serve, each against the others.
    pub calibration: Vec<PathBuf>,
    /// One threshold for each region of `winclip`, in its order.
    pub thresholds: Vec<Threshold>,
    /// Limits beyond which a picture is bad.
    pub bad_image: quality::Limits,
    /// Effect of an undecided part at the gate.
    pub on_undecided: OnUndecided,
    /// Longest time between two challenges that were met; `None` asks for no challenges.
    pub challenge_every: Option<Duration>,
    /// Stored pictures that are judged again and again; `None` without a self-test.
    pub self_test: Option<SelfTestSpec>,
    /// Finds the part in each picture; `None`: parts lie where those of the references lay.
    pub locate: Option<LocateSpec>,
    /// The table that it was read from, as it stands there.
    pub table: Table,
    /// The revision of the library that it is. `None` for a recipe of a line's file, or of its own.
    pub library: Option<Revision>,
}

impl RecipeSpec {
    /// Returns `name@revision`.
    pub fn label(&self) -> String {
        format!("{}@{}", self.name, self.revision)
    }
}

/// A region's limit between good and bad, as the recipe asks for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// A score.
    Fixed(f32),
    /// The highest usual leave-one-out score of the references, times a factor.
    Auto {
        /// Room above the references' scores; 1.1 unless the recipe says another.
        factor: f32,
    },
    /// The score that keeps the share of good parts that fail at a rate.
    Rate(FalseRejectRate),
    /// The recipe names none: every part is `undecided(not_ready)`.
    None,
}

impl Threshold {
    /// Returns true when the threshold is found by a rate.
    pub fn is_by_rate(&self) -> bool {
        matches!(self, Threshold::Rate(_))
    }
}

/// Two pictures that are judged again when nothing else is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct SelfTestSpec {
    /// Picture file of a good part.
    pub good: PathBuf,
    /// Picture file of a bad part.
    pub bad: PathBuf,
    /// Shortest time between two tests.
    pub every: Duration,
}
