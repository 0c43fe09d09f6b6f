//! Input and output of an encoder: pixels of crops, and the features that the network makes of
//! them.

use crate::data::grid::Grid;
use crate::model::ModelSpec;
use ndarray::{Array2, Array3};

/// Normalised pixels of one crop, `[3, height, width]` (channel, row, column), RGB.
pub type Pixels = Array3<f32>;

/// One crop of a picture, ready for the encoder.
#[derive(Debug, Clone, Copy)]
pub struct Crop<'a> {
    /// Normalised pixels, of the plan's size.
    pub pixels: &'a Pixels,
    /// True for each patch that counts, row-major. `None`: all count. A
    /// window without a counting patch is left out.
    pub mask: Option<&'a [bool]>,
}

impl<'a> From<&'a Pixels> for Crop<'a> {
    /// A crop without a mask.
    fn from(pixels: &'a Pixels) -> Self {
        Crop { pixels, mask: None }
    }
}

/// Features of one crop. Raw: not normalised to unit length.
#[derive(Debug, Clone)]
pub struct Features {
    /// Patches across and down.
    pub grid: Grid,
    /// Embedding of the whole crop, `[E]`. `None` where the plan does not ask for it.
    pub image: Option<Vec<f32>>,
    /// One entry a layer, in the plan's order: class token first, then the patches in row-major
    /// order, `[1 + P, D]`.
    pub tokens: Vec<Array2<f32>>,
    /// One entry a scale, in the plan's order.
    pub windows: Vec<WindowFeatures>,
}

/// The embeddings of all windows of `scale * scale` patches, in row-major order of their top-left
/// patch: `[W, E]`, `W` those of [`Grid::windows`], or fewer where the crop's mask leaves windows out
/// ([`unmasked_windows`]).
#[derive(Debug, Clone)]
pub struct WindowFeatures {
    /// Patches along one side of a window.
    pub scale: usize,
    /// One row a window.
    pub features: Array2<f32>,
}

/// The windows of `scale` that hold a patch that counts, by their index in row-major order of their
/// top-left patch. All windows without a mask.
pub fn unmasked_windows(grid: Grid, scale: usize, mask: Option<&[bool]>) -> Vec<usize> {
    // A window begins at each patch from which it still fits into the grid.
    let places = grid.windows(scale);
    let all = 0..places.cells();

    match mask {
        None => all.collect(),
        // A window counts as soon as one of its patches does: its embedding also describes the edge
        // of the part.
        Some(mask) => all
            .filter(|window| {
                let top = places.row(*window);
                let left = places.column(*window);
                holds_unmasked(mask, grid, scale, top, left)
            })
            .collect(),
    }
}

/// True if the window whose top-left patch is (`top`, `left`) holds a patch that counts.
fn holds_unmasked(mask: &[bool], grid: Grid, scale: usize, top: usize, left: usize) -> bool {
    // The patches of a window are `scale` neighbours in each of `scale` rows of the grid.
    (top..top + scale).any(|row| {
        let first = row * grid.w + left;
        mask[first..first + scale].contains(&true)
    })
}

/// The network's input value of each grey level, for each channel (R, G, B).
pub fn normalisation_lut(spec: &ModelSpec) -> [[f32; 256]; 3] {
    // The formula is that of the model's preprocessing: a grey level as a fraction of 255, less the
    // mean, by the deviation. 256 levels a channel make a table exact.
    std::array::from_fn(|channel| {
        let mean = spec.mean[channel];
        let std = spec.std[channel];
        std::array::from_fn(|grey| (grey as f32 / 255.0 - mean) / std)
    })
}
