//! From values of windows to maps of patches (sections 4 and 5 of WinCLIP): the means over the windows that cover a cell,
//! then over scales.
//!
//! One thread a cell, which asks each of its windows; a few kilobytes, so that what it takes is the launch.

use super::{Kernels, launch};
use crate::engine::EngineError;
use crate::engine::device_scorer::Mean;
use cudarc::driver::{CudaStream, DeviceRepr};

/// Layers of one map at most.
pub const LAYERS_MAX: usize = 8;

/// The values of one scale.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Layer {
    /// Device address of f32 values, one for each window that was encoded, of all looks.
    pub values: u64,
    /// Device address of i32 `[looks, (grid - scale + 1)^2]`: which of `values` a window has, -1 for one that was left out
    /// and counts as 0.
    pub place: u64,
    /// Patches along a window's side; 1 for patches.
    pub scale: u32,
    /// 0 harmonic, 1 arithmetic.
    mean: u32,
}

impl Layer {
    pub fn new(values: u64, place: u64, scale: u32, mean: Mean) -> Self {
        Layer {
            values,
            place,
            scale,
            mean: u32::from(mean == Mean::Arithmetic),
        }
    }
}

/// How the language map is made of the scales' values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// The harmonic mean of the scales' maps and of the whole pictures' values, at the device address of f32 `[looks]`;
    /// 0 for none of them.
    Harmonic { whole: u64 },
    /// caoyunkang: `1 - 1 / mean over scales of (mean of 1 / (1 - s))`.
    OddsMean,
}

/// The struct that both kernels take.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Args {
    layers: [Layer; LAYERS_MAX],
    /// f32 `[looks]`, or 0.
    whole: u64,
    /// f32 `[looks, grid * grid]`
    map: u64,
    count: u32,
    looks: u32,
    grid: u32,
    odds: u32,
}

// SAFETY: plain numbers, laid out as the kernels' `struct Scatter`.
unsafe impl DeviceRepr for Args {}

/// Where a map goes: f32 `[looks, grid * grid]` at a device address.
#[derive(Debug, Clone, Copy)]
pub struct Maps {
    pub address: u64,
    pub looks: u32,
    pub grid: u32,
}

const THREADS: u32 = 64;

impl Args {
    fn new(layers: &[Layer], (whole, odds): (u64, bool), maps: Maps) -> Result<Self, EngineError> {
        if layers.len() > LAYERS_MAX {
            let asked = layers.len();
            return Err(EngineError::Plan(format!(
                "a map is made of at most {LAYERS_MAX} scales, got {asked}"
            )));
        }
        let nothing = Layer {
            values: 0,
            place: 0,
            scale: 1,
            mean: 0,
        };
        let all = std::array::from_fn(|at| layers.get(at).copied().unwrap_or(nothing));
        let Maps {
            address: map,
            looks,
            grid,
        } = maps;
        Ok(Args {
            layers: all,
            whole,
            map,
            count: layers.len() as u32,
            looks,
            grid,
            odds: odds.into(),
        })
    }

    fn shape(&self) -> super::Shape {
        (
            ((self.grid * self.grid).div_ceil(THREADS), self.looks, 1),
            (THREADS, 1, 1),
        )
    }
}

/// The language map: each layer's mean over a cell's windows as [`Words`] says, whatever the layer's own mean is.
///
/// # Errors
/// [`EngineError::Plan`] for more than [`LAYERS_MAX`] layers; [`EngineError::Run`] when the driver refuses.
///
/// # Safety
/// When the stream comes to it, the addresses hold what [`Layer`], [`Words`] and [`Maps`] say.
pub unsafe fn language_map(
    kernels: &Kernels,
    stream: &CudaStream,
    layers: &[Layer],
    words: Words,
    maps: Maps,
) -> Result<(), EngineError> {
    let how = match words {
        Words::Harmonic { whole } => (whole, false),
        Words::OddsMean => (0, true),
    };
    let args = Args::new(layers, how, maps)?;
    if args.looks == 0 {
        return Ok(());
    }
    // SAFETY: the caller's promise; `Args` is the kernel's struct.
    unsafe { launch(stream, &kernels.language_map, args.shape(), &args) }
}

