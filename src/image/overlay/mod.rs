//! Content of an overlay for people: its maps and outlines with their places, decided once for all
//! painters. A painter only colours pixels: the processor's (`paint.rs`) or a GPU's
//! (`engine/cuda/painter.rs`).

pub mod paint;
pub mod png;

use crate::data::map::Map;
use crate::data::picture::{Area, Picture};
use crate::data::verdict::{Defect, Verdict};

/// Largest number of pixels on the long side: larger pictures are shrunk to it.
const LONG_SIDE_MAX: usize = 960;

/// A colour: red, green, blue.
pub type Rgb = [u8; 3];

const REGION_COLOUR: Rgb = [120, 170, 255];
const DEFECT_COLOUR: Rgb = [255, 255, 255];

/// A map that glows, and its place in the picture.
pub struct HeatLayer<'a> {
    /// The anomaly map.
    pub map: &'a Map,
    /// The part of the picture that the map covers.
    pub area: Area,
    /// The map value of "nothing to see" and that of "full glow".
    pub scale: (f32, f32),
}

/// A [`HeatLayer`] in the overlay's pixels: at least one, from `left`, `top` to before `right`,
/// `bottom`.
pub struct PlacedLayer<'a> {
    /// The anomaly map.
    pub map: &'a Map,
    /// The map value of "nothing to see" and that of "full glow".
    pub scale: (f32, f32),
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Column after the last.
    pub right: usize,
    /// Row after the last.
    pub bottom: usize,
}

/// A frame of `thick` pixels inside of a rectangle of the overlay, which may reach beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxOutline {
    /// Left column.
    pub x: usize,
    /// Top row.
    pub y: usize,
    /// Width in pixels.
    pub w: usize,
    /// Height in pixels.
    pub h: usize,
    /// Thickness in pixels.
    pub thick: usize,
    /// Colour of all its pixels.
    pub colour: Rgb,
}

/// An overlay before it is painted.
pub struct Overlay<'a> {
    /// The camera's picture.
    pub picture: &'a Picture,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Maps that glow. A pixel glows as the hottest that covers it and counts there; it is dark if none
    /// of those that cover it counts there.
    pub layers: Vec<PlacedLayer<'a>>,
    /// Outlines, a later one over those before.
    pub outlines: Vec<BoxOutline>,
}

/// The scale from a picture to its overlay.
#[derive(Clone, Copy)]
struct Shrink {
    /// Picture pixels for one of the overlay, at least 1.
    factor: f64,
    /// Size of the overlay in pixels.
    width: usize,
    height: usize,
}

impl<'a> Overlay<'a> {
    /// The overlay of a picture. Each map glows over the area of the picture that it covers; the area
    /// is outlined if it is not the whole picture, as are the `defects`. The frame around the picture
    /// has the colour of the verdict; `None`: no frame.
    pub fn new(
        picture: &'a Picture,
        layers: &[HeatLayer<'a>],
        verdict: Option<Verdict>,
        defects: &[Defect],
    ) -> Self {
        // One scale holds for everything that is drawn, so that maps and outlines meet the picture.
        let shrink = Shrink::of(picture);
        let placed: Vec<PlacedLayer> = layers.iter().map(|layer| shrink.place(layer)).collect();

        // The outline of the whole picture would only be a second frame.
        let whole = Area::whole(picture.width(), picture.height());
        let mut outlines = Vec::new();
        for (placed, layer) in placed.iter().zip(layers) {
            if layer.area != whole {
                outlines.push(placed.outline());
            }
        }

        // What comes later lies on top: outlines of regions, defects over them, then the verdict's
        // frame.
        outlines.extend(defects.iter().map(|defect| shrink.outline(defect)));
        outlines.extend(verdict.map(|verdict| shrink.frame(verdict)));
        Overlay {
            picture,
            width: shrink.width,
            height: shrink.height,
            layers: placed,
            outlines,
        }
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
}

impl Shrink {
    fn of(picture: &Picture) -> Self {
        // A factor below 1 would enlarge a small picture.
        let long_side = picture.width().max(picture.height());
        // Both sides shrink by the same factor: the picture keeps its proportions.
        let factor = (long_side as f64 / LONG_SIDE_MAX as f64).max(1.0);
        // The size is rounded, and is at least one pixel: a picture of one row stays one row.
        let size = |pixels: usize| ((pixels as f64 / factor).round() as usize).max(1);
        Shrink {
            factor,
            width: size(picture.width()),
            height: size(picture.height()),
        }
    }

    /// A row or column of the picture, as one of the overlay.
    fn fit(&self, pixels: usize) -> usize {
        (pixels as f64 / self.factor) as usize
    }

    fn place<'a>(&self, layer: &HeatLayer<'a>) -> PlacedLayer<'a> {
        // The area is in pixels of the overlay. It keeps at least one row and column, even where it
        // shrinks to nothing at the right or lower edge.
        let area = layer.area;
        let left = self.fit(area.x).min(self.width - 1);
        let top = self.fit(area.y).min(self.height - 1);
        // Right and lower ends come from the area's own ends rather than from a scaled width, so
        // that neighbouring areas meet without a gap.
        PlacedLayer {
            map: layer.map,
            scale: layer.scale,
            left,
            top,
            right: self.fit(area.x + area.w).clamp(left + 1, self.width),
            bottom: self.fit(area.y + area.h).clamp(top + 1, self.height),
        }
    }

    // The line is two pixels thick, which stay visible in a picture that is shown at half its size.
    fn outline(&self, defect: &Defect) -> BoxOutline {
        BoxOutline {
            x: self.fit(defect.x),
            y: self.fit(defect.y),
            w: self.fit(defect.w),
            h: self.fit(defect.h),
            thick: 2,
            colour: DEFECT_COLOUR,
        }
    }

    /// The frame around the whole overlay.
    fn frame(&self, verdict: Verdict) -> BoxOutline {
        BoxOutline {
            x: 0,
            y: 0,
            w: self.width,
            h: self.height,
            // A sixtieth of the short side is seen from afar and covers little.
            thick: (self.width.min(self.height) / 60).max(3),
            colour: verdict_colour(verdict),
        }
    }
}

impl PlacedLayer<'_> {
    // The line is one pixel thick: the outline of a region says where it is, not how it is.
    fn outline(&self) -> BoxOutline {
        BoxOutline {
            x: self.left,
            y: self.top,
            w: self.right - self.left,
            h: self.bottom - self.top,
            thick: 1,
            colour: REGION_COLOUR,
        }
    }
}

fn verdict_colour(verdict: Verdict) -> Rgb {
    // The colours are those of a signal tower: green, red, amber.
    match verdict {
        Verdict::Pass => [40, 170, 70],
        Verdict::Fail => [215, 40, 40],
        Verdict::Undecided => [240, 170, 20],
    }
}
