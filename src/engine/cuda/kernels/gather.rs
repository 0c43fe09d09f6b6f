//! A window's tokens out of a picture's: the class token and the k x k patches of each window (section 4 of WinCLIP).
//!
//! Cost at 15 x 15 patches of width 896, windows of 2 and 3 patches: 196 x 5 + 169 x 10 rows, 4.8 MB written (fp16) and
//! as much read, the reads mostly from the cache: 1.0 us of an H200's 4.8 TB/s for what has to go out.

use super::{Kernels, launch};
use crate::engine::EngineError;
use cudarc::driver::{CudaStream, DeviceRepr};

/// A window: the look that it is of and its top-left patch, counted row-major in the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Place {
    pub look: i32,
    pub corner: i32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct Place`.
unsafe impl DeviceRepr for Place {}

/// The addresses are the device's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Args {
    /// REAL `[N, 1 + grid * grid, width]`: class token first, then the patches row-major.
    pub tokens: u64,
    /// `[windows]` [`Place`], each window within the grid.
    pub places: u64,
    /// Written: REAL `[windows, 1 + scale * scale, width]`.
    pub out: u64,
    pub windows: u32,
    pub grid: u32,
    /// D
    pub width: u32,
    /// Patches along a window's side.
    pub scale: u32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct Gather`.
unsafe impl DeviceRepr for Args {}

/// Bytes that one thread copies at once where rows allow it.
const WIDE: u64 = 16;
const THREADS: u32 = 128;

/// # Errors
/// [`EngineError::Run`] when the driver refuses.
///
/// # Safety
/// When the stream comes to it, the addresses hold what [`Args`] says.
pub unsafe fn enqueue(kernels: &Kernels, stream: &CudaStream, args: &Args) -> Result<(), EngineError> {
    if args.windows == 0 {
        return Ok(());
    }
    let row_bytes = u64::from(args.width) * kernels.precision.bytes() as u64;
    let is_wide = [row_bytes, args.tokens, args.out].iter().all(|n| n.is_multiple_of(WIDE));
    let function = if is_wide { &kernels.gather_wide } else { &kernels.gather };
    let shape = ((args.windows, 1 + args.scale * args.scale, 1), (THREADS, 1, 1));
    // SAFETY: the caller's promise; `Args` is the kernel's struct.
    unsafe { launch(stream, function, shape, args) }
}
