//! The other large product beside the network: features of a picture against those of all references.

use super::EngineError;
use super::onnx::{Runtime, run_error};
use crate::model::graph::{Dim, GraphBuilder, int, ints};
use crate::model::proto::{FLOAT, INT64};
use ndarray::{Array1, Array2, ArrayView2, Axis, Ix2};
use ort::session::Session;
use ort::value::TensorRef;
use prost::Message;

/// Compares unit vectors; on the same device and threads as the network.
pub trait Nearest {
    /// The highest `<q, r>` of each query over the rows of each reference: `[Q, K]` from `queries` `[Q, D]` and
    /// `references` `[K * rows_each, D]`. Of vectors of one length, `rows_each` at least 1.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    fn similarities(
        &mut self,
        queries: ArrayView2<f32>,
        references: ArrayView2<f32>,
        rows_each: usize,
    ) -> Result<Array2<f32>, EngineError>;
}

/// Products of one run at most (or those of one reference, where these are more): 2 MB, what a core's cache holds.
const PRODUCTS: usize = 1 << 19;

/// Through ONNX Runtime: its threads are awake when the network has just run.
pub struct OnnxNearest(Session);

impl OnnxNearest {
    /// # Errors
    /// [`EngineError::Unavailable`] when the library cannot run one matrix product.
    pub fn open(runtime: &Runtime) -> Result<Self, EngineError> {
        let mut graph = GraphBuilder::new("nearest", &[]);
        let queries = graph.input("queries", FLOAT, &[Dim::Any("Q"), Dim::Any("D")]);
        let references = graph.input("references", FLOAT, &[Dim::Any("R"), Dim::Any("D")]);
        let apart = graph.input("apart", INT64, &[Dim::Of(3)]);
        let products = graph.node(
            "Gemm",
            "products",
            &[&queries, &references],
            vec![int("transB", 1)],
        );
        let apart = graph.node("Reshape", "by_reference", &[&products, &apart], vec![]);
        let axes = vec![ints("axes", &[2]), int("keepdims", 0)];
        graph.node("ReduceMax", "similarities", &[&apart], axes);
        graph.output("similarities", &[Dim::Any("Q"), Dim::Any("K")]);
        let session = runtime
            .builder()
            .and_then(|mut b| b.commit_from_memory(&graph.finish().encode_to_vec()));
        session
            .map(OnnxNearest)
            .map_err(|error| EngineError::Unavailable(error.to_string()))
    }
}

impl Nearest for OnnxNearest {
    fn similarities(
        &mut self,
        queries: ArrayView2<f32>,
        references: ArrayView2<f32>,
        rows_each: usize,
    ) -> Result<Array2<f32>, EngineError> {
        let mut all = Array2::zeros((queries.nrows(), references.nrows() / rows_each));
        let at_once = (PRODUCTS / (queries.nrows() * rows_each).max(1)).max(1);
        let apart = Array1::from_vec(vec![0, -1, rows_each as i64]);
        let blocks = references.axis_chunks_iter(Axis(0), at_once * rows_each);
        for (mut columns, block) in all.axis_chunks_iter_mut(Axis(1), at_once).zip(blocks) {
            let inputs = ort::inputs![
                "queries" => TensorRef::from_array_view(queries).map_err(run_error)?,
                "references" => TensorRef::from_array_view(block).map_err(run_error)?,
                "apart" => TensorRef::from_array_view(&apart).map_err(run_error)?
            ];
            let outputs = self.0.run(inputs).map_err(run_error)?;
            let found = outputs["similarities"]
                .try_extract_array::<f32>()
                .map_err(run_error)?;
            columns.assign(&found.into_dimensionality::<Ix2>().map_err(run_error)?);
        }
        Ok(all)
    }
}
