//! A recipe becomes an inspector: references, quality gate, threshold and self-test.

pub mod prepare;
pub mod progress;
pub mod quality;
pub mod self_test;
pub mod threshold;
