//! The tower over windows of the trunk's tokens (WinCLIP, section 4.1).

use super::loader::GraphLoader;
use super::runtime::{finite, matrix_input, run_error, tensor, values};
use crate::data::grid::Grid;
use crate::engine::encoder::EncodeTimes;
use crate::engine::error::EngineError;
use crate::engine::features::{WindowFeatures, unmasked_windows};
use crate::engine::graphs::ModelGraph;
use crate::engine::network::TowerPart;
use crate::engine::plan::EncodePlan;
use crate::model::graph::{Dim, GraphBuilder, int};
use crate::model::proto::{FLOAT, INT64};
use ndarray::{Array2, ArrayView2, Axis, CowArray, Ix2};
use ort::session::Session;
use ort::value::DynValue;
use prost::Message;
use std::time::{Duration, Instant};

/// Rows of the token matrix in one run of the windows' graph, at most. The bound limits the memory
/// of the activations (the widest is four times the width, 14 kB a row for ViT-B-16-plus); it is
/// far above what the matrix products need to run at full speed.
const WINDOW_ROWS: usize = 1024;

/// The tower over windows of the trunk's tokens.
pub(super) struct WindowTower {
    /// Tokens `[1 + P, D]` and rows `[N, T]` to `[N, T, D]`. A graph of its own, because it is
    /// bound by memory and so needs all threads.
    gather: Session,
    tower: Session,
    grid: Grid,
    /// The rows of every window, for each scale: `[W, 1 + scale^2]`.
    scales: Vec<(usize, Array2<i64>)>,
}

impl WindowTower {
    /// Loads the windows' graph of the loader's model.
    ///
    /// # Errors
    /// When the model's files cannot be run.
    pub(super) fn open(
        loader: &mut GraphLoader,
        plan: &EncodePlan,
        grid: Grid,
    ) -> Result<Self, EngineError> {
        let gather = loader.runtime.session_of(&gather_graph())?;
        let tower = ModelGraph::of(loader.model, plan, TowerPart::Windows)?;

        // The rows depend on the grid and scale alone, and are computed once.
        let scales = plan
            .scales
            .iter()
            .map(|&scale| (scale, window_rows(grid, scale)))
            .collect();

        Ok(WindowTower {
            gather,
            tower: loader.session(tower)?,
            grid,
            scales,
        })
    }

    /// Embeddings of the windows of each scale. `tokens` is `[1 + P, D]`, the class token first.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the network failed or produced a value that is not finite.
    pub(super) fn encode(
        &mut self,
        tokens: ArrayView2<f32>,
        mask: Option<&[bool]>,
        times: &mut EncodeTimes,
    ) -> Result<Vec<WindowFeatures>, EngineError> {
        let mut encoded = Vec::with_capacity(self.scales.len());

        for (scale, all_rows) in &self.scales {
            // Without a mask the table is borrowed; with one its rows are picked, and fewer windows
            // go through the tower.
            let rows: CowArray<i64, Ix2> = match mask {
                None => all_rows.view().into(),
                Some(_) => {
                    let windows = unmasked_windows(self.grid, *scale, mask);

                    all_rows.select(Axis(0), &windows).into()
                }
            };

            let features = embeddings(
                &mut self.gather,
                &mut self.tower,
                tokens,
                rows.view(),
                times,
            )?;

            encoded.push(WindowFeatures {
                scale: *scale,
                features: finite("windows", features)?,
            });
        }

        Ok(encoded)
    }
}

