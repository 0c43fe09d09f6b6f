//! A crop's pixels from a picture on the device: crop, colour, Pillow's bicubic resize and the
//! normalisation (section 2 of WinCLIP), the same integers as `winclip/pixels.rs`, `image/resize`
//! and `camera/colour.rs`.
//!
//! Two kernels, as Pillow has two passes, each rounded to 8 bits: `pixels_across` brings the rows
//! that are needed to the encoder's width, `pixels_down` the columns to its height and each level
//! to the network's input. Only what the encoder sees is computed: of a picture that is enlarged
//! and cut, the square.
//!
//! ```text
//! picture ... [rows of bytes] --across--> wide u8 [rows, side, 3]
//!     --down--> pixels REAL [N, 3, side, side]
//! ```
//! Cost at 1280 x 720 RGB and side 240: 2.8 MB read, 0.5 MB of `wide` written and read, 0.3 MB
//! written (fp16): 0.9 us of an H200's 4.8 TB/s; 14 M multiplications, each source pixel's colour
//! made anew for each of the four outputs it is in.

mod taps;

pub use taps::TapTable;

use super::{Kernels, LaunchShape, launch};
use crate::data::picture::Area;
use crate::engine::EngineError;
use cudarc::driver::{CudaStream, DeviceRepr};

/// Layout of a picture's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum PixelFormat {
    /// Red, green, blue, a byte each.
    Rgb = 0,
    /// One byte a pixel.
    Gray8 = 1,
    /// Luma, and chroma of half the width and height, rounded up: NV12 and I420.
    Subsampled = 2,
}

/// A whole picture on the device.
#[derive(Debug, Clone, Copy)]
pub struct DevicePicture {
    /// Layout of the bytes.
    pub format: PixelFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Device address of the first row: RGB, grey or luma.
    pub plane: u64,
    /// Bytes from row to row, at least a row's.
    pub stride: u32,
    /// Chroma of [`PixelFormat::Subsampled`]; unused for the others.
    pub chroma: ChromaPlanes,
}

/// Addresses and meaning of subsampled chroma.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct ChromaPlanes {
    /// Device address of the first u.
    pub u: u64,
    /// Device address of the first v.
    pub v: u64,
    /// Bytes from row to row.
    pub stride: u32,
    /// Bytes from sample to sample: 2 in NV12, 1 in I420.
    pub step: u32,
    /// `camera::colour::Matrix::numbers`: black, then the factors of luma, of v in red, of u and v
    /// in green, of u in blue.
    pub matrix: [i32; 6],
    /// 1 where chroma was sampled with the left pixel, 0 where between two.
    pub left: u32,
    /// 1 where chroma was sampled with the upper row, 0 where between two.
    pub top: u32,
}

/// One crop as the kernels read it; an array of them lies in device memory.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CropDescriptor {
    /// Device address of the picture's first row.
    plane: u64,
    /// Device address of `[rows, side, 3]` bytes of the crop's own, between the passes.
    wide: u64,
    chroma: ChromaPlanes,
    stride: u32,
    format: u32,
    /// Width of the whole picture in pixels.
    width: u32,
    /// Height of the whole picture in pixels.
    height: u32,
    /// Left edge of the crop.
    x: u32,
    /// Upper edge of the crop.
    y: u32,
    /// First row of the crop that `down` reads.
    first_row: u32,
    /// Number of rows that `down` reads.
    rows: u32,
    /// First word of the crop's horizontal table in `taps`.
    across: u32,
    /// First word of the crop's vertical table in `taps`.
    down: u32,
}

// SAFETY: plain numbers, laid out as the kernels' `struct CropDescriptor`.
unsafe impl DeviceRepr for CropDescriptor {}

/// A direction's table, and the index of its first word among those of all tables.
#[derive(Debug, Clone, Copy)]
pub struct PlacedTaps<'a> {
    /// The table.
    pub table: &'a TapTable,
    /// Index of its first word.
    pub at: u32,
}

