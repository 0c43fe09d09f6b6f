//! Measures of how well a model tells good from bad on a labelled data set. Pure but for
//! [`dataset`], which reads files.
//!
//! [`dataset`] says what is true, [`regions`] where in a picture, [`ranking`] how far the scores
//! agree with it.

pub mod dataset;
pub mod ranking;
pub mod regions;

use rand::{SeedableRng, rngs::StdRng};

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
    fn one_value_has_no_deviation() {
        assert_eq!(mean_and_std(&[1.0, 2.0, 3.0]), Some((2.0, Some(1.0))));
        assert_eq!(mean_and_std(&[0.5]), Some((0.5, None)));
        assert_eq!(mean_and_std(&[]), None);
    }
}
