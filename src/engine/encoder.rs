//! The traits of the two towers: crops to features, and prompts to embeddings.

use super::device_scorer::DeviceScorer;
use super::error::EngineError;
use super::features::{Crop, Features};
use super::nearest::Nearest;
use ndarray::Array2;
use std::time::Duration;

/// Runs the vision tower. One thread at a time uses an encoder: the one that prepares it, then the
/// inspector's.
pub trait Encoder: Nearest + Send {
    /// Name of the engine, for `birth` and the log, for example `onnx-fp32`.
    fn backend(&self) -> &str;

    /// Name of the processor, for `birth`.
    fn device(&self) -> &str {
        "cpu"
    }

    /// Features of each crop, in order; all finite. The pixels are `[3, side, side]` of the plan.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the network failed or produced a value that is not finite.
    fn encode(&mut self, crops: &[Crop]) -> Result<Vec<Features>, EngineError>;

    /// Time of each stage of the last call.
    fn times(&self) -> &EncodeTimes;

    /// The engine's own way from pictures to the parts of a score. `None` for an engine that only
    /// encodes.
    fn device_scorer(&mut self) -> Option<&mut dyn DeviceScorer> {
        None
    }
}

/// Time of each stage of one [`Encoder::encode`].
#[derive(Debug, Clone, Default)]
pub struct EncodeTimes {
    /// The graph over the whole crop.
    pub trunk: Duration,
    /// Gathering the tokens of all windows.
    pub gather: Duration,
    /// One entry a scale.
    pub windows: Vec<Duration>,
}

/// Runs the text tower; lives only while a recipe is prepared.
pub trait TextEncoder {
    /// Raw embeddings `[N, E]` of the prompts, in order.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for a prompt with more tokens than the model reads.
    fn encode(&mut self, prompts: &[String]) -> Result<Array2<f32>, EngineError>;
}
