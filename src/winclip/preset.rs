//! The four published readings of WinCLIP as parameters of one code path.
//!
//! Sources: the paper (Jeong et al., CVPR 2023, sections 4 and 5), open-edge-platform/anomalib 2.7,
//! zqhang/Accurate-WinCLIP-pytorch and caoyunkang/WinClip.

use super::top_share::TopShare;
use crate::engine::PatchLayer;
pub use crate::engine::device_scorer::{LanguageMap, MapKind, Mean};

/// A published reading of WinCLIP.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Deserialize,
    serde::Serialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The paper.
    #[default]
    Paper,
    /// open-edge-platform/anomalib.
    Anomalib,
    /// zqhang/Accurate-WinCLIP-pytorch.
    Zqhang,
    /// caoyunkang/WinClip.
    Caoyunkang,
}

/// Score of a whole picture, for a model with text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageScore {
    /// Zero-shot the whole picture's `s`; with references the mean of it and the visual map's
    /// maximum.
    Embedding,
    /// The maximum of the map (caoyunkang).
    MapMaximum,
}

/// Formula of the map with references, for a model with text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FewShotMap {
    /// `visual` (the paper).
    Visual,
    /// `(language + visual) / 2` (anomalib).
    Mean,
    /// `language + visual` (zqhang).
    Sum,
    /// `1 / (1/language + 1/visual)` (caoyunkang).
    Parallel,
}

/// Built-in list of prompt templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Templates {
    /// The paper's.
    All22,
    /// Two of the paper's missing, one doubled.
    Anomalib21,
    /// All 22 without the period at the end.
    NoPeriod22,
}

/// All differences between the presets.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// Prompt templates.
    pub templates: Templates,
    /// True if each prompt's embedding is normalised before the mean; else the mean is of raw
    /// embeddings.
    pub unit_prompts: bool,
    /// Softmax temperature tau.
    pub temperature: f32,
    /// Formula of the language map.
    pub language: LanguageMap,
    /// Factor of the zero-shot map.
    pub zero_shot_factor: f32,
    /// Visual maps that are averaged; a patch map comes from `patches`.
    pub maps: Vec<MapKind>,
    /// Layer of the patch map. `None`: the model's default block ([`super::Recipe::patch_layer`]).
    pub patches: Option<PatchLayer>,
    /// Number of references whose rows are as many as each visual map compares with. `None`: all.
    pub thin_to: Option<usize>,
    /// Mean over the windows of a visual map.
    pub windows: Mean,
    /// Score of a whole picture.
    pub image: ImageScore,
    /// Formula of the map with references.
    pub few_shot: FewShotMap,
    /// Share of the map's cells whose mean is the score, for a model without text.
    pub top_share: TopShare,
}

impl Parameters {
    /// True if windows are compared with prompts: not where the references alone make the map.
    pub fn needs_language_map(&self, with_references: bool) -> bool {
        !with_references || self.few_shot != FewShotMap::Visual
    }

    /// True if the whole picture is compared with prompts: for the score, or as the language map's
    /// coarsest scale.
    pub fn needs_whole_image(&self, with_references: bool) -> bool {
        let in_map = self.language == LanguageMap::Harmonic;
        self.image == ImageScore::Embedding || (in_map && self.needs_language_map(with_references))
    }
}

impl Preset {
    /// The preset's name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Paper => "paper",
            Preset::Anomalib => "anomalib",
            Preset::Zqhang => "zqhang",
            Preset::Caoyunkang => "caoyunkang",
        }
    }

    /// Parameters of the preset. `scales` are the window scales of the recipe: each gets its visual
    /// map.
    pub fn parameters(self, scales: &[usize]) -> Parameters {
        let windows: Vec<MapKind> = scales
            .iter()
            .map(|&scale| MapKind::Windows(scale))
            .collect();

        let mut patch_and_windows = vec![MapKind::Patch];
        patch_and_windows.extend(&windows);
        let paper = Parameters {
            templates: Templates::All22,
            unit_prompts: true,
            temperature: 0.07,
            language: LanguageMap::Harmonic,
            zero_shot_factor: 1.0,
            maps: patch_and_windows,
            patches: None,
            thin_to: None,
            windows: Mean::Harmonic,
            image: ImageScore::Embedding,
            few_shot: FewShotMap::Visual,
            top_share: TopShare::USUAL,
        };

        match self {
            Preset::Paper => paper,
            Preset::Anomalib => Parameters {
                templates: Templates::Anomalib21,
                unit_prompts: false,
                patches: Some(PatchLayer::AfterFinalNorm),
                few_shot: FewShotMap::Mean,
                ..paper
            },
            Preset::Zqhang => Parameters {
                templates: Templates::Anomalib21,
                unit_prompts: false,
                few_shot: FewShotMap::Sum,
                ..paper
            },
            Preset::Caoyunkang => Parameters {
                templates: Templates::NoPeriod22,
                unit_prompts: false,
                temperature: 0.01,
                language: LanguageMap::OddsMean,
                zero_shot_factor: 0.5,
                maps: windows,
                windows: Mean::Arithmetic,
                image: ImageScore::MapMaximum,
                few_shot: FewShotMap::Parallel,
                ..paper
            },
        }
    }
}
