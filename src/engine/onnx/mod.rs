//! ONNX Runtime on the CPU: the encoder and the text encoder of a model folder.
//!
//! A graph is cut at load to what the plan asks for, so that a patch bank of block 9 does not pay for blocks 10 to 12.
//! The trunk and the windows share one copy of the weights and one packed copy. Every value that leaves is finite.

mod attention;
pub mod gemm;

use super::graphs::{Graph, Weight, layer_output};
use super::nearest::{Nearest, OnnxNearest};
use super::network::Part;
use super::{
    Crop, EncodePlan, EncodeTook, Encoder, EngineError, Features, TextEncoder, WindowFeatures,
    counted_windows,
};
use crate::engine::library_path::library_folders;
use crate::model::ModelFolder;
use crate::model::graph::{Dim, GraphBuilder, int};
use crate::model::proto::{FLOAT, INT64};
use crate::model::tokenizer::Tokenizer;
use ndarray::{Array2, ArrayView2, Axis, CowArray, Ix2};
use ort::environment::GlobalThreadPoolOptions;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights, SessionBuilder};
use ort::value::{DynValue, Tensor, TensorRef};
use prost::Message;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The library, loaded. Holding one is proof that calls into it can work.
#[derive(Debug, Clone)]
pub struct Runtime {
    environment: ort::environment::Environment,
}

static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

const LIBRARY: &str = "libonnxruntime.so";

/// The text tower's graph in a model folder.
const TEXT: &str = "text.onnx";

