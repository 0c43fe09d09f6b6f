//! Pictures to pixels on the device: the areas that the crops of a run need, in pinned memory, and
//! the descriptors that the kernels follow. Both may change from launch to launch; their addresses
//! do not.

use super::device::Device;
use super::error::failed;
use super::kernels::Kernels;
use super::kernels::pixels::{self, ChromaPlanes, CropDescriptor, DevicePicture, PixelArgs};
use super::kernels::pixels::{PixelFormat, PlacedTaps, TapTable, wide_bytes};
use super::memory::{Buffer, Pinned};
use super::tower::{Mark, Tower};
use crate::data::picture::{Area, Picture};
use crate::engine::EngineError;
use crate::engine::device_scorer::{CropRequest, CropTransform};
use cudarc::driver::result;
use std::collections::HashMap;

/// The transforms of a run's crops, without the pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CropTransforms {
    crops: Vec<PictureCrop>,
    /// The smallest area of each picture that holds all its crops.
    areas: Vec<Area>,
}

/// A transform, and the index of the picture that it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PictureCrop {
    transform: CropTransform,
    picture: usize,
}

/// Sizes of the buffers; rounded up, so that crops of about a size share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSizes {
    /// Bytes of pictures. All are copied, whether used or not: 64 kB more are 3 us.
    pictures: usize,
    /// Bytes between the two passes.
    wide: usize,
    /// Words of tables.
    taps: usize,
}

impl CropTransforms {
    /// The transforms of `crops`, and the pictures in their order, each once.
    pub fn of<'a>(crops: &[CropRequest<'a>]) -> (Self, Vec<&'a Picture>) {
        let mut pictures: Vec<&Picture> = vec![];
        let mut transforms = CropTransforms {
            crops: vec![],
            areas: vec![],
        };

        for crop in crops {
            let transform = crop.transform;

            // Pictures are told apart by their address: several crops of one camera's frame borrow
            // the same picture, and its bytes are copied once.
            let known = pictures
                .iter()
                .position(|picture| std::ptr::eq(*picture, crop.picture));

            let picture = known.unwrap_or(pictures.len());
            if known.is_none() {
                pictures.push(crop.picture);
                transforms.areas.push(transform.area);
            }

            // The area of a picture grows with each of its crops, so that one copy serves them all
            // and no byte outside of the box around them travels.
            let area = &mut transforms.areas[picture];
            *area = around(*area, transform.area);
            transforms.crops.push(PictureCrop { transform, picture });
        }

        (transforms, pictures)
    }

    /// Sizes of the buffers that the crops need; `side` is the encoder's.
    pub fn buffer_sizes(&self, side: usize, tables: &mut TapTables) -> BufferSizes {
        // The space between the two passes and the tables belongs to a crop alone, hence the sums.
        let mut wide = 0;
        let mut taps = 0;

        for crop in &self.crops {
            let [across, down] = tables.of(&crop.transform, side);
            wide += wide_bytes(down, side);
            taps += across.words().len() + down.words().len();
        }

        // Rounding keeps the sizes of a camera that is aimed anew within the same kind of run.
        // Another kind costs a new capture, which takes much longer than the bytes that rounding
        // adds.
        let pictures: usize = self.areas.iter().map(bytes_of).sum();
        BufferSizes {
            pictures: pictures.next_multiple_of(1 << 16),
            wide: wide.next_multiple_of(1 << 18),
            taps: taps.next_multiple_of(1 << 14),
        }
    }

    /// The first byte of each picture's area in the pinned memory.
    fn offsets(&self) -> Vec<usize> {
        let mut offsets = vec![];
        let mut end = 0;

        for area in &self.areas {
            offsets.push(end);
            end += bytes_of(area);
        }

        offsets
    }
}

/// Bytes of an area's RGB pixels, rounded up to where the next may begin.
fn bytes_of(area: &Area) -> usize {
    let bytes = 3 * area.w * area.h;

    bytes.next_multiple_of(16)
}

