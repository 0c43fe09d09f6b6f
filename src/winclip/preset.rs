//! The four published readings of WinCLIP as parameters of one code path.
//!
//! Sources: the paper (Jeong et al., CVPR 2023, sections 4 and 5), open-edge-platform/anomalib 2.7,
//! zqhang/Accurate-WinCLIP-pytorch and caoyunkang/WinClip.

use super::{MapKind, Preset};
use crate::engine::PatchLayer;
pub use crate::engine::device_scorer::{LanguageMap, Mean};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageScore {
    /// Zero-shot the whole picture's `s`; with references the mean of it and the visual map's maximum.
    Embedding,
    /// The maximum of the map (caoyunkang).
    MapMaximum,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FewShotMap {
    Visual,
    /// `(language + visual) / 2` (anomalib).
    Mean,
    /// `language + visual` (zqhang).
    Sum,
    /// `1 / (1/language + 1/visual)` (caoyunkang).
    Parallel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Templates {
    All22,
    /// Two of the paper's missing, one doubled.
    Anomalib21,
    /// All 22 without the period at the end.
    NoPeriod22,
}

/// Everything in which the presets differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    pub templates: Templates,
    /// Each prompt's embedding is normalised before the mean; else the mean is of raw embeddings.
    pub unit_prompts: bool,
    /// Softmax temperature tau.
    pub temperature: f32,
    pub language: LanguageMap,
    /// Factor of the zero-shot map.
    pub zero_shot_factor: f32,
    /// Visual maps that are averaged; a patch map comes from `patches`.
    pub maps: Vec<MapKind>,
    /// Nothing means the last block before the final norm.
    pub patches: Option<PatchLayer>,
    pub windows: Mean,
    pub image: ImageScore,
    pub few_shot: FewShotMap,
}

impl Parameters {
    /// Are windows compared with words? Not where the references alone make the map.
    pub fn needs_language_map(&self, with_references: bool) -> bool {
        !with_references || self.few_shot != FewShotMap::Visual
    }

    /// Is the whole picture compared with words: for the score, or as the language map's coarsest scale?
    pub fn needs_whole_image(&self, with_references: bool) -> bool {
        self.image == ImageScore::Embedding
            || (self.needs_language_map(with_references) && self.language == LanguageMap::Harmonic)
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

    /// `scales` are the window scales of the recipe: each gets its visual map.
    pub fn parameters(self, scales: &[usize]) -> Parameters {
        let windows = scales.iter().map(|&scale| MapKind::Windows(scale));
        let paper = Parameters {
            templates: Templates::All22,
            unit_prompts: true,
            temperature: 0.07,
            language: LanguageMap::Harmonic,
            zero_shot_factor: 1.0,
            maps: std::iter::once(MapKind::Patch)
                .chain(windows.clone())
                .collect(),
            patches: None,
            windows: Mean::Harmonic,
            image: ImageScore::Embedding,
            few_shot: FewShotMap::Visual,
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
                maps: windows.collect(),
                windows: Mean::Arithmetic,
                image: ImageScore::MapMaximum,
                few_shot: FewShotMap::Parallel,
                ..paper
            },
        }
    }
}