/// Microsoft's builds of ONNX Runtime tell their maker about models, errors and runs, under a number that they give the
/// machine. What a plant inspects is nobody else's business. Before the first thread is started: what the library's
/// own switch (see [`Runtime::load`]) stops, it has begun by then.
pub fn report_nothing() {
    // SAFETY: no other thread reads the environment meanwhile, which the caller keeps.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}

impl Runtime {
    /// Loads libonnxruntime: the configured file, else the first of [`library_folders`]. `threads` (nothing: one a core)
    /// are shared by all that runs: what follows a run finds them awake.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with the places that were looked at.
    pub fn load(configured: Option<&Path>, threads: Option<usize>) -> Result<Self, EngineError> {
        // The library allows one environment a process: the first load decides, later ones share it.
        let mut loaded = LOADED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if loaded.is_none() {
            *loaded = Some(Self::load_first(configured, threads)?);
        }
        Ok(loaded.clone().expect("set above"))
    }

    fn load_first(configured: Option<&Path>, threads: Option<usize>) -> Result<Self, EngineError> {
        let places = match configured {
            Some(path) => vec![path.to_owned()],
            None => library_folders()
                .iter()
                .map(|folder| folder.join(LIBRARY))
                .collect(),
        };
        let Some(path) = places.iter().find(|path| path.is_file()) else {
            let listed: Vec<String> = places
                .iter()
                .map(|p| format!("  {}", p.display()))
                .collect();
            return Err(EngineError::Unavailable(format!(
                "no {LIBRARY}; looked at\n{}\nrun tools/setup, or name the file: onnxruntime = \"...\"",
                listed.join("\n")
            )));
        };
        let unusable =
            |error: String| EngineError::Unavailable(format!("{}: {error}", path.display()));
        let builder = ort::init_from(path)
            .map_err(|error| unusable(error.to_string()))?
            .with_telemetry(false);
        let environment = GlobalThreadPoolOptions::default()
            .with_intra_threads(threads.unwrap_or_else(cores))
            .and_then(|threads| builder.with_global_thread_pool(threads).build())
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Runtime { environment })
    }

    /// A session to be.
    pub(super) fn builder(&self) -> ort::Result<SessionBuilder> {
        Ok(Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The vision tower on the CPU.
pub struct OnnxEncoder {
    trunk: Session,
    /// Nothing when the plan has no scales.
    windows: Option<Windows>,
    nearest: OnnxNearest,
    plan: EncodePlan,
    grid: usize,
    width: usize,
    /// The trunk's outputs, by what they are for.
    tokens_output: Option<&'static str>,
    patches_outputs: Vec<String>,
    took: EncodeTook,
}

impl OnnxEncoder {
    /// # Errors
    /// When the model cannot do what the plan asks, or its files cannot be run.
    pub fn open(
        runtime: &Runtime,
        model: &ModelFolder,
        plan: &EncodePlan,
    ) -> Result<Self, EngineError> {
        plan.check(&model.spec)?;
        let grid = plan.side / model.spec.patch;
        let patches_outputs: Vec<String> = plan.patches.iter().map(layer_output).collect();
        let tokens_output = (!plan.scales.is_empty()).then_some("tokens");

        let mut loader = Loader::new(runtime, model);
        let trunk = loader.session(Graph::of(model, plan, Part::Trunk)?)?;
        let windows = match plan.scales.is_empty() {
            true => None,
            false => Some(Windows::open(&mut loader, model, plan, grid)?),
        };
        Ok(OnnxEncoder {
            trunk,
            windows,
            nearest: OnnxNearest::open(runtime)?,
            plan: plan.clone(),
            grid,
            width: model.spec.width,
            tokens_output,
            patches_outputs,
            took: EncodeTook::default(),
        })
    }

    fn encode_one(&mut self, look: &Crop) -> Result<Features, EngineError> {
        self.took = EncodeTook::default();
        let started = Instant::now();
        let input = TensorRef::from_array_view(look.pixels.view().insert_axis(Axis(0)))
            .map_err(run_error)?;
        let outputs = self
            .trunk
            .run(ort::inputs!["pixels" => input])
            .map_err(run_error)?;
        self.took.trunk = started.elapsed();

        let rows = |name: &str| -> Result<Array2<f32>, EngineError> {
            let view = outputs[name]
                .try_extract_array::<f32>()
                .map_err(run_error)?;
            let rows = view
                .into_shape_with_order((1 + self.grid * self.grid, self.width))
                .map_err(run_error)?;
            finite(name, rows.to_owned())
        };
        let tokens = self
            .patches_outputs
            .iter()
            .map(|name| rows(name))
            .collect::<Result<Vec<_>, _>>()?;
        let image = match self.plan.image {
            true => {
                let view = outputs["image"]
                    .try_extract_array::<f32>()
                    .map_err(run_error)?;
                Some(finite("image", view.to_owned())?.into_iter().collect())
            }
            false => None,
        };
        let windows = match (&mut self.windows, self.tokens_output) {
            (Some(windows), Some(name)) => {
                windows.encode(rows(name)?.view(), look.cells, &mut self.took)?
            }
            _ => vec![],
        };
        Ok(Features {
            grid: self.grid,
            image,
            tokens,
            windows,
        })
    }
}

impl Encoder for OnnxEncoder {
    fn backend(&self) -> &str {
        "onnx-fp32"
    }

    fn encode(&mut self, looks: &[Crop]) -> Result<Vec<Features>, EngineError> {
        looks.iter().map(|look| self.encode_one(look)).collect()
    }

    fn took(&self) -> &EncodeTook {
        &self.took
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

/// Rows of the token matrix that one run of the windows graph takes at most: bounds the memory of its activations
/// (the widest is four times the width, 14 kB a row for ViT-B-16-plus), far above what the matrix products need to
/// run at full speed.
const WINDOW_ROWS: usize = 1024;

/// The tower over windows of the trunk's tokens.
struct Windows {
    /// Tokens `[1 + P, D]` and rows `[N, T]` to `[N, T, D]`: on all threads, since it is bound by memory.
    gather: Session,
    tower: Session,
    grid: usize,
    /// The rows of every window, for each scale: `[W, 1 + scale^2]`.
    scales: Vec<(usize, Array2<i64>)>,
}

impl Windows {
    fn open(
        loader: &mut Loader,
        model: &ModelFolder,
        plan: &EncodePlan,
        grid: usize,
    ) -> Result<Self, EngineError> {
        let mut graph = GraphBuilder::new("gather", &[]);
        let tokens = graph.input("tokens", FLOAT, &[Dim::Any("R"), Dim::Any("D")]);
        let rows = graph.input("rows", INT64, &[Dim::Any("N"), Dim::Any("T")]);
        graph.node(
            "Gather",
            "gathered",
            &[&tokens, &rows],
            vec![int("axis", 0)],
        );
        graph.output("gathered", &[Dim::Any("N"), Dim::Any("T"), Dim::Any("D")]);
        let gather = loader
            .runtime
            .builder()
            .and_then(|mut b| b.commit_from_memory(&graph.finish().encode_to_vec()));
        Ok(Windows {
            gather: gather.map_err(|error| EngineError::Unavailable(error.to_string()))?,
            tower: loader.session(Graph::of(model, plan, Part::Windows)?)?,
            grid,
            scales: plan
                .scales
                .iter()
                .map(|&scale| (scale, window_rows(grid, scale)))
                .collect(),
        })
    }

    /// `tokens` is `[1 + P, D]`, the class token first.
    fn encode(
        &mut self,
        tokens: ArrayView2<f32>,
        cells: Option<&[bool]>,
        took: &mut EncodeTook,
    ) -> Result<Vec<WindowFeatures>, EngineError> {
        let mut all = Vec::with_capacity(self.scales.len());
        for (scale, every) in &self.scales {
            let (mut features, mut gathering) = (Vec::new(), Duration::ZERO);
            let started = Instant::now();
            let counted: CowArray<i64, Ix2> = match cells {
                None => every.view().into(),
                Some(_) => every
                    .select(Axis(0), &counted_windows(self.grid, *scale, cells))
                    .into(),
            };
            for rows in counted.axis_chunks_iter(Axis(0), (WINDOW_ROWS / counted.ncols()).max(1)) {
                let started = Instant::now();
                let inputs = ort::inputs![
                    "tokens" => TensorRef::from_array_view(tokens).map_err(run_error)?,
                    "rows" => TensorRef::from_array_view(rows).map_err(run_error)?
                ];
                let gathered = self
                    .gather
                    .run(inputs)
                    .map_err(run_error)?
                    .remove("gathered");
                let gathered = gathered.ok_or_else(|| run_error("nothing was gathered"))?;
                gathering += started.elapsed();
                let outputs = self
                    .tower
                    .run(ort::inputs!["tokens" => gathered])
                    .map_err(run_error)?;
                features.extend(
                    outputs["embedding"]
                        .try_extract_array::<f32>()
                        .map_err(run_error)?
                        .iter(),
                );
            }
            took.gather += gathering;
            took.windows.push(started.elapsed() - gathering);
            let count = counted.nrows();
            let features = Array2::from_shape_vec((count, features.len() / count), features)
                .map_err(run_error)?;
            all.push(WindowFeatures {
                scale: *scale,
                features: finite("windows", features)?,
            });
        }
        Ok(all)
    }
}

/// The rows of the token matrix that each window takes (WinCLIP, section 4.1): `{class token, scale x scale patches}`,
/// `[W, 1 + scale^2]`, windows in row-major order of their top-left patch. The class token is row 0.
fn window_rows(grid: usize, scale: usize) -> Array2<i64> {
    let places = grid - scale + 1;
    Array2::from_shape_fn(
        (places * places, 1 + scale * scale),
        |(window, token)| match token.checked_sub(1) {
            None => 0,
            Some(patch) => {
                let (row, column) = (
                    window / places + patch / scale,
                    window % places + patch % scale,
                );
                (1 + row * grid + column) as i64
            }
        },
    )
}

/// The text tower on the CPU. Dropping it releases its memory.
pub struct OnnxTextEncoder {
    session: Session,
    tokenizer: Tokenizer,
    context: usize,
}

/// Prompts that one run takes: bounds the memory of the activations.
const PROMPTS_AT_ONCE: usize = 32;

impl OnnxTextEncoder {
    /// # Errors
    /// [`EngineError::Plan`] for a model without text.
    pub fn open(runtime: &Runtime, model: &ModelFolder) -> Result<Self, EngineError> {
        let Some(text) = &model.spec.text else {
            return Err(EngineError::Plan(format!(
                "the model {} has no text tower",
                model.name
            )));
        };
        let session =
            Loader::new(runtime, model).session(Graph::open(model, TEXT, &["features"], None)?)?;
        Ok(OnnxTextEncoder {
            session,
            tokenizer: Tokenizer::new(text.context),
            context: text.context,
        })
    }
}

impl TextEncoder for OnnxTextEncoder {
    fn encode(&mut self, prompts: &[String]) -> Result<Array2<f32>, EngineError> {
        let mut parts = Vec::new();
        for batch in prompts.chunks(PROMPTS_AT_ONCE) {
            let mut ids = Vec::with_capacity(batch.len() * self.context);
            for prompt in batch {
                ids.extend(
                    self.tokenizer
                        .ids(prompt)
                        .map_err(|error| EngineError::Plan(error.to_string()))?,
                );
            }
            let ids = Array2::from_shape_vec((batch.len(), self.context), ids)
                .expect("each prompt has context ids");
            let input = TensorRef::from_array_view(&ids).map_err(run_error)?;
            let outputs = self
                .session
                .run(ort::inputs!["ids" => input])
                .map_err(run_error)?;
            let view = outputs["features"]
                .try_extract_array::<f32>()
                .map_err(run_error)?;
            let embed = view.len() / batch.len();
            parts.push(
                view.into_shape_with_order((batch.len(), embed))
                    .map_err(run_error)?
                    .to_owned(),
            );
        }
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        finite(
            "text",
            ndarray::concatenate(Axis(0), &views).map_err(run_error)?,
        )
    }
}

/// Opens a model folder's graphs; weights that several graphs use are read and packed once.
struct Loader<'a> {
    runtime: &'a Runtime,
    model: &'a ModelFolder,
    weights: HashMap<String, Arc<DynValue>>,
    packed: PrepackedWeights,
}

impl<'a> Loader<'a> {
    fn new(runtime: &'a Runtime, model: &'a ModelFolder) -> Self {
        Loader {
            runtime,
            model,
            weights: HashMap::new(),
            packed: PrepackedWeights::new(),
        }
    }

    fn session(&mut self, mut graph: Graph) -> Result<Session, EngineError> {
        if graph.file() != TEXT {
            attention::fuse(graph.inner_mut(), self.model.spec.heads);
            graph.onnx.opset_import.push(attention::domain());
        }
        let folder = self.model.path.display().to_string();
        let mut builder = self
            .runtime
            .builder()
            // Nothing is read from there (the weights are handed over below), but the names are checked against it.
            .and_then(|b| {
                Ok(b.with_config_entry(
                    "session.model_external_initializers_file_folder_path",
                    &folder,
                )?)
            })
            .and_then(|b| Ok(b.with_prepacked_weights(&self.packed)?))
            .map_err(|error| EngineError::Unavailable(error.to_string()))?;
        for tensor in graph
            .inner()
            .initializer
            .iter()
            .filter(|tensor| tensor.external().is_some())
        {
            let value = match self
                .weights
                .get(&tensor.name)
                .filter(|_| graph.shared(&tensor.name))
            {
                Some(value) => value.clone(),
                None => {
                    let Weight { dims, values } = graph.weight(tensor)?;
                    let value = Tensor::from_array((dims, values))
                        .map_err(|error| graph.broken(&error.to_string()))?;
                    let value = Arc::new(value.into_dyn());
                    self.weights.insert(tensor.name.clone(), value.clone());
                    value
                }
            };
            builder = builder
                .with_initializer(&tensor.name, value)
                .map_err(|error| graph.broken(&error.to_string()))?;
        }
        builder
            .commit_from_memory(&graph.onnx.encode_to_vec())
            .map_err(|error| graph.broken(&error.to_string()))
    }
}

pub(super) fn run_error(error: impl std::fmt::Display) -> EngineError {
    EngineError::Run(error.to_string())
}

/// # Errors
/// When a value is not finite: it must not reach a score.
fn finite<D: ndarray::Dimension>(
    name: &str,
    values: ndarray::Array<f32, D>,
) -> Result<ndarray::Array<f32, D>, EngineError> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(values),
        Some(value) => Err(EngineError::Run(format!("{name} holds {value}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_the_class_token_and_its_patches() {
        let rows = window_rows(4, 3);
        assert_eq!(rows.dim(), (4, 10));
        assert_eq!(rows.row(0).to_vec(), [0, 1, 2, 3, 5, 6, 7, 9, 10, 11]);
        assert_eq!(rows.row(3).to_vec(), [0, 6, 7, 8, 10, 11, 12, 14, 15, 16]);
    }
}
