//! The seam for running the tower's graphs on device memory: TensorRT, or ONNX Runtime where the device is the stand-in
//! of the tests, whose memory is the host's.

use super::EngineError;
use cudarc::driver::sys::CUstream;

/// What the network's tensors hold on the device.
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
    #[default]
    Fp16,
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

    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp16 => "fp16",
            Precision::Fp32 => "fp32",
        }
    }
}

/// The vision tower's two graphs (`model/tower.rs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// `pixels` `[N, 3, S, S]` to what the plan asks for: `tokens`, `block<b>`, `after_norm` `[N, 1 + P, D]`, `image`
    /// `[N, E]`.
    Trunk,
    /// `tokens` `[N, 1 + k k, D]` to `embedding` `[N, E]`.
    Windows,
}

impl Part {
    /// The graph's file in a model folder.
    pub fn file(self) -> &'static str {
        match self {
            Part::Trunk => "trunk.onnx",
            Part::Windows => "windows.onnx",
        }
    }
}

/// One input or output: where it lies on the device, tightly packed.
#[derive(Debug, Clone)]
pub struct Binding {
    pub name: String,
    pub dims: Vec<usize>,
    /// A device address, as CUDA's driver gives it.
    pub address: u64,
}

/// What is true of all graphs of a model.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What runs them, for `birth` and the log: `tensorrt-10.3-fp16`.
    pub name: String,
    /// What inputs and outputs hold.
    pub precision: Precision,
    /// Looks that the trunk takes at once at most.
    pub looks_max: usize,
}

/// The graphs of one model, ready for one device.
pub trait Networks: Send {
    fn facts(&self) -> &Facts;

    /// A graph with its shapes and addresses fixed, of its own: what was captured of one stays true when another is made.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for shapes that the plan does not hold; [`EngineError::Run`] when there is no memory.
    ///
    /// # Safety
    /// Each address holds as many values as its dims say until the network is dropped.
    unsafe fn bind(&self, part: Part, tensors: &[Binding])
    -> Result<Box<dyn Network>, EngineError>;
}

/// A bound graph.
pub trait Network: Send {
    /// Enqueues one run. Run once and synchronised, it may be captured: nothing is allocated any more.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    ///
    /// # Safety
    /// `stream` belongs to the device that it was bound for.
    unsafe fn enqueue(&mut self, stream: CUstream) -> Result<(), EngineError>;
}
