//! Thinning of a gallery: fewer rows to compare with, as many of each reference.
//!
//! Rows are chosen greedily, each as far as can be from those that were chosen before: the k-centre that PatchCore
//! takes its coreset by (Roth et al., CVPR 2022, arXiv 2106.08265, algorithm 1; Sener and Savarese, ICLR
//! 2018, arXiv 1708.00489). Here the references take turns, each with its own row that is farthest from all that
//! were chosen, so that each keeps as many and can be left out. The rows of one round do not see each
//! other: a round is then one matrix product instead of a pass over the gallery for each row.

use ndarray::{ArrayView2, Axis};

/// The rows of `unit` `[R, D]`, unit vectors, that are kept: `quota` of each `rows_each`, in order. All where
/// the quota is no smaller. Of rows that are equally far the first is taken, so that the same gallery is
/// always thinned alike.
pub fn kept(unit: ArrayView2<f32>, rows_each: usize, quota: usize) -> Vec<usize> {
    if quota >= rows_each {
        return (0..unit.nrows()).collect();
    }

    // The first of each reference is the least like the mean, where PatchCore draws one.
    let mean = unit.sum_axis(Axis(0));
    let mut similarity = unit.dot(&mean).to_vec();

    let mut all = Vec::new();
    for round in 0..quota {
        // Each reference picks by what was chosen in the rounds before.
        let references = similarity.chunks(rows_each).enumerate();
        let picks: Vec<usize> = references
            .map(|(reference, own)| reference * rows_each + lowest(own))
            .collect();

        // Likeness to the mean has served: what counts from here on is likeness to chosen rows.
        if round == 0 {
            similarity.fill(f32::NEG_INFINITY);
        }

        approach(unit, &picks, rows_each, &mut similarity);

        // Never again, even where rows are equal.
        for pick in &picks {
            similarity[*pick] = f32::INFINITY;
        }

        all.extend(picks);
    }

    // In order, so that the rows of a reference stay together.
    all.sort_unstable();
    all
}

/// Raises each row's similarity to that to the nearest of `picks`.
fn approach(unit: ArrayView2<f32>, picks: &[usize], rows_each: usize, similarity: &mut [f32]) {
    // `[rows_each, D]` times `[D, picks]`, reference by reference: the product of all rows at once would
    // be as large as the gallery.
    let chosen = unit.select(Axis(0), picks);
    let columns = chosen.t();

    let blocks = unit.axis_chunks_iter(Axis(0), rows_each);
    let similarities = similarity.chunks_mut(rows_each);
    for (block, highest) in blocks.zip(similarities) {
        // Cosines: the rows are unit vectors.
        let products = block.dot(&columns);
        for (highest, row) in highest.iter_mut().zip(products.rows()) {
            let of_picks = row.iter().copied();
            *highest = of_picks.fold(*highest, f32::max);
        }
    }
}

/// The place of the lowest value, the first of equal ones.
fn lowest(values: &[f32]) -> usize {
    // `min_by` returns the first of equal ones.
    let places = values.iter().enumerate();
    let lowest = places.min_by(|(_, a), (_, b)| a.total_cmp(b));

    // A reference has rows, so that 0 is never taken for want of any.
    lowest.map_or(0, |(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::winclip::vectors::unit_rows;
    use ndarray::{Array2, array};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    fn drawn(rows: usize) -> Array2<f32> {
        let mut random = StdRng::seed_from_u64(16);
        let raw = Array2::from_shape_fn((rows, 8), |_| random.random_range(-1.0f32..1.0));
        unit_rows(raw.view())
    }

    #[test]
    fn each_reference_keeps_what_no_other_row_is_like() {
        let rows = array![
            [1.0, 0.0],
            [1.0, 0.01],
            [0.0, 1.0],
            [1.0, 0.02],
            [0.99, 0.01],
            [1.0, 0.01],
            [-1.0, 0.0],
            [1.0, 0.02],
        ];

        let unit = unit_rows(rows.view());
        let two = kept(unit.view(), 4, 2);
        assert!(two.contains(&2) && two.contains(&6), "{two:?}");
        assert_eq!(two.iter().filter(|row| **row < 4).count(), 2);
        let all: Vec<usize> = (0..8).collect();
        assert_eq!(kept(unit.view(), 4, 4), all);
        assert_eq!(kept(unit.view(), 4, 9), all);
    }

    #[test]
    fn equal_rows_are_kept_once_each_and_the_choice_is_always_the_same() {
        let equal = unit_rows(Array2::from_elem((6, 3), 2.0).view());
        assert_eq!(kept(equal.view(), 3, 2), [0, 1, 3, 4]);
        let rows = drawn(40);
        assert_eq!(kept(rows.view(), 20, 7), kept(rows.view(), 20, 7));
        assert_eq!(kept(rows.view(), 20, 7).len(), 14);
    }

    #[test]
    fn the_farthest_left_out_row_is_nearer_than_by_chance() {
        // The k-centre makes the largest distance to a kept row small.
        let rows = drawn(200);
        let reach = |kept: &[usize]| {
            let nearest = rows.rows().into_iter().map(|row| {
                let all = kept.iter().map(|other| row.dot(&rows.row(*other)));
                all.fold(f32::NEG_INFINITY, f32::max)
            });

            nearest.fold(f32::INFINITY, f32::min)
        };

        let chosen = kept(rows.view(), 50, 5);
        let every_tenth: Vec<usize> = (0..200).step_by(10).collect();
        assert!(reach(&chosen) > reach(&every_tenth));
    }
}
