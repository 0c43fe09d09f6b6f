//! The screen Camera and lens: for each camera its figures beside what it was taught, the places that are unlike
//! the references painted over the newest picture, a good picture beside it, and *I cleaned it*.

pub mod develop;
pub mod forms;
mod pictures;
pub mod screen;

/// Address of the screen.
pub const ADDRESS: &str = "/lens";
