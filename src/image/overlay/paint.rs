//! The processor's painter of overlays ([`Overlay`] decides what is to be seen).
//!
//! Normal areas stay as the camera saw them; the more anomalous, the more they glow. The scale is the caller's, so
//! that pictures of one line can be compared. `engine/cuda/kernels/paint.cu` is the same on a GPU.

use crate::data::picture::Picture;
use crate::image::overlay::{Outline, Overlay, Placed, Rgb};

/// Dark red through orange to pale yellow, from the middle of the scale to its top.
const GLOW: [Rgb; 4] = [[120, 0, 60], [225, 40, 30], [250, 150, 20], [255, 245, 150]];

/// The overlay, in the drawing's pixels.
pub fn paint(drawing: &Overlay) -> Picture {
    let &Overlay {
        picture,
        width,
        height,
        ..
    } = drawing;
    let glowing: Vec<Glowing> = drawing.layers.iter().map(Glowing::new).collect();
    let mut canvas = Canvas {
        width,
        height,
        rgb: Vec::with_capacity(3 * width * height),
    };
    for row in 0..height {
        let source_row = drawing.source_row(row);
        for column in 0..width {
            let at = 3 * (column * picture.width() / width);
            let over = || glowing.iter().filter(|glowing| glowing.covers(row, column));
            let heat = over()
                .filter_map(|glowing| glowing.heat(row, column))
                .reduce(f32::max);
            let lit = glow(&source_row[at..at + 3], heat.unwrap_or(0.0));
            let is_dark = heat.is_none() && over().next().is_some();
            canvas.rgb.extend(if is_dark {
                lit.map(|value| value / 2)
            } else {
                lit
            });
        }
    }
    drawing
        .outlines
        .iter()
        .for_each(|outline| canvas.outline(outline));
    Picture::new(width, height, canvas.rgb).expect("filled row by row")
}

/// A layer, enlarged.
struct Glowing<'a> {
    placed: &'a Placed<'a>,
    /// The map's value at each of its pixels.
    heats: Vec<f32>,
}

impl<'a> Glowing<'a> {
    fn new(placed: &'a Placed<'a>) -> Self {
        let heats = placed
            .map
            .enlarged(placed.right - placed.left, placed.bottom - placed.top);
        Glowing { placed, heats }
    }

    fn covers(&self, row: usize, column: usize) -> bool {
        let Placed {
            left,
            top,
            right,
            bottom,
            ..
        } = *self.placed;
        (left..right).contains(&column) && (top..bottom).contains(&row)
    }

    /// From 0 to 1, and beyond, at a pixel that it covers; nothing where it does not count.
    fn heat(&self, row: usize, column: usize) -> Option<f32> {
        let Placed {
            map,
            scale,
            left,
            top,
            right,
            bottom,
        } = *self.placed;
        let cell = |at: usize, start: usize, end: usize| (at - start) * map.side() / (end - start);
        let counts = map.counts(cell(row, top, bottom), cell(column, left, right));
        let value = self.heats[(row - top) * (right - left) + column - left];
        counts.then(|| (value - scale.0) / (scale.1 - scale.0).max(f32::EPSILON))
    }
}

fn glow(seen: &[u8], heat: f32) -> Rgb {
    let heat = heat.clamp(0.0, 1.0);
    let place = heat * (GLOW.len() - 1) as f32;
    let (low, high) = (place as usize, (place as usize + 1).min(GLOW.len() - 1));
    let share = place - low as f32;
    // Squared, so that the lower half of the scale leaves the picture almost untouched.
    let opacity = 0.85 * heat * heat;
    std::array::from_fn(|c| {
        let tint = f32::from(GLOW[low][c]) * (1.0 - share) + f32::from(GLOW[high][c]) * share;
        (f32::from(seen[c]) * (1.0 - opacity) + tint * opacity) as u8
    })
}

struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    fn outline(
        &mut self,
        &Outline {
            x,
            y,
            w,
            h,
            thick,
            colour,
        }: &Outline,
    ) {
        let (right, bottom) = ((x + w).min(self.width), (y + h).min(self.height));
        for row in y..bottom {
            for column in x..right {
                let inside = row >= y + thick
                    && row + thick < bottom
                    && column >= x + thick
                    && column + thick < right;
                if !inside {
                    let at = 3 * (row * self.width + column);
                    self.rgb[at..at + 3].copy_from_slice(&colour);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::map::Map;
    use crate::data::picture::Area;
    use crate::data::verdict::Verdict;
    use crate::image::overlay::Layer;

    fn draw(
        picture: &Picture,
        map: &Map,
        area: Area,
        scale: (f32, f32),
        frame: Option<Verdict>,
    ) -> Picture {
        paint(&Overlay::new(
            picture,
            &[Layer { map, area, scale }],
            frame,
            &[],
        ))
    }

    #[test]
    fn the_hot_corner_glows_and_the_cold_one_is_as_the_camera_saw_it() {
        let picture = Picture::new(40, 40, vec![90; 3 * 1600]).expect("its bytes");
        let map = Map::new(2, vec![0.0, 0.0, 0.0, 1.0]);
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
        let drawn = draw(&picture, &Map::new(1, vec![1.0]), area, (0.0, 1.0), None);
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
        let (hot, cold) = (Map::new(1, vec![1.0]), Map::new(1, vec![0.0]));
        let layer = |map, x| Layer {
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
        let (map, area) = (Map::new(1, vec![0.5]), Area::whole(2000, 1));
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
