//! One region at work: the crops that it is inspected by, and what good parts look like in them.

use super::looks::{self, LEAST_DISTANCE};
use super::mask::{Polygon, cell_mask};
use super::pixels::{Fit, PixelError, PixelMaker};
use super::recipe::{Recipe, Region};
use super::scorer::{Scorer, mean_of_highest, patch_rows};
use super::tiles;
use super::top_share::TopShare;
use crate::data::grid::Grid;
use crate::data::map::Map;
use crate::data::picture::{Area, Picture};
use crate::engine::device_scorer::{CropTransform, PartialScores, ReferenceBank};
use crate::engine::nearest::Nearest;
use crate::engine::{EncodePlan, EngineError, Features, Pixels};
use crate::model::ModelSpec;
use ndarray::{Array2, ArrayView2};
use std::sync::Arc;

/// One region of a recipe. Its crops are the whole of it, then its tiles, in this order everywhere.
pub(super) struct RegionInspector {
    /// `None` where the recipe names no regions.
    pub name: Option<Arc<str>>,
    whole_pixels: PixelMaker,
    /// Maker for the tiles. Their size is not the whole's, so each maker keeps its weights.
    tile_pixels: PixelMaker,
    polygons: Vec<Polygon>,
    /// Crops beside the whole; a tile without a counting cell is left out.
    tiles: Vec<Area>,
    /// Number of the whole's cells that count.
    cells: usize,
    /// One for each crop: its cells that count. `None`: all count.
    masks: Vec<Option<Vec<bool>>>,
    /// One for each crop, each with the references' own.
    scorers: Vec<Scorer>,
}

/// Pixels of a region: of each of its crops, and the area that they cover together.
pub(super) struct RegionPixels {
    pub crops: Vec<Pixels>,
    pub area: Area,
}

/// Crops of a region before their pixels are made, and the area that they cover together.
pub(super) struct RegionCrops {
    pub transforms: Vec<CropTransform>,
    pub area: Area,
}

impl RegionInspector {
    /// A region without references so far, see [`RegionInspector::set_references`]. `plan` is the
    /// encoder's.
    pub fn new(region: &Region, recipe: &Recipe, plan: &EncodePlan, spec: &ModelSpec) -> Self {
        // The encoder sees as many patches of each crop, whatever the crop's size in pixels.
        let grid = plan.grid(spec);
        let input = (plan.width, plan.height);
        let whole_pixels = PixelMaker::new(region.crop, recipe.fit, input, spec);

        // Tiles and masks need a crop, with which the area is the same in every picture.
        let area = whole_pixels.area(0, 0);
        let polygons = region.mask.clone();

        // The whole is always a crop, with its own mask; the tiles follow it in `masks`, so that
        // crop `i + 1` is tile `i`.
        let mut tiles = vec![];
        let mut masks = vec![mask_over(&polygons, area, grid)];

        if let Some(side) = recipe.tile_px {
            for tile in tiles::tiles(area, side) {
                // A tile in which no cell counts could only cost time: it is neither encoded nor
                // scored.
                let mask = mask_over(&polygons, tile, grid);
                let counts = mask.as_ref().is_none_or(|mask| mask.contains(&true));

                if counts {
                    tiles.push(tile);
                    masks.push(mask);
                }
            }
        }

        // Without a mask all of the whole's cells count.
        let unmasked = |mask: &Vec<bool>| mask.iter().filter(|counts| **counts).count();
        let cells = masks[0].as_ref().map_or(grid.cells(), unmasked);

        // Tiles are squares of the recipe's own size, so that squashing them to the encoder's side
        // distorts nothing.
        let tile_pixels = PixelMaker::new(region.crop, Fit::Squash, input, spec);

        RegionInspector {
            name: region.name.clone(),
            whole_pixels,
            tile_pixels,
            polygons,
            tiles,
            cells,
            masks,
            scorers: vec![],
        }
    }

    /// Pixels of each crop.
    pub fn pixels(&mut self, picture: &Picture) -> Result<RegionPixels, PixelError> {
        // The whole comes first, then the tiles in their order: masks and scorers are found by that
        // index.
        let mut crops = vec![self.whole_pixels.make(picture)?];

        for tile in &self.tiles {
            self.tile_pixels.set_crop(*tile);

            let pixels = self.tile_pixels.make(picture)?;
            crops.push(pixels);
        }

        // The area is asked for with the picture's size, on which it depends where the recipe has
        // no crop.
        let area = self.whole_pixels.area(picture.width(), picture.height());

        Ok(RegionPixels { crops, area })
    }

    /// Crops of a picture of `width` x `height` pixels.
    pub fn crops(&mut self, width: usize, height: usize) -> Result<RegionCrops, PixelError> {
        // The order is that of `pixels`, so that both ways of scoring agree on the index of each
        // crop.
        let mut transforms = vec![self.whole_pixels.transform(width, height)?];

        for tile in &self.tiles {
            self.tile_pixels.set_crop(*tile);

            let transform = self.tile_pixels.transform(width, height)?;
            transforms.push(transform);
        }

        let area = self.whole_pixels.area(width, height);
        Ok(RegionCrops { transforms, area })
    }

