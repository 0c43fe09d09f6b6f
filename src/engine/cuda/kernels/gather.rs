//! The gathering of a window's tokens out of a picture's: the class token and the k x k patches of
//! each window (section 4 of WinCLIP).
//!
//! Cost at 15 x 15 patches of width 896, windows of 2 and 3 patches: 196 x 5 + 169 x 10 rows, 4.8
//! MB written (fp16) and as much read, the reads mostly from the cache: 1.0 us of an H200's 4.8
//! TB/s for the writes.

use super::{Kernels, LaunchShape, launch};
use crate::engine::EngineError;
use cudarc::driver::{CudaStream, DeviceRepr};

/// A window: index of its crop, and its top-left patch, counted row-major in the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct WindowPlace {
    /// Index of the crop that the window lies in.
    pub crop: i32,
    /// Index of the window's top-left patch.
    pub corner: i32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct WindowPlace`.
unsafe impl DeviceRepr for WindowPlace {}

/// Arguments of the kernel. All addresses are the device's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct GatherArgs {
    /// REAL `[N, 1 + grid * grid, width]`: class token first, then the patches row-major.
    pub tokens: u64,
    /// `[windows]` [`WindowPlace`], each window within the grid.
    pub places: u64,
    /// Written: REAL `[windows, 1 + scale * scale, width]`.
    pub out: u64,
    /// Number of windows.
    pub windows: u32,
    /// Patches along a crop's side.
    pub grid: u32,
    /// D, the width of a token.
    pub width: u32,
    /// Patches along a window's side.
    pub scale: u32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct Gather`.
unsafe impl DeviceRepr for GatherArgs {}

/// Bytes that one thread copies at once where rows allow it.
const WIDE: u64 = 16;
const THREADS: u32 = 128;

/// Enqueues the gathering of all windows.
///
/// # Errors
/// [`EngineError::Run`] when the driver refuses.
///
/// # Safety
/// When the stream comes to it, the memory at the addresses is as [`GatherArgs`] says.
pub unsafe fn enqueue(
    kernels: &Kernels,
    stream: &CudaStream,
    args: &GatherArgs,
) -> Result<(), EngineError> {
    // A launch of no blocks is an error of the driver, and a picture that is masked wholly has no
    // windows.
    if args.windows == 0 {
        return Ok(());
    }

    // Sixteen bytes at once need rows and both addresses at multiples of 16: widths of 896 and 640
    // have them, odd widths take the slow kernel.
    let row_bytes = u64::from(args.width) * kernels.precision.bytes() as u64;
    let is_wide = [row_bytes, args.tokens, args.out]
        .iter()
        .all(|n| n.is_multiple_of(WIDE));

    let function = if is_wide {
        &kernels.gather_wide
    } else {
        &kernels.gather
    };

    // One block copies one token: `x` counts windows, `y` the class token and the patches of a
    // window.
    let tokens = 1 + args.scale * args.scale;
    let shape = LaunchShape {
        blocks: (args.windows, tokens, 1),
        threads: (THREADS, 1, 1),
    };

    // SAFETY: the caller's promise; `GatherArgs` is the kernel's struct.
    unsafe { launch(stream, function, shape, args) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, on_device, random};
    use super::*;
    use crate::data::grid::Grid;
    use crate::engine::unmasked_windows;

    /// The plain reference: a window's class token and patches, one after another.
    fn plain(
        tokens: &[f32],
        places: &[WindowPlace],
        (grid, width, scale): (usize, usize, usize),
    ) -> Vec<f32> {
        let row = |crop: i32, token: usize| {
            let at = crop as usize * (1 + grid * grid) + token;
            &tokens[at * width..][..width]
        };

        let mut out = vec![];
        for WindowPlace { crop, corner } in places {
            out.extend_from_slice(row(*crop, 0));
            for (down, across) in
                (0..scale).flat_map(|down| (0..scale).map(move |across| (down, across)))
            {
                out.extend_from_slice(row(*crop, 1 + *corner as usize + down * grid + across));
            }
        }

        out
    }

    fn gathered(
        bench: &Bench,
        tokens: &[f32],
        places: &[WindowPlace],
        sizes: (usize, usize, usize),
    ) -> Vec<f32> {
        let (grid, width, scale) = sizes;
        let out = bench.out_real(places.len() * (1 + scale * scale) * width);
        let args = GatherArgs {
            tokens: bench.up_real(tokens),
            places: bench.up(places),
            out: out.address,
            windows: places.len() as u32,
            grid: grid as u32,
            width: width as u32,
            scale: scale as u32,
        };

        // SAFETY: the bench holds what the sizes say.
        unsafe { enqueue(&bench.kernels, &bench.stream, &args) }.expect("enqueued");
        bench.down_real(&out)
    }

    /// Windows of `scale` in each crop; in every other crop only those that touch the last cell.
    fn places(crops: usize, grid: usize, scale: usize) -> Vec<WindowPlace> {
        let mut last = vec![false; grid * grid];
        last[grid * grid - 1] = true;
        let across = grid - scale + 1;
        let of = |crop: usize| {
            let mask = (crop % 2 == 1).then_some(last.as_slice());
            unmasked_windows(Grid::square(grid), scale, mask)
        };

        let place = |crop: usize, window: usize| WindowPlace {
            crop: crop as i32,
            corner: (window / across * grid + window % across) as i32,
        };

        (0..crops)
            .flat_map(|crop| of(crop).into_iter().map(move |window| place(crop, window)))
            .collect()
    }

    #[test]
    fn windows_are_gathered_whatever_the_grid_the_scale_and_the_width() {
        on_device(|bench| {
            let sizes = [
                (1, 8, 1),
                (5, 7, 2),
                (5, 24, 3),
                (4, 896, 4),
                (6, 1, 5),
                (3, 12, 1),
            ];

            for (seed, (grid, width, scale)) in (0..).zip(sizes) {
                let tokens = bench.stored(&random(seed, 3 * (1 + grid * grid) * width));
                let places = places(3, grid, scale);
                let found = gathered(bench, &tokens, &places, (grid, width, scale));
                assert!(
                    found == plain(&tokens, &places, (grid, width, scale)),
                    "{grid} {width} {scale}"
                );
            }
        });
    }

    #[test]
    fn no_windows_are_no_work() {
        on_device(|bench| {
            let out = bench.out(4, 7u16);
            let args = GatherArgs {
                tokens: 0,
                places: 0,
                out: out.address,
                windows: 0,
                grid: 1,
                width: 1,
                scale: 1,
            };

            // SAFETY: there is nothing to read, and room for what must not be written.
            unsafe { enqueue(&bench.kernels, &bench.stream, &args) }.expect("nothing to do");
            assert_eq!(bench.down(&out), [7; 4], "nothing is written");
        });
    }
}
