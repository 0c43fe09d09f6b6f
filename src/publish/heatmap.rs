//! Drawing: the anomaly map over the camera's picture, for people.
//!
//! Normal areas stay as the camera saw them; the more anomalous, the more they glow. The scale is the caller's, so
//! that pictures of one line can be compared.

use crate::frame::{Area, Picture};
use crate::verdict::{Map, Region, Verdict};

/// Overlays are shrunk to this many pixels on the long side.
const LONG_SIDE_MAX: usize = 960;

type Rgb = [u8; 3];

/// Dark red through orange to pale yellow, from the middle of the scale to its top.
const GLOW: [Rgb; 4] = [[120, 0, 60], [225, 40, 30], [250, 150, 20], [255, 245, 150]];

/// What glows: a map, and where it lies.
pub struct Layer<'a> {
    pub map: &'a Map,
    /// The part of the picture that it covers.
    pub area: Area,
    /// The map value of "nothing to see" and that of "full glow".
    pub scale: (f32, f32),
}

/// The overlay of one map: see [`draw_all`].
pub fn draw(
    picture: &Picture,
    (map, area): (&Map, Area),
    scale: (f32, f32),
    frame: Option<Verdict>,
    regions: &[Region],
) -> Picture {
    draw_all(picture, &[Layer { map, area, scale }], frame, regions)
}

/// The overlay: each map glows over the area of the picture that it covers, which is outlined where it is not all of it;
/// what does not count in any that covers it is dark.
pub fn draw_all(picture: &Picture, layers: &[Layer], frame: Option<Verdict>, regions: &[Region]) -> Picture {
    let shrink = (picture.width().max(picture.height()) as f64 / LONG_SIDE_MAX as f64).max(1.0);
    let size = |n: usize| ((n as f64 / shrink).round() as usize).max(1);
    let (width, height) = (size(picture.width()), size(picture.height()));
    let mut canvas = Canvas { width, height, rgb: Vec::with_capacity(3 * width * height) };
    let fit = |n: usize| (n as f64 / shrink) as usize;
    let placed: Vec<Placed> = layers
        .iter()
        .map(|layer| {
            let area = layer.area;
            let (left, top) = (fit(area.x).min(width - 1), fit(area.y).min(height - 1));
            let right = fit(area.x + area.w).clamp(left + 1, width);
            let bottom = fit(area.y + area.h).clamp(top + 1, height);
            let heats = layer.map.enlarged(right - left, bottom - top);
            Placed { layer, left, top, right, bottom, heats }
        })
        .collect();
    for row in 0..height {
        let source_row = row * picture.height() / height;
        for column in 0..width {
            let at = 3 * (source_row * picture.width() + column * picture.width() / width);
            let over = || placed.iter().filter(|placed| placed.covers(row, column));
            let heat = over().filter_map(|placed| placed.heat(row, column)).reduce(f32::max);
            let lit = glow(&picture.rgb()[at..at + 3], heat.unwrap_or(0.0));
            let is_dark = heat.is_none() && over().next().is_some();
            canvas.rgb.extend(if is_dark { lit.map(|value| value / 2) } else { lit });
        }
    }
    let whole = Area::whole(picture.width(), picture.height());
    for placed in placed.iter().filter(|placed| placed.layer.area != whole) {
        let (w, h) = (placed.right - placed.left, placed.bottom - placed.top);
        canvas.outline([placed.left, placed.top, w, h], 1, [120, 170, 255]);
    }
    for region in regions {
        canvas.outline([fit(region.x), fit(region.y), fit(region.w), fit(region.h)], 2, [255, 255, 255]);
    }
    if let Some(verdict) = frame {
        let thick = (width.min(height) / 60).max(3);
        canvas.outline([0, 0, width, height], thick, colour(verdict));
    }
    Picture::new(width, height, canvas.rgb).expect("filled row by row")
}

/// A layer in the overlay's pixels.
struct Placed<'a> {
    layer: &'a Layer<'a>,
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
    /// The map's value at each of its pixels.
    heats: Vec<f32>,
}

impl Placed<'_> {
    fn covers(&self, row: usize, column: usize) -> bool {
        (self.left..self.right).contains(&column) && (self.top..self.bottom).contains(&row)
    }

    /// From 0 to 1, and beyond, at a pixel that it covers; nothing where it does not count.
    fn heat(&self, row: usize, column: usize) -> Option<f32> {
        let Layer { map, scale, .. } = self.layer;
        let cell = |at: usize, start: usize, end: usize| (at - start) * map.side() / (end - start);
        let counts = map.counts(cell(row, self.top, self.bottom), cell(column, self.left, self.right));
        let value = self.heats[(row - self.top) * (self.right - self.left) + column - self.left];
        counts.then(|| (value - scale.0) / (scale.1 - scale.0).max(f32::EPSILON))
    }
}

