//! When do a few pictures speak for other values than those of now? The arithmetic of a choice.
//!
//! A handful of bad pictures has an AUROC of a few steps, and 1.0 for most combinations at once. So each combination is
//! measured by its *separation*: the distance of the means of the logarithms of bad and good scores, in pooled
//! standard deviations, over the root of 2. For normal logarithms that is the quantile of the AUROC (the binormal
//! model: Metz 1986), which still differs where the counted AUROC is 1. It counts up to `SEPARATION_MAX` (an AUROC
//! of 99.5 %): a recipe that tells its pictures apart that well has nothing to win from so few of them.
//!
//! A combination beats the values of now where all of these hold:
//! - Its gain in separation is above the standard error of that gain (the jackknife's: each good and each bad picture
//!   left out once, of both combinations together) times Student's t for as many bad pictures, and at least `GAIN_MIN`.
//! - The counted AUROC is not lower.
//! - Drawn defects on the good pictures (`pasted.rs`) speak for it too: their separation gains at least
//!   `PASTED_GAIN_MIN`. Neither kind alone is enough: a few bad pictures alone lost 2 to 6 points on drawn tiles,
//!   and drawn defects know nothing of the product's own.
//!
//! Of those the one with the largest gain is taken. What that is worth on other pictures stands in docs/teach.md.

use crate::evaluate::ranking::Scores;
use crate::recipe::library::choice_note::Combination;

/// Bad pictures that a choice needs: of fewer the standard error is not known.
pub const BAD_MIN: usize = 3;
/// Good pictures that a choice needs.
pub const GOOD_MIN: usize = 8;
/// Separation above which combinations count as equal: the 99.5 % quantile of the normal distribution.
const SEPARATION_MAX: f64 = 2.576;
/// Gain in separation that is worth another revision: 3 points of AUROC at 85 %.
const GAIN_MIN: f64 = 0.1;
/// Lowest score whose logarithm is taken: identical pictures score 0.
const SCORE_MIN: f32 = 1e-6;
/// Gain in separation of drawn defects without which nothing is taken. On drawn tiles 0.1 lost a tenth
/// of a point of AUROC on average, and 0.15 nothing; on drawn zippers 0.2 wins a fifth less than 0.15.
const PASTED_GAIN_MIN: f64 = 0.15;
/// Student's t at 80 % of one side, for degrees of freedom from the first number on.
const STUDENT_80: [(usize, f64); 12] = [
    (2, 1.061),
    (3, 0.978),
    (4, 0.941),
    (5, 0.920),
    (6, 0.906),
    (7, 0.896),
    (8, 0.889),
    (9, 0.883),
    (12, 0.873),
    (16, 0.865),
    (24, 0.857),
    (40, 0.851),
];

/// Scores of known parts under one combination, in the order of the pictures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CombinationScores {
    /// Of good parts, each against the others.
    pub good: Vec<f32>,
    /// Of bad parts.
    pub bad: Vec<f32>,
    /// Of drawn defects on good parts, each against the other good parts.
    pub pasted: Vec<f32>,
}

/// How well a combination tells the known parts apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CombinationFigures {
    /// Share of the pairs of a bad and a good part in which the bad one scores higher; ties half.
    pub auroc: f64,
    /// Distance of bad and good ones, see the head of this file.
    pub separation: f64,
    /// Separation of drawn defects and good ones.
    pub pasted: f64,
    /// True if it beats the values of now by more than chance.
    pub wins: bool,
}

/// The outcome: which combination is taken, the first one (the values of now) where none beats it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Place of the combination that is taken.
    pub taken: usize,
    /// One for each combination.
    pub figures: Vec<CombinationFigures>,
}

/// Says how many pictures are missing for a choice; `None` where there are enough.
pub fn too_few(good: usize, bad: usize) -> Option<String> {
    let mut missing = vec![];
    for (kind, count, least) in [("good", good, GOOD_MIN), ("bad", bad, BAD_MIN)] {
        if count < least {
            let more = least - count;
            missing.push(format!("{more} more {kind} ones ({count} of {least})"));
        }
    }

    (!missing.is_empty()).then(|| missing.join(" and "))
}

