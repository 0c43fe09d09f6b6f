//! Pictures of known parts and their scores: calibration pictures, by which a threshold keeps a rate,
//! and labelled parts, by which one is chosen.
//!
//! Pictures are read, judged and dropped one by one: hundreds of them would not fit into memory. A
//! picture that no part of the line could be like is not counted, and told: one that is also a
//! reference (it matches itself), one that is there twice, one that the quality gate would not let
//! through.

use crate::base::exit::{Exit, Failure, chain};
use crate::data::picture::Picture;
use crate::evaluate::duplicates::{PictureHash, hash};
use crate::image::file as image_file;
use crate::recipe::quality::{Gate, shows_nothing};
use crate::recipe::references::References;
use crate::winclip::Inspector;
use crate::winclip::inspector::{InspectError, PictureLooks};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Known parts that were judged; those that are not counted are left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JudgedPictures {
    /// Files of the pictures.
    pub files: Vec<PathBuf>,
    /// Hash of each picture, in the order of `files`.
    pub hashes: Vec<PictureHash>,
    /// Scores in the order of `files`, for each region in the recipe's order.
    pub scores: Vec<Vec<f32>>,
}

/// The prepared recipe that known parts are judged by.
pub struct Judging<'a> {
    /// The pictures' name in words for a person: `calibration`.
    pub kind: &'static str,
    /// True where a picture that cannot be judged is told and not counted; else it is an error.
    pub is_lenient: bool,
    /// Pictures that the parts are compared with.
    pub references: &'a References,
    /// Quality gate before the inspector.
    pub gate: &'a Gate,
    /// The algorithm.
    pub inspector: &'a mut Inspector,
    /// The looks of the parts are learned too, one entry a part; `None`: they are not.
    pub looks: Option<&'a mut Vec<PictureLooks>>,
}

impl JudgedPictures {
    /// Reads and judges files and folders of files.
    ///
    /// # Errors
    /// All files that cannot be used, at once; when the engine fails.
    pub fn read(paths: &[PathBuf], judging: Judging) -> Result<Self, Failure> {
        let kind = judging.kind;
        let expanded = image_file::expand(paths);
        for passed_over in expanded.passed_over {
            tracing::warn!("{kind}: {passed_over}");
        }

        let mut reading = PictureReading {
            problems: expanded.problems.iter().map(|p| chain(p)).collect(),
            known: HashMap::new(),
            parts: JudgedPictures {
                scores: vec![vec![]; judging.inspector.regions().len()],
                ..JudgedPictures::default()
            },
            judging,
        };

        for file in expanded.files {
            reading.add(file)?;
        }

        if reading.judging.is_lenient {
            for problem in reading.problems.drain(..) {
                tracing::warn!("{kind}: {problem}; not counted");
            }
        }

        if reading.problems.is_empty() {
            return Ok(reading.parts);
        }

        let words = format!(
            "{} of the {kind} pictures cannot be used:\n  {}",
            reading.problems.len(),
            reading.problems.join("\n  ")
        );

        Err(Failure::words(Exit::Data, words))
    }

    /// Judges the same pictures once more, by what the inspector has learned since.
    ///
    /// # Errors
    /// When the engine fails, or a file was taken away meanwhile.
    pub fn judge_again(&mut self, inspector: &mut Inspector) -> Result<(), Failure> {
        // Pictures are read anew: hundreds of them would not fit into memory.
        for (part, file) in self.files.iter().enumerate() {
            let picture =
                image_file::read(file).map_err(|error| Failure::new(Exit::Data, error))?;

            let regions = inspector
                .inspect(&picture)
                .map_err(|error| Failure::new(Exit::Software, error))?;

            for (scores, region) in self.scores.iter_mut().zip(regions) {
                scores[part] = region.score;
            }
        }

        Ok(())
    }
}

/// Known parts on their way to scores.
struct PictureReading<'a> {
    judging: Judging<'a>,
    /// Hash of each picture that counts, with its place among the files.
    known: HashMap<PictureHash, usize>,
    parts: JudgedPictures,
    problems: Vec<String>,
}

impl PictureReading<'_> {
    fn add(&mut self, file: PathBuf) -> Result<(), Failure> {
        let picture = match image_file::read(&file) {
            Ok(picture) => picture,
            Err(error) => {
                self.problems.push(chain(&error));
                return Ok(());
            }
        };

        if shows_nothing(&picture) {
            let file = file.display();
            let words = format!("{file}: black, white or flat from edge to edge: it shows no part");
            self.problems.push(words);
            return Ok(());
        }

        let hash = hash(&picture);
        if let Some(why) = self.not_counted(&picture, &hash) {
            let kind = self.judging.kind;
            tracing::warn!("{kind} {}: {why}; not counted", file.display());
            return Ok(());
        }

        // After a problem there will be no scores; the other files are only looked at.
        let may_judge = self.problems.is_empty() || self.judging.is_lenient;
        if may_judge && !self.judge(&file, &picture)? {
            return Ok(());
        }

        self.known.insert(hash, self.parts.files.len());
        self.parts.files.push(file);
        self.parts.hashes.push(hash);
        Ok(())
    }

    fn not_counted(&self, picture: &Picture, hash: &PictureHash) -> Option<String> {
        if let Some(reference) = self.judging.references.same_as(picture) {
            let reference = reference.display();
            return Some(format!("the same picture as the reference {reference}"));
        }

        if let Some(known) = self.known.get(hash) {
            let known = self.parts.files[*known].display();
            let kind = self.judging.kind;
            return Some(format!("the same picture as the {kind} picture {known}"));
        }

        let flaw = self.judging.gate.flaw(picture)?;
        Some(format!("a part's picture would not be judged: {flaw}"))
    }

    /// Returns false for a picture that the recipe cannot look at.
    fn judge(&mut self, file: &Path, picture: &Picture) -> Result<bool, Failure> {
        // Looks are taken while the features of the picture are there.
        let inspector = &mut self.judging.inspector;
        let judged = match &mut self.judging.looks {
            Some(looks) => inspector
                .inspect_and_learn(picture)
                .map(|(regions, of_part)| {
                    looks.push(of_part);
                    regions
                }),
            None => inspector.inspect(picture),
        };

        match judged {
            Ok(regions) => {
                for (scores, region) in self.parts.scores.iter_mut().zip(regions) {
                    scores.push(region.score);
                }

                Ok(true)
            }
            Err(InspectError::Picture(error)) => {
                let words = format!("{}: {}", file.display(), chain(&error));
                self.problems.push(words);
                Ok(false)
            }
            Err(error) => Err(Failure::new(Exit::Software, error)),
        }
    }
}
