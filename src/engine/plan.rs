//! The plan of an encoder: everything that it computes for a crop.

use super::error::EngineError;
use crate::base::problems::Problems;
use crate::data::grid::Grid;
use crate::model::{Family, ModelSpec};

/// Cells along one side of a map, at most.
pub const GRID_MAX: usize = 128;

/// Layer whose patch tokens a recipe compares with its gallery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchLayer {
    /// Tokens after the b-th block, counted from 1, before any final norm. The last block is the
    /// default.
    Block(usize),
    /// The last block's tokens after the tower's final norm (anomalib's choice).
    AfterFinalNorm,
}

/// The features that an encoder computes for each crop. The plan is fixed when the encoder is
/// opened, because it decides which graph is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodePlan {
    /// Width of the input in pixels: the model's own side for CLIP, any multiple of the patch side
    /// for DINOv2.
    pub width: usize,
    /// Height of the input in pixels, as its width.
    pub height: usize,
    /// True if the embedding of the whole crop is wanted (CLIP: class token, ln_post, projection;
    /// DINOv2: class token after the final norm).
    pub image: bool,
    /// Layers whose tokens are wanted; the recipe's own first.
    pub patches: Vec<PatchLayer>,
    /// Window scales in patches, for example `[2, 3]`; empty for none.
    pub scales: Vec<usize>,
}

impl EncodePlan {
    /// Compares the plan with the limits of the model.
    ///
    /// # Errors
    /// [`EngineError::Plan`] with everything that the model cannot do, and the limits.
    pub fn check(&self, spec: &ModelSpec) -> Result<(), EngineError> {
        // All problems are collected, so that one run of `check` shows them together.
        let mut problems = Problems::new();

        for side in self.sides() {
            check_side(side, spec, &mut problems);
        }

        // Blocks count from 1: block 0 would be the input, which no recipe compares.
        for layer in &self.patches {
            if let PatchLayer::Block(block) = layer
                && !(1..=spec.blocks).contains(block)
            {
                problems.note(
                    "block",
                    format!("must be 1 to {}, got {block}", spec.blocks),
                );
            }
        }

        // A window wider than the grid has no place to stand.
        let grid = self.grid(spec);
        let widest = grid.w.min(grid.h);

        for scale in &self.scales {
            if *scale == 0 || *scale > widest {
                problems.note(
                    "scales",
                    format!("a window must be 1 to {widest} patches wide, got {scale}"),
                );
            }
        }

        problems
            .into_result()
            .map_err(|problems| EngineError::Plan(problems.to_string()))
    }

    /// The patches of the input.
    pub fn grid(&self, spec: &ModelSpec) -> Grid {
        Grid {
            w: self.width / spec.patch,
            h: self.height / spec.patch,
        }
    }

    /// The side of a square input.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for an oblong one, which GPUs are not served with.
    pub fn square_side(&self) -> Result<usize, EngineError> {
        let EncodePlan { width, height, .. } = self;

        if width == height {
            return Ok(*width);
        }

        Err(EngineError::Plan(format!(
            "fit: keep makes an input of {width} x {height} pixels, and a GPU judges squares alone so far; use fit = \"squash\", or the CPU with backend = \"onnx\""
        )))
    }

    /// The different sides of the input, in pixels.
    fn sides(&self) -> Vec<usize> {
        let mut sides = vec![self.width, self.height];
        sides.dedup();

        sides
    }
}

fn check_side(side: usize, spec: &ModelSpec, problems: &mut Problems) {
    let patch = spec.patch;

    // CLIP's positions are trained for one grid and not resampled.
    let is_fixed = spec.family != Family::Dinov2;

    if is_fixed && side != spec.side {
        let own = spec.side;
        problems.note(
            "input_px",
            format!("this model reads {own} x {own} pixels only, got {side}"),
        );
    }

    // The bound on the grid bounds every map and every table of windows that follows from it.
    let grid = side / patch;
    let fits = side.is_multiple_of(patch) && (1..=GRID_MAX).contains(&grid);

    if !is_fixed && !fits {
        let most = GRID_MAX * patch;
        problems.note(
            "input_px",
            format!("must be a multiple of {patch}, from {patch} to {most}, got {side}"),
        );
    }
}