    /// The area of a crop, of a picture in which all crops cover `all` together.
    pub fn crop_area(&self, crop: usize, all: Area) -> Area {
        match crop {
            0 => all,
            tile => self.tiles[tile - 1],
        }
    }

    /// The crop that shows a place most closely, and its cell there: of the tiles the one whose middle is nearest, else the
    /// whole. `None` for a place that does not count.
    pub fn closest_cell(
        &self,
        crops: &[Features],
        all: Area,
        place: (f64, f64),
    ) -> Option<(usize, usize)> {
        let tiles = 1..crops.len();
        let mut order: Vec<usize> = tiles.collect();
        order.sort_by(|a, b| {
            let area_a = self.crop_area(*a, all);
            let area_b = self.crop_area(*b, all);

            from_middle(area_a, place).total_cmp(&from_middle(area_b, place))
        });

        // The whole sees every place, less closely.
        order.push(0);
        order.into_iter().find_map(|crop| {
            let area = self.crop_area(crop, all);
            let grid = crops[crop].grid;
            let cell = cell_over(area, grid, place)?;

            let mask = self.masks[crop].as_ref();
            let counts = mask.is_none_or(|mask| mask[cell]);
            counts.then_some((crop, cell))
        })
    }

    /// Mask of each crop.
    pub fn masks(&self) -> impl Iterator<Item = Option<&[bool]>> {
        self.masks.iter().map(|mask| mask.as_deref())
    }

    /// Replaces the references, each with its crops in one way or several. `scorer` makes a scorer out
    /// of the references' features of one crop, and its mask.
    pub fn set_references(
        &mut self,
        references: &[Vec<&[Features]>],
        scorer: impl Fn(&[Vec<&Features>], Option<Vec<bool>>) -> Scorer,
    ) {
        // Old scorers go at once: a scorer without the new references must never judge.
        self.scorers.clear();

        for (crop, mask) in self.masks.iter().enumerate() {
            // `of_crop` is crop `crop` of every reference. Reference pictures are cut like the
            // inspected ones, so that the same index is the same place.
            let of_crop: Vec<Vec<&Features>> = references
                .iter()
                .map(|ways| ways.iter().map(|crops| &crops[crop]).collect())
                .collect();

            let of_place = scorer(&of_crop, mask.clone());
            self.scorers.push(of_place);
        }
    }

    /// True if patches are compared with those of references, which looks need.
    pub fn compares_patches(&self) -> bool {
        self.scorers.iter().all(Scorer::compares_patches)
    }

    /// The looks of a bad part: raw patches of each crop, `[looks, D]`, where the region's `map` over `area` is
    /// highest: as many places as the score averages, so that the part itself surely fails. A patch that
    /// cannot be told from those of good parts is left out.
    pub fn looks(
        &self,
        nearest: &mut dyn Nearest,
        crops: &[Features],
        map: &Map,
        area: Area,
    ) -> Result<Vec<Array2<f32>>, EngineError> {
        // The score without words averages a share of the whole's cells, whatever tiles there are.
        let counting = match &self.masks[0] {
            Some(mask) => mask.iter().filter(|counts| **counts).count(),
            None => crops[0].grid.cells(),
        };

        let share = self.scorers[0].top_share();
        let places = looks::highest_cells(map, share.count(counting));

        let tiles = self.tiles.iter().copied();
        let areas = [area].into_iter().chain(tiles);
        let mut looks = vec![];

        // Each crop that sees a place has a patch of it.
        for ((scorer, features), crop) in self.scorers.iter().zip(crops).zip(areas) {
            // A masked patch has the distance 0, and is left out with those that are like good ones.
            let distances = scorer.patch_distances(nearest, features)?;
            let mut cells = vec![];

            for place in &places {
                let place = middle(map.grid(), *place, area);
                let Some(cell) = cell_over(crop, features.grid, place) else {
                    continue;
                };

                if distances[cell] >= LEAST_DISTANCE {
                    cells.push(cell);
                }
            }

            // Two places of a fine map may lie in one cell of a coarse crop.
            cells.sort_unstable();
            cells.dedup();
            looks.push(patch_rows(features, &cells));
        }

        Ok(looks)
    }

