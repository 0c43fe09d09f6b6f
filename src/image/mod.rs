//! Pictures: read from files, resized as Pillow does it, drawn over for people.

pub mod file;
pub mod jpeg;
pub mod overlay;
pub mod resize;
pub mod sheet;
