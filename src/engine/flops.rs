//! The amount of arithmetic that a plan asks for: the floor under every measured time.
//!
//! A multiplication with its addition counts 2. Counted are the matrix products (convolution,
//! projections, attention, MLP), which are all but a few parts in a thousand; norms, activations
//! and softmax are not.

use super::plan::{EncodePlan, PatchLayer};
use crate::model::ModelSpec;

/// Operations for one crop: the trunk, then each scale of the plan's windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Flop {
    /// Operations of the graph over the whole crop.
    pub trunk: f64,
    /// One entry a scale.
    pub windows: Vec<f64>,
}

impl Flop {
    /// Operations of trunk and windows together.
    pub fn total(&self) -> f64 {
        self.trunk + self.windows.iter().sum::<f64>()
    }
}

/// Operations of the graphs for a crop without a mask, cut as they are at load.
pub fn flop(plan: &EncodePlan, spec: &ModelSpec) -> Flop {
    Flop {
        // Masks only leave windows out, so that a crop without one is the upper bound.
        trunk: trunk(plan, spec),
        windows: plan
            .scales
            .iter()
            .map(|&scale| windows(plan, spec, scale))
            .collect(),
    }
}

fn trunk(plan: &EncodePlan, spec: &ModelSpec) -> f64 {
    let patches = plan.grid(spec).cells() as f64;

    // A patch is a square of three channels; the convolution is one product of all its values with
    // the width.
    let values_of_patch = (3 * spec.patch * spec.patch) as f64;
    let convolution = 2.0 * patches * values_of_patch * spec.width as f64;
    let blocks = blocks(plan, spec) as f64;
    let tokens = patches + own_tokens(spec);
    let trunk = convolution + blocks * block(spec, tokens, tokens);

    // The embedding needs one more product; a plan without it saves that.
    if plan.image {
        trunk + projection(spec)
    } else {
        trunk
    }
}

/// Blocks of the trunk that the plan needs.
fn blocks(plan: &EncodePlan, spec: &ModelSpec) -> usize {
    // The embedding of the crop lies behind the last block.
    if plan.image {
        return spec.blocks;
    }

    // A patch layer needs the blocks up to its own, and the graph is cut behind the highest.
    plan.patches
        .iter()
        .map(|layer| match layer {
            PatchLayer::Block(block) => *block,
            PatchLayer::AfterFinalNorm => spec.blocks,
        })
        .max()
        .unwrap_or(0)
}

fn windows(plan: &EncodePlan, spec: &ModelSpec, scale: usize) -> f64 {
    let places = plan.grid(spec).windows(scale);

    // All windows of a scale go through the tower as crops of `scale * scale` patches each.
    let count = places.cells() as f64;
    let tokens = (scale * scale) as f64 + own_tokens(spec);
    let all_but_last = (spec.blocks - 1) as f64 * block(spec, tokens, tokens);

    // The last block asks for the class token alone.
    let last = block(spec, tokens, 1.0);

    count * (all_but_last + last + projection(spec))
}

/// Tokens that are no patches: the class token and the registers.
fn own_tokens(spec: &ModelSpec) -> f64 {
    (1 + spec.registers) as f64
}

/// The projection of a class token into the joint space; none without text.
fn projection(spec: &ModelSpec) -> f64 {
    match spec.text {
        Some(_) => 2.0 * (spec.width * spec.embed) as f64,
        None => 0.0,
    }
}

/// One block over `tokens` rows of which `asking` have queries, a projection and an MLP.
fn block(spec: &ModelSpec, tokens: f64, asking: f64) -> f64 {
    let width = spec.width as f64;

    // Keys and values are made for all tokens, queries and the output projection for the asking
    // ones: two of each, at width x width.
    let projections = 2.0 * width * width * (2.0 * tokens + 2.0 * asking);

    // Scores and the weighted sum are one product each, of all asking rows with all tokens.
    let attention = 4.0 * asking * tokens * width;

    // The MLP has two products, up to its own width and back.
    let mlp = 4.0 * asking * width * spec.mlp as f64;

    projections + attention + mlp
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Family, TextSpec};

    /// ViT-B-16-plus-240.
    fn spec() -> ModelSpec {
        ModelSpec {
            family: Family::OpenClip,
            side: 240,
            patch: 16,
            width: 896,
            blocks: 12,
            heads: 14,
            mlp: 3584,
            embed: 640,
            mean: [0.5; 3],
            std: [0.5; 3],
            registers: 0,
            antialias: false,
            default_block: None,
            text: Some(TextSpec {
                context: 77,
                vocabulary: 49408,
                width: 640,
            }),
        }
    }

    #[test]
    fn winclip_at_240_pixels_is_636_gflop() {
        let plan = EncodePlan {
            width: 240,
            height: 240,
            image: true,
            patches: vec![PatchLayer::Block(12)],
            scales: vec![2, 3],
        };

        let flop = flop(&plan, &spec());
        assert!((flop.trunk / 1e9 - 54.8).abs() < 0.1, "{flop:?}");
        assert!((flop.total() / 1e9 - 636.0).abs() < 1.0, "{flop:?}");
    }

    #[test]
    fn an_early_block_costs_its_share() {
        let plan = |block| EncodePlan {
            width: 240,
            height: 240,
            image: false,
            patches: vec![PatchLayer::Block(block)],
            scales: vec![],
        };

        let half = flop(&plan(6), &spec()).trunk;
        let whole = flop(&plan(12), &spec()).trunk;
        assert!((half / whole - 0.5).abs() < 0.01);
    }
}
