//! The messages, commands and events of a line, without any I/O: what is said, and what is heard.
//!
//! Every message but `availability` is flat JSON with its version, `schema`, in front; every key is
//! always there, null where nothing was computed. docs/mqtt.md lists them by topic.

pub mod answer;
pub mod birth;
pub mod broker;
pub mod check_due;
pub mod check_report;
pub mod codes;
pub mod command;
pub mod condition;
pub mod editing;
mod encoding;
pub mod event;
pub(crate) mod fit;
pub mod lesson_board;
pub mod metrics;
pub mod plc;
mod question;
mod reading;
pub mod recipe_number;
pub mod reject;
pub mod request;
pub mod result;
pub mod shadow;
pub mod shift_check;
pub mod suggestion;
pub mod teaching;
pub mod values;
pub mod what_if;
pub mod words;
