//! Overlays for people: maps in colour over the camera's picture in grey, as `image/overlay/paint.rs`
//! paints them, on the device.
//!
//! A map speaks through its colour: normal areas stay grey, masked cells are dark. A thread makes one pixel and asks each layer that covers it, so that nothing enlarged is
//! ever stored.
//!
//! Cost at 1280 x 720 drawn at 960 x 540: 1.6 MB read and 1.6 MB written, 0.7 us of an H200's 4.8
//! TB/s. A side channel: no verdict waits for it.

use super::{Kernels, LaunchShape, launch};
use crate::engine::EngineError;
use crate::image::overlay;
use cudarc::driver::{CudaStream, DeviceRepr};

/// An [`overlay::PlacedLayer`] as the kernel reads it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct PaintLayer {
    /// Device address of f32 `[rows, columns]`.
    map: u64,
    /// Device address of bytes `[rows, columns]`, 0 for a masked cell; address 0 when no cell is
    /// masked.
    counts: u64,
    columns: u32,
    rows: u32,
    left: u32,
    top: u32,
    right: u32,
    bottom: u32,
    /// The map's value of heat 0.
    low: f32,
    /// The map's value of heat 1.
    high: f32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct PaintLayer`.
unsafe impl DeviceRepr for PaintLayer {}

impl PaintLayer {
    /// `map` is the device address of the layer's f32 `[rows, columns]`; `counts` that of bytes
    /// `[rows, columns]`, 0 for a masked cell, or 0 when no cell is masked.
    pub fn new(placed: &overlay::PlacedLayer, map: u64, counts: u64) -> Self {
        let overlay::HeatScale { low, high, .. } = placed.scale;
        let grid = placed.map.grid();
        PaintLayer {
            map,
            counts,
            columns: grid.w as u32,
            rows: grid.h as u32,
            left: placed.left as u32,
            top: placed.top as u32,
            right: placed.right as u32,
            bottom: placed.bottom as u32,
            low,
            high,
        }
    }
}

/// Arguments of the kernel. All addresses are the device's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct PaintArgs {
    /// RGB bytes `[height, width, 3]`, rows `stride` bytes apart.
    pub picture: u64,
    /// `[layer_count]` [`PaintLayer`].
    pub layers: u64,
    /// RGB bytes `[overlay::COLOURS, 3]`, the colours of heat 0 to `overlay::HEAT_MAX`.
    pub colours: u64,
    /// Written: RGB bytes `[out_height, out_width, 3]`.
    pub out: u64,
    /// Bytes from row to row of the picture.
    pub stride: u32,
    /// Width of the picture in pixels.
    pub width: u32,
    /// Height of the picture in pixels.
    pub height: u32,
    /// Width of the [`overlay::Overlay`] in pixels.
    pub out_width: u32,
    /// Height of the [`overlay::Overlay`] in pixels.
    pub out_height: u32,
    /// Number of layers.
    pub layer_count: u32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct Paint`.
unsafe impl DeviceRepr for PaintArgs {}

/// Threads of a block: columns, rows.
const BLOCK: (u32, u32) = (32, 8);

/// Enqueues the painting of one overlay.
///
/// # Errors
/// [`EngineError::Run`] when the driver refuses.
///
/// # Safety
/// When the stream comes to it, the memory at the addresses is as [`PaintArgs`] says.
pub unsafe fn enqueue(
    kernels: &Kernels,
    stream: &CudaStream,
    args: &PaintArgs,
) -> Result<(), EngineError> {
    let columns = args.out_width.div_ceil(BLOCK.0);
    let rows = args.out_height.div_ceil(BLOCK.1);
    let shape = LaunchShape {
        blocks: (columns, rows, 1),
        threads: (BLOCK.0, BLOCK.1, 1),
    };

    // SAFETY: the caller's promise; `PaintArgs` is the kernel's struct.
    unsafe { launch(stream, &kernels.paint, shape, args) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, on_device, random};
    use super::*;
    use crate::data::grid::Grid;
    use crate::data::map::Map;
    use crate::data::picture::{Area, Picture};
    use crate::image::overlay::paint;
    use crate::image::overlay::{HeatScale, Overlay};

    /// Rows are a byte further apart than they are long.
    fn painted(bench: &Bench, drawing: &Overlay) -> Vec<u8> {
        let (width, height) = (drawing.picture.width(), drawing.picture.height());
        let rows = drawing.picture.rgb().chunks_exact(3 * width);
        let rows: Vec<u8> = rows.flat_map(|row| [row, &[0]].concat()).collect();
        let layers = drawing.layers.iter().map(|placed| {
            let counts = placed.map.mask().map_or(0, |cells| bench.up(cells));
            PaintLayer::new(placed, bench.up(placed.map.values()), counts)
        });

        let layers: Vec<PaintLayer> = layers.collect();
        let out = bench.out(3 * drawing.width * drawing.height, 0x77u8);
        let args = PaintArgs {
            picture: bench.up(&rows),
            layers: bench.up(&layers),
            colours: bench.up(&overlay::colours().concat()),
            out: out.address,
            stride: 3 * width as u32 + 1,
            width: width as u32,
            height: height as u32,
            out_width: drawing.width as u32,
            out_height: drawing.height as u32,
            layer_count: layers.len() as u32,
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

    /// Two overlapping maps, one of which counts in part, over pictures that are shrunk, thin and
    /// tiny.
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
                    Map::new(Grid::square(5), random(1, 25)).masked(Some(&cells)),
                    Map::new(Grid { w: 2, h: 7 }, random(2, 14)),
                ];

                let part = Area {
                    x: width / 3,
                    y: height / 3,
                    w: width.div_ceil(2),
                    h: height.div_ceil(2),
                };

                let areas = [Area::whole(width, height), part];
                let scales =
                    [(-0.5, 0.5), (0.1, 0.9)].map(|(low, high)| HeatScale::between(low, high));
                let layers = [0, 1].map(|i| overlay::HeatLayer {
                    map: &maps[i],
                    area: areas[i],
                    scale: scales[i],
                });

                let drawing = Overlay::new(&picture, &layers);
                assert_alike(bench, &drawing, &format!("{width} x {height}"));
            }
        });
    }
}
