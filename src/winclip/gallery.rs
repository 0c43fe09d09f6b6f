//! The gallery of good parts: unit features of the references, and the distance to the nearest of
//! them.

use super::thinning;
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
    /// A gallery of raw features, all of one shape. A reference has `ways` of them, which follow each
    /// other. Rows are left out until there are as many as `thin_to` references have in one way.
    pub fn new(features: &[ArrayView2<f32>], ways: usize, thin_to: Option<usize>) -> Self {
        // The rows of each reference tell a left-out one from the others: it is left out in all of
        // its ways. Crops of one recipe have one mask, hence as many rows each.
        let rows_of_one = features.first().map_or(0, ArrayView2::nrows);
        let rows_each = ways * rows_of_one;
        let all = ndarray::concatenate(Axis(0), features)
            .expect("features of one encoder have one shape");

        // Unit length is made once here, not at each comparison: a gallery is compared with for as
        // long as the line runs.
        let whole = Gallery {
            rows: unit_rows(all.view()),
            rows_each,
        };

        // One reference alone has nothing to share.
        match thin_to {
            Some(count) if features.len() > ways => {
                let references = features.len() / ways;
                whole.thinned((count * rows_of_one).div_ceil(references))
            }
            _ => whole,
        }
    }

    /// The gallery with `quota` rows of each reference.
    fn thinned(self, quota: usize) -> Self {
        // A reference keeps one row at least, and no more than it has.
        let quota = quota.clamp(1, self.rows_each.max(1));
        if quota >= self.rows_each {
            return self;
        }

        // The rows of each reference follow each other still, fewer of them.
        let kept = thinning::kept(self.rows.view(), self.rows_each, quota);
        Gallery {
            rows: self.rows.select(Axis(0), &kept),
            rows_each: quota,
        }
    }

    /// Unit features `[R, D]`.
    pub fn rows(&self) -> ArrayView2<'_, f32> {
        self.rows.view()
    }

    /// `min over r of (1 - <q, r>) / 2` for each row q of `queries` `[Q, D]` (WinCLIP, equation 5):
    /// 0 for a match, 1 for the opposite. The reference `left_out` is not compared with.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn distances(
        &self,
        nearest: &mut dyn Nearest,
        queries: ArrayView2<f32>,
        left_out: Option<usize>,
    ) -> Result<Vec<f32>, EngineError> {
        // The queries are `[Q, D]` of unit length, so that an inner product is a cosine.
        let queries = unit_rows(queries);

        // The engine multiplies `[Q, D]` by `[R, D]` and keeps the highest of each reference: `[Q,
        // references]`.
        let similarities =
            nearest.similarities(queries.view(), self.rows.view(), self.rows_each)?;

        // The cosine distance is halved into 0 to 1. Rounding may leave a cosine just above 1,
        // which the clamp takes back.
        let distances = similarities.rows().into_iter().map(|row| {
            let similarity = highest(row, left_out);
            ((1.0 - similarity) / 2.0).clamp(0.0, 1.0)
        });

        Ok(distances.collect())
    }
}

/// The highest similarity to any reference but `left_out`.
fn highest(similarities: ArrayView1<f32>, left_out: Option<usize>) -> f32 {
    // Without any other reference the highest stays at minus infinity, which the clamp of the
    // caller makes a distance of 1.
    let mut highest = f32::NEG_INFINITY;
    for (reference, similarity) in similarities.iter().enumerate() {
        if Some(reference) != left_out {
            highest = highest.max(*similarity);
        }
    }

    highest
}

/// Tests, and a plain nearest-neighbour search for those of other modules.
#[cfg(test)]
pub mod tests {
    use super::*;
    use ndarray::array;

    /// Compares by the definition, for tests of the code around it.
    pub struct PlainNearest;

    impl Nearest for PlainNearest {
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
        let a = array![[2.0, 0.0]];
        let b = array![[0.0, 3.0]];
        let distances = |gallery: &Gallery, queries: Array2<f32>, but| {
            gallery
                .distances(&mut PlainNearest, queries.view(), but)
                .expect("plain arithmetic")
        };

        let gallery = Gallery::new(&[a.view(), b.view()], 1, None);
        assert_eq!(
            distances(&gallery, array![[1.0, 0.0], [0.0, 5.0]], None),
            [0.0, 0.0]
        );

        assert_eq!(distances(&gallery, array![[1.0, 0.0]], Some(0)), [0.5]);
        assert_eq!(
            distances(
                &Gallery::new(&[a.view()], 1, None),
                array![[-1.0, 0.0]],
                None
            ),
            [1.0]
        );
    }

    #[test]
    fn a_thinned_gallery_has_as_many_rows_of_each_reference() {
        // Four references of three rows in two ways.
        let raw: Vec<Array2<f32>> = (0..8)
            .map(|at| Array2::from_shape_fn((3, 2), |(row, i)| ((7 * at + 3 * row + i) % 5) as f32))
            .collect();

        let views: Vec<ArrayView2<f32>> = raw.iter().map(|rows| rows.view()).collect();
        let size = |ways, thin_to| {
            let gallery = Gallery::new(&views, ways, thin_to);
            (gallery.rows.nrows(), gallery.rows_each)
        };

        assert_eq!(size(2, None), (24, 6));
        // Two references have six rows, of which each of the four keeps two.
        assert_eq!(size(2, Some(2)), (8, 2));
        assert_eq!(size(1, Some(2)), (8, 1));
        // One reference keeps what it has, and each keeps a row at least.
        assert_eq!(size(8, Some(1)), (24, 24));
        assert_eq!(size(1, Some(1)), (8, 1));
        assert_eq!(size(2, Some(100)), (24, 6));
    }

    #[test]
    fn a_reference_is_left_out_in_all_of_its_ways() {
        let [a, turned, b, other] = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]];
        let rows = [a, turned, b, other].map(|row| array![row]);
        let views = rows.each_ref().map(|rows| rows.view());
        let gallery = Gallery::new(&views, 2, None);
        let distances = |left_out| {
            gallery
                .distances(&mut PlainNearest, rows[1].view(), left_out)
                .expect("plain arithmetic")
        };

        assert_eq!(distances(None), [0.0]);
        assert_eq!(distances(Some(0)), [0.5], "b is at a right angle");
        assert_eq!(distances(Some(1)), [0.0]);
    }
}
