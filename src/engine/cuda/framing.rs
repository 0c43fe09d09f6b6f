//! Pictures to pixels on the device: what the looks of a run need of them, in pinned memory, and the descriptors that the
//! kernels follow. Both may change from launch to launch; where they lie does not.

use super::device::{Device, failed};
use super::kernels::Kernels;
use super::kernels::pixels::{self, Chroma, Format, Placed, Shot, Source, TapTable, wide_bytes};
use super::memory::{Buffer, Pinned};
use super::tower::Mark;
use crate::data::picture::{Area, Picture};
use crate::engine::EngineError;
use crate::engine::device_scorer;
use crate::engine::device_scorer::CropTransform;
use cudarc::driver::result;
use std::collections::HashMap;

/// How the looks of a run are framed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framings {
    /// Of each look, and the picture that it is at, counted from 0.
    looks: Vec<(CropTransform, usize)>,
    /// Of each picture, what any of its looks needs.
    areas: Vec<Area>,
}

/// What buffers must hold; rounded up, so that looks of about a size share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of pictures. All are copied, whether used or not: 64 kB more are 3 us.
    pictures: usize,
    /// Bytes between the two passes.
    wide: usize,
    /// Words of tables.
    taps: usize,
}

impl Framings {
    /// Those of the shots, and the pictures in their order.
    pub fn of<'a>(shots: &[device_scorer::CropRequest<'a>]) -> (Self, Vec<&'a Picture>) {
        let mut pictures: Vec<&Picture> = vec![];
        let mut framings = Framings {
            looks: vec![],
            areas: vec![],
        };
        for shot in shots {
            let area = shot.transform.area;
            let known = pictures
                .iter()
                .position(|picture| std::ptr::eq(*picture, shot.picture));
            match known {
                Some(at) => framings.areas[at] = around(framings.areas[at], area),
                None => {
                    pictures.push(shot.picture);
                    framings.areas.push(area);
                }
            }
            framings
                .looks
                .push((shot.transform, known.unwrap_or(pictures.len() - 1)));
        }
        (framings, pictures)
    }

    /// `side` is the encoder's.
    pub fn room(&self, side: usize, tables: &mut Tables) -> Room {
        let (mut wide, mut taps) = (0, 0);
        for (framing, _) in &self.looks {
            let [across, down] = tables.of(framing, side);
            wide += wide_bytes(down, side);
            taps += across.words().len() + down.words().len();
        }
        let (_, pictures) = self.offsets();
        Room {
            pictures: pictures.next_multiple_of(1 << 16),
            wide: wide.next_multiple_of(1 << 18),
            taps: taps.next_multiple_of(1 << 14),
        }
    }

    /// Where each picture's bytes begin, and how many there are in all.
    fn offsets(&self) -> (Vec<usize>, usize) {
        let mut end = 0;
        let begin = |area: &Area| {
            let begin = end;
            end += (3 * area.w * area.h).next_multiple_of(16);
            begin
        };
        (self.areas.iter().map(begin).collect(), end)
    }
}

fn around(a: Area, b: Area) -> Area {
    let (x, y) = (a.x.min(b.x), a.y.min(b.y));
    Area {
        x,
        y,
        w: (a.x + a.w).max(b.x + b.w) - x,
        h: (a.y + a.h).max(b.y + b.h) - y,
    }
}

/// Tables of weights that were made before: a line's pictures are of few sizes.
#[derive(Default)]
pub struct Tables(HashMap<(usize, usize, usize), TapTable>);

/// Sizes that are remembered; beyond, all are made anew.
const TABLES_MAX: usize = 256;

impl Tables {
    /// Across and down, of the square that the encoder sees.
    fn of(&mut self, framing: &CropTransform, side: usize) -> [&TapTable; 2] {
        if self.0.len() + 2 > TABLES_MAX {
            self.0.clear();
        }
        let CropTransform { area, resized, at } = framing;
        let keys = [(area.w, resized.0, at.0), (area.h, resized.1, at.1)];
        for (from, to, at) in keys {
            self.0
                .entry((from, to, at))
                .or_insert_with(|| TapTable::new(from, to, at..at + side));
        }
        keys.map(|key| &self.0[&key])
    }
}

/// Pinned memory, the pictures' bytes on the device, and the kernels' descriptors.
pub struct Framed {
    pinned: Pinned,
    pictures: Buffer,
    shots: Buffer,
    taps: Buffer,
    wide: Buffer,
    args: pixels::Args,
    /// What the descriptors say now.
    framings: Option<Framings>,
}

