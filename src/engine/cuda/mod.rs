//! The NVIDIA path: our kernels and the network in one CUDA graph, from a picture's bytes to the
//! values that its score is made of.
//!
//! ```text
//! pinned bytes --copy--> pictures --pixels--> [N, 3, S, S] --trunk--> tokens, block b, image
//!     tokens --gather--> [W, 1 + k k, D] --windows--> [W, E]                        (each scale)
//!     image, windows --language--> s      patches, windows --nearest--> distances
//!     s, distances --scatter--> maps [N, P] --copy--> pinned result
//!
//! pinned picture, maps --copy--> --paint--> drawing --copy--> pinned
//!     (`painter`: beside it, on a stream of its own)
//! ```
//! The good path: the upper part is captured once for each kind of run (`run`): the number of
//! crops, their masks, the size of the buffers. A frame then costs the copy into pinned memory, one
//! launch, one wait. `tower` is the part up to the features, `scoring` the rest; [`encoder`] puts
//! them behind the engine's two seams.
//!
//! The failure paths: without a driver or a device that works, [`device`] says
//! [`EngineError::Unavailable`] and how to get one; without a compiler and without kept kernels,
//! [`kernels`] does. A call that the driver refuses during a frame is [`EngineError::Run`]
//! ([`error`]) and concerns that batch alone. Every launch first overwrites its outputs with 0xff,
//! which is a number in no precision, so that a stage that silently did not run is found by the
//! check for finite values.
//!
//! The bounds: [`encoder`] keeps 8 captured runs, `crops` 256 tables of resize weights,
//! `kernels::scatter` takes 8 layers a map, the network as many crops at once as it was built for.
//! Device memory is allocated when a run or the painter's buffers are made, never for a frame.
//!
//! [`EngineError::Unavailable`]: crate::engine::EngineError::Unavailable
//! [`EngineError::Run`]: crate::engine::EngineError::Run

mod crops;
pub mod device;
pub mod encoder;
pub mod error;
pub mod kernels;
pub(super) mod memory;
pub mod no_network;
mod painter;
mod references;
mod run;
mod scoring;
pub mod stand_in;
mod tower;
mod windows;
