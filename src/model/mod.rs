//! Model folders. [`import`] turns a folder of open_clip, transformers (CLIP, DINOv2) or timm (DINOv2) into
//! ours, [`fetch`] downloads a known one first; [`ModelFolder`] is an imported one, opened and checked.
//!
//! A model folder holds `model.toml` (its manifest), `trunk.onnx`, `windows.onnx` and their shared
//! `vision.weights`, and for models with text `text.onnx` with `text.weights`. It appears whole or not at
//! all.

pub mod catalogue;
mod default_block;
mod error;
mod fetch;
mod folder;
pub mod graph;
mod import;
mod manifest;
pub mod proto;
pub mod spec;
pub mod tokenizer;
mod tower;
mod weights;

pub use default_block::{BlockBasis, DefaultBlock};
pub use error::ModelError;
pub use fetch::{FetchError, FetchProgress, FetchRequest, fetch};
pub use folder::ModelFolder;
pub use import::import;
pub use spec::{Family, ModelSpec, TextSpec};
