//! Layer 4: how well a model tells good from bad on a labelled data set. Pure but for [`dataset`], which reads files.
//!
//! [`dataset`] says what is true, [`regions`] where in a picture, [`ranking`] how far the scores agree with it.

pub mod dataset;
pub mod ranking;
pub mod regions;

use rand::{SeedableRng, rngs::StdRng};

/// `shots` of `count` references, as indices from 0, all different, in no order: what the seed draws (`rand` 0.9's
/// `StdRng` seeded by `seed_from_u64`, `seq::index::sample`). The same on every machine for one version of `rand`.
///
/// # Panics
/// When `shots` is more than `count`: the caller's limit.
pub fn draw(count: usize, shots: usize, seed: u64) -> Vec<usize> {
    rand::seq::index::sample(&mut StdRng::seed_from_u64(seed), count, shots).into_vec()
}

/// Mean and sample standard deviation (n - 1); no deviation of one value, nothing of none.
pub fn mean_and_std(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (!values.is_empty()).then(|| {
        (
            mean,
            (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
        )
    })
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
