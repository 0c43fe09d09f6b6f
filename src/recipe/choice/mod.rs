//! Choice of block, top share and cells by a recipe's own good and bad pictures.
//!
//! ```text
//! RecipeSpec, bad pictures --combinations--> values to compare --measure--> scores of each --rule--> Choice --words--> a person
//! ```
//! Which block tells good parts from bad ones best differs from product to product by 3 to 8 points of AUROC, and
//! good pictures alone do not say which. Real bad ones do, a little; defects that are drawn on good pictures choose
//! worse (docs/teach.md has the figures), and are a second witness beside them. A few pictures are a small sample of all faults,
//! so that the values of now stay unless others win by more than chance ([`rule`]).

pub mod combinations;
pub mod measure;
mod pasted;
pub mod rule;
mod words;

use crate::base::exit::Failure;
use crate::recipe::library::choice_note::{ChoiceNote, Combination};
use crate::recipe::library::table::Table;
use crate::winclip::TopShare;
use combinations::combinations;
use measure::Measuring;
use rule::{Decision, decide};

/// What was chosen, and by what.
pub struct Choice {
    /// Combinations, the recipe's values of now first.
    combinations: Vec<Combination>,
    decision: Decision,
    good: usize,
    bad: usize,
}

impl Choice {
    /// Measures all combinations beside `baseline`, and chooses. `progress` hears how many pictures of how many are
    /// encoded.
    ///
    /// # Errors
    /// When a picture does not fit the recipe, or the engine is missing or fails.
    pub fn made(
        measuring: &Measuring,
        baseline: Combination,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, Failure> {
        let combinations = combinations(baseline, &measuring.model.spec);
        let scores = measuring.scores(&combinations, progress)?;
        Ok(Choice {
            decision: decide(&combinations, &scores),
            combinations,
            good: measuring.parts.good_count(),
            bad: measuring.parts.bad_count(),
        })
    }

    /// The values that were chosen: those of before where nothing wins by more than chance.
    pub fn taken(&self) -> Combination {
        self.combinations[self.decision.taken]
    }

    /// The values of before.
    pub fn baseline(&self) -> Combination {
        self.combinations[0]
    }

    /// True where other values than those of before were chosen.
    pub fn is_other(&self) -> bool {
        self.decision.taken != 0
    }

    /// The record of the choice for a revision's manifest.
    pub fn note(&self) -> ChoiceNote {
        ChoiceNote {
            taken: self.taken(),
            baseline: self.baseline(),
            how: self.how(),
            unknown: self.unknown(),
        }
    }
}

/// Puts values into a recipe's table. The usual share is left out of one that names none.
pub fn put(combination: &Combination, table: &mut Table) {
    table.insert("block".to_owned(), combination.block.into());
    let is_usual = combination.top_share == TopShare::USUAL.get();
    if !is_usual || table.contains_key("top_share") {
        table.insert("top_share".to_owned(), combination.top_share.into());
    }

    if let Some(cells) = combination.cells {
        table.insert("cells".to_owned(), cells.into());
    }
}
