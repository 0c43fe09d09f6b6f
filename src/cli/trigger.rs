//! `winspect trigger line.toml`: tells a running line that a part has come, and prints the answer.

use super::running_line::{connect, failure, unexpected};
use super::terminal::print;
use crate::base::exit::{Exit, Failure};
use crate::control::messages::{ControlReply, ControlRequest};
use crate::protocol::answer::AnswerStatus;
use clap::Args;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct TriggerArguments {
    /// The line's configuration, as for `run`
    line: PathBuf,
    /// Id of the part, for its result
    #[arg(long, value_name = "X")]
    part_id: Option<String>,
    /// Camera that sees the part; every camera with trigger = "command" unless given
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Time when the part was in front of the camera (2026-11-23T06:10:11.482Z); now unless given
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Encoder count of the part
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    count: Option<i64>,
    /// Position of the part
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    position: Option<f64>,
    /// Id of the command: the same again within an hour is answered again, and is no other part
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// Time for the part to be on the disk.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(arguments: &TriggerArguments) -> Result<(), Failure> {
    // The command takes the way of one from the broker, and gets the same answer.
    let mut client = connect(&arguments.line)?;
    let request = ControlRequest {
        command: Some("trigger".to_owned()),
        payload: Some(payload(arguments)),
        ..ControlRequest::default()
    };

    let reply = client
        .ask(&request, PATIENCE)
        .map_err(|error| failure(&error))?;

    let ControlReply::Answer(told) = reply else {
        return Err(unexpected(&reply));
    };

    // The answer is printed whatever it says; the exit code tells a script whether the part was
    // accepted.
    let answer = told.answer;
    print(answer.encode())?;
    if answer.status == AnswerStatus::Rejected {
        let reason = answer.reason.unwrap_or_default();
        return Err(Failure::words(Exit::Data, format!("rejected: {reason}")));
    }

    Ok(())
}

/// The command's payload: the keys that were given.
fn payload(arguments: &TriggerArguments) -> Value {
    // An id is made where none was given, so that a person who repeats the line by hand announces
    // another part.
    let id = arguments
        .id
        .clone()
        .unwrap_or_else(|| ulid::Ulid::generate().to_string());

    // Keys that were not given are left out, which the line reads like a `null`.
    let values: [(&str, Option<Value>); 6] = [
        ("id", Some(id.into())),
        ("part_id", arguments.part_id.clone().map(Value::from)),
        ("camera", arguments.camera.clone().map(Value::from)),
        ("at", arguments.at.clone().map(Value::from)),
        ("count", arguments.count.map(Value::from)),
        ("position", arguments.position.map(Value::from)),
    ];

    let given = values
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));

    Value::Object(given.collect::<Map<_, _>>())
}
