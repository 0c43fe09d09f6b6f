//! The processor's painter of overlays ([`Overlay`] holds what is shown).
//!
//! Normal areas stay as the camera saw them; the more anomalous, the more they glow. The scale is the
//! caller's, so that pictures of one line can be compared. `engine/cuda/kernels/paint.cu` is the same
//! on a GPU.

use crate::data::picture::Picture;
use crate::image::overlay::{BoxOutline, Overlay, PlacedLayer, Rgb};

/// Colours of the glow: dark red through orange to pale yellow, from the middle of the scale to its
/// top.
const GLOW: [Rgb; 4] = [[120, 0, 60], [225, 40, 30], [250, 150, 20], [255, 245, 150]];

/// Paints an overlay.
pub fn paint(overlay: &Overlay) -> Picture {
    let width = overlay.width;
    let height = overlay.height;
    // Each map is enlarged once, bilinear, to the `[height, width]` of its layer.
    let layers: Vec<EnlargedLayer> = overlay.layers.iter().map(EnlargedLayer::new).collect();
    let mut canvas = Canvas {
        width,
        height,
        rgb: Vec::with_capacity(3 * width * height),
    };

    // `sources` has the first byte of the nearest column of the picture, as [`Overlay::source_row`]
    // takes the nearest row.
    let picture_width = overlay.picture.width();
    let sources: Vec<usize> = (0..width)
        .map(|column| 3 * (column * picture_width / width))
        .collect();

    // The canvas is filled row by row from the top, three bytes a pixel.
    for row in 0..height {
        let source_row = overlay.source_row(row);
        for (column, &at) in sources.iter().enumerate() {
            // The maps over the camera's pixel tint it, or darken it where they do not count.
            let seen = &source_row[at..at + 3];
            canvas.rgb.extend(pixel(seen, &layers, row, column));
        }
    }

    // Outlines lie over the glow.
    for outline in &overlay.outlines {
        canvas.outline(outline);
    }

    // The bytes are `[height, width, 3]`, as the loop above filled them.
    Picture::new(width, height, canvas.rgb).expect("filled row by row")
}

/// Colour of a pixel that the camera saw as `seen`.
fn pixel(seen: &[u8], layers: &[EnlargedLayer], row: usize, column: usize) -> Rgb {
    // The heat is that of the hottest of all layers that cover the pixel and count there.
    let mut is_covered = false;
    let mut heat: Option<f32> = None;
    for layer in layers {
        if layer.covers(row, column) {
            is_covered = true;
            // A cell that a region's mask leaves out has no heat.
            let here = layer.heat(row, column);
            heat = heat.into_iter().chain(here).reduce(f32::max);
        }
    }

    // Without a layer that counts, the pixel was not judged: at half its brightness a person sees
    // that.
    let lit = glow(seen, heat.unwrap_or(0.0));
    if is_covered && heat.is_none() {
        lit.map(|value| value / 2)
    } else {
        lit
    }
}

/// A layer with its map enlarged to the overlay's pixels.
struct EnlargedLayer<'a> {
    placed: &'a PlacedLayer<'a>,
    /// Pixels in a row of the layer.
    width: usize,
    /// The map's value at each pixel of the layer, `[height, width]`.
    values: Vec<f32>,
    /// The map's row under each row of the layer.
    cell_rows: Vec<usize>,
    /// The map's column under each column of the layer.
    cell_columns: Vec<usize>,
}

impl<'a> EnlargedLayer<'a> {
    fn new(placed: &'a PlacedLayer<'a>) -> Self {
        // A layer has at least one pixel each way, as `Shrink::place` made it.
        let width = placed.right - placed.left;
        let height = placed.bottom - placed.top;
        // Cells are looked up, because two divisions a pixel would cost more than the glow.
        let grid = placed.map.grid();
        EnlargedLayer {
            placed,
            width,
            values: placed.map.enlarged(width, height),
            cell_rows: (0..height).map(|row| row * grid.h / height).collect(),
            cell_columns: (0..width).map(|column| column * grid.w / width).collect(),
        }
    }

    fn covers(&self, row: usize, column: usize) -> bool {
        // `right` and `bottom` are the first column and row beyond the layer.
        let placed = self.placed;
        (placed.left..placed.right).contains(&column) && (placed.top..placed.bottom).contains(&row)
    }

    /// Heat of a pixel that the layer covers: 0 to 1 on the scale, and beyond. `None` if the map's cell
    /// does not count.
    fn heat(&self, row: usize, column: usize) -> Option<f32> {
        // Pixels are counted from the layer's upper left corner.
        let from_top = row - self.placed.top;
        let from_left = column - self.placed.left;
        // The cell under the pixel is for the mask; the heat itself comes from the enlarged values,
        // which are smooth.
        let cell_row = self.cell_rows[from_top];
        let cell_column = self.cell_columns[from_left];
        if !self.placed.map.counts(cell_row, cell_column) {
            return None;
        }

        // The heat is 0 at the lower end of the scale and 1 at the upper one. A scale of no height,
        // which a single reference can give, must not divide by zero.
        let (low, high) = self.placed.scale;
        let value = self.values[from_top * self.width + from_left];
        Some((value - low) / (high - low).max(f32::EPSILON))
    }
}

