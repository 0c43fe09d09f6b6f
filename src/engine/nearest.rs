//! The seam for the other large product beside the network: features of a picture against those of
//! all references.

use super::error::EngineError;
use ndarray::{Array2, ArrayView2};

/// Compares unit vectors, on the same device and threads as the network.
pub trait Nearest {
    /// The highest `<q, r>` of each query over the rows of each reference: `[Q, K]` from `queries`
    /// `[Q, D]` and `references` `[K * rows_each, D]`. All vectors have one length; `rows_each` is
    /// at least 1.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the engine failed.
    fn similarities(
        &mut self,
        queries: ArrayView2<f32>,
        references: ArrayView2<f32>,
        rows_each: usize,
    ) -> Result<Array2<f32>, EngineError>;
}
