//! Position embeddings for another grid than the one that was trained, as torch's
//! `interpolate(size=..., mode="bicubic", align_corners=False)` computes them.
//!
//! Without antialiasing (transformers' `Dinov2Model`) the kernel has a = -0.75 and four source cells.
//! With it (`antialias=True`: transformers' `Dinov2WithRegistersModel`, timm) a is -0.5, the kernel is
//! as wide as an output cell where the grid becomes smaller, and what lies beyond the border is left out
//! (`aten/src/ATen/native/cpu/UpSampleKernel.cpp`, `HelperInterpCubic`).

use crate::data::grid::Grid;

/// One source cell of an output cell, along one direction, with its weight.
type SourceCell = (usize, f32);

/// Embeddings of the cells of `from`, `[cells, width]`, resampled to those of `to`.
pub fn resampled(values: &[f32], from: Grid, to: Grid, width: usize, antialias: bool) -> Vec<f32> {
    // The weights of a row are the same for all of its cells, and those of a column too.
    let taps = if antialias { smooth_taps } else { sharp_taps };
    let of_rows = (0..to.h).map(|i| taps(i, from.h, to.h));
    let row_taps: Vec<Vec<SourceCell>> = of_rows.collect();
    let of_columns = (0..to.w).map(|i| taps(i, from.w, to.w));
    let column_taps: Vec<Vec<SourceCell>> = of_columns.collect();

    let mut out = vec![0.0; to.cells() * width];

    // Embeddings of the cells are summed value by value: a cell holds `width` of them.
    let cells = out.chunks_exact_mut(width.max(1));

    for (cell, sums) in cells.enumerate() {
        // The output cell at row-major index `cell` reads a few rows and columns of the source.
        let vertical = &row_taps[to.row(cell)];
        let horizontal = &column_taps[to.column(cell)];

        for (row, a) in vertical {
            for (column, b) in horizontal {
                let source_cell = row * from.w + column;
                let first = source_cell * width;
                let source = &values[first..first + width];
                add_weighted(sums, source, *a, *b);
            }
        }
    }

    out
}

/// Adds `a * b * source`, value by value.
fn add_weighted(sums: &mut [f32], source: &[f32], a: f32, b: f32) {
    // The weight of a cell is the product of those of both directions: the kernel is separable.
    for (sum, value) in sums.iter_mut().zip(source) {
        *sum += a * b * value;
    }
}

/// The four source cells of output cell `i`, clamped at the border, with their weights.
fn sharp_taps(i: usize, from: usize, to: usize) -> Vec<SourceCell> {
    // Cells are centred: the output's centres are mapped onto the source's scale, then back by half
    // a cell.
    let centre = i as f32 + 0.5;
    let position = centre * from as f32 / to as f32 - 0.5;
    let first = position.floor();
    let t = position - first;

    // The four taps stand one before and two after the cell that the position falls into. At the
    // border a tap repeats the last cell, as torch does.
    let tap = |k: i64| {
        let last = from as i64 - 1;
        let inside = (first as i64 + k).clamp(0, last);
        let weight = cubic(t - k as f32, -0.75);
        (inside as usize, weight)
    };

    (-1..=2).map(tap).collect()
}

/// The source cells under the widened kernel of output cell `i`, with their weights.
fn smooth_taps(i: usize, from: usize, to: usize) -> Vec<SourceCell> {
    // The kernel reaches over two cells of the coarser of both grids.
    let scale = from as f32 / to as f32;
    let stretch = scale.max(1.0);
    let reach = 2.0 * stretch;
    let centre = scale * (i as f32 + 0.5);

    // A cell's centre lies half a cell behind its beginning, which is why 0.5 is added and taken off.
    // The bounds are rounded to whole cells, and cells beyond the border do not count.
    let first = (centre - reach + 0.5).max(0.0) as usize;
    let end = ((centre + reach + 0.5) as usize).min(from);

    // The kernel is stretched over more cells by shrinking their distances.
    let weight = |cell: usize| {
        let distance = cell as f32 - centre + 0.5;
        cubic(distance / stretch, -0.5)
    };

    let weights: Vec<f32> = (first..end).map(weight).collect();

    // What the border and the rounding leave out is made up for: the weights sum to one.
    let sum: f32 = weights.iter().sum();
    let shares = weights.iter().map(|weight| weight / sum);

    (first..end).zip(shares).collect()
}

/// Keys' cubic convolution kernel (IEEE ASSP 29, 1981) with the parameter `a`.
fn cubic(x: f32, a: f32) -> f32 {
    let x = x.abs();

    if x <= 1.0 {
        // The near part of the kernel is 1 at the centre and 0 at the next cell.
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        // The far part is negative: it sharpens what the near part blurs.
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_grid_is_the_identity_and_weights_sum_to_one() {
        let values: Vec<f32> = (0..18).map(|v| v as f32).collect();
        let grid = Grid::square(3);
        for antialias in [false, true] {
            assert_eq!(resampled(&values, grid, grid, 2, antialias), values);
        }

        for (from, to) in [(5, 7), (37, 16), (37, 1), (1, 4)] {
            for taps in [sharp_taps, smooth_taps] {
                for i in 0..to {
                    let sum: f32 = taps(i, from, to).iter().map(|(_, w)| w).sum();
                    assert!((sum - 1.0).abs() < 1e-5, "{from} to {to}: {sum}");
                }
            }
        }
    }

    #[test]
    fn only_antialiasing_sees_every_cell_of_a_grid_that_becomes_smaller() {
        let seen = |taps: fn(usize, usize, usize) -> Vec<SourceCell>| {
            let cells = (0..8).flat_map(|i| taps(i, 37, 8));
            let cells: std::collections::BTreeSet<usize> = cells.map(|(cell, _)| cell).collect();
            cells.len()
        };

        assert_eq!((seen(sharp_taps), seen(smooth_taps)), (32, 37));
    }
}
