//! Conversion of the subsampled pictures that decoders and sensors give (NV12, I420) to RGB, in one pass
//! into the picture's own memory. GStreamer's converter takes four times as long and leaves a picture
//! that must be copied.
//!
//! It is the conversion that `videoconvert` does by default: chroma interpolated linearly from where
//! the stream says it was sampled, then the stream's matrix and range. 16-bit arithmetic with 4
//! fractional bits, within a grey level of the standards' formulas; `videoconvert` (1.22) is up to 3
//! too dark in video range.

use multiversion::multiversion;

/// Factors from luma and chroma to RGB, in fixed point.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    /// Luma of black.
    black: i16,
    /// 13 fractional bits.
    luma: i16,
    /// 12 fractional bits, as all below.
    red_v: i16,
    green_u: i16,
    green_v: i16,
    blue_u: i16,
}

impl Matrix {
    /// The matrix of a standard: `kr` and `kb` are its weights of red and blue in luma (BT.601: 0.299
    /// and 0.114). Video range (`full_range` false) is 16 to 235 for luma and 16 to 240 for chroma.
    pub fn new(kr: f64, kb: f64, full_range: bool) -> Self {
        // Luma and chroma of video range are stretched to 0 to 255; full range is there already.
        let (black, luma, chroma) = if full_range {
            (0, 1.0, 1.0)
        } else {
            (16, 255.0 / 219.0, 255.0 / 224.0)
        };

        // The weights of the three colours in luma add up to 1, which gives green's.
        let kg = 1.0 - kr - kb;

        // Factors of chroma have 12 fractional bits: the largest is below 8, hence fits 16 bits
        // with the sign.
        let fixed = |value: f64| (value * chroma * 4096.0).round() as i16;
        Matrix {
            black,
            luma: (luma * 8192.0f64).round() as i16,
            red_v: fixed(2.0 * (1.0 - kr)),
            green_u: fixed(-2.0 * (1.0 - kb) * kb / kg),
            green_v: fixed(-2.0 * (1.0 - kr) * kr / kg),
            blue_u: fixed(2.0 * (1.0 - kb)),
        }
    }

    /// Black, then the factors of luma (13 fractional bits), of v in red, of u and v in green, of u in
    /// blue (12).
    pub fn numbers(&self) -> [i16; 6] {
        [
            self.black,
            self.luma,
            self.red_v,
            self.green_u,
            self.green_v,
            self.blue_u,
        ]
    }
}

/// Places at which chroma was sampled.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// True: with the left pixel of two. False: between the two.
    pub left: bool,
    /// True: with the upper row of two. False: between the two.
    pub top: bool,
}

/// One plane of a picture.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// All rows, with the bytes between them.
    pub bytes: &'a [u8],
    /// Bytes from row to row.
    pub stride: usize,
}

impl<'a> Plane<'a> {
    /// The first `bytes` bytes of a row. `None` if the plane is too short.
    pub fn row(&self, row: usize, bytes: usize) -> Option<&'a [u8]> {
        // A slice beyond the plane is `None`, which says that the buffer is shorter than its caps.
        let from_row = self.bytes.get(row * self.stride..)?;

        from_row.get(..bytes)
    }
}

/// Chroma of half the width and height, rounded up.
#[derive(Debug, Clone, Copy)]
pub enum YuvChroma<'a> {
    /// One plane: u and v in turn.
    Nv12(Plane<'a>),
    /// Two planes: u, v.
    I420(Plane<'a>, Plane<'a>),
}

/// A subsampled picture, and how its numbers are meant.
#[derive(Debug, Clone, Copy)]
pub struct YuvPicture<'a> {
    /// Luma, one byte a pixel.
    pub luma: Plane<'a>,
    /// Chroma, one sample for 2 x 2 pixels.
    pub chroma: YuvChroma<'a>,
    /// The stream's matrix and range.
    pub matrix: Matrix,
    /// The stream's places of chroma.
    pub site: Site,
}