impl CropDescriptor {
    /// The `crop` of the picture through tables made for its width (`across`) and height (`down`);
    /// `wide` is a device address of [`wide_bytes`] bytes that no other crop of the launch uses.
    ///
    /// # Errors
    /// [`EngineError::Run`] for a crop beyond the picture, or whose size is not the tables'.
    pub fn new(
        source: &DevicePicture,
        crop: Area,
        across: PlacedTaps,
        down: PlacedTaps,
        wide: u64,
    ) -> Result<Self, EngineError> {
        let width = source.width;
        let height = source.height;

        // A crop beyond the picture would have the kernel read foreign memory, so that it is
        // refused here, where the error names it.
        if !crop.is_inside(width as usize, height as usize) {
            return Err(EngineError::Run(format!(
                "the crop {crop} is beyond a picture of {width} x {height} pixels"
            )));
        }

        let table_width = across.table.from();
        let table_height = down.table.from();

        if table_width != crop.w || table_height != crop.h {
            return Err(EngineError::Run(format!(
                "tables for {table_width} x {table_height} pixels cannot resize the crop {crop}"
            )));
        }

        // The vertical pass reads these rows alone, and the horizontal pass makes no others.
        let rows = down.table.sources();
        Ok(CropDescriptor {
            plane: source.plane,
            wide,
            chroma: source.chroma,
            stride: source.stride,
            format: source.format as u32,
            width,
            height,
            x: crop.x as u32,
            y: crop.y as u32,
            first_row: rows.start as u32,
            rows: rows.len() as u32,
            across: across.at,
            down: down.at,
        })
    }
}

/// Bytes between the passes for a crop with the vertical table `down`.
pub fn wide_bytes(down: &TapTable, side: usize) -> usize {
    let rows = down.sources().len();

    3 * rows * side
}

/// Arguments of both kernels. All addresses are the device's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct PixelArgs {
    /// `[count]` [`CropDescriptor`].
    pub crops: u64,
    /// i32: the words of all tables.
    pub taps: u64,
    /// f32 `[3, 256]`: the network's input for each grey level of red, green, blue.
    pub lut: u64,
    /// Written: REAL `[count, 3, side, side]`.
    pub pixels: u64,
    /// Number of crops.
    pub count: u32,
    /// The encoder's input side in pixels.
    pub side: u32,
    /// Number of rows of a crop that blocks are enqueued for; a crop may have more or fewer, which
    /// only takes longer.
    pub rows: u32,
    /// Padding.
    pub unused: u32,
}

// SAFETY: plain numbers, laid out as the kernels' `struct Pixels`.
unsafe impl DeviceRepr for PixelArgs {}

/// Threads of a block: columns, rows.
const BLOCK: (u32, u32) = (32, 8);

/// The most blocks along y, a limit of the device.
const BLOCKS_MAX: u32 = 65_535;

/// Enqueues both passes for all crops.
///
/// # Errors
/// [`EngineError::Run`] when the driver refuses.
///
/// # Safety
/// When the stream comes to it, the memory at the addresses is as [`PixelArgs`] says, and the
/// descriptors are those that [`CropDescriptor::new`] made of pictures that lie at their addresses.
pub unsafe fn enqueue(
    kernels: &Kernels,
    stream: &CudaStream,
    args: &PixelArgs,
) -> Result<(), EngineError> {
    if args.count == 0 {
        return Ok(());
    }

    // Across comes first, as in Pillow: its rows are the vertical pass's input, rounded to bytes
    // between.
    let across = shape(args, args.rows);

    // SAFETY: the caller's promise; `PixelArgs` is the kernel's struct.
    unsafe { launch(stream, &kernels.pixels_across, across, args) }?;
    let down = shape(args, args.side);

    // SAFETY: the caller's promise; `PixelArgs` is the kernel's struct.
    unsafe { launch(stream, &kernels.pixels_down, down, args) }
}

/// Blocks for `rows` output rows of each crop.
fn shape(args: &PixelArgs, rows: u32) -> LaunchShape {
    let columns = args.side.div_ceil(BLOCK.0);
    let rows = rows.div_ceil(BLOCK.1).clamp(1, BLOCKS_MAX);
    LaunchShape {
        blocks: (columns, rows, args.count),
        threads: (BLOCK.0, BLOCK.1, 1),
    }
}

#[cfg(test)]
mod tests;
