//! The algorithm, pure: no I/O, no threads. WinCLIP and WinCLIP+ (Jeong et al., CVPR 2023,
//! arXiv 2303.14814) and, for models without text, their visual half.
//!
//! [`Recipe`] says what is inspected, [`preset`] in which reading of the paper,
//! [`inspector::Inspector`] does it: `pixels` makes crops of each [`Region`], an engine makes features
//! of crops, `scorer` compares them with prompts and references, and `region` combines the crops of
//! a region into one score and map.

mod align;
mod block;
pub mod gallery;
mod input;
pub mod inspector;
pub mod looks;
pub mod mask;
mod outcome;
pub mod parity;
pub mod pixels;
pub mod preset;
pub mod prompts;
pub mod recipe;
mod region;
pub mod room;
pub mod scorer;
mod thinning;
pub mod tiles;
mod top_share;
mod turned;
pub mod vectors;
pub mod windows;

pub use crate::engine::device_scorer::MapKind;
pub use align::AlignedPicture;
pub use inspector::Inspector;
pub use outcome::RegionScore;
pub use pixels::Fit;
pub use preset::Preset;
pub use recipe::{Recipe, Region};
pub use top_share::TopShare;
pub use turned::{Turned, Way};
