//! The distance of each query to the nearest row of its crop's gallery (WinCLIP, equation 5): `m(q)
//! = min over r of (1 - <q, r>) / 2` for unit q, r.
//!
//! `nearest` multiplies tiles of queries with tiles of gallery rows in fp32, whatever is stored; a
//! crop's gallery is dealt out to [`SHARES`] blocks, each of which keeps the highest cosine of its
//! share. `distances` takes the highest of them. A table in device memory names the galleries, so
//! that one may grow or change without a new capture.
//!
//! Cost at 15 x 15 patches, D = 896 and four references: 225 x 900 x 896 x 2 = 363 MFLOP, 5.4 us of
//! an H200's 67 TFLOP/s (fp32, no tensor cores); 2.0 MB read (fp16), 0.4 us of its 4.8 TB/s.
//! Windows of 2 and 3, E = 640: 197 and 146 MFLOP.

use super::{Kernels, LaunchShape, launch};
use crate::engine::EngineError;
use cudarc::driver::{CudaStream, DeviceRepr};

/// Blocks that a crop's gallery is dealt out to.
pub const SHARES: usize = 16;

/// Rows of the gallery of one crop.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct GalleryRows {
    /// Device address of unit rows, REAL `[rows, width]`.
    pub address: u64,
    /// Number of rows, at least 1.
    pub rows: i32,
    /// Padding.
    pub unused: i32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct GalleryRows`.
unsafe impl DeviceRepr for GalleryRows {}

/// Arguments of both kernels. All addresses are the device's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct NearestArgs {
    /// REAL `[*, width]`: raw features.
    pub features: u64,
    /// i32 `[queries]`: the row of `features` that a query is; the queries of one crop follow each
    /// other.
    pub row: u64,
    /// i32 `[crops + 1]`: index of each crop's first query, and the number of queries.
    pub begin: u64,
    /// `[crops]` [`GalleryRows`].
    pub galleries: u64,
    /// Written: f32 `[SHARES, queries]`, scratch of this launch alone.
    pub shares: u64,
    /// Written: f32 `[queries]`, finite: 0 to 1; 0.5 for a row of zeros.
    pub distances: u64,
    /// Raised to 1, u32 by crop: a query of that crop, or its squared length, is not finite in f32.
    pub flags: u64,
    /// Number of queries.
    pub queries: u32,
    /// Number of crops.
    pub crops: u32,
    /// D or E, the width of a feature.
    pub width: u32,
    /// The most queries of one crop.
    pub queries_each: u32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct Nearest`.
unsafe impl DeviceRepr for NearestArgs {}

/// Queries of a tile, as in `nearest.cu`.
const TILE: u32 = 32;
/// Threads of a block, as in `nearest.cu`.
const THREADS: u32 = 128;

