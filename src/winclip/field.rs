//! One region at work: how it is looked at, and what good parts look like in it.

use super::mask::{self, Polygon};
use super::pixels::{PixelError, PixelMaker};
use super::recipe::{Fit, Recipe, Region};
use super::scorer::{Scorer, highest_share, mean_of_highest};
use super::tiles;
use crate::data::map::Map;
use crate::data::picture::{Area, Picture};
use crate::engine::device_scorer::{CropTransform, PartialScores, ReferenceBank};
use crate::engine::nearest::Nearest;
use crate::engine::{EngineError, Features, Pixels};
use crate::model::ModelSpec;
use std::sync::Arc;

/// A region's looks are the whole of it, then its tiles, in this order everywhere.
pub struct RegionInspector {
    pub name: Option<Arc<str>>,
    pixels: PixelMaker,
    /// Those of the tiles: another size than the whole's, so that each keeps its weights.
    tile_pixels: PixelMaker,
    mask: Vec<Polygon>,
    /// What is looked at beside the whole; a tile none of which counts is not.
    tiles: Vec<Area>,
    /// Of each look the cells that count; nothing means all.
    cells: Vec<Option<Vec<bool>>>,
    /// One for each look, each with the references' own.
    scorers: Vec<Scorer>,
}

impl RegionInspector {
    /// `side` is the encoder's input side, `grid` the cells of its map. It knows no references yet: see
    /// [`RegionInspector::teach`].
    pub fn new(region: &Region, recipe: &Recipe, side: usize, spec: &ModelSpec) -> Self {
        let grid = side / spec.patch;
        let pixels = PixelMaker::new(region.crop, recipe.fit, side, spec);
        let tile_pixels = PixelMaker::new(region.crop, Fit::Squash, side, spec);
        let counted =
            |area: Area| (!region.mask.is_empty()).then(|| mask::cells(&region.mask, area, grid));
        // Tiles and masks need a crop, with which the area is the same in every picture.
        let area = pixels.area(0, 0);
        let tiles = recipe
            .tile_px
            .map_or(vec![], |side| tiles::tiles(area, side));
        let tiles = tiles.into_iter().map(|tile| (tile, counted(tile)));
        let counts = |(_, cells): &(Area, Option<Vec<bool>>)| {
            cells.as_ref().is_none_or(|cells| cells.contains(&true))
        };
        let (tiles, tile_cells): (Vec<_>, Vec<_>) = tiles.filter(counts).unzip();
        let cells = [counted(area)].into_iter().chain(tile_cells).collect();
        let (name, mask) = (region.name.clone(), region.mask.clone());
        RegionInspector {
            name,
            pixels,
            tile_pixels,
            mask,
            tiles,
            cells,
            scorers: vec![],
        }
    }

    /// Pixels of each look, and what they show together.
    pub fn looks(&mut self, picture: &Picture) -> Result<(Vec<Pixels>, Area), PixelError> {
        let mut pixels = vec![self.pixels.make(picture)?];
        for tile in &self.tiles {
            self.tile_pixels.look_at(*tile);
            pixels.push(self.tile_pixels.make(picture)?);
        }
        Ok((pixels, self.pixels.area(picture.width(), picture.height())))
    }

    /// Of each look the cells that count.
    pub fn cells(&self) -> impl Iterator<Item = Option<&[bool]>> {
        self.cells.iter().map(|cells| cells.as_deref())
    }

    /// `scorer` makes one out of the references' features of one look, and its cells.
    pub fn teach(
        &mut self,
        references: &[&[Features]],
        scorer: impl Fn(&[Features], Option<Vec<bool>>) -> Scorer,
    ) {
        let of_look = |look: usize| {
            references
                .iter()
                .map(|looks| looks[look].clone())
                .collect::<Vec<_>>()
        };
        self.scorers = self
            .cells
            .iter()
            .enumerate()
            .map(|(i, cells)| scorer(&of_look(i), cells.clone()))
            .collect();
    }

    /// How each look is framed in a picture of `width` x `height` pixels, and what they show together.
    pub fn framings(
        &mut self,
        width: usize,
        height: usize,
    ) -> Result<(Vec<CropTransform>, Area), PixelError> {
        let mut framings = vec![self.pixels.framing(width, height)?];
        for tile in &self.tiles {
            self.tile_pixels.look_at(*tile);
            framings.push(self.tile_pixels.framing(width, height)?);
        }
        Ok((framings, self.pixels.area(width, height)))
    }

    /// What an engine that scores by itself has to know of each look.
    pub fn lessons(&self) -> impl Iterator<Item = ReferenceBank<'_>> {
        self.scorers.iter().map(Scorer::lesson)
    }

    /// The pieces of each look; `but` leaves one reference out.
    pub fn pieces(
        &self,
        nearest: &mut dyn Nearest,
        features: &[Features],
        but: Option<usize>,
    ) -> Result<Vec<PartialScores>, EngineError> {
        self.scorers
            .iter()
            .zip(features)
            .map(|(scorer, features)| scorer.pieces(nearest, features, but))
            .collect()
    }

    /// The score, and the map over `area`, of the pieces of each look.
    ///
    /// With tiles the map is one of all looks, and the score without words the mean of as many of its highest cells as
    /// count in one look: a share of all cells, many times as many, would drown a small defect. By words it is the mean
    /// of the whole's score and the highest of a tile, each judged as a picture of its own.
    pub fn conclude(&self, pieces: Vec<PartialScores>, area: Area) -> (f32, Map) {
        let mut concluded = self
            .scorers
            .iter()
            .zip(pieces)
            .map(|(scorer, pieces)| scorer.conclude(pieces));
        let (of_whole, whole) = concluded.next().expect("the whole is the first look");
        if self.tiles.is_empty() {
            return (of_whole, whole);
        }
        let (mut worst, mut maps) = (f32::NEG_INFINITY, Vec::with_capacity(self.tiles.len()));
        for ((of_tile, map), tile) in concluded.zip(&self.tiles) {
            worst = worst.max(of_tile);
            maps.push((*tile, map));
        }
        let map = tiles::merged(area, &whole, &maps);
        let cells = (!self.mask.is_empty()).then(|| mask::cells(&self.mask, area, map.side()));
        let map = map.masked(cells.as_deref());
        let score = match self.scorers[0].has_words() {
            true => (of_whole + worst) / 2.0,
            false => mean_of_highest(&map.counted(), highest_share(whole.counted().len())),
        };
        (score, map)
    }
}
