//! `winspect support line.toml`: a bundle for people who help from afar, in one ZIP file. It is made without the page, and of a
//! line that does not run or whose file is wrong as well. It holds no secret and no picture.

use super::history::HistorySource;
use super::running_line::status_of;
use super::terminal::print;
use crate::base::exit::{Exit, Failure};
use crate::base::secret::without_credentials;
use crate::config::{self, LineConfig};
use crate::data::history::{AuditLine, AuditQuery};
use crate::data::history_rows::{RowFormat, RowPrinter};
use crate::page::support::bundle::{AUDIT_MAX, machine, packed, store_sizes};
use crate::store::{Search, SearchPage};
use clap::Args;
use jiff::Timestamp;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What the bundle is, for a person who opens it.
const README: &str = "A bundle for support, made by winspect support.\n\n\
    version.txt        the program and the machine\n\
    configuration.txt  the line's file with the environment over it, one key a line, or what is wrong in it\n\
    status.json        state, health with causes, cameras, store; or why there is none\n\
    audit.csv          the last lines of the audit log, the newest first\n\
    sizes.txt          sizes of the store and of the evidence\n\n\
    *** stands for what is secret. The log is not here: add it by journalctl -u UNIT --since -1h > log.txt\n";

/// Files of the evidence that are counted at most.
const FILES_MAX: usize = 1_000_000;

/// Arguments of `winspect support`.
#[derive(Debug, Args)]
pub struct SupportArguments {
    /// The line's configuration, as for `run`
    line: PathBuf,
    /// The file to write, a new one; support.zip unless given
    #[arg(long, value_name = "FILE", default_value = "support.zip")]
    out: PathBuf,
}

/// Writes the bundle.
///
/// # Errors
/// When it cannot be written. What cannot be read stands in it, in words.
pub fn run(arguments: &SupportArguments) -> Result<(), Failure> {
    let line = &arguments.line;
    let mut texts = vec![
        ("README.txt", README.to_owned()),
        ("version.txt", version()),
    ];

    match config::load(line) {
        Ok(config) => texts.extend(of_line(line, &config)),
        Err(problems) => {
            // A problem may show the value that it is about.
            let problems = without_credentials(&problems.to_string());
            texts.push(("configuration.txt", problems + "\n"));
        }
    }

    let bytes = packed(&texts).map_err(|error| Failure::new(Exit::Software, error))?;
    write(&arguments.out, &bytes)?;
    let out = arguments.out.display();

    print(format!("{out} is written")).map(|_| ())
}

/// Writes the file for its owner alone: it tells more of the machine than others need to know.
fn write(out: &Path, bytes: &[u8]) -> Result<(), Failure> {
    // A new file alone: one that is there may be somebody else's, or a link to something that is not to be overwritten.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(out);

    let refused = |error: io::Error| {
        let words = match error.kind() {
            ErrorKind::AlreadyExists => {
                "is there already; remove it, or give another name by --out".to_owned()
            }

            _ => error.to_string(),
        };

        Failure::words(Exit::Unavailable, format!("{}: {words}", out.display()))
    };

    let mut file = file.map_err(refused)?;
    let written = file.write_all(bytes);

    // Half a bundle is none, and would be in the way of the next one.
    if written.is_err() {
        let _ = std::fs::remove_file(out);
    }

    written.map_err(refused)
}

fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let now = Timestamp::now();

    format!("winspect: {version}\nmade at: {now}\n{}", machine())
}

/// The texts of a line whose file is right.
fn of_line(line: &Path, config: &LineConfig) -> Vec<(&'static str, String)> {
    let configuration = config.keys.told().join("\n") + "\n";
    let mut sizes = store_sizes(&config.store.file);

    if let Some(evidence) = &config.evidence {
        sizes += &folder_size(&evidence.folder);
    }

    let status = match status_of(line) {
        Ok(status) => serde_json::to_string_pretty(&status).expect("plain values"),
        Err(failure) => format!("{failure}\n"),
    };

    let audit = audit(line).unwrap_or_else(|failure| format!("{failure}\n"));
    vec![
        ("configuration.txt", configuration),
        ("status.json", status),
        ("audit.csv", audit),
        ("sizes.txt", sizes),
    ]
}

/// Number and bytes of the files of an evidence folder, in one line.
fn folder_size(folder: &Path) -> String {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return format!("evidence: {}: {error}\n", folder.display()),
    };

    let (mut files, mut bytes) = (0, 0);

    for entry in entries.flatten().take(FILES_MAX) {
        files += 1;
        bytes += entry.metadata().map_or(0, |metadata| metadata.len());
    }

    format!(
        "evidence: {}: {files} files, {bytes} bytes\n",
        folder.display()
    )
}

/// The last lines of the audit log.
fn audit(line: &Path) -> Result<String, Failure> {
    let mut source = HistorySource::open(line)?;
    let mut query = AuditQuery::default();
    let mut lines: Vec<AuditLine> = vec![];

    while lines.len() < AUDIT_MAX {
        let SearchPage::Audit(page) = source.step(&Search::Audit(query.clone()))? else {
            break;
        };

        lines.extend(page.lines);
        query.before = page.next;

        if page.next.is_none() {
            break;
        }
    }

    lines.truncate(AUDIT_MAX);

    Ok(RowPrinter::new(RowFormat::Csv).audit(&lines))
}