/// Converter of one camera's pictures. Keeps its rows from picture to picture.
#[derive(Debug, Default)]
pub struct Converter {
    /// One row of NV12's chroma, interpolated between rows, of half the width: u and v in turn.
    pairs: Vec<u8>,
    /// The row's u and v, of half the width.
    half: [Vec<u8>; 2],
    /// The row's u and v, of the full width.
    full: [Vec<u8>; 2],
}

impl Converter {
    /// Fills `rgb`, 3 bytes for each of `width` pixels of as many rows as fit. `None` if a plane is too
    /// short.
    pub fn convert(&mut self, picture: &YuvPicture, width: usize, rgb: &mut [u8]) -> Option<()> {
        // Whole rows alone are filled: `rgb` has room for `height` of them.
        let height = rgb.len() / (3 * width);
        let chroma_width = width.div_ceil(2);

        // The work goes row by row, so that the intermediate chroma stays in the processor's cache.
        for (row, rgb) in rgb.chunks_exact_mut(3 * width).enumerate() {
            // The chroma of this row comes first: between two chroma rows, at half the width.
            let rows = ChromaRows::of(row, height.div_ceil(2), picture.site);
            self.interpolate_rows(&rows, &picture.chroma, chroma_width)?;

            // The columns are next: `full` has a value for each pixel, and one more where the width
            // is odd.
            for (half, full) in self.half.iter().zip(&mut self.full) {
                full.resize(2 * half.len(), 0);
                interpolate_columns(half, picture.site.left, full);
            }

            // Luma has a value for each pixel already.
            let luma = picture.luma.row(row, width)?;
            let [u, v] = &self.full;
            coloured_row(luma, &u[..width], &v[..width], &picture.matrix, rgb);
        }

        Some(())
    }

    /// Fills `half` with the chroma of one row of pixels.
    fn interpolate_rows(
        &mut self,
        rows: &ChromaRows,
        chroma: &YuvChroma,
        width: usize,
    ) -> Option<()> {
        match chroma {
            YuvChroma::Nv12(pairs) => {
                // NV12 has pairs, u and v in turn: both are interpolated as one row of twice the
                // width, and split afterwards.
                rows.interpolate(pairs, 2 * width, &mut self.pairs)?;

                for plane in &mut self.half {
                    plane.resize(width, 0);
                }

                let [u, v] = &mut self.half;
                split_pairs(&self.pairs, u, v);
            }

            YuvChroma::I420(u, v) => {
                // I420 has a plane each, of which the row is interpolated alone.
                for (plane, out) in [u, v].into_iter().zip(&mut self.half) {
                    rows.interpolate(plane, width, out)?;
                }
            }
        }

        Some(())
    }
}

/// The two chroma rows around a row of pixels.
struct ChromaRows {
    near: usize,
    far: usize,
    /// The far row's share is this power of a half. `None` if the near row alone counts.
    far_bits: Option<u32>,
}

impl ChromaRows {
    fn of(row: usize, chroma_rows: usize, site: Site) -> Self {
        // Two rows of pixels share a chroma row. The upper one lies nearer to the chroma row above,
        // the lower one to the one below.
        let near = row / 2;
        let is_upper = row.is_multiple_of(2);

        // The outermost rows have no chroma row beyond them; the near one serves for both.
        let far = if is_upper {
            near.saturating_sub(1)
        } else {
            (near + 1).min(chroma_rows - 1)
        };

        // Chroma that is sited with the upper row is exact there, and half of each chroma row at
        // the lower one. Chroma between the rows gives each row of pixels three quarters of the
        // near chroma row.
        let far_bits = match (site.top, is_upper) {
            (true, true) => None,
            (true, false) => Some(1),
            (false, _) => Some(2),
        };

        ChromaRows {
            near,
            far,
            far_bits,
        }
    }

