//! The vision tower on the CPU.

use super::loader::GraphLoader;
use super::nearest::OnnxNearest;
use super::runtime::{Runtime, finite, matrix, run_error, values};
use super::windows::WindowTower;
use crate::data::grid::Grid;
use crate::engine::encoder::{EncodeTimes, Encoder};
use crate::engine::error::EngineError;
use crate::engine::features::{Crop, Features};
use crate::engine::graphs::{ModelGraph, layer_output};
use crate::engine::nearest::Nearest;
use crate::engine::network::TowerPart;
use crate::engine::plan::EncodePlan;
use crate::model::ModelFolder;
use ndarray::{Array2, ArrayView2, Axis};
use ort::session::{Session, SessionOutputs};
use ort::value::TensorRef;
use std::time::Instant;

/// The vision tower on the CPU: the trunk over a whole crop, then its windows.
pub struct OnnxEncoder {
    trunk: Session,
    /// `None` when the plan has no scales.
    windows: Option<WindowTower>,
    nearest: OnnxNearest,
    plan: EncodePlan,
    grid: Grid,
    /// Width of a token.
    width: usize,
    /// Outputs of the trunk, one a patch layer of the plan.
    patches_outputs: Vec<String>,
    times: EncodeTimes,
}

impl OnnxEncoder {
    /// Loads the graphs that the plan needs.
    ///
    /// # Errors
    /// When the model cannot do what the plan asks, or its files cannot be run.
    pub fn open(
        runtime: &Runtime,
        model: &ModelFolder,
        plan: &EncodePlan,
    ) -> Result<Self, EngineError> {
        // The plan is compared with the model before a file is read.
        plan.check(&model.spec)?;
        let grid = plan.grid(&model.spec);
        let mut loader = GraphLoader::new(runtime, model);

        // Trunk and windows come from one loader, which shares their weights.
        let trunk = ModelGraph::of(model, plan, TowerPart::Trunk)?;
        let trunk = loader.session(trunk)?;
        let windows = match plan.scales.is_empty() {
            true => None,
            false => Some(WindowTower::open(&mut loader, plan, grid)?),
        };

        Ok(OnnxEncoder {
            trunk,
            windows,
            nearest: OnnxNearest::open(runtime)?,
            plan: plan.clone(),
            grid,
            width: model.spec.width,
            patches_outputs: plan.patches.iter().map(layer_output).collect(),
            times: EncodeTimes::default(),
        })
    }

    fn encode_one(&mut self, crop: &Crop) -> Result<Features, EngineError> {
        // The times are of this crop alone.
        self.times = EncodeTimes::default();
        let started = Instant::now();

        // The network takes batches: pixels `[3, H, W]` become `[1, 3, H, W]` without a copy.
        let batch = crop.pixels.view().insert_axis(Axis(0));
        let input = TensorRef::from_array_view(batch).map_err(run_error)?;
        let outputs = self
            .trunk
            .run(ort::inputs!["pixels" => input])
            .map_err(run_error)?;

        // The trunk's time ends here; gathering and windows are timed by their own stage.
        self.times.trunk = started.elapsed();
        let shape = (1 + self.grid.cells(), self.width);

        // Each layer is `[1 + P, D]`, the class token first.
        let tokens = self
            .patches_outputs
            .iter()
            .map(|name| token_rows(&outputs, name, shape))
            .collect::<Result<Vec<_>, _>>()?;

        // A plan without the embedding had it cut out of the graph, and there is no such output.
        let image = match self.plan.image {
            true => Some(image_embedding(&outputs)?),
            false => None,
        };

        // Masked windows are left out before the tower, because each costs as much as a small crop.
        let windows = match &mut self.windows {
            Some(windows) => {
                let tokens = token_rows(&outputs, "tokens", shape)?;

                windows.encode(tokens.view(), crop.mask, &mut self.times)?
            }

            None => vec![],
        };

        Ok(Features {
            grid: self.grid,
            image,
            tokens,
            windows,
        })
    }
}

/// Tokens of the output `name`, `[1 + P, D]`.
fn token_rows(
    outputs: &SessionOutputs,
    name: &str,
    shape: (usize, usize),
) -> Result<Array2<f32>, EngineError> {
    // The batch of one is dropped from the shape, and no value that is not finite passes.
    let rows = matrix(values(outputs, name)?, shape)?;

    finite(name, rows)
}

/// Embedding of the whole crop, `[E]`.
fn image_embedding(outputs: &SessionOutputs) -> Result<Vec<f32>, EngineError> {
    // The output is `[1, E]`, which flattens to `[E]`.
    let embedding = values(outputs, "image")?.to_owned();
    let finite_embedding = finite("image", embedding)?;

    Ok(finite_embedding.into_iter().collect())
}

impl Encoder for OnnxEncoder {
    fn backend(&self) -> &str {
        "onnx-fp32"
    }

    fn encode(&mut self, crops: &[Crop]) -> Result<Vec<Features>, EngineError> {
        // Crops go one by one: one keeps all cores busy, and a batch would only need more memory for
        // its activations.
        crops.iter().map(|crop| self.encode_one(crop)).collect()
    }

    fn times(&self) -> &EncodeTimes {
        &self.times
    }
}

impl Nearest for OnnxEncoder {
    fn similarities(
        &mut self,
        queries: ArrayView2<f32>,
        references: ArrayView2<f32>,
        rows_each: usize,
    ) -> Result<Array2<f32>, EngineError> {
        self.nearest.similarities(queries, references, rows_each)
    }
}
