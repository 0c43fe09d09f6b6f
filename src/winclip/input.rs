//! Size of the encoder's input: the model's square, the square that a recipe asks for, or the oblong
//! that keeps the aspect of what is inspected.
//!
//! `fit = "keep"` spends a budget of cells on the crop's own aspect. A picture of 1 : 2.5 that is
//! squashed into a square is looked at 2.5 times as finely across as down.

use super::pixels::Fit;
use super::recipe::{Recipe, Region};
use crate::base::problems::Problems;
use crate::data::grid::Grid;
use crate::data::picture::Picture;
use crate::engine::GRID_MAX;
use crate::model::{Family, ModelSpec};

/// Cells of `fit = "keep"` where the recipe does not say another number: as many as a DINOv2 of
/// 14 pixels a patch has at 224 x 224.
const CELLS: usize = 256;

impl Recipe {
    /// The recipe for pictures of the size of `first`, on which `fit = "keep"` depends where a region
    /// has no crop. Without a picture nothing changes.
    pub fn for_pictures_like(&self, first: Option<&Picture>) -> Self {
        let size = first.map(|picture| (picture.width(), picture.height()));
        Recipe {
            picture: size.or(self.picture),
            ..self.clone()
        }
    }

    /// Cells of the map with `fit = "keep"`, at most.
    pub fn kept_cells(&self) -> usize {
        self.cells.unwrap_or(CELLS)
    }

    /// The cells over an area of `w` x `h` pixels. `None` where the aspect is not kept.
    pub fn kept_grid(&self, w: usize, h: usize) -> Option<Grid> {
        (self.fit == Fit::Keep).then(|| Grid::nearest(w, h, self.kept_cells(), GRID_MAX))
    }

    /// True if pictures of that size keep their aspect on a map of `grid`, or need not.
    pub fn keeps_aspect(&self, w: usize, h: usize, grid: Grid) -> bool {
        let crops = self.regions.iter().map(|region| region.crop);
        crops.filter(Option::is_none).all(|_| {
            let kept = self.kept_grid(w, h);
            kept.is_none_or(|kept| kept == grid)
        })
    }

    /// Width and height in pixels of the encoder's input. Notes what contradicts it.
    pub(super) fn input_size(&self, spec: &ModelSpec, problems: &mut Problems) -> (usize, usize) {
        if self.fit != Fit::Keep {
            if self.cells.is_some() {
                problems.note(
                    "cells",
                    "goes with fit = keep alone; take it out, or use keep",
                );
            }

            let side = self.input_px.unwrap_or(spec.side);
            return (side, side);
        }

        // CLIP's positions are trained for one square grid, and those of towers with text are not
        // made for others.
        if spec.family != Family::Dinov2 {
            let words = "keep needs a model that reads oblong pictures (DINOv2); this one reads squares alone: use squash or crop";
            problems.note("fit", words);
            return (spec.side, spec.side);
        }

        self.check_beside_keep(problems);
        let grid = self.grid_of_regions(problems);
        (grid.w * spec.patch, grid.h * spec.patch)
    }

    fn check_beside_keep(&self, problems: &mut Problems) {
        if self.input_px.is_some() {
            let words =
                "cannot be had beside fit = keep, whose size is cells; take one of them out";
            problems.note("input_px", words);
        }

        // All crops go through one network, whose input has the whole's aspect.
        if self.tile_px.is_some() {
            let words =
                "cannot be had beside fit = keep: tiles are squares; use squash, or more cells";
            problems.note("tile_px", words);
        }
    }

    /// The one grid of all regions. A region without a crop counts as a square until the size of the
    /// pictures is known.
    fn grid_of_regions(&self, problems: &mut Problems) -> Grid {
        let mut grids = self.regions.iter().map(|region| self.grid_of(region));
        let first = grids.next().unwrap_or(Grid::square(1));
        if let Some(other) = grids.find(|grid| *grid != first) {
            problems.note(
                "fit",
                format!(
                    "keep makes {first} cells of one region and {other} of another, and one network has one input: give their crops one aspect, or use squash"
                ),
            );
        }

        first
    }

    fn grid_of(&self, region: &Region) -> Grid {
        let crop = region.crop.map(|crop| (crop.w, crop.h));
        let (w, h) = crop.or(self.picture).unwrap_or((1, 1));
        let grid = self.kept_grid(w.max(1), h.max(1));
        grid.unwrap_or(Grid::square(1))
    }
}