    /// Fills `out` with `bytes` bytes between the rows. `None` if the plane is too short.
    fn interpolate(&self, plane: &Plane, bytes: usize, out: &mut Vec<u8>) -> Option<()> {
        // Both rows are asked for even where the near one alone counts: a plane that lacks either
        // of them is refused.
        let near = plane.row(self.near, bytes)?;
        let far = plane.row(self.far, bytes)?;
        out.resize(bytes, 0);

        // Shares are powers of a half, which are shifts.
        match self.far_bits {
            None => out.copy_from_slice(near),
            Some(bits) => mix_rows(near, far, bits, out),
        }

        Some(())
    }
}

/// Mixes two rows. The far row's share is the `bits`-th power of a half.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
fn mix_rows(near: &[u8], far: &[u8], bits: u32, out: &mut [u8]) {
    // Of 2^bits shares the far row has one, the near row all others.
    let near_weight = (1 << bits) - 1;

    // Half of the divisor is added, which rounds to the nearest.
    let half = 1 << (bits - 1);

    for ((near, far), out) in near.iter().zip(far).zip(out) {
        let sum = near_weight * u16::from(*near) + u16::from(*far);
        *out = ((sum + half) >> bits) as u8;
    }
}

/// Splits pairs of u and v.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
fn split_pairs(pairs: &[u8], u: &mut [u8], v: &mut [u8]) {
    // No byte is left over: the row has twice as many bytes as `u` and `v` have values.
    let pairs = pairs.as_chunks::<2>().0.iter();

    for ((pair, u), v) in pairs.zip(u).zip(v) {
        [*u, *v] = *pair;
    }
}

/// Interpolates to twice as many values. With `left`, a left pixel has the sample and a right one the
/// mean of two; else each has three quarters of its own sample and a quarter of the neighbour's.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
fn interpolate_columns(half: &[u8], left: bool, full: &mut [u8]) {
    // The caller's rows have at least one value.
    let last = half.len() - 1;
    let pairs = full.as_chunks_mut::<2>().0;

    if left {
        // The sample of the left pixel is there; the right one lies half-way to the next.
        for ((pair, own), next) in pairs.iter_mut().zip(half).zip(&half[1..]) {
            *pair = [*own, mean(*own, *next)];
        }

        // The last right pixel has no next sample.
        pairs[last] = [half[last]; 2];
        return;
    }

    // The first left pixel lies left of all samples; three quarters of the sample and a quarter of
    // itself is the sample.
    pairs[0] = [half[0], three_to_one(half[0], half[1.min(last)])];

    // Pairs in the middle have a sample on both sides.
    if last > 0 {
        let neighbours = half.iter().zip(&half[1..]).zip(&half[2..]);

        for (pair, ((before, own), next)) in pairs[1..].iter_mut().zip(neighbours) {
            *pair = [three_to_one(*own, *before), three_to_one(*own, *next)];
        }

        // The last right pixel lies right of all samples.
        pairs[last] = [three_to_one(half[last], half[last - 1]), half[last]];
    }
}

#[inline(always)]
fn mean(a: u8, b: u8) -> u8 {
    // The mean is rounded up from the half, as `videoconvert` does.
    (u16::from(a) + u16::from(b)).div_ceil(2) as u8
}

#[inline(always)]
fn three_to_one(own: u8, other: u8) -> u8 {
    ((3 * u16::from(own) + u16::from(other) + 2) / 4) as u8
}

