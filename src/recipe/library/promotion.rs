//! Promotion of a candidate, and of a revision that judged before: what it is called, and what is lost by it.
//!
//! A candidate is made of the revision that is current at that time. What is taught afterwards goes into later revisions
//! and not into the candidate, so that its promotion would take that back unsaid. A candidate is known by an empty file
//! in its folder until it has been the current revision.

use super::disk;
use super::error::LibraryError;
use super::folder::Library;
use super::manifest::{Manifest, PictureEntry};
use super::revision::Revision;
use super::table;
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
        let was_current = pointer.is_some_and(|pointer| {
            let known = [Some(pointer.current), pointer.before];
            known.contains(&Some(manifest.revision))
        });

        let revision_of = |number| library.revision(&manifest.name, number).ok();
        let current = pointer.and_then(|pointer| revision_of(pointer.current));
        let parent = manifest.parent.and_then(revision_of);
        let is_candidate = is_marked(revision.folder()) && !was_current;

        let mut lost = vec![];
        if let Some(current) = current.as_ref().filter(|_| is_candidate) {
            let comparison = Comparison {
                candidate: manifest,
                parent: parent.as_ref().map(Revision::manifest),
                current: current.manifest(),
            };

            lost = comparison.lost();
            let view = view_lost(revision, parent.as_ref(), current);
            lost.extend(view.map(str::to_owned));
        }

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

/// A candidate beside the current revision, and the revision that it was made of. Of a parent that is gone nothing is known,
/// so that all that the candidate has not counts.
struct Comparison<'a> {
    candidate: &'a Manifest,
    parent: Option<&'a Manifest>,
    current: &'a Manifest,
}

impl Comparison<'_> {
    /// Words on what the current revision has since, and the candidate has not.
    fn lost(&self) -> Vec<String> {
        let mut words = vec![];
        words.extend(counted(&self.taught(), "taught"));
        words.extend(counted(&self.forgotten(), "forgotten"));
        words.extend(self.thresholds());
        words.extend(self.choice());

        words
    }

    /// Pictures that were taught since.
    fn taught(&self) -> Vec<&PictureEntry> {
        let mut taught = vec![];

        for picture in &self.current.pictures {
            let is_older = self.parent.is_some_and(|parent| has(parent, picture));

            if !is_older && !has(self.candidate, picture) {
                taught.push(picture);
            }
        }

        taught
    }

    /// Pictures that were forgotten since, and come back.
    fn forgotten(&self) -> Vec<&PictureEntry> {
        let mut forgotten = vec![];

        for picture in &self.candidate.pictures {
            let is_older = self.parent.is_some_and(|parent| has(parent, picture));

            if is_older && !has(self.current, picture) {
                forgotten.push(picture);
            }
        }

        forgotten
    }

    /// Thresholds that were set since.
    fn thresholds(&self) -> Vec<String> {
        let mut words = vec![];

        for note in &self.current.thresholds {
            let is_same = |of: &Manifest| of.thresholds.contains(note);
            let is_older = self.parent.is_some_and(is_same);

            if is_older || is_same(self.candidate) {
                continue;
            }

            let region = note.region.as_deref();
            let of_region = of_region(region);
            words.push(format!("the threshold {}{of_region}", note.value));
        }

        words
    }

    /// A choice that was made since.
    fn choice(&self) -> Option<String> {
        let choice = self.current.choice.as_ref()?;
        let is_same = |of: &Manifest| of.choice.as_ref() == Some(choice);
        let is_older = self.parent.is_some_and(is_same);

        if is_older || is_same(self.candidate) {
            return None;
        }

        Some(format!("the choice of {}", choice.taken))
    }
}

/// Words on another view that the current revision has since, and the candidate has not. Views are in the tables, beside the
/// manifests that are compared above.
fn view_lost(
    candidate: &Revision,
    parent: Option<&Revision>,
    current: &Revision,
) -> Option<&'static str> {
    let view_of = |revision: &Revision| {
        let table = revision.table().ok()?;
        Some(table::view(&table))
    };

    // A current revision that cannot be read is a reason to go to another one.
    let now = view_of(current)?;
    let before = parent.and_then(view_of);
    let own = view_of(candidate);
    let is_older = before.as_ref() == Some(&now);
    let is_same = own.as_ref() == Some(&now);

    if is_older || is_same {
        return None;
    }

    Some("what it looks at (crop, mask, regions)")
}

/// True if a revision has a picture for the same use.
fn has(manifest: &Manifest, picture: &PictureEntry) -> bool {
    let mut own = manifest.pictures.iter();

    own.any(|own| own.sha256 == picture.sha256 && own.used_as == picture.used_as)
}

fn of_region(region: Option<&str>) -> String {
    match region {
        Some(name) => format!(" of {name}"),
        None => String::new(),
    }
}

/// The number of pictures in words; `None` without any.
fn counted(pictures: &[&PictureEntry], change: &str) -> Option<String> {
    let all = pictures.len();

    if all == 0 {
        return None;
    }

    let mut bad = 0;
    for picture in pictures {
        bad += usize::from(picture.used_as.is_bad());
    }

    let noun = if all == 1 { "picture" } else { "pictures" };
    let of_bad = match bad {
        0 => String::new(),
        bad => format!(" ({bad} of bad parts)"),
    };

    Some(format!("{all} {noun} {change}{of_bad}"))
}
