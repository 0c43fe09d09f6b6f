//! The library itself: where it is found, its threads, and its errors in our words.

use crate::engine::error::EngineError;
use crate::engine::library_path::library_folders;
use crate::model::graph::{Dim, GraphBuilder};
use ndarray::{Array, Array2, ArrayView2, ArrayViewD, Dimension};
use ort::environment::GlobalThreadPoolOptions;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionOutputs};
use ort::value::{PrimitiveTensorElementType, TensorRef};
use std::fmt::{Debug, Display};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The library, loaded. Holding one is proof that calls into it can work.
#[derive(Debug, Clone)]
pub struct Runtime {
    environment: ort::environment::Environment,
    /// True where sessions run on their caller's thread alone.
    is_single_threaded: bool,
}

static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

const LIBRARY: &str = "libonnxruntime.so";

/// Switches the library's telemetry off. Microsoft's builds of ONNX Runtime report models, errors
/// and runs to their maker, under a number that they give the machine; what a plant inspects is its
/// own business. Call before the first thread is started: the library's own switch (see
/// [`Runtime::load`]) stops only what has begun by then.
pub fn report_nothing() {
    // SAFETY: no other thread reads the environment meanwhile, which the caller keeps.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}

impl Runtime {
    /// Loads libonnxruntime: the configured file, else the first of [`library_folders`]. All
    /// sessions share `threads` threads (`None`: one a core), so that work after a run finds them
    /// awake.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with the places that were searched.
    pub fn load(configured: Option<&Path>, threads: Option<usize>) -> Result<Self, EngineError> {
        // The library allows one environment a process: the first load decides, later ones share
        // it.
        // A panic of another thread cannot have left this half written: the value is set once, at
        // the end.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);

        if let Some(runtime) = loaded.as_ref() {
            return Ok(runtime.clone());
        }

        // The error names the file, because the loader's words may not.
        let path = library(configured)?;
        let threads = threads.unwrap_or_else(cores);
        let runtime = Self::load_file(&path, threads)
            .map_err(|error| EngineError::Unavailable(format!("{}: {error}", path.display())))?;

        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    fn load_file(path: &Path, threads: usize) -> Result<Self, String> {
        // The library is loaded here, and its version compared with what the binding expects.
        let library = ort::init_from(path).map_err(|error| error.to_string())?;

        // One pool serves all sessions: threads of several pools would compete for the same cores.
        let pool = GlobalThreadPoolOptions::default()
            .with_intra_threads(threads)
            .map_err(|error| error.to_string())?;

        // Telemetry is switched off here as well as by `report_nothing`: the library reads the
        // environment earlier, and this switch stops only what has begun.
        let environment = library
            .with_telemetry(false)
            .with_global_thread_pool(pool)
            .build()
            .map_err(|error| error.to_string())?;

        Ok(Runtime {
            environment,
            is_single_threaded: false,
        })
    }

    /// The same library; its sessions run on their caller's thread alone.
    pub fn single_threaded(self) -> Self {
        Runtime {
            is_single_threaded: true,
            ..self
        }
    }

    /// Builder of a session, on the shared threads unless this runtime has none of them.
    pub(in crate::engine) fn builder(&self) -> ort::Result<SessionBuilder> {
        // All optimisations are on: a session is loaded once and run for days.
        let builder = Session::builder(&self.environment)?;
        let builder = builder.with_optimization_level(GraphOptimizationLevel::All)?;

        if !self.is_single_threaded {
            return Ok(builder);
        }

        // A pool of one thread is its caller.
        Ok(builder
            .with_independent_thread_pool()?
            .with_intra_threads(1)?)
    }

    /// Session of a small graph that is made in memory.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the library cannot run it.
    pub(super) fn session_of(&self, graph: &[u8]) -> Result<Session, EngineError> {
        self.builder()
            .and_then(|mut builder| builder.commit_from_memory(graph))
            .map_err(|error| EngineError::Unavailable(error.to_string()))
    }
}

/// The library's file.
fn library(configured: Option<&Path>) -> Result<PathBuf, EngineError> {
    // A configured file is the only candidate: another one must not be used in its place unasked.
    let places = match configured {
        Some(path) => vec![path.to_owned()],
        None => library_folders()
            .iter()
            .map(|folder| folder.join(LIBRARY))
            .collect(),
    };

    if let Some(path) = places.iter().find(|path| path.is_file()) {
        return Ok(path.clone());
    }

    // The places stand one a line in the message, so that a person sees where the file was
    // expected.
    let listed: Vec<String> = places
        .iter()
        .map(|path| format!("  {}", path.display()))
        .collect();

    Err(EngineError::Unavailable(format!(
        "no {LIBRARY}; looked at\n{}\nrun tools/setup, or name the file: onnxruntime = \"...\"",
        listed.join("\n")
    )))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// [`EngineError::Run`] in the words of the library.
pub(in crate::engine) fn run_error(error: impl Display) -> EngineError {
    EngineError::Run(error.to_string())
}

/// Adds an input of the graph that is a matrix of any size; `rows` and `columns` name its
/// dimensions.
pub(super) fn matrix_input(
    graph: &mut GraphBuilder,
    name: &str,
    kind: i32,
    rows: &'static str,
    columns: &'static str,
) -> String {
    let dims = [Dim::Any(rows), Dim::Any(columns)];

    graph.input(name, kind, &dims)
}

/// The input of a run, without a copy.
pub(super) fn tensor<'v, T>(view: ArrayView2<'v, T>) -> Result<TensorRef<'v, T>, EngineError>
where
    T: PrimitiveTensorElementType + Debug + Clone + 'static,
{
    TensorRef::from_array_view(view).map_err(run_error)
}

/// Values of an output of a run.
pub(super) fn values<'o>(
    outputs: &'o SessionOutputs,
    name: &str,
) -> Result<ArrayViewD<'o, f32>, EngineError> {
    // An unknown name is a bug here and panics; another element type is an error of the run.
    let output = &outputs[name];

    output.try_extract_array().map_err(run_error)
}

/// Values of an output as a matrix of rows and columns.
///
/// # Errors
/// [`EngineError::Run`] when there are more or fewer values.
pub(super) fn matrix(
    values: ArrayViewD<f32>,
    shape: (usize, usize),
) -> Result<Array2<f32>, EngineError> {
    // The library's buffer goes with its outputs, so that the values are copied.
    let matrix = values.into_shape_with_order(shape).map_err(run_error)?;

    Ok(matrix.to_owned())
}

/// The values, when all are finite.
///
/// # Errors
/// [`EngineError::Run`] with the first value that is not finite: it must not reach a score.
pub(super) fn finite<D: Dimension>(
    name: &str,
    values: Array<f32, D>,
) -> Result<Array<f32, D>, EngineError> {
    // One pass over the values costs far less than the network that made them.
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(values),
        Some(value) => Err(EngineError::Run(format!("{name} holds {value}"))),
    }
}
