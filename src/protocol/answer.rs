//! Answers to commands, typed until they leave: every door encodes them by itself.

use crate::data::part::Part;
use crate::protocol::encoding::encode_text;
use crate::protocol::suggestion::SuggestedGroup;
use crate::protocol::what_if::WhatIf;
use serde::{Deserialize, Serialize};

/// Answer to one command, or what became of a command later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The sender's id of the command, if it had a readable one.
    pub id: Option<String>,
    /// Fate of the command.
    pub status: AnswerStatus,
    /// Words for a person: why the command was rejected, or what its sender should know.
    pub reason: Option<String>,
    /// The parts that a trigger made.
    pub parts: Vec<AnsweredPart>,
    /// The groups that a suggestion made; other answers do not have the key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<SuggestedGroup>,
    /// The effect that a `what_if` asked for; other answers do not have the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what_if: Option<Box<WhatIf>>,
}

/// Fate of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerStatus {
    /// The command was begun: a trigger's parts are on the disk, or an outcome follows.
    Accepted,
    /// The command goes on; the reason says how far it is.
    Progress,
    /// The command is done.
    Done,
    /// The command is not done; the reason says why.
    Rejected,
}

/// A part that a trigger made, by the keys of its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnsweredPart {
    /// Run of the daemon that numbered the part.
    pub run_id: String,
    /// Camera of the part, or the name that several cameras share.
    pub camera: String,
    /// Region of the view, where the recipe names regions.
    pub region: Option<String>,
    /// Number of the part, counted per camera from 1.
    pub seq: u64,
}

impl AnsweredPart {
    /// The names of an accepted part.
    pub fn of(part: &Part) -> Self {
        AnsweredPart {
            run_id: part.run_id.to_string(),
            camera: part.camera().to_string(),
            region: part.request.region.as_deref().map(str::to_owned),
            seq: part.seq,
        }
    }
}

/// An answer as it is kept.
#[derive(Serialize)]
struct KeptAnswer<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    question: &'a str,
}

/// The question that a kept answer names.
#[derive(Deserialize)]
struct KeptQuestion {
    question: Option<String>,
}

/// The hash of the question that a kept answer belongs to. `None` for one that an earlier version
/// kept.
pub fn question_of(kept: &str) -> Option<String> {
    let kept: KeptQuestion = serde_json::from_str(kept).ok()?;
    kept.question
}

impl Answer {
    /// An answer without parts.
    pub fn new(id: Option<&str>, status: AnswerStatus, reason: Option<String>) -> Self {
        Answer {
            id: id.map(str::to_owned),
            status,
            reason,
            parts: vec![],
            groups: vec![],
            what_if: None,
        }
    }

    /// A refusal, with its reason.
    pub fn rejected(id: Option<&str>, reason: impl Into<String>) -> Self {
        Answer::new(id, AnswerStatus::Rejected, Some(reason.into()))
    }

    /// The JSON object that goes to `ack/<name>`, to the control socket, and into the store.
    pub fn encode(&self) -> String {
        encode_text(self)
    }

    /// The text that the store keeps under the command's id: the answer, with a hash of the question
    /// that it answers.
    pub fn encode_kept(&self, question: &str) -> String {
        encode_text(KeptAnswer {
            answer: self,
            question,
        })
    }

    /// Reads what [`Answer::encode`] wrote, also that of an earlier schema.
    ///
    /// # Errors
    /// When the text is no answer.
    pub fn decode(text: &str) -> Result<Answer, serde_json::Error> {
        // Unknown keys, such as the schema, are passed over.
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_same_after_it_was_kept_as_text() {
        let part = AnsweredPart {
            run_id: "01TEST".to_owned(),
            camera: "top".to_owned(),
            region: None,
            seq: 7,
        };

        let answer = Answer {
            parts: vec![part],
            ..Answer::new(Some("t1"), AnswerStatus::Accepted, None)
        };

        let text = answer.encode();
        let read = Answer::decode(&text).expect("an answer");
        assert_eq!(read, answer);
        assert_eq!(read.encode(), text);
        assert_eq!(question_of(&text), None);
        let kept = answer.encode_kept("77");
        assert_eq!(Answer::decode(&kept).expect("an answer"), answer);
        assert_eq!(question_of(&kept).as_deref(), Some("77"));
    }
}
