//! Unit vectors and means that stay finite.

use ndarray::{Array2, ArrayView2, ArrayViewMut1};

/// To unit length; a zero vector stays zero, so that its similarity to anything is 0.
pub fn unit(vector: &mut ArrayViewMut1<f32>) {
    let length = vector.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt() as f32;
    if length > 0.0 {
        vector.iter_mut().for_each(|v| *v /= length);
    }
}

/// Every row to unit length.
pub fn unit_rows(matrix: ArrayView2<f32>) -> Array2<f32> {
    let mut rows = matrix.as_standard_layout().into_owned();
    rows.rows_mut().into_iter().for_each(|mut row| unit(&mut row));
    rows
}

/// The harmonic mean; 0 when a value is 0 (an exact match), as its limit is.
pub fn harmonic(values: impl Iterator<Item = f32>) -> f32 {
    let (mut sum, mut count) = (0.0, 0);
    for value in values {
        sum += 1.0 / value;
        count += 1;
    }
    if count == 0 || !(sum.is_finite()) { 0.0 } else { count as f32 / sum }
}

pub fn arithmetic(values: impl Iterator<Item = f32>) -> f32 {
    let (mut sum, mut count) = (0.0, 0);
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