/// Enqueues the products and the distances of all queries.
///
/// # Errors
/// [`EngineError::Run`] when the driver refuses.
///
/// # Safety
/// When the stream comes to it, the memory at the addresses is as [`NearestArgs`] says.
pub unsafe fn enqueue(
    kernels: &Kernels,
    stream: &CudaStream,
    args: &NearestArgs,
) -> Result<(), EngineError> {
    if args.queries == 0 {
        return Ok(());
    }

    // A block holds one tile of queries against one share of one crop's gallery. The blocks are
    // enough for the crop with the most queries; those beyond a crop's last query end at once.
    let tiles = LaunchShape {
        blocks: (args.queries_each.div_ceil(TILE), SHARES as u32, args.crops),
        threads: (THREADS, 1, 1),
    };

    // SAFETY: the caller's promise; `NearestArgs` is the kernel's struct.
    unsafe { launch(stream, &kernels.nearest, tiles, args) }?;

    // The second kernel takes the highest cosine of all shares, one thread a query. Both are on one
    // stream, so that it sees what the first wrote.
    let queries = LaunchShape {
        blocks: (args.queries.div_ceil(THREADS), 1, 1),
        threads: (THREADS, 1, 1),
    };

    // SAFETY: the caller's promise; `NearestArgs` is the kernel's struct.
    unsafe { launch(stream, &kernels.distances, queries, args) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, on_device, random};
    use super::*;
    use crate::winclip::gallery;
    use crate::winclip::vectors::unit_rows;
    use ndarray::Array2;

    /// A crop: which rows of the features ask, and what they are compared with, unit rows.
    struct CropQueries {
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
        crops: &[CropQueries],
    ) -> (Vec<f32>, Vec<u32>) {
        let galleries: Vec<GalleryRows> = crops
            .iter()
            .map(|crop| gallery_of(bench, &crop.gallery, width))
            .collect();

        let row: Vec<i32> = crops.iter().flat_map(|crop| crop.rows.clone()).collect();
        let ends = crops.iter().scan(0, |end, crop| {
            *end += crop.rows.len() as i32;
            Some(*end)
        });

        let begin: Vec<i32> = std::iter::once(0).chain(ends).collect();
        let out = bench.out(row.len(), f32::NAN);
        let flags = bench.out(crops.len(), 0u32);
        let args = NearestArgs {
            features: bench.up_real(features),
            row: bench.up(&row),
            begin: bench.up(&begin),
            galleries: bench.up(&galleries),
            shares: bench.out_kept(SHARES * row.len(), f32::NAN),
            distances: out.address,
            flags: flags.address,
            queries: row.len() as u32,
            crops: crops.len() as u32,
            width: width as u32,
            queries_each: crops.iter().map(|crop| crop.rows.len()).max().unwrap_or(0) as u32,
        };

        // SAFETY: the bench holds what the sizes say.
        unsafe { enqueue(&bench.kernels, &bench.stream, &args) }.expect("enqueued");
        (bench.down(&out), bench.down(&flags))
    }

    fn gallery_of(bench: &Bench, rows: &[f32], width: usize) -> GalleryRows {
        GalleryRows {
            address: bench.up_real(rows),
            rows: (rows.len() / width) as i32,
            unused: 0,
        }
    }

    /// The reference: `winclip::gallery` with a plain product. Of what the device holds; its rows
    /// are of unit length up to the half's rounding, so they are not made so again.
    fn plain(bench: &Bench, features: &[f32], width: usize, crop: &CropQueries) -> Vec<f32> {
        let features = matrix(&bench.stored(features), width);
        let rows: Vec<usize> = crop.rows.iter().map(|row| *row as usize).collect();
        let queries = unit_rows(features.select(ndarray::Axis(0), &rows).view());
        let products = queries.dot(&matrix(&bench.stored(&crop.gallery), width).t());
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
        let crops: Vec<CropQueries> = (0..)
            .zip(sizes)
            .map(|(seed, (queries, rows))| CropQueries {
                rows: (0..*queries as i32)
                    .map(|at| (7 * at + seed as i32) % 50)
                    .collect(),
                gallery: unit(100 + seed, *rows, width),
            })
            .collect();

        let (found, flags) = distances(bench, &features, width, &crops);
        let plain: Vec<f32> = crops
            .iter()
            .flat_map(|crop| plain(bench, &features, width, crop))
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

            let crop = CropQueries {
                rows: vec![0, 1, 2],
                gallery: row,
            };

            let (found, flags) = distances(bench, &features, width, &[crop]);
            // A half's unit row is of unit length within 5e-4.
            let within = if bench.is_half() { 3e-4 } else { 1e-6 };
            assert!(found[0] < within && found[1] > 1.0 - within, "{found:?}");
            assert_eq!((found[2], flags), (0.5, vec![0]));
        });
    }

    #[test]
    fn a_query_that_is_not_finite_raises_its_crops_flag_and_has_a_finite_distance() {
        on_device(|bench| {
            let width = 40;
            for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut features = random(6, 3 * width);
                features[2 * width - 1] = strange;
                let crop = |row: i32| CropQueries {
                    rows: vec![row],
                    gallery: unit(10, 3, width),
                };

                let (found, flags) =
                    distances(bench, &features, width, &[crop(0), crop(1), crop(2)]);

                assert!(
                    found.iter().all(|value| (0.0..=1.0).contains(value)),
                    "{found:?}"
                );

                assert_eq!(flags, [0, 1, 0]);
            }
        });
    }

    /// The distances of the processor's galleries for the same features.
    #[test]
    fn it_agrees_with_the_gallery_of_the_other_engine() {
        on_device(|bench| {
            let width = 64;
            let (features, reference) = (bench.stored(&random(1, 5 * width)), unit(2, 9, width));
            let gallery =
                gallery::Gallery::new(&[matrix(&bench.stored(&reference), width).view()], 1, None);
            let mut plain = gallery::tests::PlainNearest;
            let other = gallery
                .distances(&mut plain, matrix(&features, width).view(), None)
                .expect("plain");

            let crop = CropQueries {
                rows: (0..5).collect(),
                gallery: gallery.rows().iter().copied().collect(),
            };

            let (found, _) = distances(bench, &features, width, &[crop]);
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
