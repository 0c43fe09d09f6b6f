//! Weights of Pillow's bicubic resize.

/// Fractional bits of a weight: with 8 bits of grey and 2 of room (the kernel's lobes) they fill an
/// i32.
pub const BITS: u32 = 32 - 8 - 2;

/// Weights of one output pixel, from its `first` source pixel on.
#[derive(Debug, Clone, PartialEq)]
// Each weight is rounded by itself, as Pillow does; the sum may be off by a few units of the last
// bit.
pub struct Tap {
    /// First source pixel.
    pub first: usize,
    /// Weights of [`BITS`] fractional bits.
    pub weights: Vec<i32>,
}

impl Tap {
    /// Weights of the output pixel `at`, when `from` pixels become `to`.
    pub fn new(at: usize, from: usize, to: usize) -> Self {
        // `scale` is source pixels for each output pixel. When shrinking, the kernel is widened by
        // the same factor, so that every source pixel counts; when enlarging, it keeps its own
        // width.
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);

        // `centre` is the output pixel's centre among the source pixels, `support` the reach of the
        // kernel on either side.
        let centre = (at as f64 + 0.5) * scale;
        let support = 2.0 * stretch;

        // The window is [first, end), cut at the picture's edges, and rounded as `Resample.c`
        // rounds it.
        let first = (centre - support + 0.5).max(0.0) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);

        // The kernel is taken at the centres of the source pixels, with its argument scaled back.
        let raw: Vec<f64> = (first..end)
            .map(|x| cubic((x as f64 - centre + 0.5) / stretch))
            .collect();

        // The weights are divided by their sum, so that a flat picture stays flat also where the
        // window was cut.
        let sum: f64 = raw.iter().sum();
        Tap {
            first,
            weights: raw.iter().map(|w| fixed(w / sum)).collect(),
        }
    }
}

/// The weight as a fixed-point number, rounded, halves away from zero.
fn fixed(weight: f64) -> i32 {
    // Rust's `round` takes halves away from zero, which is what `Resample.c` does by adding or
    // taking 0.5 before it cuts.
    (weight * f64::from(1 << BITS)).round() as i32
}

/// Keys' cubic convolution kernel with a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;

    // The kernel has cubic pieces on [0, 1) and [1, 2); the second one gives the negative lobes.
    let x = x.abs();

    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
