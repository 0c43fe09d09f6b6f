//! The second seam: an engine that goes from a picture's bytes to the parts of a score on its
//! device, without the host between. Its input, its references and its result.

use super::error::EngineError;
use super::features::{Features, Pixels};
use crate::data::grid::Grid;
use crate::data::picture::{Area, Picture};
use crate::image::overlay::Overlay;
use ndarray::ArrayView2;

/// One visual map: `patch`, or the windows of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// One value a patch token.
    Patch,
    /// One value a window of this many patches a side.
    Windows(usize),
}

impl std::fmt::Display for MapKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MapKind::Patch => f.write_str("patch"),
            MapKind::Windows(scale) => write!(f, "{scale}"),
        }
    }
}

impl std::str::FromStr for MapKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        // Blanks are allowed, because the scales come from lists such as `2, 3, patch`.
        let trimmed = word.trim();

        if trimmed == "patch" {
            return Ok(MapKind::Patch);
        }

        // A window of no patches would divide by nothing later; zero is refused with the words.
        match trimmed.parse() {
            Ok(scale) if scale > 0 => Ok(MapKind::Windows(scale)),
            _ => Err(format!(
                "must be \"patch\" or a window scale such as 2, got {word:?}"
            )),
        }
    }
}

/// Mean that makes one value of the windows over one patch, or of several maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mean {
    /// `n / sum(1 / v)`, 0 if a value is 0.
    Harmonic,
    /// `sum(v) / n`.
    Arithmetic,
}

/// Formula that makes one map of the language scores of all windows and scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanguageMap {
    /// Harmonic means, the whole picture's score as the coarsest scale.
    Harmonic,
    /// `u = mean 1/(1 - s)` over the windows, `1 - 1/mean(u)` over the scales, no whole picture
    /// (caoyunkang).
    OddsMean,
}

/// The way from a picture to the encoder's input: `area` is resized to `resized` pixels, and the
/// input is cut out of the result at `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CropTransform {
    /// Inside of the picture.
    pub area: Area,
    /// Width and height.
    pub resized: (usize, usize),
    /// Left and top.
    pub at: (usize, usize),
}

/// One crop of a picture whose pixels the device makes.
#[derive(Debug, Clone, Copy)]
pub struct CropRequest<'a> {
    /// The camera's picture.
    pub picture: &'a Picture,
    /// The way to the encoder's input.
    pub transform: CropTransform,
    /// Index of the [`ReferenceBank`] that the crop is compared with.
    pub references: usize,
}

/// The language half of a [`ReferenceBank`]: the recipe's prompts, encoded.
#[derive(Debug, Clone)]
pub struct TextReferences {
    /// Unit prototypes `[E]`, normal and anomalous.
    pub prototypes: [Vec<f32>; 2],
    /// Softmax temperature tau.
    pub temperature: f32,
    /// Formula of the language map. `None` where no such map is wanted.
    pub map: Option<LanguageMap>,
    /// Window scales of that map.
    pub scales: Vec<usize>,
    /// True if the whole crop is compared with the prototypes.
    pub image: bool,
}

/// The references that one kind of crop is compared with.
#[derive(Debug, Clone)]
pub struct ReferenceBank<'a> {
    /// True for each patch that counts. `None`: all count. See [`super::Crop::mask`].
    pub mask: Option<&'a [bool]>,
    /// `None` for a model without text.
    pub text: Option<TextReferences>,
    /// The visual maps, each with its gallery of unit rows `[R, D]` or `[R, E]`; empty without
    /// references.
    pub galleries: Vec<(MapKind, ArrayView2<'a, f32>)>,
    /// Unit rows `[B, D]` of the looks of known bad parts, which patches are compared with too; `None`
    /// without any, and without a patch map.
    pub looks: Option<ArrayView2<'a, f32>>,
    /// Mean over the windows of a visual map.
    pub window_mean: Mean,
}

/// How far each patch is from what is known, `[P]` each, from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchDistances {
    /// Distance to the nearest patch of a good part, without windows.
    pub good: Vec<f32>,
    /// Distance to the nearest look of a known bad part.
    pub bad: Vec<f32>,
}

/// The parts that the score and the map of one crop are combined from; all finite. A masked patch
/// holds any finite value.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialScores {
    /// Patches across and down.
    pub grid: Grid,
    /// The whole crop compared with the prompts: `s` of WinCLIP, equation 1.
    pub image: Option<f32>,
    /// Language map `[P]`, where the references want it.
    pub language: Option<Vec<f32>>,
    /// Visual map `[P]`, with references.
    pub visual: Option<Vec<f32>>,
    /// What raises the visual map, with looks of known bad parts.
    pub patches: Option<PatchDistances>,
}

impl PartialScores {
    /// True if no value is NaN or infinite.
    pub fn are_finite(&self) -> bool {
        // Maps that are not wanted have no values, and are finite for that reason.
        let patches = self.patches.iter();
        let patches = patches.flat_map(|patches| [&patches.good, &patches.bad]);
        let maps = self.language.iter().chain(&self.visual).chain(patches);
        let maps = maps.flatten();

        self.image.iter().chain(maps).all(|value| value.is_finite())
    }
}

/// Stages of a run in their order, each with its time in every run, in milliseconds. A stage that
/// comes several times in a run has the sum.
pub type StageTimings = Vec<(&'static str, Vec<f64>)>;

/// Scores pictures on the device: pictures in, parts of scores out.
pub trait DeviceScorer {
    /// Replaces the references that crops are compared with.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room for them.
    fn set_references(&mut self, banks: &[ReferenceBank]) -> Result<(), EngineError>;

    /// The partial scores of each crop, in order.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device failed or the network produced a value that is not
    /// finite.
    fn score(&mut self, crops: &[CropRequest]) -> Result<Vec<PartialScores>, EngineError>;

    /// Time of each stage of scoring these crops, measured apart on the device.
    ///
    /// # Errors
    /// The same as [`DeviceScorer::score`].
    fn time_stages(
        &mut self,
        crops: &[CropRequest],
        runs: usize,
    ) -> Result<StageTimings, EngineError>;

    /// [`DeviceScorer::score`] of one crop, with the pixels and features that the device made on
    /// the way.
    ///
    /// # Errors
    /// The same as [`DeviceScorer::score`].
    fn score_in_detail(
        &mut self,
        crop: &CropRequest,
    ) -> Result<(PartialScores, Pixels, Features), EngineError>;

    /// A painter on the same device, for another thread. The painter never waits for the engine,
    /// and may outlive it.
    fn painter(&self) -> Box<dyn Paint>;
}

/// Paints overlays for people.
pub trait Paint: Send {
    /// The overlay as a picture of its own size: that of `image/overlay/paint.rs` within a grey
    /// level.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room or failed.
    fn paint(&mut self, drawing: &Overlay) -> Result<Picture, EngineError>;
}
