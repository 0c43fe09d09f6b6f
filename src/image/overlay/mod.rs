//! Layer 2: what an overlay for people shows and where, decided once. Whoever paints it only colours pixels: the processor
//! (`publish/heatmap.rs`) or an engine's device (`engine/fused.rs`).

pub mod paint;
pub mod png;

use crate::data::map::Map;
use crate::data::picture::{Area, Picture};
use crate::data::verdict::{Defect, Verdict};

/// Overlays are shrunk to this many pixels on the long side.
const LONG_SIDE_MAX: usize = 960;

pub type Rgb = [u8; 3];

const OF_A_PART: Rgb = [120, 170, 255];
const OF_A_REGION: Rgb = [255, 255, 255];

/// What glows: a map, and where it lies.
pub struct Layer<'a> {
    pub map: &'a Map,
    /// The part of the picture that it covers.
    pub area: Area,
    /// The map value of "nothing to see" and that of "full glow".
    pub scale: (f32, f32),
}

/// A [`Layer`] in the overlay's pixels: at least one, from `left`, `top` to before `right`, `bottom`.
pub struct Placed<'a> {
    pub map: &'a Map,
    pub scale: (f32, f32),
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

/// A frame of `thick` pixels inside of a rectangle of the overlay, which may reach beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outline {
    pub x: usize,
    pub y: usize,
    pub w: usize,
    pub h: usize,
    pub thick: usize,
    pub colour: Rgb,
}

/// An overlay before it is painted.
pub struct Overlay<'a> {
    pub picture: &'a Picture,
    /// Pixels, as `height`.
    pub width: usize,
    pub height: usize,
    /// A pixel glows as the hottest that covers it and counts there; where none of those that cover it does, it is dark.
    pub layers: Vec<Placed<'a>>,
    /// A later one lies over those before.
    pub outlines: Vec<Outline>,
}

impl<'a> Overlay<'a> {
    /// Each map glows over the area of the picture that it covers, which is outlined where it is not all of it, as are
    /// the `regions`; the `frame` is the verdict's.
    pub fn new(
        picture: &'a Picture,
        layers: &[Layer<'a>],
        frame: Option<Verdict>,
        regions: &[Defect],
    ) -> Self {
        let shrink = (picture.width().max(picture.height()) as f64 / LONG_SIDE_MAX as f64).max(1.0);
        let size = |n: usize| ((n as f64 / shrink).round() as usize).max(1);
        let (width, height) = (size(picture.width()), size(picture.height()));
        let fit = |n: usize| (n as f64 / shrink) as usize;
        let placed = |layer: &Layer<'a>| {
            let area = layer.area;
            let (left, top) = (fit(area.x).min(width - 1), fit(area.y).min(height - 1));
            let right = fit(area.x + area.w).clamp(left + 1, width);
            let bottom = fit(area.y + area.h).clamp(top + 1, height);
            Placed {
                map: layer.map,
                scale: layer.scale,
                left,
                top,
                right,
                bottom,
            }
        };
        let placed: Vec<Placed> = layers.iter().map(placed).collect();
        let whole = Area::whole(picture.width(), picture.height());
        let parts = placed
            .iter()
            .zip(layers)
            .filter(|(_, layer)| layer.area != whole);
        let mut outlines: Vec<Outline> = parts.map(|(placed, _)| placed.outline()).collect();
        outlines.extend(regions.iter().map(|&Defect { x, y, w, h, .. }| {
            let (x, y, w, h) = (fit(x), fit(y), fit(w), fit(h));
            Outline {
                x,
                y,
                w,
                h,
                thick: 2,
                colour: OF_A_REGION,
            }
        }));
        outlines.extend(frame.map(|verdict| {
            let thick = (width.min(height) / 60).max(3);
            Outline {
                x: 0,
                y: 0,
                w: width,
                h: height,
                thick,
                colour: colour(verdict),
            }
        }));
        Overlay {
            picture,
            width,
            height,
            layers: placed,
            outlines,
        }
    }

    /// The picture's row that is seen in a row of the overlay; columns alike.
    pub fn source_row(&self, row: usize) -> &'a [u8] {
        let stride = 3 * self.picture.width();
        &self.picture.rgb()[row * self.picture.height() / self.height * stride..][..stride]
    }
}

impl Placed<'_> {
    fn outline(&self) -> Outline {
        let (w, h) = (self.right - self.left, self.bottom - self.top);
        Outline {
            x: self.left,
            y: self.top,
            w,
            h,
            thick: 1,
            colour: OF_A_PART,
        }
    }
}

fn colour(verdict: Verdict) -> Rgb {
    match verdict {
        Verdict::Pass => [40, 170, 70],
        Verdict::Fail => [215, 40, 40],
        Verdict::Undecided => [240, 170, 20],
    }
}