fn around(a: Area, b: Area) -> Area {
    let x = a.x.min(b.x);
    let y = a.y.min(b.y);
    let right = (a.x + a.w).max(b.x + b.w);
    let bottom = (a.y + a.h).max(b.y + b.h);
    Area {
        x,
        y,
        w: right - x,
        h: bottom - y,
    }
}

/// One direction of a transform: source pixels, resized pixels, and the first of the square.
type TapKey = (usize, usize, usize);

/// Tables of weights that were made before: a line's pictures are of few sizes.
#[derive(Default)]
pub struct TapTables(HashMap<TapKey, TapTable>);

/// Capacity of [`TapTables`]. Beyond, all tables are made anew.
const TABLES_MAX: usize = 256;

impl TapTables {
    /// The horizontal and the vertical table of the square that the encoder sees.
    fn of(&mut self, transform: &CropTransform, side: usize) -> [&TapTable; 2] {
        // Two tables may be added below, and neither may push out the other, which is returned too.
        if self.0.len() + 2 > TABLES_MAX {
            self.0.clear();
        }

        let CropTransform { area, resized, at } = transform;
        let across = (area.w, resized.0, at.0);
        let down = (area.h, resized.1, at.1);
        self.make(across, side);
        self.make(down, side);

        [&self.0[&across], &self.0[&down]]
    }

    fn make(&mut self, key: TapKey, side: usize) {
        let (from, to, at) = key;
        self.0
            .entry(key)
            .or_insert_with(|| TapTable::new(from, to, at..at + side));
    }
}

/// First stage of a run: pinned memory, the pictures' bytes on the device, and the kernels'
/// descriptors.
pub struct CropStage {
    pinned: Pinned,
    pictures: Buffer,
    descriptors: Buffer,
    taps: Buffer,
    wide: Buffer,
    args: PixelArgs,
    /// The transforms that the descriptors hold; `None` before the first, or after a failure.
    transforms: Option<CropTransforms>,
}

impl CropStage {
    /// A stage that fills the pixels of `tower`; `lut` is f32 `[3, 256]`, the network's input for
    /// each grey level.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room.
    pub fn new(
        device: &Device,
        tower: &Tower,
        sizes: BufferSizes,
        lut: &Buffer,
    ) -> Result<Self, EngineError> {
        // Descriptors and tables stay at these addresses for the life of the graph; their contents
        // are rewritten by `describe`.
        let context = &device.context;
        let side = tower.sizes.side;
        let descriptors = Buffer::new(context, tower.crops * size_of::<CropDescriptor>())?;
        let taps = Buffer::new(context, size_of::<i32>() * sizes.taps)?;
        let args = PixelArgs {
            crops: descriptors.address(),
            taps: taps.address(),
            lut: lut.address(),
            pixels: tower.pixels.address(),
            count: tower.crops as u32,
            side: side as u32,
            // The number of rows only sets how many blocks are launched: the mean over the crops,
            // because a crop with more rows has its blocks loop.
            rows: (sizes.wide / (3 * side * tower.crops)) as u32,
            unused: 0,
        };

        Ok(CropStage {
            pinned: Pinned::new(context, sizes.pictures)?,
            pictures: Buffer::new(context, sizes.pictures)?,
            descriptors,
            taps,
            wide: Buffer::new(context, sizes.wide)?,
            args,
            transforms: None,
        })
    }

    /// Copies the needed area of each picture into the pinned memory, which no enqueued work may
    /// read, and the descriptors to the device where they differ from the last. The transforms need
    /// no more than the buffers' sizes.
    ///
    /// # Errors
    /// [`EngineError::Run`] when a copy failed, or a crop is beyond its picture.
    pub fn put(
        &mut self,
        device: &Device,
        transforms: &CropTransforms,
        pictures: &[&Picture],
        tables: &mut TapTables,
    ) -> Result<(), EngineError> {
        // The tables are uploaded only where the crops moved: a line with fixed regions pays for
        // them once.
        if self.transforms.as_ref() != Some(transforms) {
            self.transforms = None; // half of the descriptors would be wrong
            self.describe(device, transforms, tables)?;
            self.transforms = Some(transforms.clone());
        }

        // Every frame has new pixels. They go to pinned memory, from where the captured graph
        // copies them to the device.
        let offsets = transforms.offsets();

        for (at, picture) in pictures.iter().enumerate() {
            let to = &mut self.pinned.as_mut_slice()[offsets[at]..];
            copy_area(picture, transforms.areas[at], to);
        }

        Ok(())
    }

