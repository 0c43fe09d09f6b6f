//! The NVIDIA path: our kernels and the network in one CUDA graph, from a picture's bytes to what its score is made of.
//!
//! ```text
//! pinned bytes --copy--> pictures --pixels--> [N, 3, S, S] --trunk--> tokens, block b, image
//!     tokens --gather--> [W, 1 + k k, D] --windows--> [W, E]                        (each scale)
//!     image, windows --language--> s      patches, windows --nearest--> distances
//!     s, distances --scatter--> maps [N, P] --copy--> pinned result
//!
//! pinned picture, maps --copy--> --paint--> drawing --copy--> pinned    ([`painter`]: beside it, on a stream of its own)
//! ```
//! The upper part is captured once for each kind of run (`run`): which looks, how they are framed. A frame then costs the
//! copy into pinned memory, one launch, one wait. `tower` is the part up to the features, `scoring` the rest;
//! [`encoder`] puts them behind the engine's two seams.

pub mod device;
pub mod encoder;
mod framing;
pub mod kernels;
pub(super) mod memory;
pub mod no_network;
mod painter;
mod run;
mod scoring;
pub mod stand_in;
mod tables;
mod tower;
