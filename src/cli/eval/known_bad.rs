//! Known bad parts of `winspect eval`: those of `--bad`, and those that the recipe of the library keeps.

use super::evaluation::read;
use crate::base::exit::{Exit, Failure, chain};
use crate::cli::terminal::Terminal;
use crate::engine::EncodePlan;
use crate::evaluate::dataset::Dataset;
use crate::evaluate::duplicates::hash;
use crate::image::file as image_file;
use std::collections::HashSet;
use std::path::PathBuf;

/// Returns the files of the known bad parts; `asked` are those of the flag, `kept` the recipe's. Test pictures that are among them are left out of the
/// data set: they would be recognised rather than judged.
///
/// # Errors
/// When a picture cannot be read, no bad part remains to be judged, or no patches are compared, by which a part is known again.
pub fn known_bad(
    asked: &[PathBuf],
    kept: Vec<PathBuf>,
    plan: &EncodePlan,
    dataset: &mut Dataset,
    terminal: &mut Terminal,
) -> Result<Vec<PathBuf>, Failure> {
    let expanded = image_file::expand(asked);
    if let Some(problem) = expanded.problems.first() {
        return Err(Failure::words(
            Exit::Data,
            format!("--bad: {}", chain(problem)),
        ));
    }

    // Without any there is nothing to check, and no test picture is read for it.
    let files = [expanded.files, kept].concat();
    if files.is_empty() {
        return Ok(files);
    }

    if plan.patches.is_empty() && asked.is_empty() {
        // A line judges by such a recipe as well.
        terminal.say("warning: the recipe compares no patches, by which its known bad parts would be known again");
        return Ok(vec![]);
    }

    if plan.patches.is_empty() {
        let words = "--bad: the recipe compares no patches, by which a bad part is known again; add patch to --maps";
        return Err(Failure::words(Exit::Usage, words));
    }

    // Pictures are compared by their pixels: a copy under another name is the same picture.
    let mut known = HashSet::new();
    for file in &files {
        known.insert(hash(&read(file)?));
    }

    let mut judged = vec![];
    let before = dataset.tests.len();
    for test in dataset.tests.drain(..) {
        if !known.contains(&hash(&read(&test.file)?)) {
            judged.push(test);
        }
    }

    // The number is told, so that figures of other runs are not compared with these unawares.
    dataset.tests = judged;
    let left_out = before - dataset.tests.len();
    terminal.say(format!(
        "{} known bad parts; {left_out} test pictures are among them and are not judged",
        files.len()
    ));

    // Measures need bad parts that are not known.
    if !dataset.tests.iter().any(|test| test.is_bad) {
        let words = "--bad: all bad test pictures are known, and none is left to be judged";
        return Err(Failure::words(Exit::Usage, words));
    }

    Ok(files)
}
