//! The values that a choice compares: blocks of the model's depth, cells of an oblong input, shares of the
//! highest cells.

use crate::base::problems::Problems;
use crate::engine::PatchLayer;
use crate::model::ModelSpec;
use crate::recipe::library::choice_note::Combination;
use crate::recipe::spec::RecipeSpec;
use crate::winclip::{Fit, MapKind, Recipe, TopShare};

/// Blocks that are compared, at most: each needs the memory of its features.
const BLOCKS_MAX: usize = 12;
/// Shares of the highest cells that are compared.
const SHARES: [f64; 3] = [0.004, 0.01, 0.02];
/// Cells of the finer input that is compared, for each of the recipe's.
const FINER: f64 = 2.25;
/// Cells of an input, at most; the recipe's own bound.
const CELLS_MAX: usize = 4096;

/// The values that a recipe has, or takes by default.
pub fn current(recipe: &Recipe, model: &ModelSpec) -> Combination {
    let block = match recipe.patch_layer(model) {
        PatchLayer::Block(block) => block,
        PatchLayer::AfterFinalNorm => model.blocks,
    };

    // Only an oblong input has a number of cells to choose.
    let has_cells = recipe.fit == Fit::Keep;
    let top_share = recipe.top_share.unwrap_or(TopShare::USUAL);

    Combination {
        block,
        cells: has_cells.then(|| recipe.kept_cells()),
        top_share: top_share.get(),
    }
}

/// A recipe with the values of a combination.
pub fn with(combination: &Combination, recipe: &Recipe) -> Recipe {
    Recipe {
        block: Some(combination.block),
        cells: combination.cells,
        top_share: TopShare::new(combination.top_share),
        ..recipe.clone()
    }
}

/// Returns why nothing can be chosen for a recipe with this model, all reasons at once.
pub fn check(spec: &RecipeSpec, model: &ModelSpec) -> Result<(), Problems> {
    let mut problems = Problems::new();
    if model.text.is_some() {
        let words = "a model with text compares the layer that its paper names, and its score is not a mean of the highest cells: nothing is to be chosen";
        problems.note("--choose", words);
    }

    let maps = spec.winclip.parameters(model).maps;
    if model.text.is_none() && maps != [MapKind::Patch] {
        let words = "goes with the patch map alone, and the recipe asks for others; take maps out";
        problems.note("--choose", words);
    }

    if spec.winclip.regions.len() > 1 {
        let words = "the recipe has several regions, and in which of them a picture is bad is not known; give each a recipe of its own to choose for it";
        problems.note("--choose", words);
    }

    problems.into_result()
}

/// Returns the combinations of a recipe with this model, `baseline` first. All that have the same cells stand together.
pub fn combinations(baseline: Combination, model: &ModelSpec) -> Vec<Combination> {
    let mut all = vec![baseline];
    for cells in cells_of(baseline) {
        for block in blocks_of(baseline, model) {
            for top_share in shares_of(baseline) {
                let combination = Combination {
                    block,
                    cells,
                    top_share,
                };

                if combination != baseline {
                    all.push(combination);
                }
            }
        }
    }

    all
}

/// The blocks from a third of the depth to the one before the last: earlier ones see edges and colours alone, and the
/// last one lost 10 to 25 points where it was measured (docs/measurements.md), which is too much for a mistake. Of a
/// deep model as many as fit, evenly apart. The recipe's own block is among them.
fn blocks_of(baseline: Combination, model: &ModelSpec) -> Vec<usize> {
    let first = model.blocks.div_ceil(3).max(1);
    let count = model.blocks.saturating_sub(first);
    let step = count.div_ceil(BLOCKS_MAX).max(1);

    // From behind, so that the block before the last is always among them.
    let mut blocks: Vec<usize> = (first..model.blocks).rev().step_by(step).collect();
    blocks.push(baseline.block);
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}

fn cells_of(baseline: Combination) -> Vec<Option<usize>> {
    let mut all = vec![baseline.cells];
    if let Some(cells) = baseline.cells {
        let finer = (cells as f64 * FINER) as usize;
        all.extend((finer <= CELLS_MAX).then_some(Some(finer)));
    }

    all
}

/// The recipe's own share comes first: on a coarse map several shares are the same cells, and the first of equals is
/// taken.
fn shares_of(baseline: Combination) -> Vec<f64> {
    let shares = SHARES.into_iter();
    let others = shares.filter(|share| *share != baseline.top_share);
    [baseline.top_share].into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::spec::tests::spec as model;

    fn baseline(fit: Fit, blocks: usize) -> Combination {
        let recipe = Recipe {
            fit,
            ..Recipe::new(None)
        };

        current(&recipe, &model(blocks))
    }

    #[test]
    fn blocks_begin_at_a_third_of_the_depth_and_hold_the_recipes_own() {
        let baseline = baseline(Fit::Squash, 12);
        assert_eq!(blocks_of(baseline, &model(12)), [4, 5, 6, 7, 8, 9, 10, 11]);
        let last = Combination {
            block: 4,
            ..baseline
        };
        assert_eq!(blocks_of(last, &model(4)), [2, 3, 4]);
        let only = Combination {
            block: 1,
            ..baseline
        };
        assert_eq!(blocks_of(only, &model(1)), [1]);
        let deep = blocks_of(baseline, &model(40));
        assert!(
            deep.len() <= BLOCKS_MAX + 1 && deep.contains(&39),
            "{deep:?}"
        );
    }

    #[test]
    fn the_recipes_own_values_come_first_and_once() {
        let keep = baseline(Fit::Keep, 12);
        assert_eq!(keep.cells, Some(256));
        let all = combinations(keep, &model(12));
        assert_eq!(all[0], keep);
        assert_eq!(all.len(), 8 * 3 * 2);
        assert!(all.iter().any(|combination| combination.cells == Some(576)));
        let squash = combinations(baseline(Fit::Squash, 12), &model(12));
        assert_eq!(squash.len(), 8 * 3);
        assert_eq!(squash[0].to_string(), "block 9, top share 0.01");
    }
}
