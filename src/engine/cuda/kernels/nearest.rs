//! The distance of each query to the nearest row of its look's gallery (WinCLIP, equation 5):
//! `m(q) = min over r of (1 - <q, r>) / 2` for unit q, r.
//!
//! `nearest` multiplies tiles of queries with tiles of gallery rows in fp32, whatever is stored; a look's gallery is
//! dealt out to [`SHARES`] blocks, each of which keeps the highest cosine of its share. `distances` takes the highest of
//! them. Galleries are named by a table in device memory, so that one may grow or change without a new capture.
//!
//! Cost at 15 x 15 patches, D = 896 and four references: 225 x 900 x 896 x 2 = 363 MFLOP, 5.4 us of an H200's 67 TFLOP/s
//! (fp32, no tensor cores); 2.0 MB read (fp16), 0.4 us of its 4.8 TB/s. Windows of 2 and 3, E = 640: 197 and 146 MFLOP.

use super::{Kernels, launch};
use crate::engine::EngineError;
use cudarc::driver::{CudaStream, DeviceRepr};

/// Blocks that a look's gallery is dealt out to.
pub const SHARES: usize = 16;

/// A look's gallery.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Gallery {
    /// Device address of unit rows, REAL `[rows, width]`.
    pub address: u64,
    /// At least 1.
    pub rows: i32,
    pub unused: i32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct Gallery`.
unsafe impl DeviceRepr for Gallery {}

/// The addresses are the device's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Args {
    /// REAL `[*, width]`: raw features.
    pub features: u64,
    /// i32 `[queries]`: the row of `features` that a query is; those of one look in a row.
    pub row: u64,
    /// i32 `[looks + 1]`: where each look's queries begin, and their end.
    pub begin: u64,
    /// `[looks]` [`Gallery`].
    pub galleries: u64,
    /// Written: f32 `[SHARES, queries]`, of use to nobody else.
    pub shares: u64,
    /// Written: f32 `[queries]`, finite: 0 to 1; of a row of zeros 0.5.
    pub distances: u64,
    /// Raised to 1, u32 by look: a query of that look, or its squared length, is not finite in f32.
    pub flags: u64,
    pub queries: u32,
    pub looks: u32,
    /// D or E
    pub width: u32,
    /// The most queries of one look.
    pub queries_each: u32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct Nearest`.
unsafe impl DeviceRepr for Args {}

/// Queries of a tile, and threads of a block, as in `nearest.cu`.
const TILE: u32 = 32;
const THREADS: u32 = 128;