/// PNG bytes with tEXt chunks.
pub fn png(picture: &Picture, texts: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width() as u32, picture.height() as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    for (key, words) in texts {
        // tEXt holds Latin-1 only.
        let latin: String = words.chars().map(|c| if u32::from(c) < 256 { c } else { '?' }).collect();
        let _ = encoder.add_text_chunk((*key).to_owned(), latin);
    }
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(picture.rgb()));
    written.expect("memory takes all, and a picture has all its bytes");
    bytes
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

fn colour(verdict: Verdict) -> Rgb {
    match verdict {
        Verdict::Pass => [40, 170, 70],
        Verdict::Fail => [215, 40, 40],
        Verdict::Undecided => [240, 170, 20],
    }
}

struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    /// A frame of `thick` pixels inside `[x, y, w, h]`.
    fn outline(&mut self, [x, y, w, h]: [usize; 4], thick: usize, colour: Rgb) {
        let (right, bottom) = ((x + w).min(self.width), (y + h).min(self.height));
        for row in y..bottom {
            for column in x..right {
                let inside = row >= y + thick && row + thick < bottom && column >= x + thick && column + thick < right;
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

    #[test]
    fn the_hot_corner_glows_and_the_cold_one_is_as_the_camera_saw_it() {
        let picture = Picture::new(40, 40, vec![90; 3 * 1600]).expect("its bytes");
        let map = Map::new(2, vec![0.0, 0.0, 0.0, 1.0]);
        let drawn = draw(&picture, (&map, Area::whole(40, 40)), (0.0, 1.0), None, &[]);
        assert_eq!(drawn.rgb()[..3], [90, 90, 90]);
        let hot = &drawn.rgb()[3 * 1599..];
        assert!(hot[0] > 200 && hot[1] > 180, "{hot:?}");
    }

    #[test]
    fn a_map_of_a_part_of_the_picture_glows_there_and_nowhere_else() {
        let picture = Picture::new(40, 40, vec![90; 3 * 1600]).expect("its bytes");
        let area = Area { x: 20, y: 10, w: 8, h: 8 };
        let drawn = draw(&picture, (&Map::new(1, vec![1.0]), area), (0.0, 1.0), None, &[]);
        let at = |x: usize, y: usize| drawn.rgb()[3 * (40 * y + x)];
        assert_eq!((at(19, 14), at(28, 14), at(24, 9), at(24, 18)), (90, 90, 90, 90));
        assert!(at(24, 14) > 200);
    }

    #[test]
    fn every_region_glows_and_is_outlined_where_it_lies() {
        let picture = Picture::new(60, 40, vec![90; 3 * 2400]).expect("its bytes");
        let (hot, cold) = (Map::new(1, vec![1.0]), Map::new(1, vec![0.0]));
        let layer = |map, x| Layer { map, area: Area { x, y: 5, w: 20, h: 20 }, scale: (0.0, 1.0) };
        let drawn = draw_all(&picture, &[layer(&hot, 2), layer(&cold, 35)], None, &[]);
        let at = |x: usize, y: usize| &drawn.rgb()[3 * (60 * y + x)..][..3];
        assert!(at(10, 15)[0] > 200);
        assert_eq!((at(45, 15), at(30, 15)), ([90, 90, 90].as_slice(), [90, 90, 90].as_slice()));
        assert_eq!((at(2, 15), at(54, 15)), ([120, 170, 255].as_slice(), [120, 170, 255].as_slice()));
    }

    #[test]
    fn png_carries_its_texts_and_a_flat_map_divides_by_nothing() {
        let picture = Picture::new(2000, 1, vec![7; 6000]).expect("its bytes");
        let drawn =
            draw(&picture, (&Map::new(1, vec![0.5]), Area::whole(2000, 1)), (0.5, 0.5), Some(Verdict::Fail), &[]);
        assert_eq!(drawn.width(), 960);
        let bytes = png(&drawn, &[("seq", "7"), ("part_id", "Ä→")]);
        let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("a PNG");
        let texts = &reader.info().uncompressed_latin1_text;
        assert_eq!((texts[0].text.as_str(), texts[1].text.as_str()), ("7", "Ä?"));
    }
}
