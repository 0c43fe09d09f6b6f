#![doc = include_str!("ARCHITECTURE.md")]

// Lower layers first.
pub mod base;
pub mod camera;
pub mod cli;
pub mod config;
pub mod control;
pub mod data;
pub mod engine;
pub mod evaluate;
pub mod evidence;
pub mod image;
pub mod line;
pub mod model;
pub mod mqtt;
pub mod page;
pub mod protocol;
pub mod recipe;
pub mod store;
pub mod trigger;
pub mod winclip;
