//! Known bad parts: pictures of parts that must fail, which a recipe of the library keeps.
//!
//! A part that was missed once is caught from then on by its looks: patches of it that are nearer to themselves than to any
//! good part (`winclip/looks.rs`). They are learned anew with every revision, against all its references. Parts
//! that fail by their own looks alone are told, because other parts with such a fault may still pass.
//!
//! A threshold that would catch them too is told with its price in good parts. Where there are no looks a threshold that is found by good parts is lowered to the scores of the known bad ones, and the
//! words say what that costs. Each known bad part that passes all the same is told.

use super::judged::{JudgedPictures, Judging};
use super::quality::Gate;
use super::references::References;
use crate::base::exit::{Exit, Failure};
use crate::winclip::Inspector;
use crate::winclip::inspector::PictureLooks;
use crate::winclip::looks::LOOKS_MAX;
use std::path::{Path, PathBuf};

/// Share of the good parts that a known bad part may cost at most: beyond, its score says nothing.
const COST_MAX: f64 = 0.25;
/// Digits of a picture's hash in words: as many as `forget` needs.
const DIGITS: usize = 8;
/// Known bad parts that are named in words.
const NAMED: usize = 3;

/// The known bad parts of a recipe, judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BadParts {
    /// Their scores.
    pub judged: JudgedPictures,
    /// Their scores by the good parts alone, before their looks were learned; as those of `judged`.
    pub unknown: Vec<Vec<f32>>,
    /// Parts whose looks are not held, because there are too many.
    pub left_out: usize,
    /// False where no patches are compared, so that there are no looks.
    pub has_looks: bool,
}

impl BadParts {
    /// Judges the pictures of the known bad parts, learns their looks, and judges them by those; `inspector` compares with the
    /// looks from then on.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn learn(
        paths: &[PathBuf],
        references: &References,
        gate: &Gate,
        inspector: &mut Inspector,
    ) -> Result<Self, Failure> {
        // Each part is judged as an unknown one, and its looks are taken from the same map. None of them
        // judges yet, so that the order of the parts does not matter.
        let mut looks = vec![];
        let judging = Judging {
            kind: BAD,
            // A known bad part that cannot be looked at must not end a start.
            is_lenient: true,
            references,
            gate,
            inspector,
            looks: Some(&mut looks),
        };

        let mut parts = BadParts {
            judged: JudgedPictures::read(paths, judging)?,
            has_looks: inspector.learns_looks(),
            ..BadParts::default()
        };

        // These scores say what the good parts alone make of them.
        parts.unknown = parts.judged.scores.clone();
        if parts.has_looks {
            parts.left_out = inspector
                .set_looks(&looks)
                .map_err(|error| Failure::new(Exit::Software, error))?;

            // By the very path of the parts to come, which may be another than that of learning.
            parts.judged.judge_again(inspector)?;
        }

        // None of this ends a start: the recipe judges as it did before it knew them.
        for words in parts.warnings(&looks) {
            tracing::warn!("{words}");
        }

        Ok(parts)
    }

    /// Returns, in words, what the looks cannot do.
    fn warnings(&self, looks: &[PictureLooks]) -> Vec<String> {
        // A recipe without looks has nothing else to say.
        let mut warnings = vec![];
        if !self.has_looks {
            warnings.push(NO_LOOKS.to_owned());
            return warnings;
        }

        // Such a part is the picture of a good one, or the model does not see its fault.
        for (file, looks) in self.judged.files.iter().zip(looks) {
            if looks.is_empty() {
                warnings.push(format!(
                    "known bad part {}: no patch of it can be told from those of good parts, so that nothing catches it",
                    name_of(file)
                ));
            }
        }

        if self.left_out > 0 {
            warnings.push(format!(
                "the looks of {} known bad parts, the oldest, are left out: at most {LOOKS_MAX} are held; forget some",
                self.left_out
            ));
        }

        warnings
    }
}

/// Kind of the known bad parts, in words.
const BAD: &str = "bad";

const NO_LOOKS: &str = "known bad parts are kept, but the recipe compares no patches, by which they would be known again; \
a threshold alone can catch them";