/// Colours one row of pixels.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
fn coloured_row(luma: &[u8], u: &[u8], v: &[u8], matrix: &Matrix, rgb: &mut [u8]) {
    // A half, and another half of the smallest bit for each product that was cut off.
    const ROUNDING: i16 = 9;

    // A copy of the factors keeps them in registers for the whole row.
    let m = *matrix;
    let pixels = rgb.as_chunks_mut::<3>().0;

    // Luma has 7 bits more and a factor of 13 fractional bits: the upper half of the product has 4
    // fractional bits.
    for (((pixel, y), u), v) in pixels.iter_mut().zip(luma).zip(u).zip(v) {
        let y = upper_half((i16::from(*y) - m.black) << 7, m.luma);

        // Chroma lies around 0 with 8 bits more and a factor of 12, which leaves 4 fractional bits
        // too.
        let u = (i16::from(*u) - 128) << 8;
        let v = (i16::from(*v) - 128) << 8;
        let red = upper_half(v, m.red_v);
        let green = upper_half(u, m.green_u) + upper_half(v, m.green_v);
        let blue = upper_half(u, m.blue_u);

        // The sum may lie below 0 or above 255, where the colour is beyond RGB.
        *pixel = [
            grey(y + red + ROUNDING),
            grey(y + green + ROUNDING),
            grey(y + blue + ROUNDING),
        ];
    }
}

/// The upper half of a product.
#[inline(always)]
fn upper_half(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b)) >> 16) as i16
}

