//! Specification of a model: its family, sizes and normalisation.

use crate::data::grid::Grid;

/// Architecture and sizes of a model.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Layout of its weights.
    pub family: Family,
    /// Side in pixels that the model was trained for.
    pub side: usize,
    /// Patch side in pixels.
    pub patch: usize,
    /// Vision width D.
    pub width: usize,
    /// Blocks L of the vision tower.
    pub blocks: usize,
    /// Attention heads of the vision tower.
    pub heads: usize,
    /// Hidden width of a block's MLP.
    pub mlp: usize,
    /// Length E of the image (and window) embedding; D for a model without text.
    pub embed: usize,
    /// Mean of the pixel normalisation, RGB.
    pub mean: [f32; 3],
    /// Standard deviation of the pixel normalisation, RGB.
    pub std: [f32; 3],
    /// The text tower. `None` for DINOv2.
    pub text: Option<TextSpec>,
}

impl ModelSpec {
    /// Patches of the native input, a square.
    pub fn grid(&self) -> Grid {
        Grid::square(self.side / self.patch)
    }
}

/// Layouts of weights that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// open_clip's hub folders.
    OpenClip,
    /// transformers' `CLIPModel`.
    Clip,
    /// transformers' `Dinov2Model`.
    Dinov2,
}

/// Sizes of a text tower.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// Tokens that a prompt may have, start and end included: 77.
    pub context: usize,
    /// Number of different tokens.
    pub vocabulary: usize,
    /// Width of the text tower.
    pub width: usize,
}
