//! Sessions of a model folder's graphs, with shared weights.

use super::attention;
use super::runtime::Runtime;
use crate::engine::error::EngineError;
use crate::engine::graphs::{ModelGraph, Weight};
use crate::model::ModelFolder;
use crate::model::proto::TensorProto;
use ort::session::Session;
use ort::session::builder::{PrepackedWeights, SessionBuilder};
use ort::value::DynValue;
use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;

/// The text tower's graph in a model folder.
pub(super) const TEXT: &str = "text.onnx";

/// Key of the folder that ONNX Runtime checks the names of external weights against. Nothing is
/// read from there: the weights are handed over.
const WEIGHTS_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// Opens a model folder's graphs; weights that several graphs use are read and packed once.
pub(super) struct GraphLoader<'a> {
    /// The library.
    pub runtime: &'a Runtime,
    /// The folder of the graphs.
    pub model: &'a ModelFolder,
    weights: HashMap<String, Arc<DynValue>>,
    packed: PrepackedWeights,
}

impl<'a> GraphLoader<'a> {
    pub(super) fn new(runtime: &'a Runtime, model: &'a ModelFolder) -> Self {
        GraphLoader {
            runtime,
            model,
            weights: HashMap::new(),
            packed: PrepackedWeights::new(),
        }
    }

    /// A session of the graph.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the graph or a weight cannot be used.
    pub(super) fn session(&mut self, mut graph: ModelGraph) -> Result<Session, EngineError> {
        // The text tower's attention is masked, so that only the others are fused. The fused
        // operator is of a domain that the graph has to name.
        if graph.file() != TEXT {
            attention::fuse(graph.inner_mut(), self.model.spec.heads);
            graph.onnx.opset_import.push(attention::domain());
        }

        let mut builder = self
            .builder()
            .map_err(|error| EngineError::Unavailable(error.to_string()))?;

        // Weights are handed over as values, which lets sessions share them; the library packs a
        // shared value once.
        for tensor in graph.external_weights() {
            // The error names the graph, because a wrong weight is a fault of the folder.
            let value = self.weight(&graph, tensor)?;
            builder = builder
                .with_initializer(&tensor.name, value)
                .map_err(|error| graph.broken(error))?;
        }

        // The library checks and optimises the graph here, and refuses what it does not know.
        let bytes = graph.onnx.encode_to_vec();
        builder
            .commit_from_memory(&bytes)
            .map_err(|error| graph.broken(error))
    }

    fn builder(&self) -> ort::Result<SessionBuilder> {
        // The packed copies are shared through one container, which must be there before the
        // weights are.
        let folder = self.model.path.display().to_string();
        let builder = self.runtime.builder()?;
        let builder = builder.with_config_entry(WEIGHTS_FOLDER, &folder)?;

        Ok(builder.with_prepacked_weights(&self.packed)?)
    }

    /// The weight from an earlier graph, or read now.
    fn weight(
        &mut self,
        graph: &ModelGraph,
        tensor: &TensorProto,
    ) -> Result<Arc<DynValue>, EngineError> {
        // A weight that was fitted to another grid is of this graph alone.
        let is_shared = graph.shared(&tensor.name);

        if let Some(known) = self.weights.get(&tensor.name)
            && is_shared
        {
            return Ok(known.clone());
        }

        // The vector is moved into the tensor, so that only one copy of it is in memory.
        let Weight { dims, values } = graph.weight(tensor)?;
        let tensor_value =
            ort::value::Tensor::from_array((dims, values)).map_err(|error| graph.broken(error))?;

        // The value is kept for the graphs after this one, under the name that they share.
        let value = Arc::new(tensor_value.into_dyn());
        let name = tensor.name.clone();
        self.weights.insert(name, value.clone());

        Ok(value)
    }
}
