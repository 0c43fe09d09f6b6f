//! Window geometry: which windows cover a patch, and the mean of their values.
//!
//! Windows of `scale x scale` patches, stride 1, no padding, in row-major order of their top-left
//! patch.

use super::vectors::{arithmetic, harmonic};
use crate::engine::device_scorer::Mean;
use std::ops::RangeInclusive;

/// The windows of `scale` over patch (`row`, `column`) of a `grid x grid` picture.
pub fn over(
    grid: usize,
    scale: usize,
    row: usize,
    column: usize,
) -> impl Iterator<Item = usize> + Clone {
    let columns = grid - scale + 1;
    let lefts = reach(grid, scale, column);
    reach(grid, scale, row).flat_map(move |top| lefts.clone().map(move |left| top * columns + left))
}

/// First patches of the windows over a patch, along one direction.
fn reach(grid: usize, scale: usize, patch: usize) -> RangeInclusive<usize> {
    let first = patch.saturating_sub(scale - 1);
    let last = patch.min(grid - scale);
    first..=last
}

/// One value a patch from one value a window: the mean over the windows that cover it. `values` is
/// `[W]`.
pub fn scattered(values: &[f32], grid: usize, scale: usize, mean: Mean) -> Vec<f32> {
    let mut cells = Vec::with_capacity(grid * grid);
    for cell in 0..grid * grid {
        let windows = over(grid, scale, cell / grid, cell % grid);
        let covering = windows.map(|window| values[window]);
        cells.push(match mean {
            Mean::Harmonic => harmonic(covering),
            Mean::Arithmetic => arithmetic(covering),
        });
    }

    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The naive model: every window is asked whether it holds the patch.
        #[test]
        fn a_patch_is_covered_by_the_windows_that_hold_it((grid, scale) in (1usize..9).prop_flat_map(|g| (Just(g), 1..=g))) {
            let places = grid - scale + 1;
            for row in 0..grid {
                for column in 0..grid {
                    let holds = |w: &usize| {
                        let (top, left) = (w / places, w % places);
                        (top..top + scale).contains(&row) && (left..left + scale).contains(&column)
                    };
                    let naive: Vec<usize> = (0..places * places).filter(holds).collect();
                    prop_assert_eq!(over(grid, scale, row, column).collect::<Vec<_>>(), naive);
                }
            }
        }
    }
}
