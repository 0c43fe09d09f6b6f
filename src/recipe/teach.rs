//! Pictures of good and bad parts are added to a recipe of the library: read, compared with each other
//! and with those that it has, and refused in words where they would teach something wrong.

use super::active::ActiveRecipe;
use super::library::draft::{Draft, DraftPicture};
use super::library::manifest::{ChangeKind, PictureUse};
use super::library::revision::Revision;
use super::quality::shows_nothing;
use super::threshold::highest_not_far_out;
use crate::base::exit::{Exit, Failure, chain};
use crate::data::picture::Picture;
use crate::engine::EngineError;
use crate::image::file as image_file;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

/// Hash of a picture's size and pixels.
type PixelHash = [u8; 32];

/// Outcome of a teaching.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Number of pictures of good parts that are new.
    pub good: usize,
    /// Number of pictures of bad parts that are new.
    pub bad: usize,
    /// Words on what was passed over: pictures that the recipe has already, and other files.
    pub passed_over: Vec<String>,
}

/// Adds pictures, files or folders of files, to a draft. `may_add_none` allows that none of them is new.
///
/// # Errors
/// All pictures that cannot be used, at once: not readable, empty, given twice, good and bad. When
/// none of them is new, and one must be.
pub fn teach(
    draft: &mut Draft,
    good: &[PathBuf],
    bad: &[PathBuf],
    may_add_none: bool,
) -> Result<Added, Failure> {
    let mut teaching = Teaching {
        may_add_none,
        ..Teaching::default()
    };

    teaching.know(&draft.pictures);
    let lessons = [(PictureUse::Good, good), (PictureUse::Bad, bad)];
    for (used_as, paths) in lessons {
        let expanded = image_file::expand(paths);
        let problems = expanded.problems.iter().map(|problem| chain(problem));
        teaching.problems.extend(problems);
        teaching.added.passed_over.extend(expanded.passed_over);
        for file in expanded.files {
            teaching.add(used_as, file);
        }
    }

    teaching.finish(draft)
}

/// Treatment of a part whose very picture the recipe has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnKnown {
    /// It is passed over, and told.
    PassOver,
    /// A person says what it is: a picture of the other kind moves.
    Move,
}

/// Adds pictures of a line's parts to a draft: each a file, and the part's name.
///
/// # Errors
/// When a picture cannot be read, or none of them is new.
pub fn teach_parts(
    draft: &mut Draft,
    used_as: PictureUse,
    parts: Vec<(PathBuf, String)>,
    on_known: OnKnown,
) -> Result<Added, Failure> {
    let mut teaching = Teaching::default();
    teaching.know(&draft.pictures);
    let mut moved = vec![];
    for (file, part) in parts {
        if let Some(known) = teaching.add_part(used_as, file, part, on_known) {
            moved.push(known);
        }
    }

    draft
        .pictures
        .retain(|picture| !moved.contains(&picture.file));
    teaching.finish(draft)
}

/// A new reference that is unlike the others.
#[derive(Debug, Clone, PartialEq)]
pub struct OddOne {
    /// The part, or the file that it came from.
    pub from: String,
    /// Its score against the others.
    pub score: f32,
    /// The highest score of the others.
    pub highest: f32,
}

impl fmt::Display for OddOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OddOne {
            from,
            score,
            highest,
        } = self;

        write!(
            f,
            "{from} is unlike the others: {score:.3}, they have at most {highest:.3}"
        )
    }
}

/// True where a draft has the pictures of all these files, each for that use.
///
/// # Errors
/// When a picture cannot be read.
pub fn has_all(draft: &Draft, used_as: PictureUse, files: &[&Path]) -> Result<bool, Failure> {
    let mut teaching = Teaching::default();
    teaching.know(&draft.pictures);

    for file in files {
        let picture = image_file::read(file);
        let picture = picture.map_err(|error| Failure::new(Exit::Data, error))?;
        let known = teaching.known.get(&hash(&picture));
        let is_known = known.is_some_and(|(known_as, _)| *known_as == used_as);

        if !is_known {
            return Ok(false);
        }
    }

    Ok(true)
}

/// Takes the new references out of a draft that are unlike the others in one of the regions; `revision` was
/// written of the draft, and `active` made of that. Returns them.
///
/// # Errors
/// When the engine fails.
pub fn take_odd_ones_out(
    draft: &mut Draft,
    active: &mut ActiveRecipe,
    revision: &Revision,
) -> Result<Vec<OddOne>, EngineError> {
    let mut odd: BTreeMap<usize, OddOne> = BTreeMap::new();
    for scores in active.inspector.leave_one_out()? {
        let scores: Vec<f32> = scores.into_iter().map(|(score, _)| score).collect();
        let Some(highest) = highest_not_far_out(&scores) else {
            continue;
        };

        for (file, score) in active.references.iter().zip(&scores) {
            let place = place_in_draft(draft, revision, file);
            if let Some(place) = place.filter(|_| *score > highest) {
                let found = OddOne {
                    from: draft.pictures[place].from.clone(),
                    score: *score,
                    highest,
                };

                odd.insert(place, found);
            }
        }
    }

    // From the last to the first, so that places stay what they are.
    for place in odd.keys().rev() {
        draft.pictures.remove(*place);
    }

    Ok(odd.into_values().collect())
}

/// The place of a new picture in the draft of which its revision's file was written; `None` for one that
/// the recipe had before.
fn place_in_draft(draft: &Draft, revision: &Revision, file: &Path) -> Option<usize> {
    // A revision has the pictures of its draft in their order, each once.
    let entries = &revision.manifest().pictures;
    let place = entries
        .iter()
        .position(|entry| file.ends_with(&entry.file))?;
    let is_same = entries.len() == draft.pictures.len();
    (is_same && !draft.pictures[place].is_held).then_some(place)
}