impl Framed {
    /// For `looks` looks whose pixels, REAL `[looks, 3, side, side]`, go to the device address `pixels`; `levels` is f32
    /// `[3, 256]`.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room.
    pub fn new(
        device: &Device,
        looks: usize,
        room: Room,
        (pixels, side, levels): (u64, usize, &Buffer),
    ) -> Result<Self, EngineError> {
        let buffer = |bytes: usize| Buffer::new(&device.context, bytes);
        let (shots, taps) = (buffer(looks * size_of::<Shot>())?, buffer(4 * room.taps)?);
        let args = pixels::Args {
            shots: shots.address(),
            taps: taps.address(),
            levels: levels.address(),
            pixels,
            looks: looks as u32,
            side: side as u32,
            rows: (room.wide / (3 * side * looks)) as u32,
            unused: 0,
        };
        let pinned = Pinned::new(&device.context, room.pictures)?;
        let (pictures, wide) = (buffer(room.pictures)?, buffer(room.wide)?);
        Ok(Framed {
            pinned,
            pictures,
            shots,
            taps,
            wide,
            args,
            framings: None,
        })
    }

    /// Copies what is needed of each picture into the pinned memory, which nothing reads meanwhile, and the descriptors
    /// to the device where they are others than before. The framings need no more than the room.
    ///
    /// # Errors
    /// [`EngineError::Run`]
    pub fn show(
        &mut self,
        device: &Device,
        framings: &Framings,
        pictures: &[&Picture],
        tables: &mut Tables,
    ) -> Result<(), EngineError> {
        if self.framings.as_ref() != Some(framings) {
            self.framings = None; // half of it would be wrong
            self.describe(device, framings, tables)?;
            self.framings = Some(framings.clone());
        }
        let (offsets, _) = framings.offsets();
        for ((picture, area), offset) in pictures.iter().zip(&framings.areas).zip(offsets) {
            let (stride, begin) = (3 * picture.width(), 3 * (area.y * picture.width() + area.x));
            let rows = picture.rgb()[begin..].chunks(stride).take(area.h);
            let to = self.pinned.as_mut_slice()[offset..].chunks_exact_mut(3 * area.w);
            to.zip(rows)
                .for_each(|(to, row)| to.copy_from_slice(&row[..3 * area.w]));
        }
        Ok(())
    }

    fn describe(
        &self,
        device: &Device,
        framings: &Framings,
        tables: &mut Tables,
    ) -> Result<(), EngineError> {
        let (offsets, _) = framings.offsets();
        let side = self.args.side as usize;
        let (mut words, mut shots, mut wide) = (vec![], vec![], self.wide.address());
        for (framing, picture) in &framings.looks {
            let around = framings.areas[*picture];
            let source = rgb(self.pictures.address() + offsets[*picture] as u64, around);
            let [across, down] = tables.of(framing, side).map(|table| {
                let at = words.len() as u32;
                words.extend_from_slice(table.words());
                Placed { table, at }
            });
            let crop = Area {
                x: framing.area.x - around.x,
                y: framing.area.y - around.y,
                ..framing.area
            };
            shots.push(Shot::new(&source, crop, (across, down), wide)?);
            wide += wide_bytes(down.table, side) as u64;
        }
        device.upload(&self.taps, &words)?;
        device.upload(&self.shots, &shots)
    }

    /// # Errors
    /// [`EngineError::Run`]
    pub fn enqueue(
        &mut self,
        device: &Device,
        kernels: &Kernels,
        mark: Mark,
    ) -> Result<(), EngineError> {
        let (bytes, stream) = (self.pinned.as_slice(), device.stream.cu_stream());
        // SAFETY: both are of one size, and the pinned memory is written only when nothing is enqueued.
        unsafe { result::memcpy_htod_async(self.pictures.address(), bytes, stream) }
            .map_err(failed("cannot copy the picture"))?;
        mark("copy in")?;
        // SAFETY: the descriptors were written before, and what they name is within the buffers.
        unsafe { pixels::enqueue(kernels, &device.stream, &self.args) }?;
        mark("pixels")
    }
}

/// The bytes of `area` as a picture of its own.
fn rgb(plane: u64, area: Area) -> Source {
    let (width, height) = (area.w as u32, area.h as u32);
    Source {
        format: Format::Rgb,
        width,
        height,
        plane,
        stride: 3 * width,
        chroma: Chroma::default(),
    }
}
