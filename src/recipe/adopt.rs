//! A recipe out of a line's file becomes the first revision of its name in the library.

use super::default_block;
use super::library::draft::{Draft, DraftPicture};
use super::library::error::LibraryError;
use super::library::manifest::{ChangeKind, ModelNote, PictureUse};
use super::library::table;
use super::spec::RecipeSpec;
use crate::base::exit::chain;
use crate::image::file as image_file;
use crate::model::ModelFolder;

/// Words on thresholds that stand in a recipe's table.
const BY_TABLE: &str = "the recipe's own table";

/// Returns the revision that a recipe out of a file becomes with the line's model; `by` says on whose
/// behalf.
///
/// # Errors
/// All references and calibration pictures that cannot be found, at once.
pub fn adopted(spec: &RecipeSpec, model: &ModelFolder, by: String) -> Result<Draft, LibraryError> {
    let mut pictures = vec![];
    let mut problems = vec![];
    let uses = [
        (PictureUse::Good, &spec.references),
        (PictureUse::Calibration, &spec.calibration),
    ];

    for (used_as, paths) in uses {
        let expanded = image_file::expand(paths);
        problems.extend(expanded.problems.iter().map(|problem| chain(problem)));
        for file in expanded.files {
            pictures.push(DraftPicture::new(used_as, file));
        }
    }

    if !problems.is_empty() {
        return Err(LibraryError::Refused(problems.join("\n")));
    }

    if let Some(test) = &spec.self_test {
        pictures.push(DraftPicture::new(PictureUse::TestGood, test.good.clone()));
        pictures.push(DraftPicture::new(PictureUse::TestBad, test.bad.clone()));
    }

    if let Some(locate) = &spec.locate {
        pictures.push(DraftPicture::new(PictureUse::Master, locate.master.clone()));
    }

    let mut table = spec.table.clone();
    default_block::record(&mut table, &spec.winclip, &model.spec);
    Ok(Draft {
        name: spec.name.clone(),
        least_number: spec.revision,
        table,
        pictures,
        by,
        change: ChangeKind::Taught,
        parent: None,
        origin: Some(table::hash(&spec.table)),
        model: Some(note_of(model)),
        thresholds: table::thresholds(&spec.table, BY_TABLE),
        choice: None,
    })
}

/// Returns a model's name and weights as a manifest has them.
pub fn note_of(model: &ModelFolder) -> ModelNote {
    ModelNote {
        name: model.name.clone(),
        sha256: model.hash.clone(),
    }
}