/// A pixel that the camera saw as `seen`, with a heat of 0 (as it is) to 1 (full glow).
fn glow(seen: &[u8], heat: f32) -> Rgb {
    // A heat above the scale is full glow, one below it leaves the pixel as it is.
    let heat = heat.clamp(0.0, 1.0);
    // `place` lies between two of the colours, `low` and the next one, which `share` mixes.
    let last = GLOW.len() - 1;
    let place = heat * last as f32;
    let low = place as usize;
    let high = (low + 1).min(last);
    // At the top of the scale `low` is the last colour and `share` is 0.
    let share = place - low as f32;
    // Squared, so that the lower half of the scale leaves the picture almost untouched.
    let opacity = 0.85 * heat * heat;
    // Each channel is mixed by itself, and the tint has at most 85 % of the pixel.
    std::array::from_fn(|channel| {
        let from = f32::from(GLOW[low][channel]);
        let to = f32::from(GLOW[high][channel]);
        let tint = from * (1.0 - share) + to * share;
        (f32::from(seen[channel]) * (1.0 - opacity) + tint * opacity) as u8
    })
}

/// Pixels that are being painted.
struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    fn outline(&mut self, outline: &BoxOutline) {
        // The box may reach beyond the canvas on the right and below; what is outside is not drawn.
        let thick = outline.thick;
        let right = (outline.x + outline.w).min(self.width);
        let bottom = (outline.y + outline.h).min(self.height);
        for row in outline.y..bottom {
            for column in outline.x..right {
                // Only the frame of the box is drawn, `thick` pixels inwards from each side.
                let inside = row >= outline.y + thick
                    && row + thick < bottom
                    && column >= outline.x + thick
                    && column + thick < right;

                // Later outlines replace the pixels of earlier ones.
                if !inside {
                    let at = 3 * (row * self.width + column);
                    self.rgb[at..at + 3].copy_from_slice(&outline.colour);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::grid::Grid;
    use crate::data::map::Map;
    use crate::data::picture::Area;
    use crate::data::verdict::Verdict;
    use crate::image::overlay::HeatLayer;

    fn draw(
        picture: &Picture,
        map: &Map,
        area: Area,
        scale: (f32, f32),
        frame: Option<Verdict>,
    ) -> Picture {
        paint(&Overlay::new(
            picture,
            &[HeatLayer { map, area, scale }],
            frame,
            &[],
        ))
    }

    #[test]
    fn the_hot_corner_glows_and_the_cold_one_is_as_the_camera_saw_it() {
        let picture = Picture::new(40, 40, vec![90; 3 * 1600]).expect("its bytes");
        let map = Map::new(Grid::square(2), vec![0.0, 0.0, 0.0, 1.0]);
        let drawn = draw(&picture, &map, Area::whole(40, 40), (0.0, 1.0), None);
        assert_eq!(drawn.rgb()[..3], [90, 90, 90]);
        let hot = &drawn.rgb()[3 * 1599..];
        assert!(hot[0] > 200 && hot[1] > 180, "{hot:?}");
    }

    #[test]
    fn a_map_of_a_part_of_the_picture_glows_there_and_nowhere_else() {
        let picture = Picture::new(40, 40, vec![90; 3 * 1600]).expect("its bytes");
        let area = Area {
            x: 20,
            y: 10,
            w: 8,
            h: 8,
        };

        let drawn = draw(
            &picture,
            &Map::new(Grid::square(1), vec![1.0]),
            area,
            (0.0, 1.0),
            None,
        );
        let at = |x: usize, y: usize| drawn.rgb()[3 * (40 * y + x)];
        assert_eq!(
            (at(19, 14), at(28, 14), at(24, 9), at(24, 18)),
            (90, 90, 90, 90)
        );

        assert!(at(24, 14) > 200);
    }

    #[test]
    fn every_region_glows_and_is_outlined_where_it_lies() {
        let picture = Picture::new(60, 40, vec![90; 3 * 2400]).expect("its bytes");
        let hot = Map::new(Grid::square(1), vec![1.0]);
        let cold = Map::new(Grid::square(1), vec![0.0]);
        let layer = |map, x| HeatLayer {
            map,
            area: Area {
                x,
                y: 5,
                w: 20,
                h: 20,
            },
            scale: (0.0, 1.0),
        };

        let drawn = paint(&Overlay::new(
            &picture,
            &[layer(&hot, 2), layer(&cold, 35)],
            None,
            &[],
        ));

        let at = |x: usize, y: usize| &drawn.rgb()[3 * (60 * y + x)..][..3];
        assert!(at(10, 15)[0] > 200);
        assert_eq!(
            (at(45, 15), at(30, 15)),
            ([90, 90, 90].as_slice(), [90, 90, 90].as_slice())
        );

        assert_eq!(
            (at(2, 15), at(54, 15)),
            ([120, 170, 255].as_slice(), [120, 170, 255].as_slice())
        );
    }

    #[test]
    fn png_carries_its_texts_and_a_flat_map_divides_by_nothing() {
        let picture = Picture::new(2000, 1, vec![7; 6000]).expect("its bytes");
        let map = Map::new(Grid::square(1), vec![0.5]);
        let area = Area::whole(2000, 1);
        let drawn = draw(&picture, &map, area, (0.5, 0.5), Some(Verdict::Fail));
        assert_eq!(drawn.width(), 960);
        let bytes = crate::image::overlay::png::encode(&drawn, &[("seq", "7"), ("part_id", "Ä→")]);
        let reader = png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .expect("a PNG");

        let texts = &reader.info().uncompressed_latin1_text;
        assert_eq!(
            (texts[0].text.as_str(), texts[1].text.as_str()),
            ("7", "Ä?")
        );
    }
}