/// # Errors
/// [`EngineError::Run`] when the driver refuses.
///
/// # Safety
/// When the stream comes to it, the addresses hold what [`Args`] says.
pub unsafe fn enqueue(
    kernels: &Kernels,
    stream: &CudaStream,
    args: &Args,
) -> Result<(), EngineError> {
    if args.queries == 0 {
        return Ok(());
    }
    let tiles = (
        (args.queries_each.div_ceil(TILE), SHARES as u32, args.looks),
        (THREADS, 1, 1),
    );
    // SAFETY: the caller's promise; `Args` is the kernel's struct.
    unsafe { launch(stream, &kernels.nearest, tiles, args) }?;
    let each = ((args.queries.div_ceil(THREADS), 1, 1), (THREADS, 1, 1));
    // SAFETY: the same.
    unsafe { launch(stream, &kernels.distances, each, args) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, on_device, random};
    use super::*;
    use crate::winclip::gallery;
    use crate::winclip::vectors::unit_rows;
    use ndarray::Array2;

    /// A look: which rows of the features ask, and what they are compared with, unit rows.
    struct Look {
        rows: Vec<i32>,
        gallery: Vec<f32>,
    }

    fn unit(seed: u64, rows: usize, width: usize) -> Vec<f32> {
        unit_rows(matrix(&random(seed, rows * width), width).view())
            .into_iter()
            .collect()
    }

    fn matrix(values: &[f32], width: usize) -> Array2<f32> {
        Array2::from_shape_vec((values.len() / width, width), values.to_vec()).expect("whole rows")
    }

    fn distances(
        bench: &Bench,
        features: &[f32],
        width: usize,
        looks: &[Look],
    ) -> (Vec<f32>, Vec<u32>) {
        let galleries: Vec<Gallery> = looks
            .iter()
            .map(|look| gallery_of(bench, &look.gallery, width))
            .collect();
        let row: Vec<i32> = looks.iter().flat_map(|look| look.rows.clone()).collect();
        let ends = looks.iter().scan(0, |end, look| {
            *end += look.rows.len() as i32;
            Some(*end)
        });
        let begin: Vec<i32> = std::iter::once(0).chain(ends).collect();
        let out = bench.out(row.len(), f32::NAN);
        let flags = bench.out(looks.len(), 0u32);
        let args = Args {
            features: bench.up_real(features),
            row: bench.up(&row),
            begin: bench.up(&begin),
            galleries: bench.up(&galleries),
            shares: bench.out_kept(SHARES * row.len(), f32::NAN),
            distances: out.address,
            flags: flags.address,
            queries: row.len() as u32,
            looks: looks.len() as u32,
            width: width as u32,
            queries_each: looks.iter().map(|look| look.rows.len()).max().unwrap_or(0) as u32,
        };
        // SAFETY: the bench holds what the sizes say.
        unsafe { enqueue(&bench.kernels, &bench.stream, &args) }.expect("enqueued");
        (bench.down(&out), bench.down(&flags))
    }

    fn gallery_of(bench: &Bench, rows: &[f32], width: usize) -> Gallery {
        Gallery {
            address: bench.up_real(rows),
            rows: (rows.len() / width) as i32,
            unused: 0,
        }
    }

    /// The reference: `winclip::gallery` with a plain product. Of what the device holds; its rows are of unit length up to
    /// the half's rounding, so they are not made so again.
    fn plain(bench: &Bench, features: &[f32], width: usize, look: &Look) -> Vec<f32> {
        let features = matrix(&bench.stored(features), width);
        let rows: Vec<usize> = look.rows.iter().map(|row| *row as usize).collect();
        let queries = unit_rows(features.select(ndarray::Axis(0), &rows).view());
        let products = queries.dot(&matrix(&bench.stored(&look.gallery), width).t());
        let highest =
            |row: ndarray::ArrayView1<f32>| row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        products
            .rows()
            .into_iter()
            .map(|row| ((1.0 - highest(row)) / 2.0).clamp(0.0, 1.0))
            .collect()
    }

    fn check(bench: &Bench, width: usize, sizes: &[(usize, usize)]) {
        let features = random(5, 50 * width);
        let looks: Vec<Look> = (0..)
            .zip(sizes)
            .map(|(seed, (queries, rows))| Look {
                rows: (0..*queries as i32)
                    .map(|at| (7 * at + seed as i32) % 50)
                    .collect(),
                gallery: unit(100 + seed, *rows, width),
            })
            .collect();
        let (found, flags) = distances(bench, &features, width, &looks);
        let plain: Vec<f32> = looks
            .iter()
            .flat_map(|look| plain(bench, &features, width, look))
            .collect();
        let apart = found
            .iter()
            .zip(&plain)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(
            found.len() == plain.len() && apart < 2e-6,
            "width {width}, {sizes:?}: {apart} apart"
        );
        assert!(flags.iter().all(|flag| *flag == 0));
    }

    /// Within 2e-6: sums of floats in another order.
    #[test]
    fn distances_are_those_of_the_plain_product_whatever_the_sizes() {
        on_device(|bench| {
            check(bench, 896, &[(9, 70)]);
            check(bench, 33, &[(33, 65), (1, 1), (64, 64), (0, 3), (50, 2100)]);
            check(bench, 1, &[(3, 2)]);
            check(bench, 31, &[(2, 129), (40, 1)]);
        });
    }

    #[test]
    fn a_match_is_zero_the_opposite_one_and_no_direction_a_half() {
        on_device(|bench| {
            let width = 20;
            let row = unit(9, 1, width);
            let opposite: Vec<f32> = row.iter().map(|value| -3.0 * value).collect();
            let features = [
                row.iter().map(|value| 2.0 * value).collect(),
                opposite,
                vec![0.0; width],
            ]
            .concat();
            let look = Look {
                rows: vec![0, 1, 2],
                gallery: row,
            };
            let (found, flags) = distances(bench, &features, width, &[look]);
            // A half's unit row is of unit length within 5e-4.
            let within = if bench.is_half() { 3e-4 } else { 1e-6 };
            assert!(found[0] < within && found[1] > 1.0 - within, "{found:?}");
            assert_eq!((found[2], flags), (0.5, vec![0]));
        });
    }

    #[test]
    fn a_query_that_is_not_finite_raises_its_looks_flag_and_has_a_finite_distance() {
        on_device(|bench| {
            let width = 40;
            for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut features = random(6, 3 * width);
                features[2 * width - 1] = strange;
                let look = |row: i32| Look {
                    rows: vec![row],
                    gallery: unit(10, 3, width),
                };
                let (found, flags) =
                    distances(bench, &features, width, &[look(0), look(1), look(2)]);
                assert!(
                    found.iter().all(|value| (0.0..=1.0).contains(value)),
                    "{found:?}"
                );
                assert_eq!(flags, [0, 1, 0]);
            }
        });
    }

    /// What the galleries of the processor's path say of the same features.
    #[test]
    fn it_agrees_with_the_gallery_of_the_other_engine() {
        on_device(|bench| {
            let width = 64;
            let (features, reference) = (bench.stored(&random(1, 5 * width)), unit(2, 9, width));
            let gallery = gallery::Gallery::new(&[matrix(&bench.stored(&reference), width).view()]);
            let mut plain = gallery::tests::PlainNearest;
            let other = gallery
                .distances(&mut plain, matrix(&features, width).view(), None)
                .expect("plain");
            let look = Look {
                rows: (0..5).collect(),
                gallery: gallery.rows().iter().copied().collect(),
            };
            let (found, _) = distances(bench, &features, width, &[look]);
            let within = if bench.is_half() { 3e-4 } else { 1e-6 };
            assert!(
                found
                    .iter()
                    .zip(&other)
                    .all(|(a, b)| (a - b).abs() < within),
                "{found:?} {other:?}"
            );
        });
    }
}
