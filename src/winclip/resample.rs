//! Pillow's bicubic resize of 8-bit RGB, one direction at a time, each rounded to grey levels: the same integers.
//!
//! Source: `Resample.c` of Pillow 12 and older (coefficients of 22 fractional bits, the order of the passes, a = -0.5,
//! the kernel widened when shrinking); Pillow 13 shrinks tall pictures vertically first. Sums in floats fall on the other
//! side of a half in one value of a thousand where many averages lie between two grey levels. Our own, because the
//! library we had (`fast_image_resize`) has no such arithmetic.

use multiversion::multiversion;

/// Pixels that are summed side by side, three values each: whole vector registers on every machine.
const ABREAST: usize = 8;
const LANES: usize = 3 * ABREAST;

/// The source pixels of each output pixel along one direction, with their weights, which sum to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Taps {
    pub from: usize,
    pub to: usize,
    each: Vec<Tap>,
}

#[derive(Debug, Clone, PartialEq)]
struct Tap {
    first: usize,
    weights: Vec<i32>,
    /// Each weight three times, for R, G and B, and zeros up to a multiple of [`LANES`].
    wide: Vec<i32>,
}

/// Fractional bits of a weight: with 8 bits of grey and 2 of room (the kernel's lobes) they fill an i32.
const BITS: u32 = 32 - 8 - 2;

impl Taps {
    /// From `from` pixels to `to`, both at least 1.
    pub fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let each = (0..to).map(|i| {
            let (centre, support) = ((i as f64 + 0.5) * scale, 2.0 * stretch);
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let raw: Vec<f64> = (first..end).map(|x| cubic((x as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = raw.iter().sum();
            let weights: Vec<i32> = raw.iter().map(|w| fixed(w / sum)).collect();
            let mut wide: Vec<i32> = weights.iter().flat_map(|w| [*w; 3]).collect();
            wide.resize(wide.len().next_multiple_of(LANES), 0);
            Tap { first, weights, wide }
        });
        Taps { from, to, each: each.collect() }
    }
}

/// Rounded, halves away from zero.
fn fixed(weight: f64) -> i32 {
    (weight * f64::from(1 << BITS)).round() as i32
}

/// Keys' cubic convolution kernel with a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    match x {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

/// Rows of `taps.from` RGB pixels to rows of `taps.to`, written to `out`.
pub fn across(rgb: &[u8], taps: &Taps, out: &mut Vec<u8>) {
    let rows = rgb.len() / (3 * taps.from);
    out.resize(rows * 3 * taps.to, 0);
    // The last taps read beyond the row, with weights of zero.
    let mut row = vec![0; 3 * taps.from + taps.each.iter().map(|tap| tap.wide.len()).max().unwrap_or(0)];
    for (bytes, out) in rgb.chunks_exact(3 * taps.from).zip(out.chunks_exact_mut(3 * taps.to)) {
        row_across(bytes, &mut row, &taps.each, out);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn row_across(bytes: &[u8], row: &mut [i32], taps: &[Tap], out: &mut [u8]) {
    row.iter_mut().zip(bytes).for_each(|(value, byte)| *value = i32::from(*byte));
    for (tap, out) in taps.iter().zip(out.chunks_exact_mut(3)) {
        let mut sums = [0i32; LANES];
        let source = &row[3 * tap.first..][..tap.wide.len()];
        for (values, weights) in source.chunks_exact(LANES).zip(tap.wide.chunks_exact(LANES)) {
            for lane in 0..LANES {
                sums[lane] += values[lane] * weights[lane];
            }
        }
        for (channel, out) in out.iter_mut().enumerate() {
            *out = grey((0..ABREAST).map(|pixel| sums[3 * pixel + channel]).sum());
        }
    }
}

/// `taps.from` rows of `row_values` grey levels to `taps.to` rows, written to `out`.
pub fn down(values: &[u8], row_values: usize, taps: &Taps, out: &mut Vec<u8>) {
    out.resize(taps.to * row_values, 0);
    let mut sums = vec![0; row_values];
    for (tap, out) in taps.each.iter().zip(out.chunks_exact_mut(row_values)) {
        row_down(&values[tap.first * row_values..], &tap.weights, &mut sums, out);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2", "aarch64+neon"))]
fn row_down(values: &[u8], weights: &[i32], sums: &mut [i32], out: &mut [u8]) {
    sums.fill(0);
    for (row, weight) in values.chunks_exact(sums.len()).zip(weights) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += i32::from(*value) * weight);
    }
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = grey(*sum));
}

#[inline(always)]
fn grey(sum: i32) -> u8 {
    ((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_picture_stays_flat_whatever_its_size() {
        for (from, to) in [(1, 7), (7, 1), (5, 5), (4000, 3), (3, 90)] {
            let taps = Taps::new(from, to);
            let (mut wide, mut small) = (vec![], vec![]);
            across(&vec![200; 3 * from * from.min(9)], &taps, &mut wide);
            assert!(wide.iter().all(|v| *v == 200), "{from} to {to}");
            down(&vec![200; from * 3], 3, &taps, &mut small);
            assert_eq!(small, vec![200; to * 3]);
        }
    }

    #[test]
    fn both_directions_agree() {
        let column: Vec<u8> = (0..50u32).map(|i| (i * i % 251) as u8).collect();
        let rgb: Vec<u8> = column.iter().flat_map(|v| [*v; 3]).collect();
        let taps = Taps::new(50, 17);
        let (mut wide, mut tall) = (vec![], vec![]);
        across(&rgb, &taps, &mut wide);
        down(&column, 1, &taps, &mut tall);
        assert_eq!(wide.chunks_exact(3).map(|p| p[0]).collect::<Vec<_>>(), tall);
    }
}
