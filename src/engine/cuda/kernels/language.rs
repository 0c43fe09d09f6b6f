//! How anomalous a feature is in words (WinCLIP, equation 1): `s(f) = softmax([<f, t_n>, <f, t_a>] / tau)` of anomalous.
//!
//! One warp a row: it reads the row once for its length and both products. 365 windows and the picture at E = 640 are
//! 0.5 MB (fp16): 0.1 us of an H200's 4.8 TB/s; what it takes is the launch.

use super::{Kernels, launch};
use crate::engine::EngineError;
use cudarc::driver::{CudaStream, DeviceRepr};

/// The addresses are the device's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Args {
    /// REAL `[count, embed]`: raw features.
    pub rows: u64,
    /// i32 `[count]`: the look that a row is of.
    pub look: u64,
    /// f32 `[2, embed]`: the unit prototypes, normal and anomalous.
    pub prototypes: u64,
    /// Written: f32 `[count]`, finite: 0 to 1; of a row of zeros 0.5.
    pub values: u64,
    /// Raised to 1, u32 by look: a row of that look, or its squared length, is not finite in f32.
    pub flags: u64,
    pub count: u32,
    /// E
    pub embed: u32,
    /// tau
    pub temperature: f32,
    pub unused: u32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct Language`.
unsafe impl DeviceRepr for Args {}

const WARPS: u32 = 4;

/// # Errors
/// [`EngineError::Run`] when the driver refuses.
///
/// # Safety
/// When the stream comes to it, the addresses hold what [`Args`] says.
pub unsafe fn enqueue(kernels: &Kernels, stream: &CudaStream, args: &Args) -> Result<(), EngineError> {
    if args.count == 0 {
        return Ok(());
    }
    let shape = ((args.count.div_ceil(WARPS), 1, 1), (32, WARPS, 1));
    // SAFETY: the caller's promise; `Args` is the kernel's struct.
    unsafe { launch(stream, &kernels.language, shape, args) }
}
