//! Pictures of good and bad parts are added to a recipe of the library: read, compared with each other
//! and with those that it has, and refused in words where they would teach something wrong.

use super::library::draft::{Draft, DraftPicture};
use super::library::manifest::{ChangeKind, PictureUse};
use super::quality::shows_nothing;
use crate::base::exit::{Exit, Failure, chain};
use crate::data::picture::Picture;
use crate::image::file as image_file;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
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

/// Adds pictures, files or folders of files, to a draft.
///
/// # Errors
/// All pictures that cannot be used, at once: not readable, empty, given twice, good and bad. When
/// none of them is new.
pub fn teach(draft: &mut Draft, good: &[PathBuf], bad: &[PathBuf]) -> Result<Added, Failure> {
    let mut teaching = Teaching::default();
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

    let count = teaching.problems.len();
    if count > 0 {
        let problems = teaching.problems.join("\n  ");
        let words = format!("{count} of the pictures cannot be used:\n  {problems}");
        return Err(Failure::words(Exit::Data, words));
    }

    if teaching.fresh.is_empty() {
        let words = format!("recipe {} has all of these pictures already", draft.name);
        return Err(Failure::words(Exit::Data, words));
    }

    draft.pictures.extend(teaching.fresh);
    draft.change = ChangeKind::Taught;
    Ok(teaching.added)
}

/// Pictures that were seen, and what became of each.
#[derive(Default)]
struct Teaching {
    /// Pictures of the recipe, and new ones: their use, and the file that shows them.
    known: HashMap<PixelHash, (PictureUse, PathBuf)>,
    fresh: Vec<DraftPicture>,
    added: Added,
    problems: Vec<String>,
}

impl Teaching {
    /// Takes in what the recipe has.
    fn know(&mut self, pictures: &[DraftPicture]) {
        for picture in pictures {
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

    fn add(&mut self, used_as: PictureUse, file: PathBuf) {
        let picture = match image_file::read(&file) {
            Ok(picture) => picture,
            Err(error) => return self.problems.push(chain(&error)),
        };

        if used_as == PictureUse::Good && shows_nothing(&picture) {
            let words = "black, white or flat from edge to edge, and such pictures would pass";
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

        let is_held = !self.fresh.iter().any(|fresh| fresh.file == *known);
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
    sum.update((picture.width() as u64).to_le_bytes());
    sum.update((picture.height() as u64).to_le_bytes());
    sum.update(picture.rgb());
    sum.finalize().into()
}
