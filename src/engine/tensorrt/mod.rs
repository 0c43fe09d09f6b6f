//! TensorRT 10, 11 and TensorRT-RTX, loaded at run time through a binding of our own: one binary serves machines with any
//! of them and machines with none.
//!
//! ```text
//! library   finds and loads it         slots   where its functions stand       raw   calls them; all `unsafe`
//! building  graph -> plan              key     what a plan depends on          plans  a model folder's
//! networks  plan -> runs on a stream, behind `engine::network`
//! ```

mod building;
mod key;
mod library;
mod networks;
mod plan;
mod plans;
mod raw;
mod vtable;

pub use building::{Order, Progress, Told};
pub use key::{Key, LOOKS_MOST, Target};
pub use library::{Kind, Library, Version};
pub use networks::TensorRt;
pub use plan::{File, Files, Plan, State};
pub use plans::{Found, Plans};
