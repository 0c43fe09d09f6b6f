#![doc = include_str!("ARCHITECTURE.md")]

// In the order in which a frame meets them, lower layers first.
pub mod artist;
pub mod base;
pub mod camera;
pub mod cli;
pub mod condition;
pub mod config;
pub mod desk;
pub mod engine;
pub mod entrance;
pub mod evaluate;
pub mod foreman;
pub mod frame;
pub mod intake;
pub mod line;
pub mod model;
pub mod part;
pub mod picture_file;
pub mod publish;
pub mod quality;
pub mod report;
pub mod rules;
pub mod store;
pub mod trigger;
pub mod verdict;
pub mod winclip;
