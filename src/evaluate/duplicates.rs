//! Pictures of a data set that are there more than once, told because they bend the measures: a test
//! picture that is also a reference is recognised rather than judged, and equal references are one.

use crate::data::picture::Picture;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Lines of each kind that are told; the rest is counted.
const TOLD_MAX: usize = 5;

/// SHA-256 of a picture's size and pixels.
pub type PictureHash = [u8; 32];

/// Pictures that were read, by their pixels.
#[derive(Debug, Default)]
pub struct SeenPictures {
    references: HashMap<PictureHash, PathBuf>,
    tests: HashMap<PictureHash, PathBuf>,
    /// Pairs of equal references.
    equal_references: Vec<String>,
    /// Test pictures that are references.
    leaked: Vec<String>,
    /// Pairs of equal test pictures.
    equal_tests: Vec<String>,
}

impl SeenPictures {
    /// Notes a reference.
    pub fn reference(&mut self, file: &Path, picture: &Picture) {
        let hash = hash(picture);

        match self.references.get(&hash) {
            Some(known) => self.equal_references.push(pair(known, file)),
            None => {
                self.references.insert(hash, file.to_owned());
            }
        }
    }

    /// Notes a test picture. All references must have been noted before.
    pub fn test(&mut self, file: &Path, picture: &Picture) {
        let hash = hash(picture);

        if let Some(reference) = self.references.get(&hash) {
            self.leaked.push(pair(file, reference));
        }

        match self.tests.get(&hash) {
            Some(known) => self.equal_tests.push(pair(known, file)),
            None => {
                self.tests.insert(hash, file.to_owned());
            }
        }
    }

    /// Lines that tell what is there more than once; none if nothing is.
    pub fn warnings(&self) -> Vec<String> {
        let mut lines = Vec::new();
        tell(
            &mut lines,
            &self.leaked,
            "test pictures are references, too: their scores say little",
        );

        tell(
            &mut lines,
            &self.equal_references,
            "references are there twice: they count as one each in what they can show",
        );

        tell(
            &mut lines,
            &self.equal_tests,
            "test pictures are there twice: they count twice in every measure",
        );

        lines
    }
}

/// Adds a line with the number of pairs and the first of them.
fn tell(lines: &mut Vec<String>, pairs: &[String], words: &str) {
    if pairs.is_empty() {
        return;
    }

    let shown = &pairs[..pairs.len().min(TOLD_MAX)];
    let mut line = format!("{} {words}: {}", pairs.len(), shown.join(", "));

    if pairs.len() > shown.len() {
        line.push_str(", ...");
    }

    lines.push(line);
}

fn pair(one: &Path, other: &Path) -> String {
    format!("{} = {}", one.display(), other.display())
}

/// Returns the hash of a picture.
pub fn hash(picture: &Picture) -> PictureHash {
    let mut sum = Sha256::new();
    sum.update((picture.width() as u64).to_le_bytes());
    sum.update((picture.height() as u64).to_le_bytes());
    sum.update(picture.rgb());

    sum.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaks_and_twins_are_told_and_different_pictures_are_not() {
        let picture = |value| Picture::new(1, 1, vec![value; 3]).expect("a picture");
        let wide = Picture::new(3, 1, vec![1; 9]).expect("a picture");
        let tall = Picture::new(1, 3, vec![1; 9]).expect("a picture");
        let mut seen = SeenPictures::default();
        seen.reference(Path::new("r1"), &wide);
        seen.reference(Path::new("r2"), &picture(1));
        seen.test(Path::new("t1"), &tall);
        seen.test(Path::new("t2"), &picture(2));
        assert_eq!(seen.warnings(), Vec::<String>::new());

        seen.reference(Path::new("r3"), &picture(1));
        seen.test(Path::new("t3"), &picture(1));
        seen.test(Path::new("t4"), &picture(2));
        let lines = seen.warnings();
        assert!(
            lines[0].starts_with("1 test pictures are references") && lines[0].ends_with("t3 = r2")
        );
        assert!(
            lines[1].ends_with("r2 = r3") && lines[2].ends_with("t2 = t4"),
            "{lines:?}"
        );
    }
}