/// Embeddings `[W, E]` of the windows with these rows.
fn embeddings(
    gather: &mut Session,
    tower: &mut Session,
    tokens: ArrayView2<f32>,
    rows: ArrayView2<i64>,
    times: &mut EncodeTimes,
) -> Result<Array2<f32>, EngineError> {
    // The two clocks are nested: the tower's time is that of the loop less the gathering.
    let started = Instant::now();
    let mut gather_time = Duration::ZERO;
    let mut features = Vec::new();

    // A window of `T` rows is never split over two runs, so that a run holds at least one.
    let at_once = (WINDOW_ROWS / rows.ncols()).max(1);

    for some in rows.axis_chunks_iter(Axis(0), at_once) {
        let started = Instant::now();
        let gathered = gathered(gather, tokens, some)?;
        gather_time += started.elapsed();
        embed(tower, gathered, &mut features)?;
    }

    // The embeddings of all runs follow each other, `[W, E]` in all.
    times.gather += gather_time;
    times.windows.push(started.elapsed() - gather_time);

    // The width follows from the number of values, because the output alone knows it.
    let count = rows.nrows();
    let shape = (count, features.len() / count);

    Array2::from_shape_vec(shape, features).map_err(run_error)
}

/// The tokens of some windows, `[N, T, D]`.
fn gathered(
    session: &mut Session,
    tokens: ArrayView2<f32>,
    rows: ArrayView2<i64>,
) -> Result<DynValue, EngineError> {
    let inputs = ort::inputs![
        "tokens" => tensor(tokens)?,
        "rows" => tensor(rows)?
    ];

    // The value stays in the library's memory and goes straight into the tower.
    session
        .run(inputs)
        .map_err(run_error)?
        .remove("gathered")
        .ok_or_else(|| run_error("nothing was gathered"))
}

/// Appends the embeddings of gathered windows, `[N, E]`.
fn embed(
    session: &mut Session,
    gathered: DynValue,
    features: &mut Vec<f32>,
) -> Result<(), EngineError> {
    let outputs = session
        .run(ort::inputs!["tokens" => gathered])
        .map_err(run_error)?;

    // The values are copied out, because the outputs' memory goes with this call.
    let embeddings = values(&outputs, "embedding")?;
    features.extend(embeddings.iter());

    Ok(())
}

/// The graph that gathers rows of a token matrix, encoded.
fn gather_graph() -> Vec<u8> {
    let mut graph = GraphBuilder::new("gather", &[]);

    // The second input names rows of the first: `[N, T]` indices give `[N, T, D]`.
    let tokens = matrix_input(&mut graph, "tokens", FLOAT, "R", "D");
    let rows = matrix_input(&mut graph, "rows", INT64, "N", "T");
    let axis = vec![int("axis", 0)];
    graph.node("Gather", "gathered", &[&tokens, &rows], axis);
    let shape = [Dim::Any("N"), Dim::Any("T"), Dim::Any("D")];
    graph.output("gathered", &shape);

    graph.finish().encode_to_vec()
}

/// The rows of the token matrix that each window takes (WinCLIP, section 4.1): `{class token, scale
/// x scale patches}`, `[W, 1 + scale^2]`, windows in row-major order of their top-left patch. The
/// class token is row 0.
fn window_rows(grid: Grid, scale: usize) -> Array2<i64> {
    let places = grid.windows(scale);
    let shape = (places.cells(), 1 + scale * scale);

    // Column 0 is the class token; column `1 + p` is patch `p` of the window, row-major.
    Array2::from_shape_fn(shape, |(window, token)| match token.checked_sub(1) {
        None => 0,
        Some(patch) => {
            let row = places.row(window) + patch / scale;
            let column = places.column(window) + patch % scale;

            (1 + row * grid.w + column) as i64
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_the_class_token_and_its_patches() {
        let rows = window_rows(Grid::square(4), 3);
        assert_eq!(rows.dim(), (4, 10));
        assert_eq!(rows.row(0).to_vec(), [0, 1, 2, 3, 5, 6, 7, 9, 10, 11]);
        assert_eq!(rows.row(3).to_vec(), [0, 6, 7, 8, 10, 11, 12, 14, 15, 16]);
        let oblong = window_rows(Grid { w: 2, h: 3 }, 2);
        assert_eq!(oblong.dim(), (2, 5));
        assert_eq!(oblong.row(1).to_vec(), [0, 3, 4, 5, 6]);
    }
}
