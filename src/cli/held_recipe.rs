//! `--recipe` of `inspect` and `eval`: a recipe of the library in place of the flags that say how to judge.

use crate::base::exit::{Exit, Failure};
use crate::config;
use crate::recipe::library::folder::Library;
use crate::recipe::spec::RecipeSpec;
use std::path::Path;

/// Reads the recipe that a folder of the library holds: `box.recipes/nut` in its current revision, or one
/// revision, `box.recipes/nut/3`. Its pictures are compared with their hashes.
///
/// # Errors
/// When there is none, or it is not whole.
pub fn open(folder: &Path) -> Result<RecipeSpec, Failure> {
    let real = folder.canonicalize().map_err(|error| {
        Failure::words(
            Exit::Usage,
            format!("--recipe: {}: {error}", folder.display()),
        )
    })?;

    let last = name_of(&real);
    let above = real.parent().unwrap_or(&real);
    let library = Library::at(above);
    let revision = match library.current(&last)? {
        Some(revision) => revision,
        // A folder without a pointer is a revision's, if its name is a number.
        None => {
            let number = last.parse().map_err(|_| library.no_recipe(&last))?;
            Library::at(above.parent().unwrap_or(above)).revision(&name_of(above), number)?
        }
    };

    revision.verify()?;
    config::recipe_of(revision).map_err(|problems| {
        let words = problems.to_string().replace('\n', "\n  ");
        Failure::words(Exit::Data, format!("--recipe:\n  {words}"))
    })
}

fn name_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