    fn describe(
        &self,
        device: &Device,
        transforms: &CropTransforms,
        tables: &mut TapTables,
    ) -> Result<(), EngineError> {
        // A running sum of addresses deals `wide` out to the crops; the tables follow each other in
        // `words`.
        let offsets = transforms.offsets();
        let side = self.args.side as usize;
        let mut words = vec![];
        let mut descriptors = vec![];
        let mut wide = self.wide.address();

        for crop in &transforms.crops {
            let area = transforms.areas[crop.picture];
            let address = self.pictures.address() + offsets[crop.picture] as u64;
            let source = picture_of(area, address);

            // The weights of both directions begin where the words of the crops before end.
            let [across, down] = tables.of(&crop.transform, side);
            let across = placed(across, &mut words);
            let down = placed(down, &mut words);
            let within = Area {
                // The kernels see the copied area as a picture of its own, so that the crop's place
                // is counted from that area's corner.
                x: crop.transform.area.x - area.x,
                y: crop.transform.area.y - area.y,
                ..crop.transform.area
            };

            let descriptor = CropDescriptor::new(&source, within, across, down, wide)?;
            descriptors.push(descriptor);
            wide += wide_bytes(down.table, side) as u64;
        }

        // Both uploads wait for the device: no launch may follow that reads a half-written table.
        device.upload(&self.taps, &words)?;

        device.upload(&self.descriptors, &descriptors)
    }

    /// Enqueues the copy of the pictures and the kernels that make the pixels.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the driver refuses.
    pub fn enqueue(
        &mut self,
        device: &Device,
        kernels: &Kernels,
        mark: Mark,
    ) -> Result<(), EngineError> {
        let to = self.pictures.address();
        let bytes = self.pinned.as_slice();
        let stream = device.stream.cu_stream();

        // SAFETY: both are of one size, and the pinned memory is written only when nothing is
        // enqueued.
        unsafe { result::memcpy_htod_async(to, bytes, stream) }
            .map_err(failed("cannot copy the picture"))?;

        mark("copy in")?;

        // SAFETY: the descriptors were written before, and their addresses are within the buffers.
        unsafe { pixels::enqueue(kernels, &device.stream, &self.args) }?;

        mark("pixels")
    }
}

/// Copies the rows of an area to the beginning of `to`, one after the other.
fn copy_area(picture: &Picture, area: Area, to: &mut [u8]) {
    // Rows lie `stride` bytes apart: three bytes a pixel, without gaps.
    let stride = 3 * picture.width();
    let begin = area.y * stride + 3 * area.x;
    let row_bytes = 3 * area.w;
    let rows = picture.rgb()[begin..].chunks(stride).take(area.h);

    // The area's rows lie `stride` bytes apart in the picture and `row_bytes` apart in the copy.
    for (to, row) in to.chunks_exact_mut(row_bytes).zip(rows) {
        to.copy_from_slice(&row[..row_bytes]);
    }
}

/// Appends a table to the words of all tables.
fn placed<'a>(table: &'a TapTable, words: &mut Vec<i32>) -> PlacedTaps<'a> {
    let at = words.len() as u32;
    words.extend_from_slice(table.words());

    PlacedTaps { table, at }
}

/// The RGB bytes of `area` at a device address, as a picture of its own.
fn picture_of(area: Area, address: u64) -> DevicePicture {
    let width = area.w as u32;
    DevicePicture {
        format: PixelFormat::Rgb,
        width,
        height: area.h as u32,
        plane: address,
        stride: 3 * width,
        chroma: ChromaPlanes::default(),
    }
}
