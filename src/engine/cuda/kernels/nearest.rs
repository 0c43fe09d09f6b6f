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
pub unsafe fn enqueue(kernels: &Kernels, stream: &CudaStream, args: &Args) -> Result<(), EngineError> {
    if args.queries == 0 {
        return Ok(());
    }
    let tiles = ((args.queries_each.div_ceil(TILE), SHARES as u32, args.looks), (THREADS, 1, 1));
    // SAFETY: the caller's promise; `Args` is the kernel's struct.
    unsafe { launch(stream, &kernels.nearest, tiles, args) }?;
    let each = ((args.queries.div_ceil(THREADS), 1, 1), (THREADS, 1, 1));
    // SAFETY: the same.
    unsafe { launch(stream, &kernels.distances, each, args) }
}
