//! Answers to commands (`ack/<name>`).

use super::encoding::encode_text;
use serde::Serialize;

/// An answer to a command.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Answer {
    /// The command's id; `None` where it has none.
    pub id: Option<String>,
    /// `accepted`, `done` or `rejected`.
    pub status: &'static str,
    /// Reason of a rejection, in words.
    pub reason: Option<String>,
    /// The parts that a trigger made.
    pub parts: Vec<AnsweredPart>,
}

/// A part that a trigger made, as results name it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnsweredPart {
    /// The run that accepted it.
    pub run_id: String,
    /// The camera, or the name that several cameras share.
    pub camera: String,
    /// The region of interest, where the recipe names some.
    pub region: Option<String>,
    /// Number of the part for this run and camera.
    pub seq: u64,
}

impl Answer {
    /// The message as text, which the store keeps to answer the same id again.
    pub fn encode(&self) -> String {
        encode_text(self)
    }
}
