//! A command of a person to a line that runs on this machine, until it has ended: the answer, how far it is, and
//! the outcome.

use super::running_line::{connect, failure, status_of, unexpected};
use super::terminal::{print, say};
use crate::base::exit::{Exit, Failure};
use crate::config;
use crate::control::client::{ControlClient, Received};
use crate::control::messages::{ControlReply, ControlRequest};
use crate::control::socket_path;
use crate::protocol::answer::{Answer, AnswerStatus};
use serde_json::{Map, Value};
use std::path::Path;
use std::time::Duration;

/// Time for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at a line that says nothing: it may end without a word.
const LOOK: Duration = Duration::from_secs(1);

/// Sends a command to the line that runs with that file, and waits for its outcome, which is printed.
///
/// # Errors
/// When no line runs, or it refuses, or ends meanwhile.
pub fn carry_out(
    line: &Path,
    name: &str,
    payload: &[(&str, Option<Value>)],
) -> Result<(), Failure> {
    let answer = done(line, name, payload)?;

    print(answer.reason.unwrap_or_default()).map(|_| ())
}

/// Sends a command to the line that runs with that file, and waits for its outcome. Ids are made here: a person who
/// repeats a command means another one.
///
/// # Errors
/// When no line runs, or it refuses, or ends meanwhile.
pub fn done(line: &Path, name: &str, payload: &[(&str, Option<Value>)]) -> Result<Answer, Failure> {
    // Outcomes are heard on a connection of their own, which is there before the command.
    let mut events = connect(line)?;
    let watch = ControlRequest {
        watch: true,
        ..ControlRequest::default()
    };

    events.send(&watch).map_err(|error| failure(&error))?;

    let mut client = connect(line)?;
    let id = ulid::Ulid::generate().to_string();
    let given = payload
        .iter()
        .filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?)));

    let mut payload: Map<String, Value> = given.collect();
    payload.insert("id".to_owned(), id.clone().into());

    let request = ControlRequest {
        command: Some(name.to_owned()),
        payload: Some(Value::Object(payload)),
        ..ControlRequest::default()
    };

    let reply = client.ask(&request, PATIENCE);
    let reply = reply.map_err(|error| failure(&error))?;
    let ControlReply::Answer(told) = reply else {
        return Err(unexpected(&reply));
    };

    let answer = match told.answer.status {
        AnswerStatus::Accepted => {
            say(told.answer.reason.unwrap_or_default());

            outcome(&mut events, &id)?
        }

        _ => told.answer,
    };

    if answer.status == AnswerStatus::Rejected {
        let reason = answer.reason.unwrap_or_default();
        return Err(Failure::words(Exit::Data, format!("rejected: {reason}")));
    }

    Ok(answer)
}

/// The outcome of the command of that id; how far it is goes to standard error.
fn outcome(events: &mut ControlClient, id: &str) -> Result<Answer, Failure> {
    loop {
        match events.hear(LOOK).map_err(|error| failure(&error))? {
            Received::Silence => {}
            Received::End => {
                let words = "the line ended before the command did; its next run knows the outcome";
                return Err(Failure::words(Exit::Unavailable, words));
            }

            Received::Reply(ControlReply::Outcome(told))
                if told.answer.id.as_deref() == Some(id) =>
            {
                if told.answer.status != AnswerStatus::Progress {
                    return Ok(told.answer);
                }

                say(told.answer.reason.unwrap_or_default());
            }

            Received::Reply(reply @ (ControlReply::Ended(_) | ControlReply::Error(_))) => {
                return Err(unexpected(&reply));
            }

            Received::Reply(_) => {}
        }
    }
}

/// Lets the line that runs with that file judge by what its recipe has become.
///
/// # Errors
/// When the line refuses: the revision stands, and the line judges by the one before.
pub fn take_over(line: &Path, name: &str) -> Result<(), Failure> {
    if !is_running(line) {
        return Ok(());
    }

    if status_of(line)?
        .recipe
        .rsplit_once('@')
        .map(|(judging, _)| judging)
        != Some(name)
    {
        say(format!(
            "the running line judges by another recipe; select {name} to judge by it"
        ));

        return Ok(());
    }

    carry_out(line, "select_recipe", &[("recipe", Some(name.into()))])
}

/// True if a line runs with that file, and this user may talk to it.
fn is_running(line: &Path) -> bool {
    // A folder, or a file that is no line's, has none.
    config::load(line).is_ok_and(|config| {
        let socket = socket_path(&config.store.file);
        ControlClient::connect(&socket).is_ok()
    })
}

/// The run of the line that runs with that file.
///
/// # Errors
/// When no line runs, or it does not answer.
pub fn run_of(line: &Path) -> Result<String, Failure> {
    status_of(line).map(|status| status.run_id)
}
