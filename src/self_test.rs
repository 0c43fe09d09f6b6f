//! Layer 4: does the line still see? Two stored pictures, a good part and a bad one, are judged through the whole path
//! when nothing else is to do: another score than at teaching means that something broke between pixels and verdict.

use crate::frame::Picture;
use crate::winclip::Inspector;
use crate::winclip::inspector::InspectError;
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
    /// At teaching.
    score: f32,
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
            inspector.judge(&picture).map(|judgement| Shown { name, score: judgement.score, picture })
        };
        let (good, bad) = (shown("good", good)?, shown("bad", bad)?);
        Ok(SelfTest { good, bad, every, last: Instant::now() })
    }

    /// What is wrong with the pictures under this threshold.
    pub fn flaw(&self, threshold: f32) -> Option<String> {
        let (good, bad) = (self.good.score, self.bad.score);
        match () {
            () if good > threshold => {
                Some(format!("its good picture scores {good:.4}, above the threshold {threshold:.4}"))
            }
            () if bad <= threshold => {
                Some(format!("its bad picture scores {bad:.4}, at most the threshold {threshold:.4}"))
            }
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
        for shown in [&self.good, &self.bad] {
            let Shown { name, picture, score } = shown;
            match inspector.judge(picture) {
                Ok(judgement) if (judgement.score - score).abs() <= TOLERANCE => {}
                Ok(judgement) => {
                    return Err(format!(
                        "the {name} picture scores {:.4}, at teaching {score:.4}; something between pixels and verdict broke",
                        judgement.score
                    ));
                }
                Err(error) => return Err(format!("the {name} picture cannot be judged: {error}")),
            }
        }
        Ok(())
    }
}
