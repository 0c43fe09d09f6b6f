//! The second seam: an engine that goes from a picture's bytes to the pieces of a score on its device, without the host
//! between. What it is taught, what it is shown, what it gives back.

use super::{EngineError, Features, Pixels};
use crate::data::picture::{Area, Picture};
use crate::image::overlay::Overlay;
use ndarray::ArrayView2;

/// One visual map: `patch`, or the windows of a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    Patch,
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
        match (word.trim(), word.trim().parse::<usize>()) {
            ("patch", _) => Ok(MapKind::Patch),
            (_, Ok(scale)) if scale > 0 => Ok(MapKind::Windows(scale)),
            _ => Err(format!(
                "must be \"patch\" or a window scale such as 2, got {word:?}"
            )),
        }
    }
}

/// How values of the windows over one patch, or of several maps, become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mean {
    Harmonic,
    Arithmetic,
}

/// How the language scores of windows become a map, and scales one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanguageMap {
    /// Harmonic means, the whole picture's score as the coarsest scale.
    Harmonic,
    /// `u = mean 1/(1 - s)` over the windows, `1 - 1/mean(u)` over the scales, no whole picture (caoyunkang).
    OddsMean,
}

/// How a part of a picture becomes the encoder's square: `area` is brought to `resized` pixels, and the square is cut out
/// of that at `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CropTransform {
    /// Inside of the picture.
    pub area: Area,
    /// Width and height.
    pub resized: (usize, usize),
    /// Left and top.
    pub at: (usize, usize),
}

/// One look at a picture before its pixels are made.
#[derive(Debug, Clone, Copy)]
pub struct CropRequest<'a> {
    pub picture: &'a Picture,
    pub framing: CropTransform,
    /// Which of the lessons it is judged by.
    pub lesson: usize,
}

/// What the words of a recipe are to a look.
#[derive(Debug, Clone)]
pub struct Words {
    /// Unit prototypes `[E]`, normal and anomalous.
    pub prototypes: [Vec<f32>; 2],
    /// Softmax temperature tau.
    pub temperature: f32,
    /// How their map is made; nothing where none is wanted.
    pub map: Option<LanguageMap>,
    /// Window scales of that map.
    pub scales: Vec<usize>,
    /// The whole picture is compared with them.
    pub image: bool,
}

/// What one kind of look is compared with.
#[derive(Debug, Clone)]
pub struct ReferenceBank<'a> {
    /// Which patches count; nothing means all. See [`super::Look::cells`].
    pub cells: Option<&'a [bool]>,
    pub words: Option<Words>,
    /// The visual maps, each with its gallery of unit rows `[R, D]` or `[R, E]`; empty without references.
    pub galleries: Vec<(MapKind, ArrayView2<'a, f32>)>,
    /// Over the windows of a visual map.
    pub windows: Mean,
}

/// What the score and the map of one look are made of; all finite. Cells that do not count hold anything finite.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialScores {
    /// Patches along one side.
    pub grid: usize,
    /// The whole picture compared with the words: `s` of WinCLIP, equation 1.
    pub image: Option<f32>,
    /// `[P]`, where the lesson wants it.
    pub language: Option<Vec<f32>>,
    /// `[P]`, with references.
    pub visual: Option<Vec<f32>>,
}

impl PartialScores {
    pub fn are_finite(&self) -> bool {
        let maps = self.language.iter().chain(&self.visual).flatten();
        self.image.iter().chain(maps).all(|value| value.is_finite())
    }
}

/// Stages of a run in their order, each with its time in every run, in milliseconds; a stage that comes several times in
/// a run has the sum.
pub type Stages = Vec<(&'static str, Vec<f64>)>;

/// Pictures to pieces.
pub trait DeviceScorer {
    /// From now on shots are judged by these, and by no others.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room for them.
    fn learn(&mut self, lessons: &[ReferenceBank]) -> Result<(), EngineError>;

    /// The pieces of each shot, in order.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device failed or the network produced a value that is not finite.
    fn judge(&mut self, shots: &[CropRequest]) -> Result<Vec<PartialScores>, EngineError>;

    /// What each stage of judging these takes on the device, apart: for those who measure.
    ///
    /// # Errors
    /// As [`DeviceScorer::judge`].
    fn stages(&mut self, shots: &[CropRequest], runs: usize) -> Result<Stages, EngineError>;

    /// [`DeviceScorer::judge`] of one shot, with the pixels and features that the device made on the way.
    fn judge_in_detail(
        &mut self,
        shot: &CropRequest,
    ) -> Result<(PartialScores, Pixels, Features), EngineError>;

    /// A painter on the same device, for another thread: it waits for nothing of the engine's, and may outlive it.
    fn painter(&self) -> Box<dyn Paint>;
}

/// Paints overlays for people.
pub trait Paint: Send {
    /// The overlay, in the drawing's pixels: that of `publish/heatmap.rs` within a grey level.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room or failed.
    fn paint(&mut self, drawing: &Overlay) -> Result<Picture, EngineError>;
}
