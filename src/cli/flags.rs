//! Flags of the command line: a recipe's problems under their names, and files that a command is to write.

use crate::base::exit::{Exit, Failure};
use crate::base::problems::Problems;
use std::path::{Path, PathBuf};

/// Returns a recipe's problems, one line each, under the names of the command line.
pub fn as_flags(problems: &Problems) -> Vec<String> {
    problems.to_string().lines().map(as_flag).collect()
}

fn as_flag(line: &str) -> String {
    // A problem begins with the recipe's key. Two keys have another name on the command line; all
    // others differ by the underscore alone.
    match line.split_once(": ") {
        Some(("references", words)) => format!("--reference: {words}"),
        Some(("scales", words)) => format!("--maps: {words}"),
        Some((key, words)) => format!("--{}: {words}", key.replace('_', "-")),
        None => line.to_owned(),
    }
}

/// Checks that a file can be written, as far as that is seen beforehand.
///
/// # Errors
/// When it is a folder, or is in none that is there.
pub fn check_output_file(flag: &str, file: &Path) -> Result<(), Failure> {
    // A later failure would throw away minutes of judging.
    if file.is_dir() || !parent(file).is_dir() {
        let words = format!(
            "--{flag}: {}: must be a file in a folder that is there",
            file.display()
        );

        return Err(Failure::words(Exit::Usage, words));
    }

    Ok(())
}

/// Returns the folder that a file is in.
pub fn parent(path: &Path) -> PathBuf {
    // The parent of a bare file name is the empty path, which no call accepts as a folder.
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
