//! Locating parts: the recipe's master picture is read, and references in which the part is not found
//! are refused.

use crate::base::exit::{Exit, Failure, chain};
use crate::image::file as image_file;
use crate::image::locate::{LocateLimits, Locator};
use crate::recipe::references::References;
use crate::winclip::Recipe;
use std::path::PathBuf;

/// Finding the part in each picture, as a recipe asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct LocateSpec {
    /// Picture file of a part at its place.
    pub master: PathBuf,
    /// The part on it, and how far others may be from it.
    pub limits: LocateLimits,
}

/// Returns the recipe with what finds the part in each picture; as it is where `spec` is `None`.
///
/// # Errors
/// When the master picture cannot be read, or no part could be found by it, or a crop is beyond it.
pub fn located(recipe: Recipe, spec: Option<&LocateSpec>) -> Result<Recipe, Failure> {
    let Some(spec) = spec else {
        return Ok(recipe);
    };

    let master = image_file::read(&spec.master).map_err(|error| Failure::new(Exit::Data, error))?;

    let locator = Locator::new(&master, spec.limits).map_err(|error| {
        let words = format!("master picture {}: {error}", spec.master.display());
        Failure::words(Exit::Data, words)
    })?;

    let recipe = recipe.located_by(locator);
    let (width, height) = (master.width(), master.height());
    let crops = recipe.regions.iter().filter_map(|region| region.crop);
    let beyond: Vec<String> = crops
        .filter(|crop| !crop.is_inside(width, height))
        .map(|crop| format!("the crop {crop} (x,y,width,height)"))
        .collect();

    if beyond.is_empty() {
        return Ok(recipe.for_pictures_like(Some(&master)));
    }

    let words = format!(
        "master picture {}: {} beyond its {width} x {height} pixels",
        spec.master.display(),
        beyond.join(", ")
    );

    Err(Failure::words(Exit::Data, words))
}

/// Refuses references in which the part is not found.
///
/// # Errors
/// All of them, at once.
pub fn refuse_not_found(recipe: &Recipe, references: &References) -> Result<(), Failure> {
    let mut problems = vec![];
    for (file, picture) in references.files.iter().zip(&references.pictures) {
        if let Err(error) = recipe.find_part(picture) {
            problems.push(format!("{}: {}", file.display(), chain(&error)));
        }
    }

    if problems.is_empty() {
        return Ok(());
    }

    let words = format!(
        "in {} of {} references the part of the master picture is not found; take them out, or change recipe.locate:\n  {}",
        problems.len(),
        references.files.len(),
        problems.join("\n  ")
    );

    Err(Failure::words(Exit::Data, words))
}