/// Pictures that were seen, and what became of each.
#[derive(Default)]
struct Teaching {
    /// Pictures of the recipe, and new ones: their use, and the file that shows them.
    known: HashMap<PixelHash, (PictureUse, PathBuf)>,
    fresh: Vec<DraftPicture>,
    had_references: bool,
    may_add_none: bool,
    added: Added,
    problems: Vec<String>,
}

impl Teaching {
    /// Takes in what the recipe has.
    fn know(&mut self, pictures: &[DraftPicture]) {
        for picture in pictures {
            self.had_references |= picture.used_as == PictureUse::Good;

            // A self-test's picture may also be a reference: teaching looks at references alone.
            if !matches!(picture.used_as, PictureUse::Good | PictureUse::Bad) {
                continue;
            }

            match image_file::read(&picture.file) {
                Ok(read) => {
                    let known = (picture.used_as, picture.file.clone());
                    self.known.insert(hash(&read), known);
                }
                Err(error) => self.problems.push(chain(&error)),
            }
        }
    }

    /// Puts what is new into the draft.
    fn finish(self, draft: &mut Draft) -> Result<Added, Failure> {
        let has = |pictures: &[DraftPicture], used_as| {
            pictures.iter().any(|picture| picture.used_as == used_as)
        };

        let count = self.problems.len();
        if count > 0 {
            let problems = self.problems.join("\n  ");
            let words = format!("{count} of the pictures cannot be used:\n  {problems}");
            return Err(Failure::words(Exit::Data, words));
        }

        if self.fresh.is_empty() && !self.may_add_none {
            let mut words = format!("recipe {} has all of these pictures already", draft.name);
            if !self.added.passed_over.is_empty() {
                words = format!("{words}: {}", self.added.passed_over.join("; "));
            }

            return Err(Failure::words(Exit::Data, words));
        }

        draft.pictures.extend(self.fresh);

        // Without any it could not judge, where it did before.
        if self.had_references && !has(&draft.pictures, PictureUse::Good) {
            let words = format!(
                "recipe {} would have no reference left; teach good parts first",
                draft.name
            );

            return Err(Failure::words(Exit::Data, words));
        }

        draft.change = ChangeKind::Taught;
        Ok(self.added)
    }

    /// Adds the picture of a line's part. Returns the file of the same picture that is to leave the draft
    /// for it.
    fn add_part(
        &mut self,
        used_as: PictureUse,
        file: PathBuf,
        part: String,
        on_known: OnKnown,
    ) -> Option<PathBuf> {
        let picture = match image_file::read(&file) {
            Ok(picture) => picture,
            Err(error) => {
                self.problems.push(chain(&error));
                return None;
            }
        };

        if shows_nothing(&picture) {
            let words = format!("{part} is black, white or flat from edge to edge");
            self.added.passed_over.push(words);
            return None;
        }

        let hash = hash(&picture);
        let known = self.known.get(&hash).cloned();
        let moved = match known {
            None => None,
            Some((known_as, known)) if known_as != used_as && on_known == OnKnown::Move => {
                Some(known)
            }
            Some((known_as, known)) => {
                let known = known.file_name().unwrap_or_default().to_string_lossy();
                let kind = if known_as.is_bad() { "bad" } else { "good" };
                let words = format!("{part} is the picture {known}, which is a {kind} one");
                self.added.passed_over.push(words);
                return None;
            }
        };

        self.known.insert(hash, (used_as, file.clone()));
        match used_as {
            PictureUse::Bad => self.added.bad += 1,
            _ => self.added.good += 1,
        }

        self.fresh.push(DraftPicture {
            from: part,
            ..DraftPicture::new(used_as, file)
        });

        moved
    }

    fn add(&mut self, used_as: PictureUse, file: PathBuf) {
        let picture = match image_file::read(&file) {
            Ok(picture) => picture,
            Err(error) => return self.problems.push(chain(&error)),
        };

        if shows_nothing(&picture) {
            let words = "black, white or flat from edge to edge: it shows no part";
            return self.problems.push(format!("{}: {words}", file.display()));
        }

        let hash = hash(&picture);
        let Some((known_as, known)) = self.known.get(&hash) else {
            self.known.insert(hash, (used_as, file.clone()));
            match used_as {
                PictureUse::Bad => self.added.bad += 1,
                _ => self.added.good += 1,
            }

            self.fresh.push(DraftPicture::new(used_as, file));
            return;
        };

        // A picture that is known is one of the recipe, or was given a moment ago.
        let mut fresh = self.fresh.iter();
        let is_held = !fresh.any(|fresh| fresh.file == *known);
        if *known_as != used_as {
            self.problems.push(good_and_bad(&file, known));
        } else if is_held {
            let words = format!("{} is in the recipe already", file.display());
            self.added.passed_over.push(words);
        } else {
            self.problems.push(format!(
                "{} and {} are the same picture; give one of them",
                known.display(),
                file.display()
            ));
        }
    }
}

fn good_and_bad(file: &Path, known: &Path) -> String {
    format!(
        "{} and {} are the same picture, once good and once bad; take one of them out",
        known.display(),
        file.display()
    )
}

fn hash(picture: &Picture) -> PixelHash {
    let mut sum = Sha256::new();

    // The same bytes in another shape are another picture.
    let width = picture.width() as u64;
    let height = picture.height() as u64;
    sum.update(width.to_le_bytes());
    sum.update(height.to_le_bytes());
    sum.update(picture.rgb());

    sum.finalize().into()
}
