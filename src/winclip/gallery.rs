//! What good parts look like: unit features of the references, and the distance to the nearest of them.

use super::vectors::unit_rows;
use crate::engine::EngineError;
use crate::engine::nearest::Nearest;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

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
        let all = ndarray::concatenate(Axis(0), references)
            .expect("features of one encoder have one shape");
        Gallery {
            rows: unit_rows(all.view()),
            rows_each,
        }
    }

    /// Unit features `[R, D]`.
    pub fn rows(&self) -> ArrayView2<'_, f32> {
        self.rows.view()
    }

    /// `min over r of (1 - <q, r>) / 2` for each row q of `queries` `[Q, D]` (WinCLIP, equation 5): 0 for a match,
    /// 1 for the opposite. `but` leaves one reference out.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn distances(
        &self,
        nearest: &mut dyn Nearest,
        queries: ArrayView2<f32>,
        but: Option<usize>,
    ) -> Result<Vec<f32>, EngineError> {
        let similarities =
            nearest.similarities(unit_rows(queries).view(), self.rows.view(), self.rows_each)?;
        let highest = |row: ArrayView1<f32>| {
            let others = row
                .iter()
                .enumerate()
                .filter(|(reference, _)| Some(*reference) != but);
            others.fold(f32::NEG_INFINITY, |highest, (_, similarity)| {
                highest.max(*similarity)
            })
        };
        let distance = |row| ((1.0 - highest(row)) / 2.0).clamp(0.0, 1.0);
        Ok(similarities.rows().into_iter().map(distance).collect())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use ndarray::array;

    /// By the definition, for tests of what stands around it.
    pub struct Plain;

    impl Nearest for Plain {
        fn similarities(
            &mut self,
            queries: ArrayView2<f32>,
            references: ArrayView2<f32>,
            rows_each: usize,
        ) -> Result<Array2<f32>, EngineError> {
            let highest = |q: usize, k: usize| {
                let rows = k * rows_each..(k + 1) * rows_each;
                rows.map(|r| queries.row(q).dot(&references.row(r)))
                    .fold(f32::NEG_INFINITY, f32::max)
            };
            let shape = (queries.nrows(), references.nrows() / rows_each);
            Ok(Array2::from_shape_fn(shape, |(q, k)| highest(q, k)))
        }
    }

    #[test]
    fn a_match_is_zero_the_opposite_is_one_and_one_reference_can_be_left_out() {
        let (a, b) = (array![[2.0, 0.0]], array![[0.0, 3.0]]);
        let distances = |gallery: &Gallery, queries: Array2<f32>, but| {
            gallery
                .distances(&mut Plain, queries.view(), but)
                .expect("plain arithmetic")
        };
        let gallery = Gallery::new(&[a.view(), b.view()]);
        assert_eq!(
            distances(&gallery, array![[1.0, 0.0], [0.0, 5.0]], None),
            [0.0, 0.0]
        );
        assert_eq!(distances(&gallery, array![[1.0, 0.0]], Some(0)), [0.5]);
        assert_eq!(
            distances(&Gallery::new(&[a.view()]), array![[-1.0, 0.0]], None),
            [1.0]
        );
    }
}
