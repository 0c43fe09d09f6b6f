//! ONNX Runtime on the CPU: the encoder and the text encoder of a model folder.
//!
//! A graph is cut at load to what the plan asks for, so that a patch bank of block 9 does not pay
//! for blocks 10 to 12. The trunk and the windows share one copy of the weights and one packed
//! copy. Every value that leaves is finite.

mod attention;
mod encoder;
pub mod gemm;
mod loader;
mod nearest;
mod runtime;
mod text;
mod windows;

pub use encoder::OnnxEncoder;
pub use nearest::OnnxNearest;
pub(super) use runtime::run_error;
pub use runtime::{Runtime, report_nothing};
pub use text::OnnxTextEncoder;
