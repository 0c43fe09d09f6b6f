//! From the subsampled pictures that decoders and sensors give (NV12, I420) to RGB, in one pass into the picture's own
//! memory. GStreamer's converter takes four times as long and leaves a picture that must be copied.
//!
//! It is the conversion that `videoconvert` does by default: chroma interpolated linearly from where the stream says it
//! was sampled, then the stream's matrix and range. 16-bit arithmetic with 4 fractional bits, within a grey level of the
//! standards' formulas; `videoconvert` (1.22) is up to 3 too dark in video range.

use multiversion::multiversion;

/// From luma and chroma to RGB, in fixed point.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
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
    /// `kr` and `kb` are the standard's weights of red and blue in luma (BT.601: 0.299 and 0.114). Video range is 16 to
    /// 235 for luma and 16 to 240 for chroma.
    pub fn new(kr: f64, kb: f64, full_range: bool) -> Self {
        let (black, luma, chroma) = if full_range {
            (0, 1.0, 1.0)
        } else {
            (16, 255.0 / 219.0, 255.0 / 224.0)
        };
        let kg = 1.0 - kr - kb;
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

    /// Black, then the factors of luma (13 fractional bits), of v in red, of u and v in green, of u in blue (12).
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

/// Where chroma was sampled: with the left pixel or between two; with the upper row or between two.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    pub left: bool,
    pub top: bool,
}

/// A plane's bytes and how far its rows are apart.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    pub bytes: &'a [u8],
    pub stride: usize,
}

impl<'a> Plane<'a> {
    pub fn row(&self, row: usize, bytes: usize) -> Option<&'a [u8]> {
        self.bytes.get(row * self.stride..)?.get(..bytes)
    }
}

/// Chroma of half the width and height, rounded up.
#[derive(Debug, Clone, Copy)]
pub enum Chroma<'a> {
    /// NV12: u and v in turn.
    Pairs(Plane<'a>),
    /// I420: u, v.
    Planes(Plane<'a>, Plane<'a>),
}

/// Converts pictures; keeps its rows from picture to picture.
#[derive(Debug, Default)]
pub struct Converter {
    /// One row of chroma between rows, of half the width: u and v in turn, or one of them.
    between: Vec<u8>,
    /// The same, apart.
    half: [Vec<u8>; 2],
    /// Of the full width.
    full: [Vec<u8>; 2],
}

impl Converter {
    /// Fills `rgb`, 3 bytes for each of `width` pixels of as many rows as fit. `None`: a plane is too short.
    pub fn convert(
        &mut self,
        (luma, chroma): (Plane, Chroma),
        width: usize,
        (matrix, site): (&Matrix, Site),
        rgb: &mut [u8],
    ) -> Option<()> {
        let half = width.div_ceil(2);
        let height = rgb.len() / (3 * width);
        for (row, rgb) in rgb.chunks_exact_mut(3 * width).enumerate() {
            let (near, far) = neighbours(row, height.div_ceil(2));
            match chroma {
                Chroma::Pairs(pairs) => {
                    vertical(
                        pairs.row(near, 2 * half)?,
                        pairs.row(far, 2 * half)?,
                        (row, site),
                        &mut self.between,
                    );
                    apart(&self.between, &mut self.half);
                }
                Chroma::Planes(u, v) => {
                    for (plane, out) in [u, v].iter().zip(&mut self.half) {
                        vertical(
                            plane.row(near, half)?,
                            plane.row(far, half)?,
                            (row, site),
                            out,
                        );
                    }
                }
            }
            for (half, full) in self.half.iter().zip(&mut self.full) {
                full.resize(2 * half.len(), 0);
                horizontal(half, site.left, full);
            }
            let [u, v] = &self.full;
            coloured(luma.row(row, width)?, &u[..width], &v[..width], matrix, rgb);
        }
        Some(())
    }
}

/// The chroma rows on either side of a row, the nearer first.
fn neighbours(row: usize, chroma_rows: usize) -> (usize, usize) {
    let near = row / 2;
    let far = if row.is_multiple_of(2) {
        near.saturating_sub(1)
    } else {
        (near + 1).min(chroma_rows - 1)
    };
    (near, far)
}

fn vertical(near: &[u8], far: &[u8], (row, site): (usize, Site), out: &mut Vec<u8>) {
    out.resize(near.len(), 0);
    match (site.top, row % 2) {
        (true, 0) => out.copy_from_slice(near),
        (true, _) => mixed(near, far, 1, out),
        (false, _) => mixed(near, far, 2, out),
    }
}

/// The far row's share is the `bits`-th power of a half.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
fn mixed(near: &[u8], far: &[u8], bits: u32, out: &mut [u8]) {
    let (weight, half) = ((1 << bits) - 1, 1 << (bits - 1));
    for ((near, far), out) in near.iter().zip(far).zip(out) {
        *out = ((weight * u16::from(*near) + u16::from(*far) + half) >> bits) as u8;
    }
}