/// Decides by the scores of each combination, of which there is at least one; the first is that of now, and those with as
/// many cells come next. With too few pictures, or without any difference, the first one stays.
pub fn decide(combinations: &[Combination], scores: &[CombinationScores]) -> Decision {
    let leaves: Vec<LeftOut> = scores.iter().map(LeftOut::new).collect();
    let mut figures: Vec<CombinationFigures> = vec![];

    for (scores, left_out) in scores.iter().zip(&leaves) {
        let good_logs = logs(&scores.good);
        let pasted_logs = logs(&scores.pasted);
        let mut figure = CombinationFigures {
            auroc: counted(scores),
            separation: left_out.all,
            pasted: separation(&good_logs, &pasted_logs),
            wins: false,
        };

        // The first one is compared with itself, and gains nothing.
        let now = figures.first().unwrap_or(&figure);
        let gain = figure.separation - now.separation;
        let pasted_gain = figure.pasted - now.pasted;
        let is_better =
            gain >= GAIN_MIN && figure.auroc >= now.auroc && pasted_gain >= PASTED_GAIN_MIN;

        // Without enough pictures there are no degrees of freedom to ask the table for.
        let good_count = scores.good.len();
        let bad_count = scores.bad.len();
        if is_better && too_few(good_count, bad_count).is_none() {
            let error = left_out.error_beside(&leaves[0]);
            let by_chance = student(bad_count - 1) * error;
            figure.wins = gain > by_chance;
        }

        figures.push(figure);
    }

    Decision {
        taken: best(combinations, &figures),
        figures,
    }
}

/// Place of the winner with the largest separation; 0 without winners. One with more cells must be better by
/// [`GAIN_MIN`] than all with as many as now, as each picture takes longer with it.
fn best(combinations: &[Combination], figures: &[CombinationFigures]) -> usize {
    let highest = |is_finer: bool| {
        let places = (0..figures.len()).filter(|place| {
            let is_same = combinations[*place].has_cells_of(&combinations[0]);
            figures[*place].wins && is_same != is_finer
        });

        // The first of equals is taken.
        let above = |a: &usize, b: &usize| {
            let [a, b] = [a, b].map(|place| figures[*place].separation);
            a.total_cmp(&b)
        };

        places.rev().max_by(above)
    };

    let same = highest(false).unwrap_or(0);
    let Some(finer) = highest(true) else {
        return same;
    };

    // A finer one has to pay for the time that it takes.
    let least = figures[same].separation + GAIN_MIN;
    match figures[finer].separation >= least {
        true => finer,
        false => same,
    }
}

/// The counted AUROC; one half where a kind is missing.
fn counted(scores: &CombinationScores) -> f64 {
    let mut ranking = Scores::default();
    for score in &scores.good {
        ranking.good(*score);
    }

    for score in &scores.bad {
        ranking.bad(*score);
    }

    // One half is what drawing lots would have.
    let auroc = ranking.ranked().auroc();
    auroc.unwrap_or(0.5)
}

/// Student's t for so many degrees of freedom; that of the next lower number in the table, which is larger.
fn student(degrees: usize) -> f64 {
    // The table begins at 2 degrees: with fewer nothing is known, and no gain is large enough.
    let mut rows = STUDENT_80.iter().rev();
    let row = rows.find(|(from, _)| degrees >= *from);
    row.map_or(f64::INFINITY, |(_, t)| *t)
}

/// A combination's separation, and that without each of the pictures.
struct LeftOut {
    all: f64,
    without_good: Vec<f64>,
    without_bad: Vec<f64>,
}

impl LeftOut {
    fn new(scores: &CombinationScores) -> Self {
        let good = logs(&scores.good);
        let bad = logs(&scores.bad);
        let without = |kind: &[f64], place: usize| {
            let mut rest = kind.to_vec();
            rest.remove(place);
            rest
        };

        let mut without_good = vec![];
        for place in 0..good.len() {
            let rest = without(&good, place);
            without_good.push(separation(&rest, &bad));
        }

        let mut without_bad = vec![];
        for place in 0..bad.len() {
            let rest = without(&bad, place);
            without_bad.push(separation(&good, &rest));
        }

        LeftOut {
            all: separation(&good, &bad),
            without_good,
            without_bad,
        }
    }

