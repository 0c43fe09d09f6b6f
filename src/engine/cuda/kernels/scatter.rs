//! The way from values of windows to maps of patches (sections 4 and 5 of WinCLIP): the means over
//! the windows that cover a cell, then over scales.
//!
//! One thread makes a cell and asks each of its windows; a few kilobytes, so that the launch takes
//! longer than the work.

use super::{Kernels, LaunchShape, launch};
use crate::engine::EngineError;
use crate::engine::device_scorer::Mean;
use cudarc::driver::{CudaStream, DeviceRepr};

/// The most layers of one map.
pub const LAYERS_MAX: usize = 8;

/// The values of one scale.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct MapLayer {
    /// Device address of f32 values, one for each window that was encoded, of all crops.
    pub values: u64,
    /// Device address of i32 `[crops, (grid - scale + 1)^2]`: the index in `values` of each window,
    /// -1 for one that was left out and counts as 0.
    pub place: u64,
    /// Patches along a window's side; 1 for patches.
    pub scale: u32,
    /// 0 harmonic, 1 arithmetic.
    mean: u32,
}

impl MapLayer {
    /// A layer that stands where a map has fewer than [`LAYERS_MAX`].
    const NONE: MapLayer = MapLayer {
        values: 0,
        place: 0,
        scale: 1,
        mean: 0,
    };

    /// A layer whose cells are the `mean` of the windows that cover them.
    pub fn new(values: u64, place: u64, scale: u32, mean: Mean) -> Self {
        MapLayer {
            values,
            place,
            scale,
            mean: u32::from(mean == Mean::Arithmetic),
        }
    }
}

/// The mean that makes the language map out of the scales' values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanguageMean {
    /// The harmonic mean of the scales' maps and of the whole pictures' values.
    Harmonic {
        /// Device address of the whole pictures' values, f32 `[crops]`; 0 for none of them.
        whole: u64,
    },
    /// caoyunkang: `1 - 1 / mean over scales of (mean of 1 / (1 - s))`.
    OddsMean,
}

/// The struct that both kernels take.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct ScatterArgs {
    layers: [MapLayer; LAYERS_MAX],
    /// f32 `[crops]`, or 0.
    whole: u64,
    /// f32 `[crops, grid * grid]`
    map: u64,
    count: u32,
    crops: u32,
    grid: u32,
    odds: u32,
}

// SAFETY: plain numbers, laid out as the kernels' `struct Scatter`.
unsafe impl DeviceRepr for ScatterArgs {}

/// Maps that a kernel writes: f32 `[crops, grid * grid]` at a device address.
#[derive(Debug, Clone, Copy)]
pub struct Maps {
    /// Device address of the first map.
    pub address: u64,
    /// Number of maps.
    pub crops: u32,
    /// Cells along a map's side.
    pub grid: u32,
}

const THREADS: u32 = 64;

impl ScatterArgs {
    /// Arguments without language: no whole pictures, no odds.
    fn new(layers: &[MapLayer], maps: Maps) -> Result<Self, EngineError> {
        if layers.len() > LAYERS_MAX {
            let asked = layers.len();
            return Err(EngineError::Plan(format!(
                "a map is made of at most {LAYERS_MAX} scales, got {asked}"
            )));
        }

        let mut all = [MapLayer::NONE; LAYERS_MAX];
        all[..layers.len()].copy_from_slice(layers);
        Ok(ScatterArgs {
            layers: all,
            whole: 0,
            map: maps.address,
            count: layers.len() as u32,
            crops: maps.crops,
            grid: maps.grid,
            odds: 0,
        })
    }

    fn shape(&self) -> LaunchShape {
        let cells = self.grid * self.grid;
        LaunchShape {
            blocks: (cells.div_ceil(THREADS), self.crops, 1),
            threads: (THREADS, 1, 1),
        }
    }
}

/// Enqueues the language map: each layer's mean over a cell's windows as [`LanguageMean`] says,
/// whatever the layer's own mean is.
///
/// # Errors
/// [`EngineError::Plan`] for more than [`LAYERS_MAX`] layers; [`EngineError::Run`] when the driver
/// refuses.
///
/// # Safety
/// When the stream comes to it, the memory at the addresses is as [`MapLayer`], [`LanguageMean`]
/// and [`Maps`] say.
pub unsafe fn language_map(
    kernels: &Kernels,
    stream: &CudaStream,
    layers: &[MapLayer],
    mean: LanguageMean,
    maps: Maps,
) -> Result<(), EngineError> {
    let mut args = ScatterArgs::new(layers, maps)?;

    match mean {
        LanguageMean::Harmonic { whole } => args.whole = whole,
        LanguageMean::OddsMean => args.odds = 1,
    }

    if args.crops == 0 {
        return Ok(());
    }

    // SAFETY: the caller's promise; `ScatterArgs` is the kernel's struct.
    unsafe { launch(stream, &kernels.language_map, args.shape(), &args) }
}