fn apart(pairs: &[u8], planes: &mut [Vec<u8>; 2]) {
    planes
        .iter_mut()
        .for_each(|plane| plane.resize(pairs.len() / 2, 0));
    let [u, v] = planes;
    split(pairs, u, v);
}

#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
fn split(pairs: &[u8], u: &mut [u8], v: &mut [u8]) {
    for ((pair, u), v) in pairs.as_chunks::<2>().0.iter().zip(u).zip(v) {
        [*u, *v] = *pair;
    }
}

/// Twice as many values: the left pixel's own where it was sampled there, else a quarter of the neighbour's.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
fn horizontal(half: &[u8], left: bool, full: &mut [u8]) {
    let last = half.len() - 1;
    let pairs = full.as_chunks_mut::<2>().0;
    let wide = |value: u8| u16::from(value);
    if left {
        for ((pair, own), next) in pairs.iter_mut().zip(half).zip(&half[1..]) {
            *pair = [*own, (wide(*own) + wide(*next)).div_ceil(2) as u8];
        }
        pairs[last] = [half[last]; 2];
    } else {
        let third = |own: u8, other: u8| ((3 * wide(own) + wide(other) + 2) / 4) as u8;
        pairs[0] = [half[0], third(half[0], half[1.min(last)])];
        if last > 0 {
            for (((pair, before), own), next) in pairs[1..]
                .iter_mut()
                .zip(half)
                .zip(&half[1..])
                .zip(&half[2..])
            {
                *pair = [third(*own, *before), third(*own, *next)];
            }
            pairs[last] = [third(half[last], half[last - 1]), half[last]];
        }
    }
}

/// One row of pixels.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
fn coloured(luma: &[u8], u: &[u8], v: &[u8], matrix: &Matrix, rgb: &mut [u8]) {
    let m = *matrix;
    let pixels = rgb.as_chunks_mut::<3>().0;
    for (((pixel, y), u), v) in pixels.iter_mut().zip(luma).zip(u).zip(v) {
        let y = high((i16::from(*y) - m.black) << 7, m.luma);
        let (u, v) = ((i16::from(*u) - 128) << 8, (i16::from(*v) - 128) << 8);
        *pixel = [
            // A half, and another half of the smallest bit for each product that was cut off.
            grey(y + high(v, m.red_v) + 9),
            grey(y + high(u, m.green_u) + high(v, m.green_v) + 9),
            grey(y + high(u, m.blue_u) + 9),
        ];
    }
}

/// The upper half of a product.
#[inline(always)]
fn high(a: i16, b: i16) -> i16 {
    ((i32::from(a) * i32::from(b)) >> 16) as i16
}

/// From 4 fractional bits.
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
                    coloured(&luma, &[u; 256], &[v; 256], &matrix, &mut rgb);
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
        coloured(
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
        coloured(
            &[16, 235],
            &[128; 2],
            &[128; 2],
            &Matrix::new(0.299, 0.114, false),
            &mut ends,
        );
        assert_eq!(ends, [0, 0, 0, 255, 255, 255]);
    }

    /// Chroma at a place between samples, in units of samples; beyond the edge it is the edge's.
    fn between(plane: &[u8], (width, height): (usize, usize), x: f64, y: f64) -> f64 {
        let at = |column: f64, row: f64| {
            let place = |value: f64, size: usize| value.clamp(0.0, (size - 1) as f64) as usize;
            f64::from(plane[place(row, height) * width + place(column, width)])
        };
        let (left, top) = (x.floor(), y.floor());
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
                let how = (&Matrix::new(0.299, 0.114, true), Site { left, top });
                let convert = |chroma| {
                    let mut rgb = vec![0; 3 * width * height];
                    Converter::default()
                        .convert((rows(&luma, width), chroma), width, how, &mut rgb)
                        .expect("whole");
                    rgb
                };
                let planes = convert(Chroma::Planes(rows(&u, half_width), rows(&v, half_width)));
                assert_eq!(convert(Chroma::Pairs(rows(&pairs, 2 * half_width))), planes);
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
        let how = (
            &Matrix::new(0.299, 0.114, true),
            Site {
                left: true,
                top: false,
            },
        );
        let convert =
            |luma, chroma| Converter::default().convert((luma, chroma), 4, how, &mut [0; 48]);
        assert_eq!(convert(whole, Chroma::Pairs(short)), None);
        assert_eq!(convert(short, Chroma::Pairs(whole)), None);
        assert_eq!(convert(whole, Chroma::Planes(whole, whole)), Some(()));
    }
}
