//! The self-test: does the line still see? Two stored pictures, a good part and a bad one, are judged
//! through the whole path when nothing else is to do.
//!
//! Another score than the one that was learned means that something broke between pixels and verdict.
//! The store keeps the learned scores, so that a break between two runs is found at the next start.

use crate::data::picture::Picture;
use crate::data::report::DecisionPolicy;
use crate::winclip::Inspector;
use crate::winclip::inspector::InspectError;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Difference between two scores of one picture on one machine: threads add in another order.
const TOLERANCE: f32 = 1e-3;

/// The pictures of a self-test.
pub struct TestPictures {
    /// A part that must pass.
    pub good: Picture,
    /// A part that must fail.
    pub bad: Picture,
}

/// Scores of the self-test's pictures, one number for each region.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// Scores of the good picture.
    pub good: Vec<f32>,
    /// Scores of the bad picture.
    pub bad: Vec<f32>,
}

/// Two pictures with the scores that they must have.
pub struct SelfTest {
    good: TestPicture,
    bad: TestPicture,
    /// All that may change the scores: recipe, references, pictures, model, engine, version.
    conditions: String,
    every: Duration,
    last: Instant,
    /// The first difference from the scores of an earlier run, in words; `None` without one.
    difference: Option<String>,
}

struct TestPicture {
    name: &'static str,
    picture: Picture,
    /// Scores that were learned, one for each region.
    scores: Vec<f32>,
}

/// Learned scores as the store keeps them. The keys are part of the store's format.
#[derive(serde::Serialize, serde::Deserialize)]
struct LearnedScores {
    #[serde(rename = "by")]
    conditions: String,
    good: Vec<f32>,
    bad: Vec<f32>,
}

impl SelfTest {
    /// Judges the pictures; their scores are the ones to come, unless [`SelfTest::recall`] knows
    /// others. `conditions` names all that may change the scores: under new ones they are learned
    /// anew.
    ///
    /// # Errors
    /// When a picture cannot be judged.
    pub fn learn(
        pictures: TestPictures,
        conditions: String,
        every: Duration,
        inspector: &mut Inspector,
    ) -> Result<Self, InspectError> {
        // The good picture is judged first; both must be judged before the recipe becomes active.
        Ok(SelfTest {
            good: TestPicture::learn("good", pictures.good, inspector)?,
            bad: TestPicture::learn("bad", pictures.bad, inspector)?,
            conditions,
            every,
            // The pictures were judged just now, hence the next test is due after a whole interval.
            last: Instant::now(),
            difference: None,
        })
    }

    /// Compares with `kept`, the scores of an earlier run: the same must come out today. Returns the
    /// text to keep where `kept` holds nothing that was learned under today's conditions.
    pub fn recall(&mut self, kept: Option<&str>) -> Option<String> {
        // Text that cannot be read is of an older version and counts as nothing learned.
        let learned: Option<LearnedScores> = kept.and_then(|text| serde_json::from_str(text).ok());
        // Scores under other conditions are no measure of today's: another model or another engine
        // scores otherwise.
        let Some(learned) = learned.filter(|learned| learned.conditions == self.conditions) else {
            return Some(self.to_text());
        };

        // The earlier scores become the ones that must come out. The difference from today's is
        // kept, the good picture's first.
        let good = self.good.recall(learned.good);
        let bad = self.bad.recall(learned.bad);
        self.difference = good.or(bad);
        None
    }

    fn to_text(&self) -> String {
        // Conditions go in with the scores, as they say what the scores are good for.
        let learned = LearnedScores {
            conditions: self.conditions.clone(),
            good: self.good.scores.clone(),
            bad: self.bad.scores.clone(),
        };

        serde_json::to_string(&learned).expect("plain values")
    }

    /// Returns the difference from an earlier run that was found at the start, for a person.
    pub fn difference(&self) -> Option<&str> {
        self.difference.as_deref()
    }

    /// Returns the learned scores.
    pub fn proof(&self) -> Proof {
        Proof {
            good: self.good.scores.clone(),
            bad: self.bad.scores.clone(),
        }
    }

    /// Returns true when the time for another test has come.
    pub fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= self.every
    }

    /// Judges both pictures again.
    ///
    /// # Errors
    /// The first score that differs, or a picture that cannot be judged, in words for a person.
    pub fn repeat(&mut self, inspector: &mut Inspector) -> Result<(), String> {
        // The interval counts from the begin of the test, whatever it takes.
        self.last = Instant::now();
        for test in [&self.good, &self.bad] {
            // A picture that could be judged at the start and cannot now is as bad as a changed
            // score.
            let now = scores(inspector, &test.picture)
                .map_err(|error| format!("the {} picture cannot be judged: {error}", test.name))?;

            if let Some(difference) = test.difference(&now) {
                return Err(difference);
            }
        }

        Ok(())
    }
}

