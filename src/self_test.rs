//! Layer 4: does the line still see? Two stored pictures, a good part and a bad one, are judged through the whole path
//! when nothing else is to do: another score than at teaching means that something broke between pixels and verdict.

use crate::frame::Picture;
use crate::report::Judge;
use crate::winclip::Inspector;
use crate::winclip::inspector::InspectError;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Scores of the same picture on the same machine differ by less: threads add in another order.
const TOLERANCE: f32 = 1e-3;

pub struct SelfTest {
    good: Shown,
    bad: Shown,
    every: Duration,
    last: Instant,
}

struct Shown {
    name: &'static str,
    picture: Picture,
    /// At teaching, one for each region.
    scores: Vec<f32>,
}

impl SelfTest {
    /// The scores of today are the ones to come.
    ///
    /// # Errors
    /// When one of them cannot be judged.
    pub fn learn(
        (good, bad): (Picture, Picture),
        every: Duration,
        inspector: &mut Inspector,
    ) -> Result<Self, InspectError> {
        let mut shown = |name, picture: Picture| {
            let scores = scores(inspector, &picture)?;
            Ok::<_, InspectError>(Shown { name, picture, scores })
        };
        let (good, bad) = (shown("good", good)?, shown("bad", bad)?);
        Ok(SelfTest { good, bad, every, last: Instant::now() })
    }

    /// What is wrong with the pictures under these thresholds: the good one must pass in every region, the bad one fail
    /// in one of them.
    pub fn flaw(&self, judges: &[(Option<Arc<str>>, Judge)]) -> Option<String> {
        let thresholds: Vec<Option<f32>> = judges.iter().map(|(_, judge)| judge.threshold).collect();
        let fails = |shown: &Shown| {
            let mut judged = shown.scores.iter().zip(&thresholds);
            judged.any(|(score, threshold)| threshold.is_some_and(|threshold| *score >= threshold))
        };
        let told = |shown: &Shown| {
            let thresholds: Vec<f32> = thresholds.iter().copied().flatten().collect();
            format!("its {} picture scores {:.4?}, the threshold is {thresholds:.4?}", shown.name, shown.scores)
        };
        match () {
            () if fails(&self.good) => Some(format!("{}: it would fail", told(&self.good))),
            () if !fails(&self.bad) => Some(format!("{}: it would pass", told(&self.bad))),
            () => None,
        }
    }

    /// True when it is time.
    pub fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= self.every
    }

    /// Judges both again.
    ///
    /// # Errors
    /// What came out instead, in words for a person.
    pub fn prove(&mut self, inspector: &mut Inspector) -> Result<(), String> {
        self.last = Instant::now();
        for Shown { name, picture, scores: taught } in [&self.good, &self.bad] {
            let now =
                scores(inspector, picture).map_err(|error| format!("the {name} picture cannot be judged: {error}"))?;
            if now.len() != taught.len() || now.iter().zip(taught).any(|(now, taught)| (now - taught).abs() > TOLERANCE)
            {
                return Err(format!(
                    "the {name} picture scores {now:.4?}, at teaching {taught:.4?}; something between pixels and verdict broke"
                ));
            }
        }
        Ok(())
    }
}

fn scores(inspector: &mut Inspector, picture: &Picture) -> Result<Vec<f32>, InspectError> {
    Ok(inspector.judge(picture)?.into_iter().map(|judgement| judgement.score).collect())
}
