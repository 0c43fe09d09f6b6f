//! The seam for running the tower's graphs on device memory: TensorRT, or ONNX Runtime where the
//! device is the stand-in of the tests, whose memory is the host's.

use super::error::EngineError;
use cudarc::driver::sys::CUstream;

/// Type of the values in the network's tensors on the device.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE half precision: 11 significant bits, at most 65504.
    #[default]
    Fp16,
    /// IEEE single precision.
    Fp32,
}

impl Precision {
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Precision::Fp16 => 2,
            Precision::Fp32 => 4,
        }
    }

    /// Name in files, on the command line and in the engine's name.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp16 => "fp16",
            Precision::Fp32 => "fp32",
        }
    }
}

/// The vision tower's two graphs (`model/tower.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TowerPart {
    /// `pixels` `[N, 3, S, S]` to what the plan asks for: `tokens`, `block<b>`, `after_norm`
    /// `[N, 1 + P, D]`, `image` `[N, E]`.
    Trunk,
    /// `tokens` `[N, 1 + k k, D]` to `embedding` `[N, E]`.
    Windows,
}

impl TowerPart {
    /// The graph's file in a model folder.
    pub fn file(self) -> &'static str {
        match self {
            TowerPart::Trunk => "trunk.onnx",
            TowerPart::Windows => "windows.onnx",
        }
    }
}

/// One input or output of a graph, tightly packed in device memory.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Name in the graph.
    pub name: String,
    /// Shape.
    pub dims: Vec<usize>,
    /// A device address, as CUDA's driver gives it.
    pub address: u64,
}

/// Properties of all graphs of a model.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Name of the engine that runs them, for `birth` and the log: `tensorrt-10.3-fp16`.
    pub name: String,
    /// Type of inputs and outputs.
    pub precision: Precision,
    /// Crops in one run of the trunk, at most.
    pub looks_max: usize,
}

/// The graphs of one model, ready for one device.
pub trait Networks: Send {
    /// Properties of the graphs.
    fn facts(&self) -> &Facts;

    /// A graph with its shapes and addresses fixed. Each bound graph is independent: a capture of
    /// one stays valid when another is made.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for shapes that the plan does not hold; [`EngineError::Run`] when
    /// there is no memory.
    ///
    /// # Safety
    /// Each address holds as many values as its dims say until the network is dropped.
    unsafe fn bind(
        &self,
        part: TowerPart,
        tensors: &[Binding],
    ) -> Result<Box<dyn Network>, EngineError>;
}

/// A bound graph.
pub trait Network: Send {
    /// Enqueues one run. After a first run that was waited for, a run may be captured: nothing is
    /// allocated any more.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the library refuses.
    ///
    /// # Safety
    /// `stream` belongs to the device that it was bound for.
    unsafe fn enqueue(&mut self, stream: CUstream) -> Result<(), EngineError>;
}