/// A grey level from a value with 4 fractional bits.
#[inline(always)]
fn grey(value: i16) -> u8 {
    (value >> 4).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    const WEIGHTS: [(f64, f64); 3] = [(0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)];

    /// ITU-R BT.601, 709 and 2020: luma is the weighted sum, chroma the scaled differences of blue and red from it.
    fn formula((y, u, v): (f64, f64, f64), (kr, kb): (f64, f64), full_range: bool) -> [f64; 3] {
        let (y, u, v) = if full_range {
            (y, u - 128.0, v - 128.0)
        } else {
            (
                (y - 16.0) * 255.0 / 219.0,
                (u - 128.0) * 255.0 / 224.0,
                (v - 128.0) * 255.0 / 224.0,
            )
        };

        let (red, blue) = (y + 2.0 * (1.0 - kr) * v, y + 2.0 * (1.0 - kb) * u);
        [red, (y - kr * red - kb * blue) / (1.0 - kr - kb), blue]
            .map(|value| value.clamp(0.0, 255.0))
    }

    #[test]
    fn every_colour_is_within_a_grey_level_of_the_standards_formula() {
        for weights in WEIGHTS {
            for full_range in [false, true] {
                let matrix = Matrix::new(weights.0, weights.1, full_range);
                for (u, v) in (0..=255u8)
                    .step_by(5)
                    .flat_map(|u| (0..=255u8).step_by(5).map(move |v| (u, v)))
                {
                    let luma: Vec<u8> = (0..=255).collect();
                    let mut rgb = vec![0; 3 * 256];
                    coloured_row(&luma, &[u; 256], &[v; 256], &matrix, &mut rgb);
                    for (y, pixel) in luma.iter().zip(rgb.as_chunks::<3>().0) {
                        let exact = formula(
                            (f64::from(*y), f64::from(u), f64::from(v)),
                            weights,
                            full_range,
                        );

                        let apart = pixel
                            .iter()
                            .zip(exact)
                            .map(|(a, b)| (f64::from(*a) - b).abs())
                            .fold(0.0, f64::max);

                        assert!(apart < 0.8, "{y} {u} {v}: {pixel:?}, exactly {exact:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn greys_in_full_range_stay_as_they_are_and_white_is_white() {
        let luma: Vec<u8> = (0..=255).collect();
        let mut rgb = vec![0; 3 * 256];
        coloured_row(
            &luma,
            &[128; 256],
            &[128; 256],
            &Matrix::new(0.299, 0.114, true),
            &mut rgb,
        );

        assert!(
            rgb.as_chunks::<3>()
                .0
                .iter()
                .zip(&luma)
                .all(|(pixel, y)| *pixel == [*y; 3])
        );

        let mut ends = [0; 6];
        coloured_row(
            &[16, 235],
            &[128; 2],
            &[128; 2],
            &Matrix::new(0.299, 0.114, false),
            &mut ends,
        );

        assert_eq!(ends, [0, 0, 0, 255, 255, 255]);
    }

    /// Chroma between samples, at a place in units of samples; beyond the edge it is the edge's.
    fn between(plane: &[u8], (width, height): (usize, usize), x: f64, y: f64) -> f64 {
        let at = |column: f64, row: f64| {
            let place = |value: f64, size: usize| value.clamp(0.0, (size - 1) as f64) as usize;
            f64::from(plane[place(row, height) * width + place(column, width)])
        };

        let left = x.floor();
        let top = y.floor();
        let line = |row| at(left, row) * (left + 1.0 - x) + at(left + 1.0, row) * (x - left);
        line(top) * (top + 1.0 - y) + line(top + 1.0) * (y - top)
    }

    #[test]
    fn chroma_is_interpolated_from_where_it_was_sampled() {
        let mut random = StdRng::seed_from_u64(2);
        for (width, height) in [(1, 1), (2, 2), (3, 5), (64, 6), (131, 9)] {
            let (half_width, half_height) = (usize::div_ceil(width, 2), usize::div_ceil(height, 2));
            let mut plane =
                |size: usize| -> Vec<u8> { (0..size).map(|_| random.random()).collect() };

            let luma = plane(width * height);
            let (u, v) = (
                plane(half_width * half_height),
                plane(half_width * half_height),
            );

            let pairs: Vec<u8> = u.iter().zip(&v).flat_map(|(u, v)| [*u, *v]).collect();
            let rows = |bytes, stride| Plane { bytes, stride };
            for (left, top) in [(false, false), (true, false), (false, true), (true, true)] {
                let convert = |chroma| {
                    let picture = YuvPicture {
                        luma: rows(&luma, width),
                        chroma,
                        matrix: Matrix::new(0.299, 0.114, true),
                        site: Site { left, top },
                    };

                    let mut rgb = vec![0; 3 * width * height];
                    Converter::default()
                        .convert(&picture, width, &mut rgb)
                        .expect("whole");

                    rgb
                };

                let half_rows = |plane| rows(plane, half_width);
                let planes = convert(YuvChroma::I420(half_rows(&u), half_rows(&v)));
                let nv12 = YuvChroma::Nv12(rows(&pairs, 2 * half_width));
                assert_eq!(convert(nv12), planes);
                let chroma_place =
                    |at: usize, with: bool| (at as f64 - if with { 0.0 } else { 0.5 }) / 2.0;

                for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
                    let (cx, cy) = (chroma_place(x, left), chroma_place(y, top));
                    let of = |plane: &[u8]| between(plane, (half_width, half_height), cx, cy);
                    let exact = formula(
                        (f64::from(luma[y * width + x]), of(&u), of(&v)),
                        WEIGHTS[0],
                        true,
                    );

                    for (channel, exact) in exact.into_iter().enumerate() {
                        let found = f64::from(planes[3 * (y * width + x) + channel]);
                        // Chroma is rounded to whole levels after each direction.
                        assert!(
                            (found - exact).abs() < 2.5,
                            "{width} x {height} {left} {top} at {x} {y}: {found}, {exact}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_plane_that_is_too_short_is_refused() {
        let short = Plane {
            bytes: &[0; 7],
            stride: 4,
        };

        let whole = Plane {
            bytes: &[0; 16],
            stride: 4,
        };

        let convert = |luma, chroma| {
            let picture = YuvPicture {
                luma,
                chroma,
                matrix: Matrix::new(0.299, 0.114, true),
                site: Site {
                    left: true,
                    top: false,
                },
            };

            Converter::default().convert(&picture, 4, &mut [0; 48])
        };

        assert_eq!(convert(whole, YuvChroma::Nv12(short)), None);
        assert_eq!(convert(short, YuvChroma::Nv12(whole)), None);
        let planes = YuvChroma::I420(whole, whole);
        assert_eq!(convert(whole, planes), Some(()));
    }
}
