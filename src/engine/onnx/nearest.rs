//! The comparison with all references through ONNX Runtime, whose threads are awake when the
//! network has just run.

use super::runtime::{Runtime, matrix_input, run_error, tensor, values};
use crate::engine::error::EngineError;
use crate::engine::nearest::Nearest;
use crate::model::graph::{Dim, GraphBuilder, int, ints};
use crate::model::proto::{FLOAT, INT64};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, Ix2};
use ort::session::{Session, SessionOutputs};
use ort::value::TensorRef;
use prost::Message;

/// Products of one run, at most (or those of one reference, where these are more): 2 MB, what a
/// core's cache holds.
const PRODUCTS: usize = 1 << 19;

/// Compares through ONNX Runtime, on the threads of the network.
pub struct OnnxNearest(Session);

impl OnnxNearest {
    /// Builds the session of one matrix product.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the library cannot run it.
    pub fn open(runtime: &Runtime) -> Result<Self, EngineError> {
        // The session shares the threads of the network's sessions, which are still awake when a
        // picture is compared.
        let graph = nearest_graph();
        let session = runtime.session_of(&graph)?;

        Ok(OnnxNearest(session))
    }

    fn run(
        &mut self,
        queries: ArrayView2<f32>,
        references: ArrayView2<f32>,
        shape: ArrayView1<i64>,
    ) -> Result<SessionOutputs<'_>, EngineError> {
        // All three inputs are views: f32 `[Q, D]` and `[R, D]`, and i64 `[3]`.
        let queries = tensor(queries)?;
        let references = tensor(references)?;
        let shape = TensorRef::from_array_view(shape).map_err(run_error)?;
        let inputs = ort::inputs![
            "queries" => queries,
            "references" => references,
            "apart" => shape
        ];

        self.0.run(inputs).map_err(run_error)
    }
}

impl Nearest for OnnxNearest {
    fn similarities(
        &mut self,
        queries: ArrayView2<f32>,
        references: ArrayView2<f32>,
        rows_each: usize,
    ) -> Result<Array2<f32>, EngineError> {
        // The result is `[Q, K]`, one column a reference.
        let count = references.nrows() / rows_each;
        let mut all = Array2::zeros((queries.nrows(), count));

        // A run compares as many whole references as keep its products within the bound; one
        // reference is never split.
        let products_each = queries.nrows() * rows_each;
        let at_once = (PRODUCTS / products_each.max(1)).max(1);

        // In the shape of the reshape 0 keeps the queries' dimension, -1 counts references, and the
        // last is the rows of one.
        let shape = Array1::from_vec(vec![0, -1, rows_each as i64]);

        // Blocks of references and of columns advance together, so that each run fills its own
        // columns.
        let columns = all.axis_chunks_iter_mut(Axis(1), at_once);
        let blocks = references.axis_chunks_iter(Axis(0), at_once * rows_each);

        for (mut columns, block) in columns.zip(blocks) {
            let outputs = self.run(queries, block, shape.view())?;

            // The run's output is `[Q, k]`, already the maximum over each reference's rows.
            let found = values(&outputs, "similarities")?;
            let found = found.into_dimensionality::<Ix2>().map_err(run_error)?;

            columns.assign(&found);
        }

        Ok(all)
    }
}

/// The graph of one product, encoded: the highest value of each query and each reference.
fn nearest_graph() -> Vec<u8> {
    let mut graph = GraphBuilder::new("nearest", &[]);
    let queries = matrix_input(&mut graph, "queries", FLOAT, "Q", "D");
    let references = matrix_input(&mut graph, "references", FLOAT, "R", "D");

    // The number of rows in a reference changes from call to call, so that it is an input of the
    // graph.
    let shape = graph.input("apart", INT64, &[Dim::Of(3)]);

    // Products are `[Q, R]`, with the references transposed on the fly.
    let transposed = vec![int("transB", 1)];
    let products = graph.node("Gemm", "products", &[&queries, &references], transposed);

    // Rows of a reference become the last axis, over which the maximum goes: `[Q, K, rows]` to `[Q,
    // K]`.
    let apart = graph.node("Reshape", "by_reference", &[&products, &shape], vec![]);
    let last_axis = vec![ints("axes", &[2]), int("keepdims", 0)];

    // Only the maxima leave the library: `[Q, K]` is `rows` times smaller than the products.
    graph.node("ReduceMax", "similarities", &[&apart], last_axis);
    let dims = [Dim::Any("Q"), Dim::Any("K")];
    graph.output("similarities", &dims);

    graph.finish().encode_to_vec()
}
