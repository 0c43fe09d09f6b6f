//! A look's pixels from a picture on the device: crop, colour, Pillow's bicubic resize and the normalisation (section 2
//! of WinCLIP), the same integers as `winclip/pixels.rs`, `resample.rs` and `camera/colour.rs`.
//!
//! Two kernels, as Pillow has two passes, each rounded to 8 bits: `pixels_across` brings the rows that are needed to the
//! encoder's width, `pixels_down` the columns to its height and each level to what the network reads. Only what the
//! encoder sees is computed: of a picture that is enlarged and cut, the square.
//!
//! ```text
//! picture ... [rows of bytes] --across--> wide u8 [rows, side, 3] --down--> pixels REAL [N, 3, side, side]
//! ```
//! Cost at 1280 x 720 RGB and side 240: 2.8 MB read, 0.5 MB of `wide` written and read, 0.3 MB written (fp16): 0.9 us of
//! an H200's 4.8 TB/s; 14 M multiplications, each source pixel's colour made anew for each of the four outputs it is in.

use super::{Kernels, launch};
use crate::data::picture::Area;
use crate::engine::EngineError;
use crate::image::resize::{BITS, Taps};
use cudarc::driver::{CudaStream, DeviceRepr};
use std::ops::Range;

/// How a picture's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Format {
    /// Red, green, blue, a byte each.
    Rgb = 0,
    /// One byte a pixel.
    Gray8 = 1,
    /// Luma, and chroma of half the width and height, rounded up: NV12 and I420.
    Subsampled = 2,
}

/// A picture on the device, whole.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    pub format: Format,
    /// Pixels.
    pub width: u32,
    pub height: u32,
    /// Device address of the first row: RGB, grey or luma.
    pub plane: u64,
    /// Bytes from row to row, at least a row's.
    pub stride: u32,
    /// Of [`Format::Subsampled`] only.
    pub chroma: Chroma,
}

/// Where chroma lies and what it means.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Chroma {
    /// Device addresses of the first u and the first v.
    pub u: u64,
    pub v: u64,
    /// Bytes from row to row.
    pub stride: u32,
    /// Bytes from sample to sample: 2 in NV12, 1 in I420.
    pub step: u32,
    /// `camera::colour::Matrix::numbers`: black, then the factors of luma, of v in red, of u and v in green, of u in blue.
    pub matrix: [i32; 6],
    /// 1 where chroma was sampled with the left pixel, 0 where between two.
    pub left: u32,
    /// 1 where it was sampled with the upper row, 0 where between two.
    pub top: u32,
}

/// One look as the kernels read it; an array of them lies in device memory.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Shot {
    /// Device address of the picture's first row.
    plane: u64,
    /// Device address of `[rows, side, 3]` bytes of its own, between the passes.
    wide: u64,
    chroma: Chroma,
    stride: u32,
    format: u32,
    /// The whole picture's, in pixels.
    width: u32,
    height: u32,
    /// Where the crop begins.
    x: u32,
    y: u32,
    /// The rows of the crop that `down` reads.
    first_row: u32,
    rows: u32,
    /// Where the look's tables begin in `taps`.
    across: u32,
    down: u32,
}

// SAFETY: plain numbers, laid out as the kernels' `struct Shot`.
unsafe impl DeviceRepr for Shot {}

/// A direction's table and where it begins among the words of all tables.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'a> {
    pub table: &'a TapTable,
    pub at: u32,
}

