//! The screen Shift check: the check that is under way as it stands, the form of its next step, and those before;
//! each has a record of its own to print.
//!
//! What changes by itself is a fragment; its name has the stage, so that a browser loads the page anew, and gets the
//! form of the next step, when the stage changes.

pub mod forms;
mod record;
pub mod screen;

/// Address of the screen.
pub const ADDRESS: &str = "/shift-check";
/// Checks that the screen lists.
pub const LISTED: usize = 20;
