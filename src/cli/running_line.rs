//! The connection of a command to a line that runs on this machine, found by the line's file.

use super::run::configuration;
use crate::base::exit::{Exit, Failure};
use crate::control::client::{ClientError, ControlClient};
use crate::control::messages::{ControlReply, ControlRequest, LineStatus};
use crate::control::socket_path;
use std::path::Path;
use std::time::Duration;

/// Time for a status.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects to the line that runs with that file.
///
/// # Errors
/// 78 when the file is no line's, 69 when no line runs with it.
pub fn connect(line: &Path) -> Result<ControlClient, Failure> {
    // The file says where the store is, and the socket lies beside the store.
    let config = configuration(line)?;
    let socket = socket_path(&config.store.file);

    ControlClient::connect(&socket).map_err(|error| refused(line, &error))
}

/// The failure of a connection that could not be made.
pub fn refused(line: &Path, error: &ClientError) -> Failure {
    // A refusal by rights means that a line runs; advice to start one would mislead.
    let line = line.display();
    let words = if error.is_permission() {
        format!("{error}; only the owner and the group of a line's socket may connect")
    } else {
        format!("no line runs with this file: {error}; start it with winspect run {line}")
    };

    Failure::words(Exit::Unavailable, words)
}

/// The failure of a line that stops answering.
pub fn failure(error: &ClientError) -> Failure {
    Failure::words(Exit::Unavailable, error.to_string())
}

/// The failure of a line that answers something else.
pub fn unexpected(reply: &ControlReply) -> Failure {
    // A reply of another kind is shown as it came: the versions differ.
    let words = match reply {
        ControlReply::Error(words) | ControlReply::Ended(words) => words.clone(),
        other => serde_json::to_string(other).expect("replies are plain values"),
    };

    Failure::words(Exit::Unavailable, format!("the line says: {words}"))
}

/// The status of the line that runs with that file.
///
/// # Errors
/// When no line runs, or it does not answer.
pub fn status_of(line: &Path) -> Result<LineStatus, Failure> {
    let status = ControlRequest {
        status: true,
        ..ControlRequest::default()
    };

    let reply = connect(line)?.ask(&status, PATIENCE);
    match reply.map_err(|error| failure(&error))? {
        ControlReply::Status(status) => Ok(*status),
        other => Err(unexpected(&other)),
    }
}
