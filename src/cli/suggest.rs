//! `winspect suggest line.toml`: doubtful parts of a running line, grouped by what is odd on them; `winspect teach --group` takes
//! one of the groups.

use super::live_command::done;
use super::run::configuration;
use super::terminal::{print, say};
use crate::base::exit::{Exit, Failure};
use crate::line::sheet_name;
use crate::protocol::answer::Answer;
use crate::protocol::suggestion::{Doubt, SuggestedGroup, SuggestedPart};
use clap::Args;
use std::fs;
use std::path::{Path, PathBuf};

/// Arguments of `winspect suggest`.
#[derive(Debug, Args)]
pub struct SuggestArguments {
    /// The line's configuration, as for `run`
    line: PathBuf,
    /// Write a picture (PNG) with a row a group
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
}

/// Groups the doubtful parts.
///
/// # Errors
/// When no line runs with that file, or it refuses, or the picture cannot be written.
pub fn run(arguments: &SuggestArguments) -> Result<(), Failure> {
    let answer = done(&arguments.line, "suggest", &[])?;
    print(describe(&answer))?;
    match &arguments.picture {
        Some(file) if !answer.groups.is_empty() => copy_sheet(&arguments.line, file),
        _ => Ok(()),
    }
}

/// Copies the sheet, which the line has written into its library.
fn copy_sheet(line: &Path, file: &Path) -> Result<(), Failure> {
    let config = configuration(line)?;
    let name = sheet_name(&config.prefix, &config.station);
    let sheet = config.library.folder().join(name);
    let to = file.display();
    if let Err(error) = fs::copy(&sheet, file) {
        let from = sheet.display();
        let words = format!("{from} to {to}: {error}");
        return Err(Failure::words(Exit::Unavailable, words));
    }

    say(format!("{to} has a row a group"));
    Ok(())
}

/// A suggestion for a person.
fn describe(answer: &Answer) -> String {
    let mut lines = vec![answer.reason.clone().unwrap_or_default()];
    for group in &answer.groups {
        lines.push(format!(
            "group {}: {} passed near the threshold, {} overruled",
            group.group, group.near, group.overruled
        ));

        lines.extend(group.parts.iter().map(row));
        let more = (group.near + group.overruled).saturating_sub(group.parts.len());
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
    }

    if let Some(SuggestedGroup { group, .. }) = answer.groups.first() {
        lines.push(format!(
            "take one with: winspect teach LINE --group {group} --as good (or bad)"
        ));
    }

    lines.join("\n")
}

fn row(part: &SuggestedPart) -> String {
    let why = match part.why {
        Doubt::Near => "passed",
        Doubt::Overruled => "overruled",
    };

    let region = part.region.as_ref();
    let region = region.map_or_else(String::new, |region| format!(" {region}"));
    format!(
        "  {}{region} {why}, {:.4} of {:.4}, at {}, {}, {} x {}",
        part.part, part.score, part.threshold, part.x, part.y, part.w, part.h
    )
}
