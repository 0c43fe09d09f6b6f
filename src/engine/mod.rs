//! Layer 3: the seam between the algorithm and whatever runs the network: pixels in, features out.
//!
//! [`onnx`] runs it on the CPU with ONNX Runtime, [`cuda`] on an NVIDIA GPU, its graphs through a [`network`].

pub mod cuda;
pub mod device_scorer;
pub mod flops;
pub mod graphs;
pub mod library_path;
pub mod nearest;
pub mod network;
pub mod onnx;
mod pos_embed;
pub mod select;
pub mod tensorrt;

use crate::base::problems::Problems;
use crate::model::{Family, ModelSpec};
use ndarray::{Array2, Array3};
use std::time::Duration;

/// Normalised pixels of one picture, `[3, side, side]` (channel, row, column), RGB.
pub type Pixels = Array3<f32>;

/// Which patch tokens a recipe compares with its gallery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchLayer {
    /// What stands after the b-th block, counted from 1, before any final norm. The last block is the default.
    Block(usize),
    /// The last block's tokens after the tower's final norm (anomalib's choice).
    AfterFinalNorm,
}

/// What an encoder computes for each picture; fixed when it is opened, because it decides which graph is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodePlan {
    /// Input side in pixels: the model's own for CLIP, any multiple of the patch side for DINOv2.
    pub side: usize,
    /// The whole picture's embedding (CLIP: class token, ln_post, projection; DINOv2: class token after the final norm).
    pub image: bool,
    /// Layers whose tokens are wanted; the recipe's own first.
    pub patches: Vec<PatchLayer>,
    /// Window scales in patches, for example `[2, 3]`; empty for none.
    pub scales: Vec<usize>,
}

/// One look at a picture.
#[derive(Debug, Clone, Copy)]
pub struct Crop<'a> {
    pub pixels: &'a Pixels,
    /// Which patches count, `grid * grid` of them, row-major; nothing means all. Windows without one are left out.
    pub cells: Option<&'a [bool]>,
}

impl<'a> From<&'a Pixels> for Crop<'a> {
    /// All of it counts.
    fn from(pixels: &'a Pixels) -> Self {
        Crop {
            pixels,
            cells: None,
        }
    }
}

/// The windows of `scale` that hold a patch that counts, by their place in row-major order of their top-left patch.
pub fn counted_windows(grid: usize, scale: usize, cells: Option<&[bool]>) -> Vec<usize> {
    let places = grid - scale + 1;
    let counts = |window: &usize| {
        let (top, left) = (window / places, window % places);
        let mut held = (top..top + scale)
            .flat_map(|row| (left..left + scale).map(move |column| row * grid + column));
        cells.is_none_or(|cells| held.any(|cell| cells[cell]))
    };
    (0..places * places).filter(counts).collect()
}

/// What was computed for one look. Raw: not normalised to unit length.
#[derive(Debug, Clone)]
pub struct Features {
    /// Patches along one side.
    pub grid: usize,
    /// `[E]`
    pub image: Option<Vec<f32>>,
    /// One entry a layer, in the plan's order: class token first, then the patches in row-major order, `[1 + P, D]`.
    pub tokens: Vec<Array2<f32>>,
    /// One entry a scale, in the plan's order.
    pub windows: Vec<WindowFeatures>,
}

/// The embeddings of all windows of `scale * scale` patches, in row-major order of their top-left patch: `[W, E]`,
/// `W = (grid - scale + 1)^2`, or fewer where the look's cells leave windows out ([`counted_windows`]).
#[derive(Debug, Clone)]
pub struct WindowFeatures {
    pub scale: usize,
    pub features: Array2<f32>,
}

/// What each grey level of a channel (R, G, B) becomes before the network sees it.
pub fn levels(spec: &ModelSpec) -> [[f32; 256]; 3] {
    let level = |channel: usize, grey: usize| {
        (grey as f32 / 255.0 - spec.mean[channel]) / spec.std[channel]
    };
    [0, 1, 2].map(|channel| std::array::from_fn(|grey| level(channel, grey)))
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The library, the device or the plan cannot be had: exit 69.
    #[error("{0}")]
    Unavailable(String),
    /// The plan asks for what the model cannot do (scale beyond the grid, block beyond the last): exit 78.
    #[error("{0}")]
    Plan(String),
    /// The model folder does not hold what it says: exit 65.
    #[error("{0}")]
    Model(String),
    /// One call failed; the next may not.
    #[error("the engine failed on a picture: {0}")]
    Run(String),
}

/// The text tower; lives only while a recipe is prepared.
pub trait TextEncoder {
    /// Raw embeddings `[N, E]` of the prompts, in order.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for a prompt with more tokens than the model reads.
    fn encode(&mut self, prompts: &[String]) -> Result<Array2<f32>, EngineError>;
}

/// Where the time of one [`Encoder::encode`] went.
#[derive(Debug, Clone, Default)]
pub struct EncodeTook {
    pub trunk: Duration,
    pub gather: Duration,
    /// One entry a scale.
    pub windows: Vec<Duration>,
}

/// Runs the network. The thread that owns it owns it for life.
pub trait Encoder: nearest::Nearest + Send {
    /// For `birth` and the log, for example `onnx-fp32`.
    fn backend(&self) -> &str;

    /// What it runs on, for `birth`.
    fn device(&self) -> &str {
        "cpu"
    }

    /// Features of each look, in order; all finite. Its pixels are `[3, side, side]` of the plan.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the network failed or produced a value that is not finite.
    fn encode(&mut self, looks: &[Crop]) -> Result<Vec<Features>, EngineError>;

    /// Where the time of the last look went.
    fn took(&self) -> &EncodeTook;

    /// Its way from pictures to pieces of a score, where it has one.
    fn fused(&mut self) -> Option<&mut dyn device_scorer::DeviceScorer> {
        None
    }
}

impl EncodePlan {
    /// What of the plan the model cannot do, with the limits.
    ///
    /// # Errors
    /// [`EngineError::Plan`]
    pub fn check(&self, spec: &ModelSpec) -> Result<(), EngineError> {
        let mut problems = Problems::new();
        let fixed = spec.family != Family::Dinov2;
        if fixed && self.side != spec.side {
            problems.note(
                "input_px",
                format!(
                    "this model reads {0} x {0} pixels only, got {1}",
                    spec.side, self.side
                ),
            );
        }
        let grid = self.side / spec.patch;
        if !fixed && (!self.side.is_multiple_of(spec.patch) || grid == 0 || grid > 128) {
            let patch = spec.patch;
            problems.note(
                "input_px",
                format!(
                    "must be a multiple of {patch}, from {patch} to {}, got {}",
                    128 * patch,
                    self.side
                ),
            );
        }
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
        for scale in &self.scales {
            if *scale == 0 || *scale > grid {
                problems.note(
                    "scales",
                    format!("a window must be 1 to {grid} patches wide, got {scale}"),
                );
            }
        }
        problems
            .into_result()
            .map_err(|p| EngineError::Plan(p.to_string()))
    }
}
