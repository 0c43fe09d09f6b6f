//! What good parts look like: unit features of the references, and the distance to the nearest of them.

use super::vectors::unit_rows;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};

/// Unit features `[R, D]` of all references, in order, the same number of rows from each.
#[derive(Debug, Clone)]
pub struct Gallery {
    rows: Array2<f32>,
    rows_each: usize,
}

impl Gallery {
    /// From the raw features of each reference, all of one shape.
    pub fn new(references: &[ArrayView2<f32>]) -> Self {
        let rows_each = references.first().map_or(0, ArrayView2::nrows);
        let all = ndarray::concatenate(Axis(0), references).expect("features of one encoder have one shape");
        Gallery { rows: unit_rows(all.view()), rows_each }
    }

    /// `min over r of (1 - <q, r>) / 2` for each row q of `queries` `[Q, D]` (WinCLIP, equation 5): 0 for a match,
    /// 1 for the opposite. `but` leaves one reference out.
    pub fn distances(&self, queries: ArrayView2<f32>, but: Option<usize>) -> Vec<f32> {
        let queries = unit_rows(queries);
        let mut best = Array1::from_elem(queries.nrows(), f32::NEG_INFINITY);
        let left_out = but.map_or(0..0, |b| b * self.rows_each..(b + 1) * self.rows_each);
        for part in [0..left_out.start, left_out.end..self.rows.nrows()] {
            // In blocks whose products stay in the cache.
            for start in part.clone().step_by(BLOCK) {
                let block = self.rows.slice(s![start..(start + BLOCK).min(part.end), ..]);
                let products = products(queries.view(), block);
                for (best, row) in best.iter_mut().zip(products.rows()) {
                    *best = row.iter().fold(*best, |a, &b| a.max(b));
                }
            }
        }
        best.iter().map(|similarity| ((1.0 - similarity) / 2.0).clamp(0.0, 1.0)).collect()
    }
}

const BLOCK: usize = 512;

/// `queries` `[Q, D]` times the transpose of `references` `[R, D]`: `[Q, R]`. Through the crate `gemm`, which is several
/// times as fast here as what stands behind ndarray's `dot` (AVX-512, all cores).
fn products(queries: ArrayView2<f32>, references: ArrayView2<f32>) -> Array2<f32> {
    let ((rows, inner), columns) = (queries.dim(), references.nrows());
    assert_eq!(inner, references.ncols(), "features of one encoder have one length");
    let mut out = Array2::zeros((rows, columns));
    let stride = |of: &[isize], axis: usize| of[axis];
    let (to, left, right) = (out.strides().to_owned(), queries.strides(), references.strides());
    // SAFETY: the pointers and strides are those of arrays of these shapes, whose inner lengths were just compared, and
    // `out` is borrowed by nobody else.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            stride(&to, 1),
            stride(&to, 0),
            false,
            queries.as_ptr(),
            stride(left, 1),
            stride(left, 0),
            references.as_ptr(),
            stride(right, 0),
            stride(right, 1),
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::Rayon(0),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_match_is_zero_the_opposite_is_one_and_one_reference_can_be_left_out() {
        let (a, b) = (array![[2.0, 0.0]], array![[0.0, 3.0]]);
        let gallery = Gallery::new(&[a.view(), b.view()]);
        assert_eq!(gallery.distances(array![[1.0, 0.0], [0.0, 5.0]].view(), None), [0.0, 0.0]);
        assert_eq!(gallery.distances(array![[1.0, 0.0]].view(), Some(0)), [0.5]);
        assert_eq!(Gallery::new(&[a.view()]).distances(array![[-1.0, 0.0]].view(), None), [1.0]);
    }
}
