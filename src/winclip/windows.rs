//! Window geometry: which windows cover a patch, and the mean of their values.
//!
//! Windows of `scale x scale` patches, stride 1, no padding, in row-major order of their top-left
//! patch.

use super::vectors::{arithmetic, harmonic};
use crate::data::grid::Grid;
use crate::engine::device_scorer::Mean;
use std::ops::RangeInclusive;

/// The windows of `scale` over patch (`row`, `column`) of a picture of `grid` patches.
pub fn over(
    grid: Grid,
    scale: usize,
    row: usize,
    column: usize,
) -> impl Iterator<Item = usize> + Clone {
    let columns = grid.windows(scale).w;
    let lefts = reach(grid.w, scale, column);
    reach(grid.h, scale, row)
        .flat_map(move |top| lefts.clone().map(move |left| top * columns + left))
}

/// First patches of the windows over a patch, along one direction of `length` patches.
fn reach(length: usize, scale: usize, patch: usize) -> RangeInclusive<usize> {
    let first = patch.saturating_sub(scale - 1);
    let last = patch.min(length - scale);
    first..=last
}

/// One value a patch from one value a window: the mean over the windows that cover it. `values` is
/// `[W]`.
pub fn scattered(values: &[f32], grid: Grid, scale: usize, mean: Mean) -> Vec<f32> {
    let mut cells = Vec::with_capacity(grid.cells());
    for cell in 0..grid.cells() {
        let windows = over(grid, scale, grid.row(cell), grid.column(cell));
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
        fn a_patch_is_covered_by_the_windows_that_hold_it((w, h, scale) in (1usize..9, 1usize..9).prop_flat_map(|(w, h)| (Just(w), Just(h), 1..=w.min(h)))) {
            let grid = Grid { w, h };
            let places = grid.windows(scale);
            for row in 0..h {
                for column in 0..w {
                    let holds = |at: &usize| {
                        let (top, left) = (places.row(*at), places.column(*at));
                        (top..top + scale).contains(&row) && (left..left + scale).contains(&column)
                    };
                    let naive: Vec<usize> = (0..places.cells()).filter(holds).collect();
                    prop_assert_eq!(over(grid, scale, row, column).collect::<Vec<_>>(), naive);
                }
            }
        }
    }
}
