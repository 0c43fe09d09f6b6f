//! Requests as plain data: a command, the door that it came through, and where its answer goes.
//!
//! The command handler answers a [`Request`] without knowing its door. A door (the MQTT publisher,
//! the control socket, the page) finds the sender of a [`Reply`] by its [`ReplyToken`].

use crate::protocol::answer::Answer;
use crate::protocol::command::Command;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// Door through which a command came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestSource {
    /// The broker's `cmd/<name>`.
    Mqtt,
    /// The control socket of this machine.
    Control,
    /// The page, for a signed-in user.
    Page,
}

impl RequestSource {
    /// The name that the log and the audit log use.
    pub fn word(self) -> &'static str {
        match self {
            RequestSource::Mqtt => "mqtt",
            RequestSource::Control => "control socket",
            RequestSource::Page => "page",
        }
    }
}

/// A checked command on its way to the command handler.
#[derive(Debug)]
pub struct Request {
    /// The thing to do, with the sender's id.
    pub command: Command,
    /// Name of the command: the last level of its topic.
    pub name: String,
    /// Door through which the command came.
    pub source: RequestSource,
    /// User who sent it, where the door knows: of this machine, or of the page.
    pub user: Option<Arc<str>>,
    /// Moment of arrival here.
    pub came_at: Instant,
    /// True if the command may have waited on its way for an unknown time: at the broker, in a link or
    /// a process that stood still.
    pub is_stale: bool,
    /// Destination of the answer.
    pub reply: ReplyTo,
}

impl Request {
    /// Who sent it: the door, and the user where it is known.
    pub fn who(&self) -> String {
        let door = self.source.word();
        match &self.user {
            Some(user) => format!("{user} ({door})"),
            None => door.to_owned(),
        }
    }

    /// Sends the answer to the door. Blocks while the door's replies are full: each door declares
    /// their bound. A door that is gone needs no answer.
    pub fn answer(self, answer: Answer) {
        let reply = Reply {
            token: self.reply.token,
            name: self.name,
            answer,
        };

        let _ = self.reply.replies.blocking_send(reply);
    }
}

/// Destination of the answer to a request.
#[derive(Debug, Clone)]
pub struct ReplyTo {
    /// Bounded sender of the door's replies.
    pub replies: mpsc::Sender<Reply>,
    /// The door's mark for the request.
    pub token: ReplyToken,
}

/// A door's mark for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyToken {
    /// Number of the connection.
    pub connection: u64,
    /// Number of the request within the connection.
    pub request: u64,
}

/// Answer to one request, on its way back to the door.
#[derive(Debug)]
pub struct Reply {
    /// The door's mark for the request.
    pub token: ReplyToken,
    /// Name of the command.
    pub name: String,
    /// The answer to its sender.
    pub answer: Answer,
}
