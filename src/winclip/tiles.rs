//! Tiles for small defects: overlapping squares of the picture, each encoded as finely as the
//! whole, and one map of all.

use crate::data::grid::Grid;
use crate::data::map::Map;
use crate::data::picture::Area;

/// Part of their side that neighbours share at least: a defect on the edge of one is inside
/// another.
const OVERLAP: f64 = 0.25;
/// Cells along the side of the merged map, at most.
pub const SIDE_MAX: usize = 128;
/// Tiles of one picture, at most: each costs as much time and memory as a picture.
pub const COUNT_MAX: usize = 256;

/// Squares of `side` pixels (less where the area is smaller) that cover `area`, evenly spaced, row
/// by row.
pub fn tiles(area: Area, side: usize) -> Vec<Area> {
    // An area that is smaller than a tile has one tile of its own size.
    let side = side.min(area.w).min(area.h);
    // Columns are the same in every row of tiles, since the area is a rectangle.
    let columns = starts(area.w, side);
    let mut tiles = Vec::new();
    for y in starts(area.h, side) {
        for x in &columns {
            tiles.push(Area {
                x: area.x + x,
                y: area.y + y,
                w: side,
                h: side,
            });
        }
    }

    tiles
}

/// First pixels of the tiles along one direction.
fn starts(length: usize, side: usize) -> Vec<usize> {
    // Steps of at most three quarters of a side leave the overlap that a defect on an edge needs.
    let own_share = 1.0 - OVERLAP;
    let step = (side as f64 * own_share).max(1.0);

    // The last tile ends with the area, and the rest is shared evenly among the gaps.
    let rest = length - side;
    let gaps = (rest as f64 / step).ceil() as usize;

    // One tile alone has no gap to divide by, and starts at 0.
    (0..=gaps)
        .map(|i| (i * rest).checked_div(gaps).unwrap_or(0))
        .collect()
}

/// Cells along the side of the merged map, when each tile's map has `grid`: as fine as the tiles'.
pub fn merged_side(area: Area, side: usize, grid: usize) -> usize {
    let side = side.min(area.w).min(area.h);
    let longer = area.w.max(area.h);

    // A tile has `grid` cells on `side` pixels.
    let cells = longer * grid;
    cells.div_ceil(side)
}

/// One map over `area` from that of the whole (the coarsest scale) and those of its tiles: the mean
/// of the whole's value and the tiles' at each place, of those that count there; 0 where none does.
pub fn merged(area: Area, whole: &Map, tiles: &[(Area, Map)]) -> Map {
    // The merged map is as fine as the tiles' maps, so that no detail of a tile is lost; without
    // tiles the whole's map is all there is.
    let grid = match tiles.first() {
        Some((tile, map)) => {
            let cells = map.grid().w;
            Grid::square(merged_side(area, tile.w, cells))
        }
        None => whole.grid(),
    };

    // Each cell of the merged map is looked up by the place of its middle in the picture, in camera
    // pixels.
    let mut values = Vec::with_capacity(grid.cells());
    for row in 0..grid.h {
        let y = centre(row, grid.h, area.y, area.h);
        for column in 0..grid.w {
            let x = centre(column, grid.w, area.x, area.w);

            let of_whole = value_at(whole, area, x, y);
            let of_tiles = mean_at(tiles, x, y);
            // The whole weighs as much as all tiles together: it is one scale of two.
            let value = match (of_whole, of_tiles) {
                (Some(whole), Some(tiles)) => (whole + tiles) / 2.0,
                (Some(value), None) | (None, Some(value)) => value,
                (None, None) => 0.0,
            };

            values.push(value);
        }
    }

    Map::new(grid, values)
}

/// Place in the picture of the middle of one of `cells`, along one direction.
pub(super) fn centre(cell: usize, cells: usize, start: usize, length: usize) -> f64 {
    // The middle of the cell in pixels, counted from `start`, is a share of the length.
    let middle = cell as f64 + 0.5;
    let share = middle * length as f64 / cells as f64;
    start as f64 + share
}

/// Mean of the tiles' values at a place. `None` where no tile counts.
fn mean_at(tiles: &[(Area, Map)], x: f64, y: f64) -> Option<f32> {
    // Tiles overlap: up to three of them along each direction count at one place.
    let mut sum = 0.0;
    let mut count = 0;
    for (tile, map) in tiles {
        if let Some(value) = value_at(map, *tile, x, y) {
            sum += value;
            count += 1;
        }
    }

    // A place under a mask in every tile has no value, which is not the same as a value of 0.
    (count > 0).then(|| sum / count as f32)
}

/// The value of the cell at a place of the picture, if the map reaches it and the cell counts.
fn value_at(map: &Map, area: Area, x: f64, y: f64) -> Option<f32> {
    // A place beyond the map's own area belongs to another tile.
    let grid = map.grid();
    let row = cell_at(y, area.y, area.h, grid.h)?;
    let column = cell_at(x, area.x, area.w, grid.w)?;

    // A cell under a mask has a value that means nothing.
    if !map.counts(row, column) {
        return None;
    }

    let cell = row * grid.w + column;
    Some(map.values()[cell])
}

/// The cell at a place, along one direction. `None` outside of the map.
pub(super) fn cell_at(place: f64, start: usize, length: usize, cells: usize) -> Option<usize> {
    // The share is exactly 1 at the far edge, where the next tile begins.
    let from_start = place - start as f64;
    let share = from_start / length as f64;
    if !(0.0..1.0).contains(&share) {
        return None;
    }

    let cell = share * cells as f64;
    Some(cell as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tiles_are_inside_cover_all_and_overlap(w in 1usize..3000, h in 1usize..2000, side in 1usize..900) {
            let area = Area { x: 7, y: 3, w, h };
            prop_assume!(w.max(h) / side.min(w).min(h) < 40);
            let tiles = tiles(area, side);
            prop_assert!(tiles.iter().all(|t| t.w == t.h && t.x >= 7 && t.y >= 3 && t.is_inside(7 + w, 3 + h)));
            for (starts, length) in [(starts(w, tiles[0].w), w), (starts(h, tiles[0].w), h)] {
                prop_assert_eq!((starts[0], starts[starts.len() - 1] + tiles[0].w), (0, length));
                // Rounding to whole pixels may cost one.
                let most = (tiles[0].w as f64 * (1.0 - OVERLAP)).max(1.0).ceil() as usize;
                prop_assert!(starts.windows(2).all(|pair| pair[1] - pair[0] <= most.max(1)));
            }
        }
    }

    #[test]
    fn the_map_of_all_is_the_mean_of_the_whole_and_the_tiles_at_each_place() {
        let area = Area {
            x: 10,
            y: 20,
            w: 80,
            h: 40,
        };

        let whole = Map::new(Grid::square(2), vec![0.2, 0.4, 0.6, 0.8]);
        let tile = |x: usize, value: f32| {
            (
                Area {
                    x,
                    y: 20,
                    w: 40,
                    h: 40,
                },
                Map::new(Grid::square(2), vec![value; 4]),
            )
        };

        let map = merged(area, &whole, &[tile(10, 0.0), tile(50, 1.0)]);
        assert_eq!(map.grid(), Grid::square(4));
        assert_eq!(map.values()[..4], [0.1, 0.1, 0.7, 0.7]);
        assert_eq!(map.values()[12..], [0.3, 0.3, 0.9, 0.9]);
    }
}
