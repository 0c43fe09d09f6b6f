//! Position embeddings for another grid than the one that was trained: bicubic with a = -0.75 and
//! align_corners = false, as torch's `interpolate(size=..., mode="bicubic")`, which DINOv2 uses (no
//! antialiasing).

use crate::data::grid::Grid;

/// One source cell of an output cell, along one direction, with its weight.
type SourceCell = (usize, f32);

/// Embeddings of the cells of `from`, `[cells, width]`, resampled to those of `to`.
pub fn resampled(values: &[f32], from: Grid, to: Grid, width: usize) -> Vec<f32> {
    // The weights of a row are the same for all of its cells, and those of a column too.
    let row_taps: Vec<[SourceCell; 4]> = (0..to.h).map(|i| taps(i, from.h, to.h)).collect();
    let column_taps: Vec<[SourceCell; 4]> = (0..to.w).map(|i| taps(i, from.w, to.w)).collect();
    let mut out = vec![0.0; to.cells() * width];

    // Embeddings of the cells are summed value by value: a cell holds `width` of them.
    let cells = out.chunks_exact_mut(width.max(1));
    for (cell, sums) in cells.enumerate() {
        // The output cell at row-major index `cell` reads four rows and four columns of the source.
        let vertical = &row_taps[to.row(cell)];
        let horizontal = &column_taps[to.column(cell)];
        for (row, a) in vertical {
            for (column, b) in horizontal {
                let first = (row * from.w + column) * width;
                let source = &values[first..first + width];
                add_weighted(sums, source, *a, *b);
            }
        }
    }

    out
}

/// Adds `a * b * source`, value by value.
fn add_weighted(sums: &mut [f32], source: &[f32], a: f32, b: f32) {
    for (sum, value) in sums.iter_mut().zip(source) {
        *sum += a * b * value;
    }
}

/// The four source cells of output cell `i`, clamped at the border, with their weights.
fn taps(i: usize, from: usize, to: usize) -> [SourceCell; 4] {
    // Cells are centred: the output's centres are mapped onto the source's scale, then back by half
    // a cell.
    let position = (i as f32 + 0.5) * from as f32 / to as f32 - 0.5;
    let first = position.floor();
    let t = position - first;

    // The four taps stand one before and two after the cell that the position falls into. At the
    // border a tap repeats the last cell, as torch does.
    std::array::from_fn(|k| {
        let cell = first as i64 + k as i64 - 1;
        let inside = cell.clamp(0, from as i64 - 1);
        let distance = t - (k as f32 - 1.0);
        (inside as usize, cubic(distance))
    })
}

/// Keys' cubic convolution kernel (IEEE ASSP 29, 1981) with a = -0.75.
fn cubic(x: f32) -> f32 {
    const A: f32 = -0.75;
    let x = x.abs();
    if x <= 1.0 {
        // The near part of the kernel is 1 at the centre and 0 at the next cell.
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        // The far part is negative: it sharpens what the near part blurs.
        ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
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
        assert_eq!(
            resampled(&values, Grid::square(3), Grid::square(3), 2),
            values
        );
        for i in 0..7 {
            let sum: f32 = taps(i, 5, 7).iter().map(|(_, w)| w).sum();
            assert!((sum - 1.0).abs() < 1e-6);
        }
    }
}
