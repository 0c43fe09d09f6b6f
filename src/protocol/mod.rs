//! The messages and commands of a line, without any I/O.

pub mod answer;
pub mod command;
pub mod event;
pub mod message;
pub mod request;
