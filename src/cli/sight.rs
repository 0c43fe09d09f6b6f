//! A recipe's way to look at a camera's picture, and the smallest defect that it can see there.

use crate::data::grid::Grid;
use crate::data::picture::Area;
use crate::recipe::quality::Gate;
use crate::winclip::pixels::area;
use crate::winclip::{Recipe, Region};

/// A recipe's way to look at a picture.
pub struct Sight {
    /// The quality gate.
    pub gate: Gate,
    /// Parameters of the algorithm.
    pub recipe: Recipe,
    /// The encoder's patches: the cells of a map of the whole region.
    pub grid: Grid,
    /// False where the grid will follow from references that are not there yet.
    pub is_final: bool,
}

/// The narrowest defect that is seen, as a share of a cell of the map: see docs/measurements.md, "The
/// smallest defect".
const SEEN: f64 = 0.5;

impl Sight {
    /// Returns, for a person, the least defect that is seen in a region of a picture of this size.
    pub fn least(
        &self,
        region: &Region,
        width: usize,
        height: usize,
        mm_per_pixel: Option<f64>,
    ) -> String {
        // The cell is wider than high where a wide picture is squashed into the encoder's square.
        let area = area(region.crop, self.recipe.fit, width, height);
        let w = self.cell(area.w, self.grid.w, area);
        let h = self.cell(area.h, self.grid.h, area);
        let least_w = (SEEN * w).ceil();
        let least_h = (SEEN * h).ceil();
        let mm = match mm_per_pixel {
            Some(mm) => format!(
                " ({} x {} mm)",
                rounded(least_w * mm),
                rounded(least_h * mm)
            ),
            None => String::new(),
        };

        format!(
            "a cell of the map is {w:.0} x {h:.0} of its pixels; the smallest defect it can see is about {least_w} x {least_h} of its pixels{mm}"
        )
    }

    /// Returns the side of one of a map's `cells` in the picture's pixels, where `length` of `area`, or
    /// of a tile in it, is looked at.
    fn cell(&self, length: usize, cells: usize, area: Area) -> f64 {
        // A tile is looked at with the whole input side, which makes its cells smaller.
        let length = match self.recipe.tile_px {
            Some(side) => side.min(area.w).min(area.h),
            None => length,
        };

        length as f64 / cells as f64
    }
}

/// Returns a length with two digits that mean something.
fn rounded(mm: f64) -> String {
    // The number has one digit more than the place of its first one: 0.70, 3.5, 12.
    let digits = (1.0 - mm.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{mm:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::winclip::Fit;

    #[test]
    fn what_can_be_seen_is_told_in_the_cameras_pixels_and_in_mm() {
        let gate = Gate::new(crate::recipe::quality::Limits::default(), &[]);
        let sight = |fit, tile_px| Sight {
            is_final: true,
            grid: match fit {
                Fit::Keep => Grid { w: 21, h: 12 },
                _ => Grid::square(16),
            },
            gate: gate.clone(),
            recipe: Recipe {
                fit,
                tile_px,
                ..Recipe::new(None)
            },
        };

        let whole = Region::default();
        let seen = |sight: Sight, mm| sight.least(&whole, 1920, 1080, mm);
        assert!(seen(sight(Fit::Squash, None), None).contains("120 x 68 of its pixels"));
        assert!(seen(sight(Fit::Crop, None), None).contains("68 x 68 of its pixels"));
        assert!(seen(sight(Fit::Keep, None), None).contains("91 x 90 of its pixels"));
        let keeps = sight(Fit::Keep, None);
        assert!(keeps.recipe.keeps_aspect(1920, 1080, keeps.grid));
        assert!(!keeps.recipe.keeps_aspect(1080, 1920, keeps.grid));
        let squashes = sight(Fit::Squash, None);
        assert!(squashes.recipe.keeps_aspect(1080, 1920, squashes.grid));
        let words = seen(sight(Fit::Squash, Some(448)), Some(0.05));
        assert!(
            words.contains("28 x 28 of its pixels")
                && words.ends_with("about 14 x 14 of its pixels (0.70 x 0.70 mm)")
        );

        let part = Region {
            crop: Some(Area {
                x: 5,
                y: 5,
                w: 320,
                h: 160,
            }),
            ..Region::default()
        };

        assert!(
            sight(Fit::Squash, None)
                .least(&part, 1920, 1080, None)
                .ends_with("about 10 x 5 of its pixels")
        );
    }
}
