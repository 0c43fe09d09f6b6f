//! TensorRT 10, 11 and TensorRT-RTX, loaded at run time through a binding of our own: one binary
//! serves machines with any of them and machines with none.
//!
//! ```text
//! library   finds and loads it     vtable  slots of its functions        raw    calls them
//! building  graph -> plan          key     facts that a plan depends on  plans  a model folder's
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

pub use building::{BuildOrder, BuildProgress, OnProgress};
pub use key::{Key, LOOKS_MOST, PlanTarget};
pub use library::{Edition, Library, LibraryVersion};
pub use networks::TensorRt;
pub use plan::{BuiltPlan, PlanFile, PlanFiles, PlanState};
pub use plans::{FoundPlans, Plans};
