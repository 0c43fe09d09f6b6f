//! A recipe's references: pictures of good parts, read and checked before an engine is opened.

use crate::base::exit::{Exit, Failure, chain};
use crate::base::hex::hex;
use crate::data::picture::Picture;
use crate::image::file as image_file;
use crate::recipe::quality::shows_nothing;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Bytes of all references, decoded: they are held at once while a recipe is prepared, beside a line that
/// judges.
pub const DECODED_BYTES: usize = 4 << 30;

/// Pictures of good parts and the files that they come from.
#[derive(Default)]
pub struct References {
    /// The pictures; all different.
    pub pictures: Vec<Picture>,
    /// The pictures' files, as many as `pictures`.
    pub files: Vec<PathBuf>,
}

impl References {
    /// Reads files and folders of files. A picture that is there twice counts once, and `warn` is
    /// told: the picture would match itself wherever the references are compared with each other.
    ///
    /// # Errors
    /// All files that cannot be used, at once. When all together take too much memory.
    pub fn read(paths: &[PathBuf], warn: &mut dyn FnMut(String)) -> Result<Self, Failure> {
        Self::read_within(DECODED_BYTES, paths, warn)
    }

    /// As [`References::read`], with at most so many bytes decoded.
    ///
    /// # Errors
    /// As [`References::read`].
    pub fn read_within(
        most: usize,
        paths: &[PathBuf],
        warn: &mut dyn FnMut(String),
    ) -> Result<Self, Failure> {
        let expanded = image_file::expand(paths);

        for passed_over in expanded.passed_over {
            warn(format!("references: {passed_over}"));
        }

        let mut problems: Vec<String> = expanded.problems.iter().map(|p| chain(p)).collect();
        let mut references = References::default();
        let all = expanded.files.len();

        for file in expanded.files {
            let bytes = references.bytes();

            if bytes > most {
                let read = references.files.len();
                problems.push(format!(
                    "the first {read} of {all} hold {bytes} bytes decoded, and at most {most} are held at once; give fewer, or smaller pictures"
                ));

                break;
            }

            match image_file::read(&file) {
                Err(error) => problems.push(chain(&error)),
                // The same picture twice would make leave-one-out scores of 0, and the threshold
                // with them.
                Ok(picture) => match references.same_as(&picture) {
                    Some(known) => warn(format!(
                        "the references {} and {} are the same picture; counted once",
                        known.display(),
                        file.display()
                    )),
                    None => references.push(file, picture),
                },
            }
        }

        // Any problem ends the start: a gallery without one of its references judges otherwise than
        // was asked.
        if problems.is_empty() {
            return Ok(references);
        }

        let words = format!(
            "{} of the references cannot be used:\n  {}",
            problems.len(),
            problems.join("\n  ")
        );

        Err(Failure::words(Exit::Data, words))
    }

    /// Refuses references without a part on them: as references they would let such pictures pass.
    ///
    /// # Errors
    /// All pictures that are black, white or flat from edge to edge.
    pub fn refuse_empty(&self) -> Result<(), Failure> {
        let mut empty = vec![];

        for (file, picture) in self.files.iter().zip(&self.pictures) {
            // The measures are the quality gate's own, taken of each reference.
            if shows_nothing(picture) {
                empty.push(file.display().to_string());
            }
        }

        if empty.is_empty() {
            return Ok(());
        }

        // All are told at once, with the reason, as a recipe may have hundreds of references.
        let words = format!(
            "{} of the references are black, white or flat from edge to edge, and such pictures would pass; take them out:\n  {}",
            empty.len(),
            empty.join("\n  ")
        );

        Err(Failure::words(Exit::Data, words))
    }

    /// Returns the file of the reference with the very same pixels.
    pub fn same_as(&self, picture: &Picture) -> Option<&Path> {
        let place = self.pictures.iter().position(|known| known == picture)?;

        Some(&self.files[place])
    }

    /// Returns 16 hex digits that other pictures, or another order, change; `None` without any
    /// picture. They are the beginning of the SHA-256 over each picture's width and height (8 bytes
    /// each, the lowest first) and its RGB bytes.
    pub fn hash(&self) -> Option<String> {
        // A hash of nothing would look like the hash of a gallery.
        if self.pictures.is_empty() {
            return None;
        }

        let mut sum = Sha256::new();

        // The size goes in too: the same bytes in another shape are another picture. Files' names
        // do not, as they change nothing.
        for picture in &self.pictures {
            sum.update((picture.width() as u64).to_le_bytes());
            sum.update((picture.height() as u64).to_le_bytes());
            sum.update(picture.rgb());
        }

        // Eight bytes tell galleries apart; this is no protection against forgery.
        Some(hex(&sum.finalize()[..8]))
    }

    /// Bytes of all pictures.
    pub fn bytes(&self) -> usize {
        self.pictures
            .iter()
            .map(|picture| picture.rgb().len())
            .sum()
    }

    fn push(&mut self, file: PathBuf, picture: Picture) {
        self.files.push(file);
        self.pictures.push(picture);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gallery_is_known_by_its_pixels_their_order_and_their_sizes() {
        let hash = |pictures: &[(usize, usize, &[u8])]| {
            let picture = |(w, h, rgb): &(usize, usize, &[u8])| {
                Picture::new(*w, *h, rgb.to_vec()).expect("a picture")
            };

            References {
                pictures: pictures.iter().map(picture).collect(),
                files: vec![],
            }
            .hash()
        };

        let (wide, dot) = ((2, 1, &[1, 2, 3, 4, 5, 6][..]), (1, 1, &[7, 8, 9][..]));
        // By Python's hashlib.
        assert_eq!(hash(&[wide, dot]).as_deref(), Some("798f66aba2e2c5ff"));
        let others = [
            vec![dot, wide],
            vec![wide],
            vec![(1, 2, wide.2), dot],
            vec![wide, (1, 1, &[7, 8, 8])],
        ];

        others
            .iter()
            .for_each(|other| assert_ne!(hash(other), hash(&[wide, dot]), "{other:?}"));

        assert_eq!(hash(&[]), None);
    }

    #[test]
    fn references_that_would_take_too_much_memory_are_refused_before_all_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        for shade in 0..4u8 {
            let picture = image::RgbImage::from_pixel(10, 10, image::Rgb([shade; 3]));
            let file = folder.path().join(format!("{shade}.png"));
            picture.save(file).expect("written");
        }

        let read = |most| {
            References::read_within(most, &[folder.path().to_owned()], &mut |_| ())
                .map(|references| references.files.len())
                .map_err(|failure| failure.to_string())
        };

        // 300 bytes each.
        assert_eq!(
            read(900).expect("three are within, and the fourth is the last"),
            4
        );
        let words = read(500).expect_err("two are beyond");
        assert!(
            words.contains("the first 2 of 4 hold 600 bytes decoded, and at most 500"),
            "{words}"
        );
    }
}
