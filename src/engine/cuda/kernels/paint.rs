//! For people: maps glowing over the camera's picture, as `publish/heatmap.rs` paints them, on the device.
//!
//! What a map has to say is in its colour: normal areas stay as the camera saw them, what does not count is dark. A thread
//! makes one pixel and asks each layer that covers it, so that nothing enlarged is ever stored.
//!
//! Cost at 1280 x 720 drawn at 960 x 540: 1.6 MB read and 1.6 MB written, 0.7 us of an H200's 4.8 TB/s. A side channel:
//! no verdict waits for it.

use super::{Kernels, launch};
use crate::engine::EngineError;
use crate::image::overlay;
use cudarc::driver::{CudaStream, DeviceRepr};

/// A [`overlay::PlacedLayer`].
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

/// A [`overlay::BoxOutline`].
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

impl Layer {
    /// `map` is the device's address of its f32 `[side, side]`; `counts` of bytes `[side, side]`, 0 where a cell does not
    /// count, or 0 when all do.
    pub fn new(placed: &overlay::PlacedLayer, map: u64, counts: u64) -> Self {
        let [side, left, top, right, bottom] = [
            placed.map.side(),
            placed.left,
            placed.top,
            placed.right,
            placed.bottom,
        ]
        .map(|n| n as u32);
        let (low, high) = placed.scale;
        Layer {
            map,
            counts,
            side,
            left,
            top,
            right,
            bottom,
            low,
            high,
            unused: 0,
        }
    }
}

impl From<&overlay::BoxOutline> for Outline {
    fn from(outline: &overlay::BoxOutline) -> Self {
        let &overlay::BoxOutline {
            x,
            y,
            w,
            h,
            thick,
            colour: [red, green, blue],
        } = outline;
        let [x, y, w, h, thick] = [x, y, w, h, thick].map(|n| n as u32);
        Outline {
            x,
            y,
            w,
            h,
            thick,
            colour: u32::from_be_bytes([0, red, green, blue]),
        }
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
    /// The [`overlay::Overlay`]'s.
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
pub unsafe fn enqueue(
    kernels: &Kernels,
    stream: &CudaStream,
    args: &Args,
) -> Result<(), EngineError> {
    let blocks = (
        args.out_width.div_ceil(BLOCK.0),
        args.out_height.div_ceil(BLOCK.1),
        1,
    );
    // SAFETY: the caller's promise; `Args` is the kernel's struct.
    unsafe {
        launch(
            stream,
            &kernels.paint,
            (blocks, (BLOCK.0, BLOCK.1, 1)),
            args,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, on_device, random};
    use super::*;
    use crate::data::map::Map;
    use crate::data::picture::{Area, Picture};
    use crate::data::verdict::{Defect, Verdict};
    use crate::image::overlay::Overlay;
    use crate::image::overlay::paint;

    /// Rows are a byte further apart than they are long.
    fn painted(bench: &Bench, drawing: &Overlay) -> Vec<u8> {
        let (width, height) = (drawing.picture.width(), drawing.picture.height());
        let rows = drawing.picture.rgb().chunks_exact(3 * width);
        let rows: Vec<u8> = rows.flat_map(|row| [row, &[0]].concat()).collect();
        let layers = drawing.layers.iter().map(|placed| {
            let counts = placed.map.mask().map_or(0, |cells| bench.up(cells));
            Layer::new(placed, bench.up(placed.map.values()), counts)
        });
        let layers: Vec<Layer> = layers.collect();
        let outlines: Vec<Outline> = drawing.outlines.iter().map(Outline::from).collect();
        let out = bench.out(3 * drawing.width * drawing.height, 0x77u8);
        let args = Args {
            picture: bench.up(&rows),
            layers: bench.up(&layers),
            outlines: if outlines.is_empty() {
                0
            } else {
                bench.up(&outlines)
            },
            out: out.address,
            stride: 3 * width as u32 + 1,
            width: width as u32,
            height: height as u32,
            out_width: drawing.width as u32,
            out_height: drawing.height as u32,
            layer_count: layers.len() as u32,
            outline_count: outlines.len() as u32,
            unused: 0,
        };
        // SAFETY: the bench holds what the sizes say.
        unsafe { enqueue(&bench.kernels, &bench.stream, &args) }.expect("enqueued");
        bench.down(&out)
    }

    fn assert_alike(bench: &Bench, drawing: &Overlay, what: &str) {
        let (found, drawn) = (painted(bench, drawing), paint::paint(drawing));
        assert_eq!(found.len(), drawn.rgb().len(), "{what}");
        let apart = found
            .iter()
            .zip(drawn.rgb())
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert!(apart <= Some(1), "{what}: {apart:?} grey levels apart");
    }

    /// Two overlapping maps, one of which counts in part, over pictures that are shrunk, thin and tiny.
    #[test]
    fn it_is_the_drawing_of_the_processors_path_within_a_grey_level() {
        on_device(|bench| {
            for (width, height) in [(40, 30), (1, 1), (131, 7), (1000, 33)] {
                let rgb = random(3, 3 * width * height)
                    .iter()
                    .map(|v| (v.abs() * 255.0) as u8)
                    .collect();
                let picture = Picture::new(width, height, rgb).expect("its bytes");
                let cells: Vec<bool> = (0..25).map(|cell| cell % 3 != 0).collect();
                let maps = [
                    Map::new(5, random(1, 25)).masked(Some(&cells)),
                    Map::new(3, random(2, 9)),
                ];
                let part = Area {
                    x: width / 3,
                    y: height / 3,
                    w: width.div_ceil(2),
                    h: height.div_ceil(2),
                };
                let areas = [Area::whole(width, height), part];
                let scales = [(-0.5, 0.5), (0.1, 0.9)];
                let layers = [0, 1].map(|i| overlay::HeatLayer {
                    map: &maps[i],
                    area: areas[i],
                    scale: scales[i],
                });
                let drawing = Overlay::new(&picture, &layers, None, &[]);
                assert_alike(bench, &drawing, &format!("{width} x {height}"));
            }
        });
    }

    #[test]
    fn outlines_lie_over_each_other_in_their_order() {
        on_device(|bench| {
            let picture = Picture::new(50, 40, vec![90; 6000]).expect("its bytes");
            let layer = overlay::HeatLayer {
                map: &Map::new(1, vec![1.0]),
                area: Area::whole(50, 40),
                scale: (0.5, 0.5),
            };
            let region = Defect {
                x: 10,
                y: 5,
                w: 60,
                h: 20,
                peak: 1.0,
            };
            let drawing = Overlay::new(&picture, &[layer], Some(Verdict::Fail), &[region]);
            assert_eq!(drawing.outlines.len(), 2);
            assert_alike(bench, &drawing, "outlines");
        });
    }
}
