//! Layer 3: model folders. [`import`] turns an open_clip, transformers CLIP or transformers DINOv2 folder into ours;
//! [`ModelFolder`] is an imported one, opened and checked.

use std::path::PathBuf;

/// What a model is and can do; `model.toml` in memory.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    pub family: Family,
    /// The side in pixels that the model was trained for.
    pub side: usize,
    /// Patch side in pixels; `side` is a multiple of it.
    pub patch: usize,
    /// Vision width D.
    pub width: usize,
    /// Blocks L of the vision tower.
    pub blocks: usize,
    pub heads: usize,
    /// Length E of the image (and window) embedding; D for a model without text.
    pub embed: usize,
    /// Pixel normalisation, RGB.
    pub mean: [f32; 3],
    pub std: [f32; 3],
    /// The text tower; nothing for DINOv2.
    pub text: Option<TextSpec>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    OpenClip,
    Clip,
    Dinov2,
}

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// Tokens a prompt may have, start and end included: 77.
    pub context: usize,
    pub vocabulary: usize,
    pub width: usize,
}

/// An imported model: its folder, opened and checked.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    pub path: PathBuf,
    pub spec: ModelSpec,
    /// The folder's name, for people: `vit-b-16-plus-240`.
    pub name: String,
    /// Hex SHA-256 over the weights and the spec; the first four digits stand in results as `name@fa8e`.
    pub hash: String,
}
