//! `winspect doctor`: what this machine can judge with, what is missing, and what mends it. One line each on standard
//! output, or one JSON object. Ends with 0 when the best engine that this machine can have works, with 69 when it does
//! not, or when nothing does.

mod ask;
mod library;
mod machine;
mod plan;
mod probe;
mod report;
mod stack;

use super::terminal::print;
use crate::base::exit::{Exit, Failure};
use crate::model::ModelFolder;
use clap::Args;
use library::{LibraryKind, LibraryPlaces, LibraryReport};
use report::DoctorReport;
use std::path::PathBuf;

/// The command line of `winspect doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// A model folder: tell its plans for this machine too
    model: Option<PathBuf>,
    #[command(flatten)]
    places: LibraryPlaces,
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
    /// Try one library and answer in JSON; doctor starts itself so
    #[arg(long, hide = true, value_enum, value_name = "LIBRARY")]
    probe: Option<LibraryKind>,
}

/// Examines the machine and tells.
///
/// # Errors
/// When the best engine that this machine can have does not work, or the model folder is none.
pub fn run(arguments: &DoctorArguments) -> Result<(), Failure> {
    if let Some(kind) = arguments.probe {
        return probe::answer(kind, &arguments.places);
    }

    let folder = arguments.model.as_deref();
    let model = folder
        .map(ModelFolder::open)
        .transpose()
        .map_err(|error| Failure::new(Exit::Data, error))?;

    let libraries = ask_all(&arguments.places);
    let report = DoctorReport::new(libraries, model.as_ref())?;
    if arguments.json {
        let line = serde_json::to_string(&report);
        print(line.map_err(|error| Failure::new(Exit::Software, error))?)?;
    } else {
        report.tell(model.as_ref())?;
    }

    report.end()
}

/// Asks all libraries at once: each takes its time in a process of its own.
fn ask_all(places: &LibraryPlaces) -> Vec<LibraryReport> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = LibraryKind::ALL
            .into_iter()
            .map(|kind| scope.spawn(move || ask::ask(kind, places)))
            .collect();

        asked
            .into_iter()
            .map(|report| report.join().expect("asking does not panic"))
            .collect()
    })
}
