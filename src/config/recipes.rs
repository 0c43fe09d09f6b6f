//! The recipes of a line: a table, a file, or a recipe of the library; and which of them judges where
//! the library has gone on from a table.

use super::recipe::{empty_recipe, recipe};
use super::store;
use crate::base::problems::Problems;
use crate::recipe::library::error::LibraryError;
use crate::recipe::library::folder::Library;
use crate::recipe::library::revision::Revision;
use crate::recipe::library::table;
use crate::recipe::spec::RecipeSpec;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Beginning of a text that names a recipe of the library, and no file.
const PREFIX: &str = "library:";

/// Places that a recipe's text is meant from.
pub struct RecipePlaces<'a> {
    /// Folder of the line's file.
    pub base: &'a Path,
    /// The line's recipe library.
    pub library: &'a Library,
}

/// Returns the line's library: the folder that is given, else `box.recipes` beside the store `box.db`.
pub fn library(
    given: Option<PathBuf>,
    store: Option<&Value>,
    station: &str,
    base: &Path,
) -> Library {
    if let Some(folder) = given {
        return Library::at(folder);
    }

    // Of another suffix than .db the whole name counts, as for the control socket: two stores of
    // one folder have two libraries.
    let store = store::file(store, station, base);
    let mut name = match store.extension() {
        Some(end) if end != "db" => store.into_os_string(),
        _ => store.with_extension("").into_os_string(),
    };

    name.push(".recipes");
    Library::at(PathBuf::from(name))
}

/// Reads `recipe`: a table, the name of a file with one, or `library:NAME`.
pub fn first(value: Option<Value>, places: &RecipePlaces, problems: &mut Problems) -> RecipeSpec {
    if let Some(Value::String(text)) = &value
        && let Some(name) = text.strip_prefix(PREFIX)
    {
        return held(name, places.library, problems);
    }

    let spec = recipe(value, places.base, problems);
    or_its_revision(spec, places.library, problems)
}

/// Reads the recipes beside the first, a file or a name of the library each.
pub fn others(
    texts: Vec<String>,
    first_spec: &RecipeSpec,
    places: &RecipePlaces,
    problems: &mut Problems,
) -> Vec<RecipeSpec> {
    // Each has a list of problems of its own, which is indented under the file's name.
    let mut recipes: Vec<RecipeSpec> = vec![];
    for (i, text) in texts.into_iter().enumerate() {
        let place = format!("recipes[{i}] ({text})");
        let mut own = Problems::new();
        let recipe = first(Some(Value::String(text)), places, &mut own);
        if let Err(own) = own.into_result() {
            let indented = own.to_string().replace('\n', "\n    ");
            problems.note(&place, format!("\n    {indented}"));
        }

        // A command selects recipes by name. The file stands in the list even if it is wrong, so
        // that names behind it are compared too.
        let is_taken = recipes
            .iter()
            .chain([first_spec])
            .any(|other| other.name == recipe.name);

        if is_taken {
            problems.note(
                &place,
                format!("{:?} is another recipe's name", recipe.name),
            );
        }

        recipes.push(recipe);
    }

    recipes
}

/// Reads the recipe of a revision.
///
/// # Errors
/// When it is not whole.
pub fn recipe_of(revision: Revision) -> Result<RecipeSpec, Problems> {
    let mut problems = Problems::new();
    let spec = of_revision(revision, &mut problems);
    problems.into_result().map(|()| spec)
}

/// Reads the current revision of a recipe of the library.
///
/// # Errors
/// When there is none of that name, or it is not whole.
pub fn held_recipe(name: &str, library: &Library) -> Result<RecipeSpec, Problems> {
    let mut problems = Problems::new();
    let spec = held(name, library, &mut problems);
    problems.into_result().map(|()| spec)
}

/// Returns a recipe as it is now: what the library has gone on to since it was read.
///
/// # Errors
/// When the library's revision cannot be read, or did not begin as this recipe's table.
pub fn as_of_now(spec: &RecipeSpec, library: &Library) -> Result<RecipeSpec, Problems> {
    let mut problems = Problems::new();
    let now = match spec.library {
        Some(_) => held(&spec.name, library, &mut problems),
        None => or_its_revision(spec.clone(), library, &mut problems),
    };

    problems.into_result().map(|()| now)
}

fn held(name: &str, library: &Library, problems: &mut Problems) -> RecipeSpec {
    let error = match library.current(name) {
        Ok(Some(revision)) => return of_revision(revision, problems),
        Ok(None) => library.no_recipe(name),
        Err(error) => error,
    };

    problems.note("recipe", error);
    empty_recipe()
}

/// A recipe of a file, or the revision that it has become in the library.
fn or_its_revision(spec: RecipeSpec, library: &Library, problems: &mut Problems) -> RecipeSpec {
    let revision = match library.current(&spec.name) {
        Ok(Some(revision)) => revision,
        // Such a name has no place in the library.
        Ok(None) | Err(LibraryError::Name { .. }) => return spec,
        Err(error) => {
            problems.note("recipe", error);
            return spec;
        }
    };

    let origin = &revision.manifest().origin;
    if *origin == Some(table::hash(&spec.table)) {
        return of_revision(revision, problems);
    }

    // Two recipes of one label would be told apart by nothing in results.
    let numbers = library.numbers(&spec.name).unwrap_or_default();
    let newest = numbers.last().copied().unwrap_or_default();
    if spec.revision <= newest {
        let name = &spec.name;
        let folder = library.folder().display();
        problems.note(
            "recipe",
            format!(
                "the recipe library {folder} has revisions up to {newest} of a recipe {name:?} that \
                 are not of this table: write recipe = \"{PREFIX}{name}\" to judge by it, or give the \
                 table a revision above {newest} to judge by the table"
            ),
        );
    }

    spec
}

fn of_revision(revision: Revision, problems: &mut Problems) -> RecipeSpec {
    let table = match revision.table() {
        Ok(table) => table,
        Err(error) => {
            problems.note("recipe", error);
            return empty_recipe();
        }
    };

    // Paths in it are meant from the revision's folder.
    let mut own = Problems::new();
    let value = Some(Value::Object(table));
    let mut spec = recipe(value, revision.folder(), &mut own);
    for problem in own.iter() {
        problems.note(revision.recipe_file().display(), problem);
    }

    spec.library = Some(revision);
    spec
}
