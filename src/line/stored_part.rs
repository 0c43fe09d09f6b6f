//! A labelled part on its way into a recipe. Where it was labelled long after it was judged, its picture comes out of
//! the evidence.

use crate::data::verdict::Verdict;
use crate::evidence::kept;
use crate::line::changeover::{ChangeSource, Changeover, name_in};
use crate::line::lesson::PartFiles;
use crate::line::lessons::TaughtPicture;
use crate::line::recipe_change::Edit;
use crate::protocol::teaching::{Label, LabelCommand, TaughtAs};
use crate::recipe::teach::OnKnown;
use std::path::Path;
use std::sync::Arc;

impl Changeover {
    /// The edit that a labelled part brings; `recipe` is the name of the one that is taught.
    pub(super) fn labelled(
        &self,
        command: &LabelCommand,
        source: ChangeSource,
        recipe: &str,
    ) -> Result<Edit, String> {
        // The command handler keeps labels that teach nothing.
        let taught_as = command.label.and_then(Label::taught_as);
        let taught_as = taught_as.ok_or("nothing is taught by it")?;

        let picture = match (source, &self.evidence) {
            (ChangeSource::Part(picture), _) => picture,
            (ChangeSource::StoredPart, Some(folder)) => stored_part(folder, command, recipe)
                .map_err(|why| {
                    format!("the label is kept with the part, and nothing was taught: {why}")
                })?,
            _ => return Err("a label without a part".to_owned()),
        };

        // A draft is made of files, so that the part's picture becomes one.
        let mut files = PartFiles::new(&self.library).map_err(|error| error.to_string())?;
        files.add(&picture).map_err(|error| error.to_string())?;

        Ok(Edit::Add(taught_as, files, OnKnown::Move))
    }
}

/// The picture of the part that a label is about, out of the evidence in `folder`; `recipe` is the name of
/// the one that is taught. Reads the disk.
///
/// # Errors
/// Words, when the part is not kept with the camera's own picture, or must not be taught so.
fn stored_part(
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
    let label = command.label.ok_or("nothing is taught by it")?;
    check_label(label, &part, has_passed, has_failed_beside)?;
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
    if label.taught_as() == Some(TaughtAs::Good) && has_failed_beside {
        return Err(format!(
            "another region of the picture of part {part} failed, and would be taught as good with it; teach a picture that is good everywhere"
        ));
    }

    Ok(())
}
