//! Content of an overlay for people: its maps with their places and colours, decided once for all
//! painters. A painter only colours pixels: the processor's (`paint.rs`) or a GPU's
//! (`engine/cuda/painter.rs`). Lines and numbers are drawn over the painted picture, by the processor
//! alone (`marks.rs`).
//!
//! The picture beneath is grey, so that all colour is the map's. A map value has a heat: 0 at half of the
//! threshold, 1 at the threshold. The heat gives the share of colour, up to [`OPACITY_MAX`] at the
//! threshold, and the colour, from black at 0 to pale yellow at 2.

pub mod marks;
pub mod paint;
pub mod png;

use crate::data::map::Map;
use crate::data::picture::{Area, Picture};

/// Largest number of pixels on the long side: larger pictures are shrunk to it.
const LONG_SIDE_MAX: usize = 960;
/// Number of pixels that the long side has at least: smaller pictures are enlarged to it.
const LONG_SIDE_MIN: usize = 320;
/// Share of colour in a pixel at the threshold and above. The picture beneath stays visible.
pub const OPACITY_MAX: f32 = 0.6;
/// Heat at which the last colour is reached.
pub const HEAT_MAX: f32 = 2.0;
/// Number of colours of [`colours`]; between two of them a colour is mixed.
pub const COLOURS: usize = 256;

/// A colour: red, green, blue.
pub type Rgb = [u8; 3];

/// The colours of heat 0 to [`HEAT_MAX`]: inferno, whose lightness grows evenly, so that it reads on
/// grey and without seeing colours.
pub fn colours() -> [Rgb; COLOURS] {
    std::array::from_fn(|step| {
        let colour = colorous::INFERNO.eval_rational(step, COLOURS);
        [colour.r, colour.g, colour.b]
    })
}

/// Heats of map values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeatScale {
    /// Map value of heat 0, at which the picture is grey.
    pub low: f32,
    /// Map value of heat 1.
    pub high: f32,
    /// True if `high` is the threshold: a contour is drawn there.
    pub is_threshold: bool,
}

impl HeatScale {
    /// The scale of a part with a threshold on the scale of its map: the same for all parts of a line.
    pub fn of_threshold(threshold: f32) -> Self {
        HeatScale {
            low: threshold / 2.0,
            high: threshold,
            is_threshold: true,
        }
    }

    /// A scale without a threshold.
    pub fn between(low: f32, high: f32) -> Self {
        HeatScale {
            low,
            high,
            is_threshold: false,
        }
    }

    /// The scale of a map alone: its highest value has heat 2, and the middle between that and the
    /// median, where defects begin, heat 1.
    pub fn of_map(map: &Map) -> Self {
        let mut values = map.unmasked();
        values.sort_by(f32::total_cmp);

        // A map of which no cell counts has nothing to show.
        let median = values.get(values.len() / 2).copied().unwrap_or(0.0);
        let max = values.last().copied().unwrap_or(0.0);

        HeatScale::between(median, (median + max) / 2.0)
    }
}

/// A map, and its place in the picture.
pub struct HeatLayer<'a> {
    /// The anomaly map.
    pub map: &'a Map,
    /// The part of the picture that the map covers.
    pub area: Area,
    /// Heats of the map's values.
    pub scale: HeatScale,
}

/// A [`HeatLayer`] in the overlay's pixels: at least one, from `left`, `top` to before `right`,
/// `bottom`.
pub struct PlacedLayer<'a> {
    /// The anomaly map.
    pub map: &'a Map,
    /// Heats of the map's values.
    pub scale: HeatScale,
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Column after the last.
    pub right: usize,
    /// Row after the last.
    pub bottom: usize,
}

/// An overlay before it is painted.
pub struct Overlay<'a> {
    /// The camera's picture.
    pub picture: &'a Picture,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Maps. A pixel has the heat of the hottest that covers it and counts there; it is dark if none of
    /// those that cover it counts there.
    pub layers: Vec<PlacedLayer<'a>>,
    /// Picture pixels for one of the overlay; below 1 where a small picture is enlarged.
    factor: f64,
}

impl<'a> Overlay<'a> {
    /// The overlay of a picture. Each map covers its area of the picture.
    pub fn new(picture: &'a Picture, layers: &[HeatLayer<'a>]) -> Self {
        let long_side = picture.width().max(picture.height());

        // Both sides have the same factor: the picture keeps its proportions.
        let size = long_side.clamp(LONG_SIDE_MIN, LONG_SIDE_MAX);
        let factor = long_side as f64 / size as f64;

        // The size is rounded, and is at least one pixel: a picture of one row stays one row.
        let size = |pixels: usize| ((pixels as f64 / factor).round() as usize).max(1);
        let mut overlay = Overlay {
            picture,
            width: size(picture.width()),
            height: size(picture.height()),
            layers: vec![],
            factor,
        };

        // One scale holds for everything that is drawn, so that maps and marks meet the picture.
        overlay.layers = layers.iter().map(|layer| overlay.place(layer)).collect();

        overlay
    }

    /// The row of the picture that is seen in a row of the overlay.
    pub fn source_row(&self, row: usize) -> &'a [u8] {
        // The nearest row is taken rather than an average: an overlay is drawn for each failed
        // part, and a person looks at it, no algorithm.
        let stride = 3 * self.picture.width();

        // The division rounds down, so that it never reaches the picture's height.
        let source = row * self.picture.height() / self.height;

        &self.picture.rgb()[source * stride..][..stride]
    }

    /// The picture as the camera gave it, in the overlay's size.
    pub fn original(&self) -> Picture {
        let mut rgb = Vec::with_capacity(3 * self.width * self.height);
        let columns = self.source_columns();

        for row in 0..self.height {
            let source_row = self.source_row(row);

            for &at in &columns {
                rgb.extend_from_slice(&source_row[at..at + 3]);
            }
        }

        Picture::new(self.width, self.height, rgb).expect("filled row by row")
    }

    /// The first byte in its row of the picture's column that is seen in each column of the overlay.
    pub(super) fn source_columns(&self) -> Vec<usize> {
        let picture_width = self.picture.width();
        (0..self.width)
            .map(|column| 3 * (column * picture_width / self.width))
            .collect()
    }

    /// A row or column of the picture, as one of the overlay.
    fn fit(&self, pixels: usize) -> usize {
        (pixels as f64 / self.factor) as usize
    }

    /// A rectangle of the picture in the overlay's pixels: at least one each way, within the overlay.
    pub fn placed(&self, area: Area) -> Area {
        // It keeps at least one row and column, even where it shrinks to nothing at the right or
        // lower edge.
        let x = self.fit(area.x).min(self.width - 1);
        let y = self.fit(area.y).min(self.height - 1);

        // Right and lower ends come from the area's own ends rather than from a scaled width, so
        // that neighbouring areas meet without a gap.
        Area {
            x,
            y,
            w: self.fit(area.x + area.w).clamp(x + 1, self.width) - x,
            h: self.fit(area.y + area.h).clamp(y + 1, self.height) - y,
        }
    }

    fn place(&self, layer: &HeatLayer<'a>) -> PlacedLayer<'a> {
        let placed = self.placed(layer.area);
        PlacedLayer {
            map: layer.map,
            scale: layer.scale,
            left: placed.x,
            top: placed.y,
            right: placed.x + placed.w,
            bottom: placed.y + placed.h,
        }
    }
}

impl PlacedLayer<'_> {
    /// The layer's place in the overlay.
    pub fn area(&self) -> Area {
        Area {
            x: self.left,
            y: self.top,
            w: self.right - self.left,
            h: self.bottom - self.top,
        }
    }
}
