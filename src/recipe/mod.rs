//! A recipe becomes what judges: the one way for run, check, inspect, eval, bench and a changeover.
//!
//! ```text
//! RecipeSpec --prepare::RecipePreparer--> ActiveRecipe --policies--> RegionPolicies --> the line
//!    |  library/        revisions with their pictures, each checked by its hash
//!    |  references.rs   pictures of good parts, read, all different, none empty
//!    |  locate.rs       the master picture read, references without its part refused
//!    |  default_block.rs  words on the block that judges where the recipe names none
//!    |  choice/         block, top share and cells by good and bad pictures (`winspect teach --choose`)
//!    |  preparation.rs  engine opened, a new plan compared with the CPU, references encoded
//!    |  quality.rs      limits of the quality gate, moved by what the references show
//!    |  drift.rs        what the references show, and passed parts show no longer
//!    |  self_test.rs    two stored pictures judged, their scores learned or recalled
//!    |  unlike.rs      scores of pictures without a part: the bound of a sensible threshold
//!    |  judged.rs       scores of pictures of known parts, calibration pictures among them
//!    |  known_bad.rs    bad parts that the recipe keeps: they must fail
//!    |  replay/          stored parts judged again: what would change
//!    +- threshold.rs    a number, or by the scores of good parts (conformal.rs: at a promised rate)
//! ```
//! The good path: a configuration fills a [`spec::RecipeSpec`]; [`prepare::RecipePreparer`] makes an
//! [`active::ActiveRecipe`] of it, at the start or beside a line that judges; the line asks that for
//! its policies and judges by it. Commands without a line use [`preparation::Preparation`] alone.
//!
//! Failure paths: a recipe that cannot work, a file that cannot be used and an engine that is missing
//! each end with their own exit code, and all bad references are named at once. A region without a
//! threshold is no failure: its parts are `undecided(not_ready)`. A self-test whose scores have
//! changed is told by the line's health.
//!
//! Bounds: one recipe is active and one more may be prepared at a time; a start that is silent for
//! longer than two hours is given up by systemd ([`progress`]).

pub mod active;
pub mod adopt;
pub mod build_command;
pub mod choice;
pub mod conformal;
pub mod default_block;
pub mod drift;
pub mod grouping;
pub mod judged;
pub mod known_bad;
pub mod library;
pub mod locate;
pub mod preparation;
pub mod prepare;
pub mod progress;
pub mod quality;
pub mod references;
pub mod replay;
pub mod self_test;
pub mod spec;
pub mod teach;
pub mod threshold;
pub mod unlike;