    /// The jackknife's standard error of the difference to another combination on the same pictures (Efron 1982, for two
    /// samples).
    fn error_beside(&self, other: &LeftOut) -> f64 {
        let of_kind = |own: &[f64], other: &[f64]| {
            let pairs = own.iter().zip(other);
            let gains: Vec<f64> = pairs.map(|(own, other)| own - other).collect();

            // The jackknife's variance is that of the gains over n, times n - 1: each of them leaves out
            // one picture alone.
            let (_, variance) = mean_and_variance(&gains);
            let factor = (gains.len() as f64 - 1.0).max(0.0);
            factor * variance
        };

        // The two kinds are drawn apart from each other, so that their variances add up.
        let good = of_kind(&self.without_good, &other.without_good);
        let bad = of_kind(&self.without_bad, &other.without_bad);
        (good + bad).sqrt()
    }
}

fn logs(scores: &[f32]) -> Vec<f64> {
    let logs = scores.iter().map(|score| {
        let positive = score.max(SCORE_MIN);
        f64::from(positive.ln())
    });

    logs.collect()
}

/// Separation of the logarithms of both kinds; 0 where one is missing.
fn separation(good: &[f64], bad: &[f64]) -> f64 {
    if good.is_empty() || bad.is_empty() {
        return 0.0;
    }

    let (good_mean, good_variance) = mean_and_variance(good);
    let (bad_mean, bad_variance) = mean_and_variance(bad);
    let distance = bad_mean - good_mean;

    // d_a of the binormal model is over the root of the mean variance; its quantile is d_a / root 2.
    // The least variance keeps equal scores from a division by zero.
    let variance = (good_variance + bad_variance).max(1e-12);
    let quantile = distance / variance.sqrt();
    quantile.clamp(-SEPARATION_MAX, SEPARATION_MAX)
}

