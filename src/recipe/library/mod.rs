//! The recipe library: the revisions of each recipe with all their pictures, on the line's own disk.
//!
//! ```text
//! <library>/.lock                    held by the one writer
//! <library>/nut/current              {"current":3,"before":2}: the revision that judges, the one before
//! <library>/nut/3/manifest.json      what the revision is, how it came about, the hash of each file
//! <library>/nut/3/recipe.toml        the recipe, as a recipe's file has it
//! <library>/nut/3/candidate          of a revision that was never current (promotion.rs)
//! <library>/nut/3/good/<sha256>.png  its references
//! <library>/nut/3/bad/<sha256>.png   pictures of bad parts
//! <library>/nut/3/calibration/...    good parts by which a threshold at a rate is found
//! <library>/nut/3/test/<sha256>.png  the self-test's pictures
//! <library>/nut/3/master/<sha256>.png  the picture by which parts are found
//! ```
//! The good path: [`writer::LibraryWriter::commit`] writes a [`draft::Draft`] whole into `.new-4`, each
//! file and folder synced; renames it to `4`; replaces `current` by a rename; takes away what is beyond
//! the bounds. [`folder::Library::current`] reads the pointer, the manifest and the recipe's hash;
//! [`revision::Revision::verify`] hashes the pictures, before a line is taught by them.
//!
//! Failure paths: a commit that fails, on a full disk for example, takes its own files away. After a
//! crash at any step the pointer names the old revision or the new one, and both are whole; what the
//! crash left is taken away by the next commit. What was changed by others is refused in words.
//!
//! Bounds: [`bounds`].

pub mod archive;
pub mod bounds;
pub mod choice_note;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod crash_table;
mod disk;
pub mod draft;
pub mod error;
pub mod folder;
pub mod hold;
pub mod manifest;
mod name;
mod pointer;
pub mod promotion;
mod prune;
pub mod revision;
pub mod table;
#[cfg(test)]
mod tests;
pub mod writer;
