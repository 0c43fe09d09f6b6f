//! Unit vectors and means that stay finite.

use multiversion::multiversion;
use ndarray::{Array2, ArrayView2};

/// Every row to unit length; a zero vector stays zero, so that its similarity to anything is 0.
pub fn unit_rows(matrix: ArrayView2<f32>) -> Array2<f32> {
    // The rows lie one after the other in a copy; the caller's matrix stays raw.
    let mut rows = matrix.as_standard_layout().into_owned();
    let values = rows.as_slice_mut().expect("standard layout");
    // A chunk of 0 values would panic, hence the 1 for a matrix without columns.
    for row in values.chunks_exact_mut(matrix.ncols().max(1)) {
        let length = inner(row, row).sqrt() as f32;
        if length > 0.0 {
            row.iter_mut().for_each(|v| *v /= length);
        }
    }

    rows
}

/// `<a/|a|, unit>`; 0 for a zero vector.
pub fn cosine(a: &[f32], unit: &[f32]) -> f32 {
    let length = inner(a, a).sqrt();
    if length > 0.0 {
        (inner(a, unit) / length) as f32
    } else {
        0.0
    }
}

/// `<a, b>` of vectors of one length; finite for finite values.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
fn inner(a: &[f32], b: &[f32]) -> f64 {
    // Sums side by side: a single one would wait for itself.
    let mut sums = [0.0; 32];
    let (a_chunks, a_rest) = a.as_chunks::<32>();
    let (b_chunks, b_rest) = b.as_chunks::<32>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        sums.iter_mut()
            .zip(a.iter().zip(b))
            .for_each(|(sum, (a, b))| *sum += f64::from(*a) * f64::from(*b));
    }

    // The numbers that do not fill a chunk of 32 are added apart.
    let rest = a_rest
        .iter()
        .zip(b_rest)
        .map(|(a, b)| f64::from(*a) * f64::from(*b));

    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

/// The harmonic mean; 0 when a value is 0 (an exact match), as its limit is, and without values.
pub fn harmonic(values: impl Iterator<Item = f32>) -> f32 {
    // Reciprocals are added; a value of 0 makes the sum infinite, which the end turns into 0.
    let mut sum = 0.0;
    let mut count = 0;
    for value in values {
        sum += 1.0 / value;
        count += 1;
    }

    if count == 0 || !sum.is_finite() {
        0.0
    } else {
        count as f32 / sum
    }
}

/// The arithmetic mean; 0 without values.
pub fn arithmetic(values: impl Iterator<Item = f32>) -> f32 {
    let mut sum = 0.0;
    let mut count = 0;
    for value in values {
        sum += value;
        count += 1;
    }

    if count == 0 { 0.0 } else { sum / count as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harmonic_mean_of_anything_with_zero_is_zero() {
        assert_eq!(harmonic([1.0, 0.0, 2.0].into_iter()), 0.0);
        assert_eq!(harmonic([2.0, 2.0].into_iter()), 2.0);
        assert_eq!(harmonic([1e-40, 1.0].into_iter()), 0.0);
        assert_eq!(harmonic(std::iter::empty()), 0.0);
    }

    #[test]
    fn a_zero_vector_has_no_direction_and_stays_zero() {
        let rows = unit_rows(ndarray::array![[3.0, 4.0], [0.0, 0.0]].view());
        assert_eq!(rows, ndarray::array![[0.6, 0.8], [0.0, 0.0]]);
    }
}
