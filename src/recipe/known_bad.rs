//! Known bad parts: pictures of parts that must fail, which a recipe of the library keeps.
//!
//! A threshold that is found by good parts is lowered to the scores of the known bad ones, so that a part
//! that was missed once is caught from then on, and the words say what that costs. A bad part whose score is among
//! those of ordinary good parts cannot be caught by a threshold: it is told, and so is each one that a
//! number lets pass.

use super::judged::JudgedPictures;

/// Share of the good parts that a known bad part may cost at most: beyond, its score says nothing.
const COST_MAX: f64 = 0.25;
/// Digits of a picture's hash in words: as many as `forget` needs.
const DIGITS: usize = 8;
/// Known bad parts that are named in words.
const NAMED: usize = 3;

/// Scores of the known bad parts, for the line's health.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KnownBad {
    /// Beginning of the hash of each picture's file.
    names: Vec<String>,
    /// Scores in the order of `names`, for each region in the recipe's order.
    scores: Vec<Vec<f32>>,
}

impl KnownBad {
    /// The known bad parts of a recipe, judged.
    pub fn of(judged: &JudgedPictures) -> Self {
        // A picture of the library is called by its hash.
        let name = |file: &std::path::PathBuf| {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            stem.chars().take(DIGITS).collect()
        };

        KnownBad {
            names: judged.files.iter().map(name).collect(),
            scores: judged.scores.clone(),
        }
    }

    /// Returns, in words, the known bad parts that pass under these thresholds; `None` where all fail.
    /// A part fails where one of its regions does.
    pub fn passing(&self, thresholds: &[Option<f32>]) -> Option<String> {
        let mut passing = vec![];
        for (part, name) in self.names.iter().enumerate() {
            let scores = self.scores.iter().map(|scores| scores[part]);
            let mut pairs = scores.zip(thresholds);
            // Without a threshold nothing passes.
            let passes = pairs.all(|(score, threshold)| threshold.is_some_and(|t| score < t));
            if passes {
                let highest = self.scores.iter().map(|scores| scores[part]);
                let highest = highest.fold(0.0, f32::max);
                passing.push(format!("{name} scores {highest:.4}"));
            }
        }

        if passing.is_empty() {
            return None;
        }

        let count = passing.len();
        let all = self.names.len();
        passing.truncate(NAMED);
        Some(format!(
            "{count} of {all} known bad parts pass ({}); set a lower threshold, or forget them",
            passing.join(", ")
        ))
    }
}

/// Returns the value to which a threshold that was found by good parts is lowered so that the known bad parts
/// fail, and what that costs, in words; `None` where it stays. `bad` and `good` are the scores of both.
pub fn lowered(found: f32, bad: &[f32], good: &[f32]) -> Option<(f32, String)> {
    let missed = bad.iter().copied().filter(|score| *score < found);
    let failing = |value: f32| good.iter().filter(|score| **score >= value).count();
    let is_worth = |value: &f32| failing(*value) as f64 <= COST_MAX * good.len() as f64;
    let value = missed.filter(is_worth).min_by(f32::total_cmp)?;
    let (count, all) = (failing(value), good.len());
    let words = format!(
        "lowered from {found:.4}, so that a known bad part fails: {count} of the {all} good parts would fail too"
    );

    Some((value, words))
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

        let known = KnownBad::of(&judged);
        // Each region must let it pass.
        assert_eq!(known.passing(&[Some(0.2), Some(0.9)]), None);
        assert_eq!(known.passing(&[Some(0.9), None]), None);
        let words = known.passing(&[Some(0.3), Some(0.3)]);
        let words = words.expect("one passes");
        assert!(
            words.starts_with("1 of 2 known bad parts pass (01234567 scores 0.2000)"),
            "{words}"
        );
    }
}
