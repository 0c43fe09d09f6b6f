//! A part that is labelled long after it was judged: its picture comes out of the evidence.

use crate::data::verdict::Verdict;
use crate::evidence::kept;
use crate::line::changeover::name_in;
use crate::line::lessons::TaughtPicture;
use crate::protocol::teaching::{Label, LabelCommand, TaughtAs};
use std::path::Path;
use std::sync::Arc;

/// The picture of the part that a label is about, out of the evidence in `folder`; `recipe` is the name of
/// the one that is taught. Reads the disk.
///
/// # Errors
/// Words, when the part is not kept with the camera's own picture, or must not be taught so.
pub fn stored_part(
    folder: &Path,
    command: &LabelCommand,
    recipe: &str,
) -> Result<TaughtPicture, String> {
    let LabelCommand {
        run_id,
        camera,
        seq,
        ..
    } = command;

    let kept = kept::find(folder, run_id, camera, *seq).map_err(|error| error.to_string())?;
    let part = kept.part();
    let judged_by = name_in(&kept.facts.recipe);
    // A part is one of the product whose recipe judged it, unless the command says another.
    if command.recipe.is_none() && judged_by != recipe {
        return Err(format!(
            "part {part} was judged by recipe {judged_by}, and {recipe} judges now; name the recipe that it is to be taught to"
        ));
    }

    let has_passed = kept.facts.verdict == Verdict::Pass;
    let mut beside = kept.facts.beside.iter();
    let has_failed_beside = beside.any(|other| other.verdict == Verdict::Fail);
    check_label(command.label, &part, has_passed, has_failed_beside)?;
    let picture = kept.picture().map_err(|error| error.to_string())?;
    Ok(TaughtPicture {
        picture: Arc::new(picture),
        part,
        lesson: 0,
    })
}

/// Refuses a label that would teach something wrong.
///
/// # Errors
/// Words, with the way out.
pub fn check_label(
    label: Label,
    part: &str,
    has_passed: bool,
    has_failed_beside: bool,
) -> Result<(), String> {
    if label == Label::FalseReject && has_passed {
        return Err(format!(
            "part {part} passed, so that it is no false reject; label it good to teach it"
        ));
    }

    // A picture is a reference for all of its regions.
    if label.taught_as() == TaughtAs::Good && has_failed_beside {
        return Err(format!(
            "another region of the picture of part {part} failed, and would be taught as good with it; teach a picture that is good everywhere"
        ));
    }

    Ok(())
}