impl TestPicture {
    fn learn(
        name: &'static str,
        picture: Picture,
        inspector: &mut Inspector,
    ) -> Result<Self, InspectError> {
        let scores = scores(inspector, &picture)?;
        Ok(TestPicture {
            name,
            picture,
            scores,
        })
    }

    /// Takes the scores of an earlier run over. Returns how today's differ.
    fn recall(&mut self, learned: Vec<f32>) -> Option<String> {
        // Both runs' scores are compared by the same rule as those of a repeated test.
        let now = std::mem::replace(&mut self.scores, learned);
        self.difference(&now)
    }

    fn difference(&self, now: &[f32]) -> Option<String> {
        let learned = &self.scores;
        // As many scores as regions. Another number means that the recipe has changed, which the
        // conditions exclude.
        let mut pairs = now.iter().zip(learned);
        if now.len() == learned.len() && pairs.all(|(a, b)| (a - b).abs() <= TOLERANCE) {
            return None;
        }

        Some(format!(
            "the {} picture scores {now:.4?}, at teaching {learned:.4?}; something between pixels and verdict broke",
            self.name
        ))
    }
}

fn scores(inspector: &mut Inspector, picture: &Picture) -> Result<Vec<f32>, InspectError> {
    // There is one score a region, in the recipe's order.
    let regions = inspector.inspect(picture)?;
    Ok(regions.into_iter().map(|region| region.score).collect())
}

impl Proof {
    /// Returns how the pictures contradict these thresholds: the good one must pass in every region,
    /// the bad one fail in one of them.
    pub fn flaw(&self, policies: &[(Option<Arc<str>>, DecisionPolicy)]) -> Option<String> {
        // Regions of the proof and of the policies are in the recipe's order.
        let thresholds: Vec<Option<f32>> = policies
            .iter()
            .map(|(_, policy)| policy.threshold)
            .collect();

        // The good picture is looked at first: a line that rejects good parts is noticed sooner
        // than one that passes bad ones.
        let (name, scores, would) = if fails(&self.good, &thresholds) {
            ("good", &self.good, "fail")
        } else if !fails(&self.bad, &thresholds) {
            ("bad", &self.bad, "pass")
        } else {
            return None;
        };

        // Regions without a threshold are left out of the words.
        let thresholds: Vec<f32> = thresholds.into_iter().flatten().collect();
        Some(format!(
            "the {name} picture scores {scores:.4?}, the threshold is {thresholds:.4?}: it would {would}"
        ))
    }
}

/// Returns true when a score reaches its region's threshold.
fn fails(scores: &[f32], thresholds: &[Option<f32>]) -> bool {
    let mut pairs = scores.iter().zip(thresholds);
    pairs.any(|(score, threshold)| threshold.is_some_and(|threshold| *score >= threshold))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(by: &str, good: f32, bad: f32) -> SelfTest {
        let picture = || Picture::new(1, 1, vec![0; 3]).expect("a pixel");
        let shown = |name, score| TestPicture {
            name,
            picture: picture(),
            scores: vec![score],
        };

        SelfTest {
            good: shown("good", good),
            bad: shown("bad", bad),
            conditions: by.to_owned(),
            every: Duration::ZERO,
            last: Instant::now(),
            difference: None,
        }
    }

    #[test]
    fn a_score_unlike_that_of_an_earlier_run_is_told_unless_something_else_judges() {
        let kept = test("a", 0.1, 0.9).recall(None).expect("nothing is known");
        let mut same = test("a", 0.1001, 0.9);
        assert_eq!((same.recall(Some(&kept)), same.difference()), (None, None));
        assert_eq!(same.proof().good, [0.1], "as it was taught");
        let mut other = test("a", 0.1, 0.2);
        assert_eq!(other.recall(Some(&kept)), None);
        assert!(other.difference().is_some_and(|why| {
            why.contains("the bad picture scores [0.2000], at teaching [0.9000]")
        }));

        let mut new = test("b", 0.1, 0.2);
        assert!(new.recall(Some(&kept)).is_some() && new.difference().is_none());
        assert!(test("a", f32::NAN, 0.9).good.difference(&[0.1]).is_some());
    }
}
