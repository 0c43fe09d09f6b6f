//! The outcome of an inspection: scores and maps of regions, or the reason why there are none.

use super::align::AlignedPicture;
use super::pixels::PixelError;
use crate::base::problems::Problems;
use crate::data::map::Map;
use crate::data::picture::Area;
use crate::engine::{EngineError, Features, Pixels};
use std::sync::Arc;
use std::time::Duration;

/// The algorithm's result for one region of a picture. Score and map are finite.
#[derive(Debug, Clone)]
pub struct RegionScore {
    /// `None` where the recipe names no regions.
    pub region: Option<Arc<str>>,
    /// Higher is more anomalous.
    pub score: f32,
    /// Anomaly map over `area`.
    pub map: Map,
    /// The part of the judged picture that the map covers.
    pub area: Area,
    /// The judged picture, where the recipe locates parts; else it is the camera's.
    pub aligned: Option<AlignedPicture>,
    /// Time for the pixels of all regions together.
    pub pixels_took: Duration,
    /// Time for encoding all regions together.
    pub encode_took: Duration,
    /// Time for the region's own score and map.
    pub score_took: Duration,
}

/// A score with the tensors that it was made from; of several crops, those of the whole region.
#[derive(Debug)]
pub struct Detailed {
    /// The result.
    pub region_score: RegionScore,
    /// Input of the encoder.
    pub pixels: Pixels,
    /// Output of the encoder.
    pub features: Features,
}

/// Failure of an inspection.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The recipe does not fit the model, or makes no sense.
    #[error("{0}")]
    Recipe(#[from] Problems),
    /// The picture does not fit the recipe.
    #[error(transparent)]
    Picture(#[from] PixelError),
    /// A reference does not fit the recipe.
    #[error("reference {index}: {error}")]
    Reference {
        /// Number of the reference, counted from 0.
        index: usize,
        /// The reason.
        error: PixelError,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl InspectError {
    /// The same error, of a reference.
    pub(super) fn of_reference(self, index: usize) -> Self {
        match self {
            InspectError::Picture(error) => InspectError::Reference { index, error },
            other => other,
        }
    }
}
