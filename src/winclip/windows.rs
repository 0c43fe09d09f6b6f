//! Window geometry: which windows cover a patch, and what their values make of it.
//!
//! Windows of `scale x scale` patches, stride 1, no padding, in row-major order of their top-left patch.

use super::preset::Mean;
use super::vectors::{arithmetic, harmonic};

/// The windows of `scale` over patch (`row`, `column`) of a `grid x grid` picture.
pub fn over(
    grid: usize,
    scale: usize,
    row: usize,
    column: usize,
) -> impl Iterator<Item = usize> + Clone {
    let places = grid - scale + 1;
    let reach = move |at: usize| at.saturating_sub(scale - 1)..=at.min(places - 1);
    reach(row).flat_map(move |top| reach(column).map(move |left| top * places + left))
}

/// One value a patch from one value a window: the mean over the windows that cover it. `values` is `[W]`.
pub fn scattered(values: &[f32], grid: usize, scale: usize, mean: Mean) -> Vec<f32> {
    let cells = (0..grid * grid)
        .map(|cell| over(grid, scale, cell / grid, cell % grid).map(|window| values[window]));
    match mean {
        Mean::Harmonic => cells.map(harmonic).collect(),
        Mean::Arithmetic => cells.map(arithmetic).collect(),
    }
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
