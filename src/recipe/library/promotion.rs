//! Promotion of a candidate, and of a revision that judged before: what it is called, and what is lost by it.
//!
//! A candidate is made of the revision that is current at that time. What is taught afterwards goes into later revisions
//! and not into the candidate, so that its promotion would take that back unsaid. A candidate is known by an empty file
//! in its folder until it has been the current revision.

use super::disk;
use super::error::LibraryError;
use super::folder::Library;
use super::manifest::{Manifest, PictureEntry, PictureUse};
use super::revision::Revision;
use std::fs;
use std::path::Path;

/// Name of the file that marks a candidate.
const MARK: &str = "candidate";

/// Marks a revision as one that was never current.
pub(super) fn mark(revision: &Revision) -> Result<(), LibraryError> {
    disk::write(&revision.folder().join(MARK), &[])?;
    disk::sync_folder(revision.folder())
}

/// Takes the mark of a revision away that is current. One that a crash leaves does not count while the pointer names the
/// revision.
pub(super) fn unmark(revision: &Revision) {
    let _ = fs::remove_file(revision.folder().join(MARK));
}

fn is_marked(folder: &Path) -> bool {
    folder.join(MARK).exists()
}

/// A revision on its way to being the current one.
#[derive(Debug)]
pub struct Promotion {
    /// Its `name@revision`.
    label: String,
    /// True for a candidate that was never current.
    is_candidate: bool,
    /// True where its number is above the current one's.
    is_later: bool,
    /// `name@revision` of the current one.
    current: String,
    /// Words on what the current revision has since the candidate was made, and the candidate has not.
    lost: Vec<String>,
}

impl Promotion {
    /// Compares a revision with the current one. A loss of what was taught since is refused, unless a person has said so
    /// with `force`.
    ///
    /// # Errors
    /// What would be lost, and the ways out.
    pub fn to(revision: &Revision, library: &Library, force: bool) -> Result<Self, LibraryError> {
        // A pointer or a current revision that cannot be read is a reason to go to another one, and none not to.
        let manifest = revision.manifest();
        let pointer = library.pointer(&manifest.name).ok().flatten();
        let known = pointer.map(|pointer| [Some(pointer.current), pointer.before]);
        let was_current = known.is_some_and(|known| known.contains(&Some(manifest.revision)));

        let revision_of = |number| library.revision(&manifest.name, number).ok();
        let current = pointer.and_then(|pointer| revision_of(pointer.current));
        let parent = manifest.parent.and_then(revision_of);
        let is_candidate = is_marked(revision.folder()) && !was_current;

        let lost = match &current {
            Some(current) if is_candidate => {
                let parent = parent.as_ref().map(Revision::manifest);
                lost(manifest, parent, current.manifest())
            }
            _ => vec![],
        };

        let label = manifest.label();
        let current = current.map(|current| current.manifest().label());
        let current = current.unwrap_or_default();

        if !force && !lost.is_empty() {
            return Err(LibraryError::Refused(format!(
                "{label} would lose what {current} has since it was made: {}; make the candidate anew, or promote it all the same with force",
                lost.join(", ")
            )));
        }

        Ok(Promotion {
            label,
            is_candidate,
            is_later: pointer.is_some_and(|pointer| pointer.current < manifest.revision),
            current,
            lost,
        })
    }

    /// What is done, in words: `promoted nut@4`.
    pub fn words(&self) -> String {
        let Promotion { label, current, .. } = self;
        let done = match (self.is_candidate, self.is_later) {
            (true, _) => "promoted",
            (false, true) => "went on to",
            (false, false) => "rolled back to",
        };

        match self.lost.is_empty() {
            true => format!("{done} {label}"),
            false => format!(
                "{done} {label}, which loses what {current} had since: {}",
                self.lost.join(", ")
            ),
        }
    }
}

/// Words on what `current` has, and neither the candidate nor its parent. Of a parent that is gone nothing is known, so
/// that all that the candidate has not counts.
fn lost(candidate: &Manifest, parent: Option<&Manifest>, current: &Manifest) -> Vec<String> {
    let has = |manifest: &Manifest, picture: &PictureEntry| {
        let mut pictures = manifest.pictures.iter();
        pictures.any(|own| own.sha256 == picture.sha256 && own.used_as == picture.used_as)
    };

    let parent_has = |picture: &PictureEntry| parent.is_some_and(|parent| has(parent, picture));
    let is_lost = |picture: &&PictureEntry| !has(candidate, picture) && !parent_has(picture);

    // What was forgotten since comes back.
    let comes_back = |picture: &&PictureEntry| !has(current, picture) && parent_has(picture);

    let mut words = vec![];
    let taught = current.pictures.iter().filter(is_lost);
    words.extend(counted(taught.collect(), ""));
    let forgotten = candidate.pictures.iter().filter(comes_back);
    words.extend(counted(forgotten.collect(), " that were forgotten"));

    for note in &current.thresholds {
        let is_same = |of: &Manifest| of.thresholds.contains(note);
        if !is_same(candidate) && !parent.is_some_and(is_same) {
            let of_region = note.region.as_ref().map(|region| format!(" of {region}"));
            let of_region = of_region.unwrap_or_default();
            words.push(format!("the threshold {}{of_region}", note.value));
        }
    }

    let is_chosen_since = parent.is_none_or(|parent| parent.choice != current.choice);
    if let Some(choice) = &current.choice
        && is_chosen_since
        && candidate.choice != current.choice
    {
        words.push(format!("the choice of {}", choice.taken));
    }

    words
}

/// The number of pictures in words; `None` without any.
fn counted(pictures: Vec<&PictureEntry>, what: &str) -> Option<String> {
    let is_good = |picture: &&&PictureEntry| picture.used_as == PictureUse::Good;
    let good = pictures.iter().filter(is_good).count();
    let others = pictures.len() - good;

    match (good, others) {
        (0, 0) => None,
        (good, 0) => Some(format!("{good} good pictures{what}")),
        (0, others) => Some(format!("{others} bad or other pictures{what}")),
        (good, others) => Some(format!("{good} good and {others} other pictures{what}")),
    }
}
