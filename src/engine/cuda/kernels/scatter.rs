//! From values of windows to maps of patches (sections 4 and 5 of WinCLIP): the means over the windows that cover a cell,
//! then over scales.
//!
//! One thread a cell, which asks each of its windows; a few kilobytes, so that what it takes is the launch.

use super::{Kernels, launch};
use crate::engine::EngineError;
use crate::engine::fused::Mean;
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
        Layer { values, place, scale, mean: u32::from(mean == Mean::Arithmetic) }
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
            return Err(EngineError::Plan(format!("a map is made of at most {LAYERS_MAX} scales, got {asked}")));
        }
        let nothing = Layer { values: 0, place: 0, scale: 1, mean: 0 };
        let all = std::array::from_fn(|at| layers.get(at).copied().unwrap_or(nothing));
        let Maps { address: map, looks, grid } = maps;
        Ok(Args { layers: all, whole, map, count: layers.len() as u32, looks, grid, odds: odds.into() })
    }

    fn shape(&self) -> super::Shape {
        (((self.grid * self.grid).div_ceil(THREADS), self.looks, 1), (THREADS, 1, 1))
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
