//! `winspect model fetch`: a known model by its name, downloaded and imported.

use crate::base::exit::{Exit, Failure};
use crate::cli::terminal::{Terminal, say};
use crate::model::catalogue::{self, Catalogue};
use crate::model::{FetchError, FetchProgress, FetchRequest, ModelFolder, fetch};
use clap::Args;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// The command line of `winspect model fetch`.
#[derive(Debug, Args)]
pub struct FetchArguments {
    /// Name of the model, such as dinov2-small; an unknown one tells which there are
    name: String,
    /// The model folder to make; an imported model there is replaced. Downloads go to FOLDER.download, and go on there
    folder: PathBuf,
    /// Address of the files, in place of the hub: a mirror, or a server of your own
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Keep the downloaded files in FOLDER.download
    #[arg(long)]
    keep: bool,
    /// A catalogue of your own, in place of the one compiled in (engines/catalogue.toml)
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
}

/// Downloads and imports.
///
/// # Errors
/// A name or an address that is none, a hub that does not answer, files that are not what the catalogue says.
pub fn run(arguments: &FetchArguments) -> Result<ModelFolder, Failure> {
    // An unknown name is answered by the names that are known.
    let catalogue = read(arguments.catalogue.as_deref())?;
    let entry = catalogue
        .find(&arguments.name)
        .map_err(|words| Failure::words(Exit::Usage, words))?;

    // The catalogue's own address is https. Another one may be a plain mirror: hashes are checked
    // in either case.
    let hub = entry.url();
    let base_url = arguments.base_url.as_deref().unwrap_or(&hub);
    let is_address = base_url.starts_with("http://") || base_url.starts_with("https://");
    if !is_address {
        let words = format!("--base-url: must begin with http:// or https://, got {base_url:?}");
        return Err(Failure::words(Exit::Usage, words));
    }

    // The licence is told before the first byte comes.
    say(format!(
        "{}; licence: {}; from {base_url}",
        entry.about, entry.licence
    ));

    // The callback is shared by all steps of the download, which run one after the other.
    let terminal = RefCell::new(Terminal::new());
    let request = FetchRequest {
        model: entry,
        base_url,
        folder: &arguments.folder,
        keep: arguments.keep,
    };

    let fetched = fetch(request, &|progress| {
        show(&mut terminal.borrow_mut(), &progress)
    });

    fetched.map_err(|error| Failure::new(exit(&error), error))
}

/// The catalogue of a file, or the one compiled in.
fn read(file: Option<&Path>) -> Result<Catalogue, Failure> {
    // A catalogue of a person's own replaces the compiled one whole.
    let Some(file) = file else {
        let ours = Catalogue::parse(catalogue::OURS);
        return Ok(ours.expect("a test reads it"));
    };

    std::fs::read_to_string(file)
        .map_err(|error| error.to_string())
        .and_then(|text| Catalogue::parse(&text))
        .map_err(|words| {
            let words = format!("{}: {words}", file.display());
            Failure::words(Exit::Data, words)
        })
}

fn show(terminal: &mut Terminal, progress: &FetchProgress) {
    // Progress has three forms: a file begins, bytes have come, a step of the import begins.
    match progress {
        FetchProgress::File { name, have, total } => {
            let size = match total {
                Some(bytes) => format!("{:.1} MB", *bytes as f64 / 1e6),
                None => "of unknown size".to_owned(),
            };

            let there = if *have > 0 {
                format!(", {:.1} MB are there already", *have as f64 / 1e6)
            } else {
                String::new()
            };

            terminal.say(format!("fetching {name}, {size}{there}"));
            terminal.begin_bytes(*have, *total);
        }
        FetchProgress::Bytes(bytes) => terminal.done(*bytes as usize),
        FetchProgress::Step(step) => {
            terminal.end();
            terminal.say(step);
        }
    }
}

fn exit(error: &FetchError) -> Exit {
    match error {
        FetchError::Unavailable(_) => Exit::Unavailable,
        FetchError::Content(_) | FetchError::Model(_) => Exit::Data,
    }
}