/// Enqueues the visual map: the arithmetic mean over layers of each layer's mean over a cell's
/// windows.
///
/// # Errors
/// [`EngineError::Plan`] and [`EngineError::Run`], as [`language_map`].
///
/// # Safety
/// When the stream comes to it, the memory at the addresses is as [`MapLayer`] and [`Maps`] say.
pub unsafe fn visual_map(
    kernels: &Kernels,
    stream: &CudaStream,
    layers: &[MapLayer],
    maps: Maps,
) -> Result<(), EngineError> {
    let args = ScatterArgs::new(layers, maps)?;

    if args.crops == 0 {
        return Ok(());
    }

    // SAFETY: the caller's promise; `ScatterArgs` is the kernel's struct.
    unsafe { launch(stream, &kernels.visual_map, args.shape(), &args) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, on_device, random};
    use super::*;
    use crate::data::grid::Grid;
    use crate::engine::unmasked_windows;
    use crate::winclip::vectors::harmonic;
    use crate::winclip::windows::{over, scattered};

    /// Values of one scale: of every window of each crop, 0 where it was left out, as `in_place` in
    /// `winclip/scorer.rs`.
    struct Scale {
        scale: usize,
        mean: Mean,
        all: Vec<Vec<f32>>,
        encoded: Vec<f32>,
        place: Vec<i32>,
    }

    /// The second crop's windows are those that touch `cell`; a few values are as they can hardly
    /// be: 0, 1, the smallest.
    fn scale(grid: usize, scale: usize, mean: Mean, cell: usize) -> Scale {
        let mut cells = vec![false; grid * grid];
        cells[cell] = true;
        let windows = (grid - scale + 1).pow(2);
        let mut made = Scale {
            scale,
            mean,
            all: vec![],
            encoded: vec![],
            place: vec![],
        };

        for (crop, cells) in [None, Some(cells.as_slice()), None].into_iter().enumerate() {
            let counted = unmasked_windows(Grid::square(grid), scale, cells);
            let (mut all, mut place) = (vec![0.0; windows], vec![-1; windows]);
            for (at, window) in counted.into_iter().enumerate() {
                let drawn = random((97 * scale + 13 * crop + at) as u64, 1)[0].abs();
                all[window] = match (crop, at) {
                    (2, 0) => 0.0,
                    (2, 1) => 1.0,
                    (2, 2) => f32::from_bits(1),
                    _ => drawn,
                };

                place[window] = made.encoded.len() as i32;
                made.encoded.push(all[window]);
            }

            made.all.push(all);
            made.place.extend(place);
        }

        made
    }

    fn layers(bench: &Bench, scales: &[Scale]) -> Vec<MapLayer> {
        let layer = |s: &Scale| {
            MapLayer::new(
                bench.up(&s.encoded),
                bench.up(&s.place),
                s.scale as u32,
                s.mean,
            )
        };

        scales.iter().map(layer).collect()
    }

    const CROPS: usize = 3;

    fn language(bench: &Bench, grid: usize, scales: &[Scale], words: LanguageMean) -> Vec<f32> {
        let (out, layers) = (
            bench.out(CROPS * grid * grid, f32::NAN),
            layers(bench, scales),
        );

        let maps = Maps {
            address: out.address,
            crops: CROPS as u32,
            grid: grid as u32,
        };

        // SAFETY: the bench holds what the sizes say.
        unsafe { language_map(&bench.kernels, &bench.stream, &layers, words, maps) }
            .expect("enqueued");

        bench.down(&out)
    }

    fn visual(bench: &Bench, grid: usize, scales: &[Scale]) -> Vec<f32> {
        let (out, layers) = (
            bench.out(CROPS * grid * grid, f32::NAN),
            layers(bench, scales),
        );

        let maps = Maps {
            address: out.address,
            crops: CROPS as u32,
            grid: grid as u32,
        };

        // SAFETY: the bench holds what the sizes say.
        unsafe { visual_map(&bench.kernels, &bench.stream, &layers, maps) }.expect("enqueued");
        bench.down(&out)
    }

    /// `value(crop, cell)` of all.
    fn each(grid: usize, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let cells = (0..CROPS).flat_map(|crop| (0..grid * grid).map(move |cell| (crop, cell)));
        cells.map(|(crop, cell)| value(crop, cell)).collect()
    }

    fn assert_close(found: &[f32], plain: &[f32], what: &str) {
        assert_eq!(found.len(), plain.len());
        for (at, (found, plain)) in found.iter().zip(plain).enumerate() {
            assert!(
                found.is_finite() && (found - plain).abs() <= 1e-6 * plain.abs(),
                "{what} {at}: {found}, {plain}"
            );
        }
    }

    const GRIDS: [(usize, &[usize]); 5] = [
        (1, &[1]),
        (3, &[3, 2]),
        (5, &[2, 3, 5]),
        (15, &[2, 3]),
        (9, &[1, 4, 9]),
    ];

    #[test]
    fn language_maps_are_harmonic_means_over_windows_scales_and_the_whole() {
        on_device(|bench| {
            for (grid, chosen) in GRIDS {
                let scales: Vec<Scale> = chosen
                    .iter()
                    .map(|k| scale(grid, *k, Mean::Harmonic, grid * grid / 2))
                    .collect();

                let whole = [0.25, 0.75, 0.5];
                for with_whole in [true, false] {
                    let found = match with_whole {
                        true => language(
                            bench,
                            grid,
                            &scales,
                            LanguageMean::Harmonic {
                                whole: bench.up(&whole),
                            },
                        ),
                        false => {
                            language(bench, grid, &scales, LanguageMean::Harmonic { whole: 0 })
                        }
                    };

                    let plain = each(grid, |crop, cell| {
                        let of = |s: &Scale| {
                            scattered(&s.all[crop], Grid::square(grid), s.scale, Mean::Harmonic)
                                [cell]
                        };

                        harmonic(
                            scales
                                .iter()
                                .map(of)
                                .chain(with_whole.then_some(whole[crop])),
                        )
                    });

                    assert_close(&found, &plain, &format!("{grid} {chosen:?}"));
                }
            }
        });
    }

    #[test]
    fn odds_are_caoyunkangs_mean() {
        on_device(|bench| {
            for (grid, chosen) in GRIDS {
                let scales: Vec<Scale> = chosen
                    .iter()
                    .map(|k| scale(grid, *k, Mean::Arithmetic, 0))
                    .collect();

                let plain = each(grid, |crop, cell| {
                    let odds = |s: &Scale| {
                        let values = over(Grid::square(grid), s.scale, cell / grid, cell % grid)
                            .map(|w| 1.0 / (1.0 - s.all[crop][w]));

                        values.clone().sum::<f32>() / values.count() as f32
                    };

                    1.0 - 1.0 / (scales.iter().map(odds).sum::<f32>() / scales.len() as f32)
                });

                let found = language(bench, grid, &scales, LanguageMean::OddsMean);
                // 1 - 1/u of a u near 1 keeps few digits.
                let apart = found
                    .iter()
                    .zip(&plain)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max);

                assert!(
                    apart < 1e-6 && found.iter().all(|value| value.is_finite()),
                    "{grid} {chosen:?}: {apart}"
                );
            }
        });
    }

    #[test]
    fn visual_maps_are_means_over_layers_of_either_mean_over_windows() {
        on_device(|bench| {
            for (grid, chosen) in GRIDS {
                for mean in [Mean::Harmonic, Mean::Arithmetic] {
                    let mut scales: Vec<Scale> = chosen
                        .iter()
                        .map(|k| scale(grid, *k, mean, grid - 1))
                        .collect();

                    scales.push(scale(grid, 1, Mean::Harmonic, grid - 1));
                    let plain = each(grid, |crop, cell| {
                        let of = |s: &Scale| match s.scale {
                            1 => s.all[crop][cell],
                            scale => {
                                scattered(&s.all[crop], Grid::square(grid), scale, s.mean)[cell]
                            }
                        };

                        scales.iter().map(of).sum::<f32>() / scales.len() as f32
                    });

                    assert_close(
                        &visual(bench, grid, &scales),
                        &plain,
                        &format!("{grid} {chosen:?} {mean:?}"),
                    );
                }
            }
        });
    }

    #[test]
    fn nine_layers_are_refused_with_the_limit() {
        on_device(|bench| {
            let layers: Vec<MapLayer> = (0..9)
                .map(|_| MapLayer::new(0, 0, 1, Mean::Harmonic))
                .collect();

            let maps = Maps {
                address: 0,
                crops: 1,
                grid: 1,
            };

            // SAFETY: refused before anything is enqueued.
            let refused = unsafe { visual_map(&bench.kernels, &bench.stream, &layers, maps) };
            assert!(
                refused
                    .expect_err("too many")
                    .to_string()
                    .contains("at most 8 scales, got 9")
            );
        });
    }
}
