//! The history of a line: the running line's, or that of a copy of its file.

use crate::base::exit::{Exit, Failure};
use crate::cli::run::configuration;
use crate::cli::running_line::{failure, refused, unexpected};
use crate::control::client::{ClientError, ControlClient};
use crate::control::messages::{ControlReply, ControlRequest};
use crate::control::socket_path;
use crate::store::{ASK_AGAIN, HistoryCopy, Search, SearchPage};
use std::path::Path;
use std::time::Duration;

/// Time for one step.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tries of one step that is refused for the moment, beside the first.
const TRIES: u32 = 20;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(250);

/// A history that is searched step by step.
pub enum HistorySource {
    /// A running line, which reads its own file.
    Line(ControlClient),
    /// A copy of the file of a line that does not run.
    Copy(Box<HistoryCopy>),
}

impl HistorySource {
    /// The history of the line with that file.
    ///
    /// # Errors
    /// When the file is no line's, the socket of a running line refuses, or there is no store.
    pub fn open(line: &Path) -> Result<Self, Failure> {
        // The socket comes first: a line that runs has its file alone, and knows more than a copy. A socket that
        // refuses means a line that runs, whose file is not this user's to read either.
        let config = configuration(line)?;
        let store = &config.store.file;

        match ControlClient::connect(&socket_path(store)) {
            Ok(client) => Ok(HistorySource::Line(client)),
            Err(error @ ClientError::NotRunning { .. }) if !error.is_permission() => {
                let copy = HistoryCopy::make(store)
                    .map_err(|error| Failure::new(Exit::Unavailable, error))?;

                Ok(HistorySource::Copy(Box::new(copy)))
            }
            Err(error) => Err(refused(line, &error)),
        }
    }

    /// Takes one step.
    ///
    /// # Errors
    /// When the line does not answer, or the copy cannot be read.
    pub fn step(&mut self, search: &Search) -> Result<SearchPage, Failure> {
        match self {
            HistorySource::Copy(copy) => copy
                .search(search)
                .map_err(|error| Failure::new(Exit::Unavailable, error)),
            HistorySource::Line(client) => ask(client, search),
        }
    }
}

/// Asks the line, again where it refuses for the moment.
fn ask(client: &mut ControlClient, search: &Search) -> Result<SearchPage, Failure> {
    // A disk that hangs for a moment, or a moment's rush, is no reason to end a search in the middle.
    let mut tries = 0;

    loop {
        let reply = client.ask(&request(search), PATIENCE);

        match reply.map_err(|error| failure(&error))? {
            ControlReply::History(page) => return Ok(SearchPage::Parts(page)),
            ControlReply::Audit(page) => return Ok(SearchPage::Audit(page)),
            ControlReply::Error(words) if words.ends_with(ASK_AGAIN) && tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            other => return Err(unexpected(&other)),
        }
    }
}

fn request(search: &Search) -> ControlRequest {
    let mut request = ControlRequest::default();

    match search {
        Search::Parts(query) => request.history = Some(query.clone()),
        Search::Audit(query) => request.audit = Some(query.clone()),
        // Only a label asks for one part.
        Search::Part { .. } => {}
    }

    request
}