    /// Replaces the looks: raw patches `[looks, D]` of each crop.
    pub fn set_looks<'a>(&mut self, crops: impl Iterator<Item = ArrayView2<'a, f32>>) {
        for (scorer, rows) in self.scorers.iter_mut().zip(crops) {
            scorer.set_looks(rows);
        }
    }

    /// References of each crop, for an engine that scores on its device.
    pub fn reference_banks(&self) -> impl Iterator<Item = ReferenceBank<'_>> {
        self.scorers.iter().map(Scorer::reference_bank)
    }

    /// The partial scores of each crop. The reference `left_out` is not compared with.
    pub fn partial_scores(
        &self,
        nearest: &mut dyn Nearest,
        crops: &[Features],
        left_out: Option<usize>,
    ) -> Result<Vec<PartialScores>, EngineError> {
        // Each crop has a scorer, since each place of a part has references of its own.
        let mut parts = Vec::with_capacity(crops.len());

        for (scorer, features) in self.scorers.iter().zip(crops) {
            let partial = scorer.partial_scores(nearest, features, left_out)?;
            parts.push(partial);
        }

        Ok(parts)
    }

    /// The score, and the map over `area`, of the partial scores of each crop.
    ///
    /// With tiles the map is one of all crops, and the score without words the mean of as many of
    /// its highest cells as count in one crop: a share of all cells, many times as many, would
    /// drown a small defect. By words it is the mean of the whole's score and the highest of a
    /// tile, each scored as a picture of its own.
    pub fn combine(&self, parts: Vec<PartialScores>, area: Area) -> (f32, Map) {
        // The iterator yields score and map of the whole first; the rest are those of the tiles, in
        // their order.
        let crops = self.scorers.iter().zip(parts);
        let mut combined = crops.map(|(scorer, parts)| scorer.combine(parts));
        let (whole_score, whole) = combined.next().expect("the whole is the first crop");

        if self.tiles.is_empty() {
            return (whole_score, whole);
        }

        // The highest tile is kept apart, as the mean over all tiles would hide a defect that lies
        // in one.
        let mut highest_tile = f32::NEG_INFINITY;
        let mut maps = Vec::with_capacity(self.tiles.len());

        for ((score, map), tile) in combined.zip(&self.tiles) {
            highest_tile = highest_tile.max(score);
            maps.push((*tile, map));
        }

        let map = self.merged(area, &whole, &maps);

        // A model with words scores the picture's embedding too, which cannot be read from the map.
        let first = &self.scorers[0];

        if first.has_words() {
            let mean = (whole_score + highest_tile) / 2.0;
            return (mean, map);
        }

        let score = self.top_score(&map, first.top_share());
        (score, map)
    }

    /// The score without words of a map of this region: the mean of as many of its highest cells as the
    /// share is in one crop.
    pub fn top_score(&self, map: &Map, share: TopShare) -> f32 {
        // The share is of the cells of one crop: the map's own number grows with the tiles.
        let count = share.count(self.cells);
        let counting = map.unmasked();

        mean_of_highest(&counting, count)
    }

    /// One masked map of the whole and its tiles.
    fn merged(&self, area: Area, whole: &Map, tiles: &[(Area, Map)]) -> Map {
        // Cells of the merged map are as fine as the tiles'. The polygons are drawn over them anew.
        let merged = tiles::merged(area, whole, tiles);
        let mask = mask_over(&self.polygons, area, merged.grid());

        merged.masked(mask.as_deref())
    }
}

/// The place in the picture, across and down, of the middle of a cell of a map over `area`.
fn middle(grid: Grid, cell: usize, area: Area) -> (f64, f64) {
    // Across first, as in all places of a picture.
    let column = grid.column(cell);
    let row = grid.row(cell);
    let x = tiles::centre(column, grid.w, area.x, area.w);
    let y = tiles::centre(row, grid.h, area.y, area.h);

    (x, y)
}

/// The squared distance of a place from the middle of an area.
fn from_middle(area: Area, (x, y): (f64, f64)) -> f64 {
    let middle_x = area.x as f64 + area.w as f64 / 2.0;
    let middle_y = area.y as f64 + area.h as f64 / 2.0;

    let across = x - middle_x;
    let down = y - middle_y;

    across * across + down * down
}

/// The pixels of a cell of a grid over `area`, one at least.
pub(super) fn cell_area(area: Area, grid: Grid, cell: usize) -> Area {
    let column = grid.column(cell);
    let row = grid.row(cell);
    let edge_x = |column: usize| area.x + column * area.w / grid.w;
    let edge_y = |row: usize| area.y + row * area.h / grid.h;

    let left = edge_x(column);
    let top = edge_y(row);
    let right = edge_x(column + 1);
    let bottom = edge_y(row + 1);

    // A fine grid over few pixels has cells of less than one.
    let w = right - left;
    let h = bottom - top;

    Area {
        x: left,
        y: top,
        w: w.max(1),
        h: h.max(1),
    }
}

/// The cell of a grid over `area` at a place of the picture; `None` beyond it.
fn cell_over(area: Area, grid: Grid, (x, y): (f64, f64)) -> Option<usize> {
    // A place beyond the area belongs to another crop.
    let row = tiles::cell_at(y, area.y, area.h, grid.h);
    let row = row?;

    let column = tiles::cell_at(x, area.x, area.w, grid.w);
    let column = column?;

    let above = row * grid.w;
    Some(above + column)
}

/// Cells over `area` that count. `None` without polygons: all count.
fn mask_over(polygons: &[Polygon], area: Area, grid: Grid) -> Option<Vec<bool>> {
    match polygons.is_empty() {
        true => None,
        false => Some(cell_mask(polygons, area, grid)),
    }
}
