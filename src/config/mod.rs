//! A line's configuration: text to a checked [`LineConfig`], every problem at once.
//!
//! The file first, then the environment (`WINSPECT__MQTT__HOST=...`). Unknown keys are refused with
//! the nearest known one, keys of an earlier version with their new name. Paths in the file are
//! relative to the file.
//!
//! ```text
//! file + environment -> source -> JSON value -> line -> store, evidence, mqtt (link), recipes, recipe (regions),
//!                                                       camera (trigger, timing)
//! ```
//! Each of them reads its table key by key (`table`) and goes on after a problem, with a value in
//! range; what was read is thrown away when there was one.

mod address;
mod camera;
mod evidence;
mod keys;
mod line;
mod link;
mod locate;
mod mqtt;
mod page;
mod recipe;
mod recipe_numbers;
mod recipes;
mod regions;
mod shift_check;
mod source;
mod store;
mod table;
mod threshold;
mod timing;
mod topic;
mod trigger;

#[cfg(test)]
mod tests;

pub use camera::CameraConfig;
pub use keys::{ConfigKeys, FIRST_RECIPE, KeyChange};
pub use line::{LineConfig, library_of, load};
pub use recipes::{as_of_now, held_recipe, recipe_of};
