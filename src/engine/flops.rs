//! How much arithmetic a plan asks for: the floor under every measured time.
//!
//! A multiplication with its addition counts 2. Counted are the matrix products (convolution, projections, attention,
//! MLP), which are all but a few parts in a thousand; norms, activations and softmax are not.

use super::{EncodePlan, PatchLayer};
use crate::model::ModelSpec;

/// Operations for one picture: the trunk, then each scale of the plan's windows.
#[derive(Debug, Clone, PartialEq)]
pub struct Flop {
    pub trunk: f64,
    /// One entry a scale.
    pub windows: Vec<f64>,
}

impl Flop {
    pub fn total(&self) -> f64 {
        self.trunk + self.windows.iter().sum::<f64>()
    }
}

/// What the graphs compute for a look all of which counts, cut as they are at load.
pub fn flop(plan: &EncodePlan, spec: &ModelSpec) -> Flop {
    let grid = plan.side / spec.patch;
    let patches = (grid * grid) as f64;
    let embed = if spec.text.is_some() {
        2.0 * (spec.width * spec.embed) as f64
    } else {
        0.0
    };
    let deepest = plan.patches.iter().map(|layer| match layer {
        PatchLayer::Block(block) => *block,
        PatchLayer::AfterFinalNorm => spec.blocks,
    });
    let blocks = if plan.image {
        spec.blocks
    } else {
        deepest.max().unwrap_or(0)
    };
    let convolution = 2.0 * patches * (3 * spec.patch * spec.patch * spec.width) as f64;
    let trunk = convolution + blocks as f64 * block(spec, patches + 1.0, patches + 1.0);
    let windows = plan.scales.iter().map(|&scale| {
        let (count, tokens) = (
            ((grid - scale + 1).pow(2)) as f64,
            (1 + scale * scale) as f64,
        );
        let whole = (spec.blocks - 1) as f64 * block(spec, tokens, tokens);
        // The last block asks for the class token alone.
        count * (whole + block(spec, tokens, 1.0) + embed)
    });
    Flop {
        trunk: trunk + if plan.image { embed } else { 0.0 },
        windows: windows.collect(),
    }
}

/// One block over `tokens` rows of which `asking` have queries, a projection and an MLP.
fn block(spec: &ModelSpec, tokens: f64, asking: f64) -> f64 {
    let (width, mlp) = (spec.width as f64, spec.mlp as f64);
    let projections = 2.0 * width * width * (2.0 * tokens + 2.0 * asking);
    let attention = 4.0 * asking * tokens * width;
    projections + attention + 4.0 * asking * width * mlp
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
            side: 240,
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
            side: 240,
            image: false,
            patches: vec![PatchLayer::Block(block)],
            scales: vec![],
        };
        let (half, whole) = (
            flop(&plan(6), &spec()).trunk,
            flop(&plan(12), &spec()).trunk,
        );
        assert!((half / whole - 0.5).abs() < 0.01);
    }
}
