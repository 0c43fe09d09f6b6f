//! The processor's painter of overlays ([`Overlay`] holds what is shown).
//!
//! The camera's picture is grey; the more anomalous a place, the more it has of the map's colour. The
//! scale is the caller's, so that pictures of one line can be compared. `engine/cuda/kernels/paint.cu`
//! is the same on a GPU.

use crate::data::picture::Picture;
use crate::image::overlay::{COLOURS, HEAT_MAX, OPACITY_MAX, Overlay, PlacedLayer, Rgb, colours};

/// Paints an overlay.
pub fn paint(overlay: &Overlay) -> Picture {
    let width = overlay.width;
    let height = overlay.height;

    // Each map is enlarged once, bilinear, to the `[height, width]` of its layer.
    let layers: Vec<EnlargedLayer> = overlay.layers.iter().map(EnlargedLayer::new).collect();
    let mut rgb = Vec::with_capacity(3 * width * height);
    let colours = colours();
    let sources = overlay.source_columns();

    // The picture is filled row by row from the top, three bytes a pixel.
    for row in 0..height {
        let source_row = overlay.source_row(row);

        for (column, &at) in sources.iter().enumerate() {
            // The maps over the camera's pixel colour it, or darken it where they do not count.
            let grey = grey(&source_row[at..at + 3]);
            rgb.extend(pixel(grey, &layers, (row, column), &colours));
        }
    }

    // The bytes are `[height, width, 3]`, as the loop above filled them.
    Picture::new(width, height, rgb).expect("filled row by row")
}

/// Grey of a pixel, in whole numbers, so that every painter has the same: luma of BT.601.
fn grey(seen: &[u8]) -> u8 {
    let [red, green, blue] = [0, 1, 2].map(|channel| u32::from(seen[channel]));

    ((77 * red + 150 * green + 29 * blue) >> 8) as u8
}

/// Colour of a pixel that is `grey`.
fn pixel(
    grey: u8,
    layers: &[EnlargedLayer],
    (row, column): (usize, usize),
    colours: &[Rgb; COLOURS],
) -> Rgb {
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
    match heat {
        Some(heat) => mixed(grey, heat, colours),
        None if is_covered => [grey / 2; 3],
        None => [grey; 3],
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
        // A layer has at least one pixel each way, as `Overlay::placed` made it.
        let width = placed.right - placed.left;
        let height = placed.bottom - placed.top;

        // Cells are looked up, because two divisions a pixel would cost more than the colour.
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

    /// Heat of a pixel that the layer covers: 0 and 1 on the scale, below and beyond. `None` if the map's
    /// cell does not count.
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

        // A scale of no height, which a single reference can give, must not divide by zero.
        let scale = self.placed.scale;
        let value = self.values[from_top * self.width + from_left];

        Some((value - scale.low) / (scale.high - scale.low).max(f32::EPSILON))
    }
}

/// A grey pixel with the colour of a heat over it.
fn mixed(grey: u8, heat: f32, colours: &[Rgb; COLOURS]) -> Rgb {
    // Below the scale the pixel is grey, from heat 1 on it has all the colour that it gets.
    let opacity = OPACITY_MAX * heat.clamp(0.0, 1.0);

    // `place` lies between two of the colours, `low` and the next one, which `share` mixes.
    let last = COLOURS - 1;
    let place = heat.clamp(0.0, HEAT_MAX) / HEAT_MAX * last as f32;
    let low = place as usize;
    let high = (low + 1).min(last);

    // At the top of the scale `low` is the last colour and `share` is 0.
    let share = place - low as f32;

    // Each channel is mixed by itself.
    std::array::from_fn(|channel| {
        let from = f32::from(colours[low][channel]);
        let to = f32::from(colours[high][channel]);
        let tint = from * (1.0 - share) + to * share;
        (f32::from(grey) * (1.0 - opacity) + tint * opacity) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::grid::Grid;
    use crate::data::map::Map;
    use crate::data::picture::Area;
    use crate::image::overlay::{HeatLayer, HeatScale};

    fn draw(picture: &Picture, map: &Map, area: Area, scale: HeatScale) -> Picture {
        paint(&Overlay::new(picture, &[HeatLayer { map, area, scale }]))
    }

    fn at(picture: &Picture, x: usize, y: usize) -> Rgb {
        let pixel = &picture.rgb()[3 * (picture.width() * y + x)..][..3];
        [pixel[0], pixel[1], pixel[2]]
    }

    #[test]
    fn colour_begins_at_half_of_the_threshold_and_is_full_at_it() {
        // Brown becomes grey.
        let brown: Vec<u8> = [150, 100, 60].repeat(320 * 320);
        let picture = Picture::new(320, 320, brown).expect("its bytes");
        let area = Area::whole(320, 320);
        let of = |value: f32| {
            let map = Map::new(Grid::square(1), vec![value]);
            at(
                &draw(&picture, &map, area, HeatScale::of_threshold(0.4)),
                5,
                5,
            )
        };

        let grey = (77 * 150 + 150 * 100 + 29 * 60) / 256;
        assert_eq!((of(0.0), of(0.2)), ([grey as u8; 3], [grey as u8; 3]));
        // inferno's middle, (188, 55, 84), and its end, (252, 255, 164), as matplotlib has them.
        let mix = |colour: [f32; 3]| colour.map(|tint| (0.4 * grey as f32 + 0.6 * tint) as u8);
        let near = |found: Rgb, wanted: Rgb| {
            let apart = found.iter().zip(wanted).map(|(a, b)| a.abs_diff(b)).max();
            assert!(apart <= Some(2), "{found:?} is not {wanted:?}");
        };

        near(of(0.4), mix([188.0, 55.0, 84.0]));
        near(of(0.6), mix([252.0, 255.0, 164.0]));
        assert_eq!(of(0.6), of(5.0));
    }

    #[test]
    fn a_map_of_a_part_of_the_picture_colours_it_there_and_nowhere_else() {
        let picture = Picture::new(400, 400, vec![90; 3 * 160_000]).expect("its bytes");
        let area = Area {
            x: 200,
            y: 100,
            w: 80,
            h: 80,
        };

        let map = Map::new(Grid::square(1), vec![1.0]);
        let drawn = draw(&picture, &map, area, HeatScale::of_threshold(0.5));
        for (x, y) in [(199, 140), (280, 140), (240, 99), (240, 180)] {
            assert_eq!(at(&drawn, x, y), [90; 3], "{x}, {y}");
        }

        assert!(at(&drawn, 240, 140)[0] > 180);
    }

    #[test]
    fn what_does_not_count_is_dark_and_a_flat_map_divides_by_nothing() {
        let picture = Picture::new(2000, 2, vec![90; 12_000]).expect("its bytes");
        let map = Map::new(Grid { w: 2, h: 1 }, vec![0.5; 2]).masked(Some(&[true, false]));
        let drawn = draw(
            &picture,
            &map,
            Area::whole(2000, 2),
            HeatScale::of_map(&map),
        );
        assert_eq!((drawn.width(), drawn.height()), (960, 1));
        assert_eq!((at(&drawn, 10, 0), at(&drawn, 900, 0)), ([90; 3], [45; 3]));
    }

    #[test]
    fn png_carries_its_texts() {
        let picture = Picture::new(1, 1, vec![7; 3]).expect("its bytes");
        let bytes = crate::image::overlay::png::encode(&picture, &[("seq", "7"), ("id", "Ä→")]);
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