/// The first digits of a picture's hash, by which the library calls it.
fn name_of(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    stem.chars().take(DIGITS).collect()
}

/// Scores of the known bad parts, for the line's health.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownBad {
    /// Beginning of the hash of each picture's file.
    names: Vec<String>,
    /// Scores in the order of `names`, for each region in the recipe's order.
    scores: Vec<Vec<f32>>,
    /// The same without what was learned of them.
    unknown: Vec<Vec<f32>>,
}

impl KnownBad {
    /// The known bad parts of a recipe, judged.
    pub fn of(parts: &BadParts) -> Self {
        KnownBad {
            names: parts
                .judged
                .files
                .iter()
                .map(|file| name_of(file))
                .collect(),
            scores: parts.judged.scores.clone(),
            unknown: parts.unknown.clone(),
        }
    }

    /// Returns, in words, the known bad parts that pass under these thresholds; `None` where all fail.
    /// A part fails where one of its regions does.
    pub fn passing(&self, thresholds: &[Option<f32>]) -> Option<String> {
        let all = self.names.len();
        let passing = passing(&self.scores, all, thresholds);
        let (count, named) = self.named(&passing, &self.scores)?;

        Some(format!(
            "{count} of {all} known bad parts pass ({named}); set a lower threshold, or forget them"
        ))
    }

    /// The number of known bad parts that fail under these thresholds, and of all.
    pub fn found(&self, thresholds: &[Option<f32>]) -> (usize, usize) {
        let all = self.names.len();
        let passing = passing(&self.scores, all, thresholds);

        (all - passing.len(), all)
    }

    /// Returns, in words, the known bad parts that fail under these thresholds by their own looks alone;
    /// `None` where there is none.
    pub fn caught_by_looks(&self, thresholds: &[Option<f32>]) -> Option<String> {
        // They pass by the good parts alone, and fail by what was learned of them.
        let parts = self.names.len();
        let mut caught = passing(&self.unknown, parts, thresholds);
        let still = passing(&self.scores, parts, thresholds);
        caught.retain(|part| !still.contains(part));

        let (count, named) = self.named(&caught, &self.unknown)?;
        Some(format!(
            "{count} of {parts} known bad parts fail by their own looks alone (without, {named}): other parts with such a fault may pass"
        ))
    }

    /// [`KnownBad::caught_by_looks`] and [`KnownBad::passing`], for an answer.
    pub fn words(&self, thresholds: &[Option<f32>]) -> Vec<String> {
        let caught = self.caught_by_looks(thresholds);
        let passing = self.passing(thresholds);

        caught.into_iter().chain(passing).collect()
    }

    /// The number of parts, and the first ones with their highest scores in words; `None` without any.
    fn named(&self, parts: &[usize], scores: &[Vec<f32>]) -> Option<(usize, String)> {
        if parts.is_empty() {
            return None;
        }

        // The rest is counted: an answer is one line.
        let mut words = vec![];
        for part in parts.iter().take(NAMED) {
            // Of several regions the highest score is the one that a threshold would catch.
            let of_regions = scores.iter().map(|scores| scores[*part]);
            let highest = of_regions.fold(0.0, f32::max);
            let name = &self.names[*part];
            words.push(format!("{name} scores {highest:.4}"));
        }

        Some((parts.len(), words.join(", ")))
    }
}

/// The parts that pass in every region, out of as many; without a threshold nothing passes.
fn passing(scores: &[Vec<f32>], parts: usize, thresholds: &[Option<f32>]) -> Vec<usize> {
    let mut passing = vec![];
    for part in 0..parts {
        // Scores and thresholds are both in the recipe's order of regions.
        let scores = scores.iter().map(|scores| scores[part]);
        let mut pairs = scores.zip(thresholds);
        let passes = pairs.all(|(score, threshold)| threshold.is_some_and(|t| score < t));

        // A part fails where one of its regions does.
        if passes {
            passing.push(part);
        }
    }

    passing
}

