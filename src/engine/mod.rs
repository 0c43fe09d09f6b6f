//! The seams between the algorithm and whatever runs the network: pixels in, features out; or,
//! where the device can do it, bytes in, parts of a score out.
//!
//! ```text
//! select::Engines::open(model, plan)         one engine, or an error; never another one than asked
//!   |
//!   |- onnx::OnnxEncoder     CPU                pixels -> trunk -> windows -> Features
//!   `- cuda::CudaEncoder     NVIDIA GPU         its graphs through network::Networks:
//!        |- tensorrt::TensorRt                  a plan built once for this GPU, or read again
//!        |- cuda::stand_in::StandIn             ONNX Runtime on host memory, for tests
//!        `- cuda::no_network::NoNetwork         nothing, for measuring the rest
//!
//! trait Encoder        crops -> Features        every engine
//! trait Nearest        features x references -> similarities, where the network runs
//! trait DeviceScorer   pictures -> PartialScores; GPUs only, see Encoder::device_scorer
//! trait Paint          overlays on the same device, beside the scoring
//! ```
//!
//! # Good path
//! A recipe says what it needs ([`EncodePlan`]). The engine checks the plan against the model, cuts
//! the model's graphs to it ([`graphs`]) and loads them. One thread at a time uses the [`Encoder`]: the
//! one that prepares it, then the inspector's, which calls it once for each group of pictures. On a
//! GPU the whole way from bytes to the parts of a score is one captured graph, replayed for each group
//! of the same kind.
//!
//! # Failure paths
//! - Library, device or plan missing: [`EngineError::Unavailable`]. With `backend = "auto"` the CPU
//!   is used instead, and the log says why.
//! - Plan beyond the model, or no accepted TensorRT plan where none may be built:
//!   [`EngineError::Plan`]. The CPU never replaces the GPU then.
//! - Model folder damaged: [`EngineError::Model`], before memory of the claimed size is taken.
//! - One call failed, or the network produced a value that is not finite: [`EngineError::Run`]. No
//!   score leaves the engine; the next call may succeed.
//! - A new TensorRT plan that differs too much from the CPU is refused (`winclip::parity`).
//!
//! # Bounds
//! | what | bound | declared in |
//! |---|---|---|
//! | map, in patches a side | 128 | [`EncodePlan::check`] |
//! | crops in one run of a GPU's network | 4 | [`select::LOOKS_MAX`] |
//! | rows in one run of the windows' graph | 1024 | `onnx/windows.rs` |
//! | prompts in one run of the text tower | 32 | `onnx/text.rs` |
//! | products in one comparison | 2^19, or those of one reference | `onnx/nearest.rs` |
//! | captured graphs of a GPU | `RUNS_MAX` | `cuda/encoder.rs` |

pub mod cuda;
pub mod device_scorer;
mod encoder;
mod error;
mod features;
pub mod flops;
pub mod graphs;
pub mod library_path;
pub mod nearest;
pub mod network;
pub mod onnx;
mod plan;
mod pos_embed;
pub mod select;
pub mod tensorrt;

pub use encoder::{EncodeTimes, Encoder, TextEncoder};
pub use error::EngineError;
pub use features::{Crop, Features, Pixels, WindowFeatures, normalisation_lut, unmasked_windows};
pub use plan::{EncodePlan, GRID_MAX, PatchLayer};