impl Shot {
    /// The look at `crop` of the picture through tables made for its width and height; `wide` is a device address of
    /// [`wide_bytes`] bytes that no other shot of the launch uses.
    ///
    /// # Errors
    /// [`EngineError::Run`] for a crop beyond the picture, or whose size is not the tables'.
    pub fn new(
        source: &Source,
        crop: Area,
        (across, down): (Placed, Placed),
        wide: u64,
    ) -> Result<Self, EngineError> {
        let Source {
            format,
            width,
            height,
            plane,
            stride,
            chroma,
        } = *source;
        if !crop.is_inside(width as usize, height as usize) {
            return Err(EngineError::Run(format!(
                "the crop {crop} is beyond a picture of {width} x {height} pixels"
            )));
        }
        if (across.table.from, down.table.from) != (crop.w, crop.h) {
            let (from, to) = (across.table.from, down.table.from);
            return Err(EngineError::Run(format!(
                "tables for {from} x {to} pixels cannot resize the crop {crop}"
            )));
        }
        let rows = &down.table.sources;
        Ok(Shot {
            plane,
            wide,
            chroma,
            stride,
            format: format as u32,
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

/// Bytes between the passes for a look whose `down` table this is.
pub fn wide_bytes(down: &TapTable, side: usize) -> usize {
    3 * down.sources.len() * side
}

/// One direction's taps, of the output pixels that are wanted: for each its first source pixel, how many, and where its
/// weights begin in the table; then the weights, of 22 fractional bits. A size that is right has one tap a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapTable {
    from: usize,
    words: Vec<i32>,
    sources: Range<usize>,
}

impl TapTable {
    /// From `from` pixels to `to`, of which only `wanted` are computed; all at least 1, `wanted` within `to`.
    pub fn new(from: usize, to: usize, wanted: Range<usize>) -> Self {
        let taps = Taps::new(from, to);
        let alone = [1 << BITS];
        let wanted: Vec<(usize, &[i32])> = match from == to {
            true => wanted.map(|at| (at, alone.as_slice())).collect(),
            false => taps.each().skip(wanted.start).take(wanted.len()).collect(),
        };
        let mut words = Vec::new();
        let mut begin = 3 * wanted.len();
        for (first, weights) in &wanted {
            words.extend([*first as i32, weights.len() as i32, begin as i32]);
            begin += weights.len();
        }
        wanted
            .iter()
            .for_each(|(_, weights)| words.extend_from_slice(weights));
        let first = wanted.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let end = wanted
            .iter()
            .map(|(first, weights)| first + weights.len())
            .max()
            .unwrap_or(0);
        TapTable {
            from,
            words,
            sources: first..end,
        }
    }

    /// What the kernels read.
    pub fn words(&self) -> &[i32] {
        &self.words
    }

    /// The source pixels that any of the wanted reads.
    pub fn sources(&self) -> Range<usize> {
        self.sources.clone()
    }
}

/// Arguments of both kernels; the addresses are the device's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Args {
    /// `[looks]` [`Shot`].
    pub shots: u64,
    /// i32: the words of all tables.
    pub taps: u64,
    /// f32 `[3, 256]`: what each grey level of red, green, blue becomes.
    pub levels: u64,
    /// Written: REAL `[looks, 3, side, side]`.
    pub pixels: u64,
    pub looks: u32,
    /// The encoder's input side.
    pub side: u32,
    /// For how many rows of a shot blocks are enqueued; a shot may have more or fewer, which only takes longer.
    pub rows: u32,
    pub unused: u32,
}

// SAFETY: plain numbers, laid out as the kernels' `struct Pixels`.
unsafe impl DeviceRepr for Args {}

/// Threads of a block: columns, rows.
const BLOCK: (u32, u32) = (32, 8);

/// # Errors
/// [`EngineError::Run`] when the driver refuses.
///
/// # Safety
/// When the stream comes to it, the addresses hold what [`Args`] says, the shots what [`Shot::new`] made of pictures that
/// lie where they say.
pub unsafe fn enqueue(
    kernels: &Kernels,
    stream: &CudaStream,
    args: &Args,
) -> Result<(), EngineError> {
    if args.looks == 0 {
        return Ok(());
    }
    let columns = args.side.div_ceil(BLOCK.0);
    let blocks = |rows: u32| (columns, rows.div_ceil(BLOCK.1).clamp(1, 65_535), args.looks);
    let threads = (BLOCK.0, BLOCK.1, 1);
    // SAFETY: the caller's promise; `Args` is the kernel's struct.
    unsafe {
        launch(
            stream,
            &kernels.pixels_across,
            (blocks(args.rows), threads),
            args,
        )
    }?;
    // SAFETY: the same.
    unsafe {
        launch(
            stream,
            &kernels.pixels_down,
            (blocks(args.side), threads),
            args,
        )
    }
}

#[cfg(test)]
mod tests;
