//! Pictures: read from files, resized as Pillow does it, searched for a part, drawn over for people.

pub mod canvas;
pub mod close_up;
pub mod file;
pub mod jpeg;
pub mod jpeg_file;
pub mod locate;
pub mod overlay;
pub mod part_picture;
pub mod resize;
pub mod sheet;
