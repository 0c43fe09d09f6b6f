//! For people: maps glowing over the camera's picture, as `publish/heatmap.rs` draws them, on the device.
//!
//! What a map has to say is in its colour: normal areas stay as the camera saw them, what does not count is dark. A thread
//! makes one pixel and asks each layer that covers it, so that nothing enlarged is ever stored.
//!
//! Cost at 1280 x 720 drawn at 960 x 540: 1.6 MB read and 1.6 MB written, 0.7 us of an H200's 4.8 TB/s. A side channel:
//! no verdict waits for it.

use super::{Kernels, launch};
use crate::engine::EngineError;
use crate::frame::Area;
use cudarc::driver::{CudaStream, DeviceRepr};

/// A map that glows, and over which pixels of the drawing.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Layer {
    /// Device address of f32 `[side, side]`.
    map: u64,
    /// Device address of bytes `[side, side]`, 0 where a cell does not count; 0 when all do.
    counts: u64,
    side: u32,
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
    /// The map's value of "nothing to see" and that of "full glow".
    low: f32,
    high: f32,
    unused: u32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct Glowing`.
unsafe impl DeviceRepr for Layer {}

/// A frame inside of a rectangle of the drawing; a later one lies over those before.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Outline {
    pub x: u32,
    pub y: u32,
    pub w: u32,
    pub h: u32,
    /// Pixels.
    pub thick: u32,
    /// `0xRRGGBB`
    pub colour: u32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct Outline`.
unsafe impl DeviceRepr for Outline {}

/// A drawing's size, and where the picture's places come to lie in it.
#[derive(Debug, Clone, Copy)]
pub struct Drawing {
    pub width: u32,
    pub height: u32,
    shrink: f64,
}

/// A map on the device.
#[derive(Debug, Clone, Copy)]
pub struct OnDevice {
    /// f32 `[side, side]`.
    pub map: u64,
    /// Bytes `[side, side]`, 0 where a cell does not count; 0 when all do.
    pub counts: u64,
    pub side: u32,
}

impl Drawing {
    /// Of a picture of `width` x `height` pixels, shrunk to `long_side_max` on its long side where it is longer.
    pub fn new(width: usize, height: usize, long_side_max: usize) -> Self {
        let shrink = (width.max(height) as f64 / long_side_max as f64).max(1.0);
        let size = |n: usize| ((n as f64 / shrink).round() as u32).max(1);
        Drawing { width: size(width), height: size(height), shrink }
    }

    /// From the picture's pixels to the drawing's.
    pub fn fit(&self, n: usize) -> u32 {
        (n as f64 / self.shrink) as u32
    }

    /// The map over an `area` of the picture; `low` and `high` are its values of "nothing to see" and of "full glow".
    pub fn layer(&self, of: OnDevice, area: Area, (low, high): (f32, f32)) -> Layer {
        let OnDevice { map, counts, side } = of;
        let (left, top) = (self.fit(area.x).min(self.width - 1), self.fit(area.y).min(self.height - 1));
        let right = self.fit(area.x + area.w).clamp(left + 1, self.width);
        let bottom = self.fit(area.y + area.h).clamp(top + 1, self.height);
        Layer { map, counts, side, left, top, right, bottom, low, high, unused: 0 }
    }
}

