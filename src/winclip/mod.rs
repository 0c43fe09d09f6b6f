//! Layer 4: the algorithm, pure: no I/O, no threads. WinCLIP and WinCLIP+ (Jeong et al., CVPR 2023,
//! arXiv 2303.14814) and, for models without text, their visual half.

use crate::verdict::Map;
use std::time::Duration;

/// What a recipe asks of the algorithm. Presets are parameters of one code path.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// Goes into the prompts exactly as given; needed for models with text.
    pub class_name: Option<String>,
    pub preset: Preset,
    pub fit: Fit,
    /// Input side; nothing means the model's own.
    pub side: Option<usize>,
    /// Patches from the b-th block, counted from 1; nothing means what the preset says (the last).
    pub block: Option<usize>,
    /// Which visual maps are averaged; nothing means what the preset says (DINOv2: patch alone).
    pub maps: Option<Vec<MapKind>>,
    /// Window scales for the language part, in patches.
    pub scales: Vec<usize>,
    /// States of the recipe's own, added to the preset's, each with one `{}`.
    pub normal_states: Vec<String>,
    pub anomalous_states: Vec<String>,
    /// Templates that replace the preset's, each with one `{}`; empty for the preset's.
    pub templates: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    #[default]
    Paper,
    Anomalib,
    Zqhang,
    Caoyunkang,
}

/// How a camera picture becomes a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Both sides to the input side; the aspect is not kept.
    #[default]
    Squash,
    /// The shorter side to the input side, then the centre.
    Crop,
}

/// One visual map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    Patch,
    Windows(usize),
}

/// The algorithm's word on one picture. Both finite.
#[derive(Debug, Clone)]
pub struct Judgement {
    pub score: f32,
    pub map: Map,
    pub pixels_took: Duration,
    pub encode_took: Duration,
    pub score_took: Duration,
}
