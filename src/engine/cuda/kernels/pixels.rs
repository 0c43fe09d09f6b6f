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
//! an H200's 4.8 TB/s; 22 taps a value, 15 M integer operations.

use super::{Kernels, launch};
use crate::engine::EngineError;
use crate::frame::Area;
use crate::resample::{BITS, Taps};
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
    pub fn new(source: &Source, crop: Area, (across, down): (Placed, Placed), wide: u64) -> Result<Self, EngineError> {
        let Source { format, width, height, plane, stride, chroma } = *source;
        if !crop.is_inside(width as usize, height as usize) {
            return Err(EngineError::Run(format!("the crop {crop} is beyond a picture of {width} x {height} pixels")));
        }
        if (across.table.from, down.table.from) != (crop.w, crop.h) {
            let (from, to) = (across.table.from, down.table.from);
            return Err(EngineError::Run(format!("tables for {from} x {to} pixels cannot resize the crop {crop}")));
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
        wanted.iter().for_each(|(_, weights)| words.extend_from_slice(weights));
        let first = wanted.iter().map(|(first, _)| *first).min().unwrap_or(0);
        let end = wanted.iter().map(|(first, weights)| first + weights.len()).max().unwrap_or(0);
        TapTable { from, words, sources: first..end }
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
pub unsafe fn enqueue(kernels: &Kernels, stream: &CudaStream, args: &Args) -> Result<(), EngineError> {
    if args.looks == 0 {
        return Ok(());
    }
    let columns = args.side.div_ceil(BLOCK.0);
    let blocks = |rows: u32| (columns, rows.div_ceil(BLOCK.1).clamp(1, 65_535), args.looks);
    let threads = (BLOCK.0, BLOCK.1, 1);
    // SAFETY: the caller's promise; `Args` is the kernel's struct.
    unsafe { launch(stream, &kernels.pixels_across, (blocks(args.rows), threads), args) }?;
    // SAFETY: the same.
    unsafe { launch(stream, &kernels.pixels_down, (blocks(args.side), threads), args) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, on_device};
    use super::*;
    use crate::camera::colour::{self, Converter, Matrix, Plane, Site};
    use crate::engine::levels;
    use crate::frame::Picture;
    use crate::model::{Family, ModelSpec};
    use crate::winclip::Fit;
    use crate::winclip::pixels::PixelMaker;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    fn spec() -> ModelSpec {
        let (mean, std) = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.261_302_6, 0.275_777_1]);
        let family = Family::Dinov2;
        ModelSpec {
            family,
            side: 20,
            patch: 10,
            width: 8,
            blocks: 1,
            heads: 1,
            mlp: 32,
            embed: 8,
            mean,
            std,
            text: None,
        }
    }

    const SIDE: usize = 20;

    /// Bytes that often are at the ends, where rounding and clamping show.
    fn bytes(seed: u64, count: usize) -> Vec<u8> {
        let mut random = StdRng::seed_from_u64(seed);
        (0..count).map(|_| [0, 255, random.random(), random.random()][random.random_range(0..4)]).collect()
    }

    /// A plane of `rows` rows of `row_bytes`, `stride` bytes apart.
    fn strided(plane: &[u8], row_bytes: usize, stride: usize) -> Vec<u8> {
        plane.chunks_exact(row_bytes).flat_map(|row| [row, &vec![99; stride - row_bytes]].concat()).collect()
    }

    /// A picture on the device, and what the processor's path makes of it.
    struct Shown {
        source: Source,
        picture: Picture,
    }

    fn rgb(bench: &Bench, (width, height): (usize, usize), more: usize) -> Shown {
        let plane = bytes((width + height) as u64, 3 * width * height);
        let stride = 3 * width + more;
        let source = Source {
            format: Format::Rgb,
            width: width as u32,
            height: height as u32,
            plane: bench.up(&strided(&plane, 3 * width, stride)),
            stride: stride as u32,
            chroma: Chroma::default(),
        };
        Shown { source, picture: Picture::new(width, height, plane).expect("its bytes") }
    }

    fn grey(bench: &Bench, (width, height): (usize, usize), more: usize) -> Shown {
        let plane = bytes((width * height) as u64, width * height);
        let source = Source {
            format: Format::Gray8,
            plane: bench.up(&strided(&plane, width, width + more)),
            stride: (width + more) as u32,
            ..rgb(bench, (width, height), 0).source
        };
        let rgb = plane.iter().flat_map(|value| [*value; 3]).collect();
        Shown { source, picture: Picture::new(width, height, rgb).expect("its bytes") }
    }

    /// NV12, or I420 when not in `pairs`; the reference is the camera's converter.
    fn subsampled(bench: &Bench, (width, height): (usize, usize), site: Site, pairs: bool, full_range: bool) -> Shown {
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let luma = bytes(1, width * height);
        let chroma = bytes(2, 2 * half_width * half_height);
        let (stride, chroma_stride) = (width + 5, if pairs { 2 * half_width + 3 } else { half_width + 3 });
        let matrix = Matrix::new(0.2126, 0.0722, full_range);
        let planes = strided(&chroma, if pairs { 2 * half_width } else { half_width }, chroma_stride);
        let (luma_rows, second) = (strided(&luma, width, stride), planes.len() / 2);
        let of = |bytes| Plane { bytes, stride: chroma_stride };
        let seen = match pairs {
            true => colour::Chroma::Pairs(of(&planes)),
            false => colour::Chroma::Planes(of(&planes), of(&planes[second..])),
        };
        let mut rgb = vec![0; 3 * width * height];
        let converted =
            Converter::default().convert((Plane { bytes: &luma_rows, stride }, seen), width, (&matrix, site), &mut rgb);
        converted.expect("whole planes");
        let u = bench.up(&planes);
        let chroma = Chroma {
            u,
            v: u + if pairs { 1 } else { second as u64 },
            stride: chroma_stride as u32,
            step: if pairs { 2 } else { 1 },
            matrix: matrix.numbers().map(i32::from),
            left: site.left.into(),
            top: site.top.into(),
        };
        let source = Source {
            format: Format::Subsampled,
            width: width as u32,
            height: height as u32,
            plane: bench.up(&luma_rows),
            stride: stride as u32,
            chroma,
        };
        Shown { source, picture: Picture::new(width, height, rgb).expect("its bytes") }
    }

    type Looked<'a> = (&'a Shown, Area, Fit);

    /// All looks in one launch.
    fn on_the_device(bench: &Bench, looks: &[Looked]) -> Vec<f32> {
        let (mut words, mut shots, mut rows) = (vec![], vec![], 1);
        for (shown, crop, fit) in looks {
            let (width, height) = (shown.picture.width(), shown.picture.height());
            let framing = PixelMaker::new(Some(*crop), *fit, SIDE, &spec()).framing(width, height).expect("inside");
            let ((to_w, to_h), (left, top)) = (framing.resized, framing.at);
            let tables = [TapTable::new(crop.w, to_w, left..left + SIDE), TapTable::new(crop.h, to_h, top..top + SIDE)];
            let [across, down] = tables.each_ref().map(|table| {
                let at = words.len() as u32;
                words.extend_from_slice(table.words());
                Placed { table, at }
            });
            let wide = bench.out_kept(wide_bytes(down.table, SIDE), 0x5au8);
            rows = rows.max(down.table.sources().len() / 2);
            shots.push(Shot::new(&shown.source, *crop, (across, down), wide).expect("fitting tables"));
        }
        let out = bench.out_real(looks.len() * 3 * SIDE * SIDE);
        let args = Args {
            shots: bench.up(&shots),
            taps: bench.up(&words),
            levels: bench.up(levels(&spec()).as_flattened()),
            pixels: out.address,
            looks: looks.len() as u32,
            side: SIDE as u32,
            rows: rows as u32,
            unused: 0,
        };
        // SAFETY: the bench holds what the sizes say.
        unsafe { enqueue(&bench.kernels, &bench.stream, &args) }.expect("enqueued");
        bench.down_real(&out)
    }

    /// Exactly what the processor's path makes, as the network's tensors hold it.
    fn check(bench: &Bench, looks: &[Looked]) {
        let found = on_the_device(bench, looks);
        for (at, ((shown, crop, fit), found)) in looks.iter().zip(found.chunks_exact(3 * SIDE * SIDE)).enumerate() {
            let mut maker = PixelMaker::new(Some(*crop), *fit, SIDE, &spec());
            let plain: Vec<f32> = maker.make(&shown.picture).expect("inside").into_iter().collect();
            let (width, height) = (shown.picture.width(), shown.picture.height());
            let wrong = bench.stored(&plain).iter().zip(found).filter(|(a, b)| a != b).count();
            assert_eq!(wrong, 0, "look {at}: {crop} of {width} x {height}, {fit:?}");
        }
    }

    /// Enlarged, shrunk, of the right size in one direction or both, thin, tiny, cropped, all in one launch.
    #[test]
    fn pixels_are_those_of_the_processors_path_to_the_last_bit() {
        on_device(|bench| {
            let sizes = [(1, 1), (20, 20), (20, 31), (64, 20), (131, 77), (7, 90), (300, 3), (41, 40)];
            let shown: Vec<Shown> = sizes.iter().map(|size| rgb(bench, *size, size.0 % 4)).collect();
            let crop = Area { x: 3, y: 2, w: 17, h: 35 };
            let mut looks: Vec<Looked> = vec![(&shown[7], crop, Fit::Squash), (&shown[7], crop, Fit::Crop)];
            for shown in &shown {
                let whole = Area::whole(shown.picture.width(), shown.picture.height());
                looks.extend([(shown, whole, Fit::Squash), (shown, whole, Fit::Crop)]);
            }
            check(bench, &looks);
        });
    }

    #[test]
    fn grey_pictures_are_their_three_equal_colours() {
        on_device(|bench| {
            let shown = [grey(bench, (33, 21), 0), grey(bench, (20, 50), 7), grey(bench, (1, 1), 1)];
            let whole = |shown: &Shown| Area::whole(shown.picture.width(), shown.picture.height());
            let looks: Vec<Looked> = shown.iter().map(|shown| (shown, whole(shown), Fit::Squash)).collect();
            check(bench, &looks);
        });
    }

    #[test]
    fn subsampled_pictures_have_the_colours_of_the_cameras_converter() {
        on_device(|bench| {
            for (width, height) in [(1, 1), (2, 2), (63, 41), (40, 64)] {
                let (w, h) = (usize::div_ceil(width, 2), usize::div_ceil(height, 2));
                let crops = [Area::whole(width, height), Area { x: width - w, y: height - h, w, h }];
                for (left, top) in [(false, false), (true, false), (false, true), (true, true)] {
                    let site = Site { left, top };
                    let of = |pairs, full_range| subsampled(bench, (width, height), site, pairs, full_range);
                    let shown = [of(true, false), of(true, true), of(false, false)];
                    let looks: Vec<Looked> =
                        shown.iter().flat_map(|shown| crops.map(|crop| (shown, crop, Fit::Squash))).collect();
                    check(bench, &looks);
                }
            }
        });
    }

    #[test]
    fn a_crop_beyond_the_picture_or_of_another_size_is_refused() {
        let source =
            Source { format: Format::Rgb, width: 30, height: 20, plane: 0, stride: 90, chroma: Chroma::default() };
        let table = TapTable::new(10, 20, 0..20);
        let placed = Placed { table: &table, at: 0 };
        let refused = |crop| Shot::new(&source, crop, (placed, placed), 0).expect_err("refused").to_string();
        assert!(refused(Area { x: 25, y: 0, w: 10, h: 10 }).contains("25,0,10,10 is beyond a picture of 30 x 20"));
        assert!(refused(Area { x: 0, y: 0, w: 10, h: 11 }).contains("tables for 10 x 10 pixels"));
    }

    #[test]
    fn a_table_holds_only_what_is_wanted() {
        let (all, some) = (TapTable::new(100, 40, 0..40), TapTable::new(100, 40, 10..30));
        assert_eq!((all.sources(), some.sources()), (0..100, 21..79));
        assert_eq!(&some.words()[..2], &all.words()[30..32]);
        assert_eq!(TapTable::new(9, 9, 2..4).words(), [2, 1, 6, 3, 1, 7, 1 << BITS, 1 << BITS]);
    }
}
