//! The messages and commands of a line, without any I/O.

pub mod command;
pub mod message;