/// Returns the value to which a threshold that was found by good parts is lowered so that the known bad parts
/// fail, and what that costs, in words; `None` where it stays. `bad` and `good` are the scores of both.
pub fn lowered(found: f32, bad: &[f32], good: &[f32]) -> Option<(f32, String)> {
    let (value, count) = worth(found, bad, good)?;
    let all = good.len();
    let words = format!(
        "lowered from {found:.4}, so that a known bad part fails: {count} of the {all} good parts would fail too"
    );

    Some((value, words))
}

/// Returns, in words, the price of a threshold that would catch known bad parts without their looks, and others of
/// such scores; `None` where there is none. `bad` are the scores without looks.
pub fn price(found: f32, bad: &[f32], good: &[f32]) -> Option<String> {
    let (value, count) = worth(found, bad, good)?;
    let all = good.len();
    Some(format!(
        "threshold = {value:.4} would catch a known bad part by its score too, and others like it: {count} of the {all} good parts would fail"
    ))
}

/// The lowest score of a missed bad part that costs few enough good parts as a threshold, and their number.
fn worth(found: f32, bad: &[f32], good: &[f32]) -> Option<(f32, usize)> {
    let most = COST_MAX * good.len() as f64;
    let mut lowest: Option<(f32, usize)> = None;
    for &value in bad {
        // One that fails already, or that is no lower than the best so far, changes nothing.
        if value >= found || lowest.is_some_and(|(lowest, _)| value >= lowest) {
            continue;
        }

        // The lower the value, the more good parts it costs.
        let failing = good.iter().filter(|score| **score >= value).count();
        if failing as f64 <= most {
            lowest = Some((value, failing));
        }
    }

    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_part_lowers_the_threshold_where_that_costs_few_good_ones() {
        let good = [0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.2];
        // One of eight good parts is the price.
        let (value, words) = lowered(0.22, &[0.19, 0.3], &good).expect("one is missed");
        assert_eq!(value, 0.19);
        assert!(
            words.starts_with("lowered from 0.2200") && words.contains("1 of the 8 good"),
            "{words}"
        );
        // One among the good ones is not paid for; another one still is.
        assert_eq!(lowered(0.22, &[0.13], &good), None);
        let both = lowered(0.22, &[0.13, 0.17], &good);
        assert_eq!(both.map(|(value, _)| value), Some(0.17));
        assert_eq!(lowered(0.22, &[0.5], &good), None);
        assert_eq!(lowered(0.22, &[], &good), None);
        // With looks nothing is lowered, and the price is told.
        let words = price(0.22, &[0.13, 0.19], &good).expect("one is worth it");
        assert!(
            words.starts_with("threshold = 0.1900 would") && words.contains("1 of the 8 good"),
            "{words}"
        );
        assert_eq!(price(0.22, &[0.13], &good), None);
    }

    #[test]
    fn a_known_bad_part_that_passes_is_named() {
        let judged = JudgedPictures {
            files: vec![
                "bad/0123456789abcdef.png".into(),
                "bad/feedbeef00.png".into(),
            ],
            hashes: vec![],
            scores: vec![vec![0.2, 0.4], vec![0.1, 0.1]],
        };

        let parts = BadParts {
            unknown: vec![vec![0.2, 0.1], vec![0.1, 0.1]],
            judged,
            ..BadParts::default()
        };

        let known = KnownBad::of(&parts);
        // Each region must let it pass.
        assert_eq!(known.passing(&[Some(0.2), Some(0.9)]), None);
        assert_eq!(known.passing(&[Some(0.9), None]), None);
        let words = known.passing(&[Some(0.3), Some(0.3)]);
        let words = words.expect("one passes");
        assert!(
            words.starts_with("1 of 2 known bad parts pass (01234567 scores 0.2000)"),
            "{words}"
        );

        // The second one fails by what was learned of it, which is told.
        let words = known.caught_by_looks(&[Some(0.3), Some(0.3)]);
        let words = words.expect("one is caught");
        assert!(
            words.starts_with("1 of 2 known bad parts fail by their own looks alone (without, feedbeef scores 0.1000)"),
            "{words}"
        );
        assert_eq!(known.caught_by_looks(&[Some(0.1), Some(0.1)]), None);
    }
}
