//! The line's recipes with their revisions, as the line tells them to the page.

use std::sync::Arc;

/// Reads the line's recipes with their revisions off the disk. It holds nothing that the line's end waits for.
pub type ReadRecipes = Arc<dyn Fn() -> Vec<RecipeRow> + Send + Sync>;

/// One recipe of the line.
#[derive(Debug, Clone)]
pub struct RecipeRow {
    /// Name.
    pub name: String,
    /// Label of what judges, if it is this recipe.
    pub judging: Option<String>,
    /// True for a recipe of the library: others have no revisions.
    pub is_of_library: bool,
    /// Revisions, the newest first.
    pub revisions: Vec<RevisionRow>,
    /// Revisions that are not shown.
    pub older: usize,
    /// Why the library cannot be read, in words.
    pub problem: Option<String>,
}

/// One revision.
#[derive(Debug, Clone)]
pub struct RevisionRow {
    /// Number.
    pub number: u64,
    /// True for the one that a selection takes.
    pub is_current: bool,
    /// Time when it was made.
    pub made: String,
    /// How it was made, and by whom.
    pub by: String,
    /// Pictures and thresholds.
    pub content: String,
}