/// Mean and variance (over n) of values; 0 and 0 without any.
fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let sum: f64 = values.iter().sum();
    let mean = sum / count;

    let squares = values.iter().map(|value| (value - mean).powi(2));
    let sum_of_squares: f64 = squares.sum();
    let variance = sum_of_squares / count;
    (mean, variance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combination(block: usize) -> Combination {
        Combination {
            block,
            cells: None,
            top_share: 0.01,
        }
    }

    fn decided(scores: &[CombinationScores]) -> Decision {
        let combinations: Vec<Combination> = (0..scores.len()).map(combination).collect();
        decide(&combinations, scores)
    }

    const GOOD: [f32; 8] = [0.10, 0.11, 0.12, 0.10, 0.13, 0.11, 0.12, 0.10];

    fn scores(good: &[f32], bad: &[f32]) -> CombinationScores {
        CombinationScores {
            good: good.to_vec(),
            bad: bad.to_vec(),
            pasted: bad.to_vec(),
        }
    }

    #[test]
    fn the_combination_that_lifts_every_bad_part_is_taken() {
        let now = scores(&GOOD, &[0.11, 0.12, 0.13, 0.12, 0.11]);
        let better = scores(&GOOD, &[0.14, 0.15, 0.16, 0.15, 0.14]);
        let a_little = scores(&GOOD, &[0.115, 0.125, 0.132, 0.124, 0.115]);
        let decision = decided(&[now, a_little, better]);
        assert_eq!(decision.taken, 2);
        let figures = decision.figures;
        assert!(figures[2].auroc == 1.0 && figures[2].wins && !figures[0].wins);
        assert!(figures[2].separation > figures[1].separation);
    }

    #[test]
    fn one_bad_part_that_alone_speaks_for_a_combination_is_chance() {
        let now = scores(&GOOD, &[0.12, 0.12, 0.13, 0.12, 0.12]);
        let one = scores(&GOOD, &[0.12, 0.12, 0.13, 0.12, 0.30]);
        assert_eq!(decided(&[now, one]).taken, 0);
    }

    #[test]
    fn equal_combinations_and_those_that_tell_all_apart_stay_with_the_first() {
        let now = scores(&GOOD, &[0.5, 0.6, 0.55, 0.7]);
        let further = scores(&GOOD, &[5.0, 6.0, 5.5, 7.0]);
        assert_eq!(decided(&[now.clone(), now.clone()]).taken, 0);
        assert_eq!(decided(&[now, further]).taken, 0);
        // All alike in every way: nothing is divided by zero.
        let flat = scores(&[0.0; 8], &[0.0; 3]);
        let decision = decided(&[flat.clone(), flat]);
        assert_eq!(decision.taken, 0);
        assert!(
            decision
                .figures
                .iter()
                .all(|figures| figures.separation == 0.0)
        );
        assert_eq!(decision.figures[1].auroc, 0.5);
    }

    #[test]
    fn a_combination_with_a_lower_counted_auroc_is_never_taken() {
        // One bad part falls below the good ones, and the others rise far.
        let now = scores(&GOOD, &[0.14, 0.14, 0.14, 0.14, 0.14, 0.14]);
        let mixed = scores(&GOOD, &[0.10, 0.9, 0.9, 0.9, 0.9, 0.9]);
        let decision = decided(&[now, mixed]);
        assert!(decision.figures[1].auroc < decision.figures[0].auroc);
        assert_eq!(decision.taken, 0);
    }

    #[test]
    fn more_cells_must_be_better_by_more() {
        let with_cells = |cells: usize| Combination {
            block: 9,
            cells: Some(cells),
            top_share: 0.01,
        };

        let now = scores(&GOOD, &[0.11, 0.12, 0.13, 0.12, 0.11]);
        let better = scores(&GOOD, &[0.12, 0.13, 0.14, 0.13, 0.12]);
        let a_little = scores(&GOOD, &[0.1205, 0.1305, 0.1405, 0.1305, 0.1205]);
        let much = scores(&GOOD, &[0.14, 0.15, 0.16, 0.15, 0.14]);
        let other = Combination {
            block: 7,
            ..with_cells(256)
        };

        for (finer, taken) in [(a_little, 1), (much, 2)] {
            let combinations = [with_cells(256), other, with_cells(576)];
            let decision = decide(&combinations, &[now.clone(), better.clone(), finer]);
            assert!(decision.figures[1].wins && decision.figures[2].wins);
            assert_eq!(decision.taken, taken);
        }
    }

    #[test]
    fn a_combination_that_does_not_see_drawn_defects_is_never_taken() {
        let now = scores(&GOOD, &[0.11, 0.12, 0.13, 0.12, 0.11]);
        let better = scores(&GOOD, &[0.14, 0.15, 0.16, 0.15, 0.14]);
        let blind = CombinationScores {
            pasted: vec![0.11; 4],
            ..better.clone()
        };

        assert_eq!(decided(&[now.clone(), blind]).taken, 0);
        assert_eq!(decided(&[now, better]).taken, 1);
    }

    #[test]
    fn too_few_pictures_are_named_and_choose_nothing() {
        assert_eq!(too_few(8, 3), None);
        assert_eq!(
            too_few(5, 1).as_deref(),
            Some("3 more good ones (5 of 8) and 2 more bad ones (1 of 3)")
        );

        let now = scores(&GOOD, &[0.11, 0.12]);
        let better = scores(&GOOD, &[0.9, 0.9]);
        assert_eq!(decided(&[now, better]).taken, 0);
        assert_eq!(decided(&[CombinationScores::default()]).taken, 0);
    }

    #[test]
    fn students_t_falls_with_the_number_of_bad_parts_and_is_never_below_the_normals() {
        assert_eq!(student(1), f64::INFINITY);
        assert_eq!([2, 9, 11].map(student), [1.061, 0.883, 0.883]);
        assert!(student(1000) > 0.8416);
    }

    #[test]
    fn a_separation_is_the_quantile_of_the_binormal_auroc() {
        // Two kinds of variance 1 whose means are 2 apart: AUROC = Phi(2 / root 2) = 0.9214.
        let good = [-1.0, 1.0];
        let bad = [1.0, 3.0];
        assert!((separation(&good, &bad) - 2.0 / 2.0_f64.sqrt()).abs() < 1e-12);
    }
}