/// The visual map: the arithmetic mean over layers of each layer's mean over a cell's windows.
///
/// # Errors
/// As [`language_map`].
///
/// # Safety
/// As [`language_map`].
pub unsafe fn visual_map(
    kernels: &Kernels,
    stream: &CudaStream,
    layers: &[Layer],
    maps: Maps,
) -> Result<(), EngineError> {
    let args = Args::new(layers, (0, false), maps)?;
    if args.looks == 0 {
        return Ok(());
    }
    // SAFETY: the caller's promise; `Args` is the kernel's struct.
    unsafe { launch(stream, &kernels.visual_map, args.shape(), &args) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, on_device, random};
    use super::*;
    use crate::engine::unmasked_windows;
    use crate::winclip::vectors::harmonic;
    use crate::winclip::windows::{over, scattered};

    /// Values of one scale: of every window of each look, 0 where it was left out, as `in_place` in `winclip/scorer.rs`.
    struct Scale {
        scale: usize,
        mean: Mean,
        all: Vec<Vec<f32>>,
        encoded: Vec<f32>,
        place: Vec<i32>,
    }

    /// The second look's windows are those that touch `cell`; a few values are as they can hardly be: 0, 1, the smallest.
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
        for (look, cells) in [None, Some(cells.as_slice()), None].into_iter().enumerate() {
            let counted = unmasked_windows(grid, scale, cells);
            let (mut all, mut place) = (vec![0.0; windows], vec![-1; windows]);
            for (at, window) in counted.into_iter().enumerate() {
                let drawn = random((97 * scale + 13 * look + at) as u64, 1)[0].abs();
                all[window] = match (look, at) {
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

    fn layers(bench: &Bench, scales: &[Scale]) -> Vec<Layer> {
        let layer = |s: &Scale| {
            Layer::new(
                bench.up(&s.encoded),
                bench.up(&s.place),
                s.scale as u32,
                s.mean,
            )
        };
        scales.iter().map(layer).collect()
    }

    const LOOKS: usize = 3;

    fn language(bench: &Bench, grid: usize, scales: &[Scale], words: Words) -> Vec<f32> {
        let (out, layers) = (
            bench.out(LOOKS * grid * grid, f32::NAN),
            layers(bench, scales),
        );
        let maps = Maps {
            address: out.address,
            looks: LOOKS as u32,
            grid: grid as u32,
        };
        // SAFETY: the bench holds what the sizes say.
        unsafe { language_map(&bench.kernels, &bench.stream, &layers, words, maps) }
            .expect("enqueued");
        bench.down(&out)
    }

    fn visual(bench: &Bench, grid: usize, scales: &[Scale]) -> Vec<f32> {
        let (out, layers) = (
            bench.out(LOOKS * grid * grid, f32::NAN),
            layers(bench, scales),
        );
        let maps = Maps {
            address: out.address,
            looks: LOOKS as u32,
            grid: grid as u32,
        };
        // SAFETY: the bench holds what the sizes say.
        unsafe { visual_map(&bench.kernels, &bench.stream, &layers, maps) }.expect("enqueued");
        bench.down(&out)
    }

    /// `value(look, cell)` of all.
    fn each(grid: usize, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let cells = (0..LOOKS).flat_map(|look| (0..grid * grid).map(move |cell| (look, cell)));
        cells.map(|(look, cell)| value(look, cell)).collect()
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
                            Words::Harmonic {
                                whole: bench.up(&whole),
                            },
                        ),
                        false => language(bench, grid, &scales, Words::Harmonic { whole: 0 }),
                    };
                    let plain = each(grid, |look, cell| {
                        let of = |s: &Scale| {
                            scattered(&s.all[look], grid, s.scale, Mean::Harmonic)[cell]
                        };
                        harmonic(
                            scales
                                .iter()
                                .map(of)
                                .chain(with_whole.then_some(whole[look])),
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
                let plain = each(grid, |look, cell| {
                    let odds = |s: &Scale| {
                        let values = over(grid, s.scale, cell / grid, cell % grid)
                            .map(|w| 1.0 / (1.0 - s.all[look][w]));
                        values.clone().sum::<f32>() / values.count() as f32
                    };
                    1.0 - 1.0 / (scales.iter().map(odds).sum::<f32>() / scales.len() as f32)
                });
                let found = language(bench, grid, &scales, Words::OddsMean);
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
                    let plain = each(grid, |look, cell| {
                        let of = |s: &Scale| match s.scale {
                            1 => s.all[look][cell],
                            scale => scattered(&s.all[look], grid, scale, s.mean)[cell],
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
            let layers: Vec<Layer> = (0..9)
                .map(|_| Layer::new(0, 0, 1, Mean::Harmonic))
                .collect();
            let maps = Maps {
                address: 0,
                looks: 1,
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
