//! How fast this machine multiplies matrices through the engine's own library: what the floor of every measured time
//! is reckoned with.

use crate::engine::EngineError;
use crate::engine::onnx::{Runtime, run_error};
use crate::model::graph::{Dim, GraphBuilder};
use crate::model::proto::{FLOAT, TensorProto};
use ndarray::Array2;
use ort::session::Session;
use ort::value::TensorRef;
use prost::Message;
use std::time::Instant;

/// Rows of all of WinCLIP's tokens at ViT-B-16-plus-240, its width and that of its MLP: the largest product there is.
const SIZES: [usize; 3] = [2670, 896, 3584];
const RUNS: usize = 7;

/// Operations a second (a multiplication and its addition are 2), the best of a few runs, f32.
///
/// # Errors
/// When the library cannot run one matrix product.
pub fn gemm_speed(runtime: &Runtime) -> Result<f64, EngineError> {
    let [rows, inner, columns] = SIZES;
    // A weight of the graph, as in the towers: the library packs it once.
    let weight = TensorProto {
        dims: vec![inner as i64, columns as i64],
        data_type: FLOAT,
        name: "weight".to_owned(),
        raw_data: 1f32.to_le_bytes().repeat(inner * columns),
        ..TensorProto::default()
    };
    let weights = [weight];
    let mut graph = GraphBuilder::new("gemm", &weights);
    let left = graph.input("left", FLOAT, &[Dim::Of(rows), Dim::Of(inner)]);
    graph.node("MatMul", "product", &[&left, "weight"], vec![]);
    graph.output("product", &[Dim::Of(rows), Dim::Of(columns)]);
    let mut session = runtime
        .builder()
        .and_then(|mut builder| builder.commit_from_memory(&graph.finish().encode_to_vec()))
        .map_err(|error| EngineError::Unavailable(error.to_string()))?;
    let left = Array2::<f32>::ones((rows, inner));
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        best = best.min(one_run(&mut session, &left)?);
    }
    Ok(2.0 * (rows * inner * columns) as f64 / best)
}

/// Seconds.
fn one_run(session: &mut Session, left: &Array2<f32>) -> Result<f64, EngineError> {
    let left = TensorRef::from_array_view(left).map_err(run_error)?;
    let started = Instant::now();
    session
        .run(ort::inputs!["left" => left])
        .map_err(run_error)?;
    Ok(started.elapsed().as_secs_f64())
}
