//! Measures of how well a model tells good from bad on a labelled data set. Pure but for
//! [`dataset`], which reads files.
//!
//! [`dataset`] says what is true, [`regions`] where in a picture, [`ranking`] how far the scores
//! agree with it.

pub mod dataset;
pub mod duplicates;
pub mod ranking;
pub mod regions;

use rand::{SeedableRng, rngs::StdRng};
use std::collections::BTreeSet;

/// `count` of `all` references, as indices from 0, all different, in no order: the draw of the seed
/// (`rand` 0.9's `StdRng` seeded by `seed_from_u64`, `seq::index::sample`). The same on every
/// machine for one version of `rand`.
///
/// # Panics
/// When `count` is more than `all`: the caller's limit.
pub fn draw(all: usize, count: usize, seed: u64) -> Vec<usize> {
    // The generator and its seeding are fixed by the crate's version: the same seed draws the same
    // pictures on every machine.
    let mut random = StdRng::seed_from_u64(seed);

    rand::seq::index::sample(&mut random, all, count).into_vec()
}

/// At most `draws` draws of `count` of `all` references, no two of which are the same set: those of the
/// seeds 0, 1, 2 and so on, without the ones that were drawn before. Fewer where there are fewer sets.
///
/// # Panics
/// When `count` is more than `all`: the caller's limit.
pub fn distinct_draws(all: usize, count: usize, draws: usize) -> Vec<Vec<usize>> {
    let wanted = draws.min(sets(all, count, draws));
    let mut known = BTreeSet::new();
    let mut distinct = Vec::new();

    for seed in 0..u64::MAX {
        if distinct.len() == wanted {
            break;
        }

        let drawn = draw(all, count, seed);
        let mut set = drawn.clone();
        set.sort_unstable();

        if known.insert(set) {
            distinct.push(drawn);
        }
    }

    distinct
}

/// Number of different sets of `count` of `all`, or `most` where there are at least as many.
fn sets(all: usize, count: usize, most: usize) -> usize {
    // all (all - 1) ... / (1 2 ...): each product is divisible, as it counts sets itself.
    let mut sets: u128 = 1;

    for step in 0..count.min(all - count) {
        sets = sets * (all - step) as u128 / (step as u128 + 1);

        if sets >= most as u128 {
            return most;
        }
    }

    sets as usize
}

/// Mean and sample standard deviation (n - 1). `None` without values; no deviation of one value.
pub fn mean_and_std(values: &[f64]) -> Option<(f64, Option<f64>)> {
    if values.is_empty() {
        return None;
    }

    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();

    // Of one value it is 0 / 0, NaN, and is left out below.
    let std = (squares / (n - 1.0)).sqrt();

    Some((mean, (values.len() > 1).then_some(std)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_different_references_each_time() {
        let drawn = draw(16, 8, 3);
        assert_eq!(drawn, draw(16, 8, 3));
        assert_ne!(drawn, draw(16, 8, 4));
        let different: std::collections::BTreeSet<_> = drawn.iter().collect();
        assert!(
            different.len() == 8 && drawn.iter().all(|index| *index < 16),
            "{drawn:?}"
        );

        assert!(draw(3, 0, 0).is_empty());
    }

    #[test]
    fn no_two_draws_are_the_same_set_and_all_sets_are_drawn_at_most() {
        for (all, count, draws, expected) in [
            (3, 1, 5, 3),
            (4, 2, 10, 6),
            (4, 4, 5, 1),
            (4, 0, 5, 1),
            (16, 8, 5, 5),
        ] {
            let drawn = distinct_draws(all, count, draws);
            let sets: BTreeSet<BTreeSet<usize>> = drawn
                .iter()
                .map(|draw| draw.iter().copied().collect())
                .collect();

            assert_eq!(
                (drawn.len(), sets.len()),
                (expected, expected),
                "{count} of {all}"
            );
        }

        // Without a repetition the draws are those of the seeds.
        let seeds: Vec<_> = (0..5).map(|seed| draw(16, 8, seed)).collect();
        assert_eq!(distinct_draws(16, 8, 5), seeds);
    }

    #[test]
    fn one_value_has_no_deviation() {
        assert_eq!(mean_and_std(&[1.0, 2.0, 3.0]), Some((2.0, Some(1.0))));
        assert_eq!(mean_and_std(&[0.5]), Some((0.5, None)));
        assert_eq!(mean_and_std(&[]), None);
    }
}
