//! Layer 4: does the line still see? Two stored pictures, a good part and a bad one, are judged through the whole path
//! when nothing else is to do: another score than at teaching means that something broke between pixels and verdict. The
//! store keeps what was taught, so that it is found at the next start too.

use crate::data::picture::Picture;
use crate::line::control::Proof;
use crate::winclip::Inspector;
use crate::winclip::inspector::InspectError;
use std::time::{Duration, Instant};

/// Scores of the same picture on the same machine differ by less: threads add in another order.
const TOLERANCE: f32 = 1e-3;

pub struct SelfTest {
    good: Shown,
    bad: Shown,
    /// Everything that may change their scores.
    by: String,
    every: Duration,
    last: Instant,
    /// What they score now is not what an earlier run was taught.
    differs: Option<String>,
}

struct Shown {
    name: &'static str,
    picture: Picture,
    /// At teaching, one for each region.
    scores: Vec<f32>,
}

/// As the store keeps it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Taught {
    by: String,
    good: Vec<f32>,
    bad: Vec<f32>,
}

impl SelfTest {
    /// The scores of today are the ones to come, unless [`SelfTest::recall`] knows others. `by` names everything that may
    /// change them: with another one they are taught anew.
    ///
    /// # Errors
    /// When one of them cannot be judged.
    pub fn learn(
        (good, bad): (Picture, Picture),
        by: String,
        every: Duration,
        inspector: &mut Inspector,
    ) -> Result<Self, InspectError> {
        let mut shown = |name, picture: Picture| {
            let scores = scores(inspector, &picture)?;
            Ok::<_, InspectError>(Shown {
                name,
                picture,
                scores,
            })
        };
        let (good, bad) = (shown("good", good)?, shown("bad", bad)?);
        Ok(SelfTest {
            good,
            bad,
            by,
            every,
            last: Instant::now(),
            differs: None,
        })
    }

    /// `kept` is what an earlier run was taught: the same must come out today. What is to be kept where it knows nothing of
    /// what judges now.
    pub fn recall(&mut self, kept: Option<&str>) -> Option<String> {
        let taught: Option<Taught> = kept.and_then(|text| serde_json::from_str(text).ok());
        let Some(Taught { good, bad, .. }) = taught.filter(|taught| taught.by == self.by) else {
            let Proof { good, bad } = self.proof();
            return Some(
                serde_json::to_string(&Taught {
                    by: self.by.clone(),
                    good,
                    bad,
                })
                .expect("plain values"),
            );
        };
        for (shown, taught) in [(&mut self.good, good), (&mut self.bad, bad)] {
            let now = std::mem::replace(&mut shown.scores, taught);
            self.differs = self.differs.take().or_else(|| shown.differs(&now));
        }
        None
    }

    /// What was found at the start, in words for a person.
    pub fn differs(&self) -> Option<&str> {
        self.differs.as_deref()
    }

    pub fn proof(&self) -> Proof {
        Proof {
            good: self.good.scores.clone(),
            bad: self.bad.scores.clone(),
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
            let now = scores(inspector, &shown.picture)
                .map_err(|error| format!("the {} picture cannot be judged: {error}", shown.name))?;
            shown.differs(&now).map_or(Ok(()), Err)?;
        }
        Ok(())
    }
}

impl Shown {
    fn differs(&self, now: &[f32]) -> Option<String> {
        let (name, taught) = (self.name, &self.scores);
        let is_near = |(now, taught): (&f32, &f32)| (now - taught).abs() <= TOLERANCE;
        let is_same = now.len() == taught.len() && now.iter().zip(taught).all(is_near);
        (!is_same).then(|| {
            format!(
                "the {name} picture scores {now:.4?}, at teaching {taught:.4?}; something between pixels and verdict broke"
            )
        })
    }
}

fn scores(inspector: &mut Inspector, picture: &Picture) -> Result<Vec<f32>, InspectError> {
    Ok(inspector
        .inspect(picture)?
        .into_iter()
        .map(|judgement| judgement.score)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(by: &str, good: f32, bad: f32) -> SelfTest {
        let picture = || Picture::new(1, 1, vec![0; 3]).expect("a pixel");
        let shown = |name, score| Shown {
            name,
            picture: picture(),
            scores: vec![score],
        };
        let (good, bad) = (shown("good", good), shown("bad", bad));
        SelfTest {
            good,
            bad,
            by: by.to_owned(),
            every: Duration::ZERO,
            last: Instant::now(),
            differs: None,
        }
    }

    #[test]
    fn a_score_unlike_that_of_an_earlier_run_is_told_unless_something_else_judges() {
        let kept = test("a", 0.1, 0.9).recall(None).expect("nothing is known");
        let mut same = test("a", 0.1001, 0.9);
        assert_eq!((same.recall(Some(&kept)), same.differs()), (None, None));
        assert_eq!(same.proof().good, [0.1], "as it was taught");
        let mut other = test("a", 0.1, 0.2);
        assert_eq!(other.recall(Some(&kept)), None);
        assert!(other.differs().is_some_and(|why| {
            why.contains("the bad picture scores [0.2000], at teaching [0.9000]")
        }));
        let mut new = test("b", 0.1, 0.2);
        assert!(new.recall(Some(&kept)).is_some() && new.differs().is_none());
        assert!(test("a", f32::NAN, 0.9).good.differs(&[0.1]).is_some());
    }
}