/// The addresses are the device's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Args {
    /// RGB bytes `[height, width, 3]`, rows `stride` bytes apart.
    pub picture: u64,
    /// `[layer_count]` [`Layer`].
    pub layers: u64,
    /// `[outline_count]` [`Outline`].
    pub outlines: u64,
    /// Written: RGB bytes `[out_height, out_width, 3]`.
    pub out: u64,
    pub stride: u32,
    pub width: u32,
    pub height: u32,
    /// [`Drawing`]'s.
    pub out_width: u32,
    pub out_height: u32,
    pub layer_count: u32,
    pub outline_count: u32,
    pub unused: u32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct Paint`.
unsafe impl DeviceRepr for Args {}

/// Threads of a block: columns, rows.
const BLOCK: (u32, u32) = (32, 8);

/// # Errors
/// [`EngineError::Run`] when the driver refuses.
///
/// # Safety
/// When the stream comes to it, the addresses hold what [`Args`] says.
pub unsafe fn enqueue(kernels: &Kernels, stream: &CudaStream, args: &Args) -> Result<(), EngineError> {
    let blocks = (args.out_width.div_ceil(BLOCK.0), args.out_height.div_ceil(BLOCK.1), 1);
    // SAFETY: the caller's promise; `Args` is the kernel's struct.
    unsafe { launch(stream, &kernels.paint, (blocks, (BLOCK.0, BLOCK.1, 1)), args) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, on_device, random};
    use super::*;
    use crate::frame::Picture;
    use crate::publish::heatmap;
    use crate::verdict::{Map, Region, Verdict};

    fn map_of(side: usize, seed: u64, cells: Option<&[bool]>) -> Map {
        Map::new(side, random(seed, side * side)).masked(cells)
    }

    fn up(bench: &Bench, map: &Map, cells: Option<&[bool]>) -> OnDevice {
        let counts = cells.map_or(0, |cells| bench.up(&cells.iter().map(|c| u8::from(*c)).collect::<Vec<_>>()));
        OnDevice { map: bench.up(map.values()), counts, side: map.side() as u32 }
    }

    /// Rows are a byte further apart than they are long.
    fn painted(bench: &Bench, picture: &Picture, drawing: Drawing, layers: &[Layer], outlines: &[Outline]) -> Vec<u8> {
        let (width, height) = (picture.width(), picture.height());
        let rows: Vec<u8> = picture.rgb().chunks_exact(3 * width).flat_map(|row| [row, &[0]].concat()).collect();
        let out = bench.out(3 * (drawing.width * drawing.height) as usize, 0x77u8);
        let args = Args {
            picture: bench.up(&rows),
            layers: bench.up(layers),
            outlines: if outlines.is_empty() { 0 } else { bench.up(outlines) },
            out: out.address,
            stride: 3 * width as u32 + 1,
            width: width as u32,
            height: height as u32,
            out_width: drawing.width,
            out_height: drawing.height,
            layer_count: layers.len() as u32,
            outline_count: outlines.len() as u32,
            unused: 0,
        };
        // SAFETY: the bench holds what the sizes say.
        unsafe { enqueue(&bench.kernels, &bench.stream, &args) }.expect("enqueued");
        bench.down(&out)
    }

    fn assert_alike(found: &[u8], drawn: &Picture, what: &str) {
        assert_eq!(found.len(), drawn.rgb().len(), "{what}");
        let apart = found.iter().zip(drawn.rgb()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(apart <= Some(1), "{what}: {apart:?} grey levels apart");
    }

    /// Two overlapping maps, one of which counts in part, over pictures that are shrunk, thin and tiny.
    #[test]
    fn it_is_the_drawing_of_the_processors_path_within_a_grey_level() {
        on_device(|bench| {
            for (width, height) in [(40, 30), (1, 1), (131, 7), (1000, 33)] {
                let rgb = random(3, 3 * width * height).iter().map(|v| (v.abs() * 255.0) as u8).collect();
                let picture = Picture::new(width, height, rgb).expect("its bytes");
                let cells: Vec<bool> = (0..25).map(|cell| cell % 3 != 0).collect();
                let maps = [map_of(5, 1, Some(&cells)), map_of(3, 2, None)];
                let part = Area { x: width / 3, y: height / 3, w: width.div_ceil(2), h: height.div_ceil(2) };
                let areas = [Area::whole(width, height), part];
                let scales = [(-0.5, 0.5), (0.1, 0.9)];
                let layers = [0, 1].map(|i| heatmap::Layer { map: &maps[i], area: areas[i], scale: scales[i] });
                let drawn = heatmap::draw_all(&picture, &layers, None, &[]);
                let drawing = Drawing::new(width, height, 960);
                let on_device = [up(bench, &maps[0], Some(&cells)), up(bench, &maps[1], None)];
                let glowing: Vec<Layer> = (0..2).map(|i| drawing.layer(on_device[i], areas[i], scales[i])).collect();
                let Layer { left, top, right, bottom, .. } = glowing[1];
                let frame = Outline { x: left, y: top, w: right - left, h: bottom - top, thick: 1, colour: 0x78_aa_ff };
                let frames = if part == areas[0] { vec![] } else { vec![frame] };
                let found = painted(bench, &picture, drawing, &glowing, &frames);
                assert_alike(&found, &drawn, &format!("{width} x {height}"));
            }
        });
    }

    #[test]
    fn outlines_lie_over_each_other_in_their_order() {
        on_device(|bench| {
            let picture = Picture::new(50, 40, vec![90; 6000]).expect("its bytes");
            let (map, area) = (Map::new(1, vec![1.0]), Area::whole(50, 40));
            let region = Region { x: 10, y: 5, w: 60, h: 20, peak: 1.0 };
            let drawn = heatmap::draw(&picture, (&map, area), (0.5, 0.5), Some(Verdict::Fail), &[region]);
            let drawing = Drawing::new(50, 40, 960);
            let outlines = [
                Outline { x: 10, y: 5, w: 60, h: 20, thick: 2, colour: 0xff_ff_ff },
                Outline { x: 0, y: 0, w: 50, h: 40, thick: 3, colour: 0xd7_28_28 },
            ];
            let layer = drawing.layer(up(bench, &map, None), area, (0.5, 0.5));
            assert_alike(&painted(bench, &picture, drawing, &[layer], &outlines), &drawn, "outlines");
        });
    }
}
