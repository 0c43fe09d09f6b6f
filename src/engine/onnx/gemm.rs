//! The speed of matrix products through the engine's own library on this machine. The floor of
//! every measured time is computed with it.

use super::runtime::{Runtime, run_error, tensor};
use crate::engine::error::EngineError;
use crate::model::graph::{Dim, GraphBuilder};
use crate::model::proto::{FLOAT, TensorProto};
use ndarray::Array2;
use ort::session::Session;
use prost::Message;
use std::time::Instant;

/// Rows of all of WinCLIP's tokens at ViT-B-16-plus-240, its width and that of its MLP: the largest
/// product there is.
const SIZES: [usize; 3] = [2670, 896, 3584];
const RUNS: usize = 7;

/// Operations a second (a multiplication and its addition are 2), the best of a few runs, f32.
///
/// # Errors
/// When the library cannot run one matrix product.
pub fn gemm_speed(runtime: &Runtime) -> Result<f64, EngineError> {
    // The session is made once: loading and packing are no part of a product's time.
    let [rows, inner, columns] = SIZES;
    let mut session = runtime.session_of(&gemm_graph())?;

    // Ones are as good as any values: the time of a product does not depend on them.
    let left = Array2::<f32>::ones((rows, inner));
    let mut best = f64::INFINITY;

    // The best run counts: the floor of a time is the one without interference.
    for _ in 0..RUNS {
        let seconds = one_run(&mut session, &left)?;
        best = best.min(seconds);
    }

    // A multiplication and its addition are two operations.
    let operations = 2 * rows * inner * columns;

    Ok(operations as f64 / best)
}

/// The graph of one product, encoded.
fn gemm_graph() -> Vec<u8> {
    let [rows, inner, columns] = SIZES;

    // A weight of the graph, as in the towers: the library packs it once.
    let weights = [TensorProto {
        dims: vec![inner as i64, columns as i64],
        data_type: FLOAT,
        name: "weight".to_owned(),
        raw_data: 1f32.to_le_bytes().repeat(inner * columns),
        ..TensorProto::default()
    }];

    // The product has the shape of the towers' largest, `[rows, inner] x [inner, columns]`.
    let mut graph = GraphBuilder::new("gemm", &weights);
    let left_dims = [Dim::Of(rows), Dim::Of(inner)];
    let left = graph.input("left", FLOAT, &left_dims);
    graph.node("MatMul", "product", &[&left, "weight"], vec![]);

    // Both dimensions are fixed, so that the library may choose its blocks when it loads the graph.
    let product_dims = [Dim::Of(rows), Dim::Of(columns)];
    graph.output("product", &product_dims);

    graph.finish().encode_to_vec()
}

/// Seconds of one product.
fn one_run(session: &mut Session, left: &Array2<f32>) -> Result<f64, EngineError> {
    // The input is bound before the clock starts, because that is no part of the product.
    let left = tensor(left.view())?;
    let started = Instant::now();
    session
        .run(ort::inputs!["left" => left])
        .map_err(run_error)?;

    // The output is dropped unread: its values are all `inner`.
    let elapsed = started.elapsed();

    Ok(elapsed.as_secs_f64())
}
