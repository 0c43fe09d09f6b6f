#![doc = include_str!("ARCHITECTURE.md")]

// In the order in which a frame meets them, lower layers first.
pub mod base;
pub mod camera;
pub mod cli;
pub mod config;
pub mod engine;
pub mod evaluate;
pub mod frame;
pub mod intake;
pub mod line;
pub mod model;
pub mod picture_file;
pub mod publish;
pub mod quality;
pub mod report;
pub mod store;
pub mod verdict;
pub mod winclip;
