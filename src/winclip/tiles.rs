//! Small defects: overlapping squares of the picture, each looked at as closely as the whole, and one map of all.

use crate::data::map::Map;
use crate::data::picture::Area;

/// Neighbours share at least this part of their side: a defect on the edge of one is inside another.
const OVERLAP: f64 = 0.25;
/// Cells along the side of the map of all, at most.
pub const SIDE_MAX: usize = 128;
/// Tiles of one picture, at most: each costs as much time and memory as a picture.
pub const COUNT_MAX: usize = 256;

/// Squares of `side` pixels (less where the area is smaller) that cover `area`, evenly spaced, row by row.
pub fn tiles(area: Area, side: usize) -> Vec<Area> {
    let side = side.min(area.w).min(area.h);
    let (columns, rows) = (starts(area.w, side), starts(area.h, side));
    let tile = |x: &usize, y: &usize| Area {
        x: area.x + x,
        y: area.y + y,
        w: side,
        h: side,
    };
    rows.iter()
        .flat_map(|y| columns.iter().map(move |x| tile(x, y)))
        .collect()
}

fn starts(length: usize, side: usize) -> Vec<usize> {
    let step = (side as f64 * (1.0 - OVERLAP)).max(1.0);
    let gaps = ((length - side) as f64 / step).ceil() as usize;
    (0..=gaps)
        .map(|i| (i * (length - side)).checked_div(gaps).unwrap_or(0))
        .collect()
}

/// Cells along the side of the map of all, when each tile's map has `grid`: as fine as the tiles'.
pub fn side_of_all(area: Area, side: usize, grid: usize) -> usize {
    (area.w.max(area.h) * grid).div_ceil(side.min(area.w).min(area.h))
}

/// One map over `area` from that of the whole (the coarsest scale) and those of its tiles: the mean of the whole's value
/// and the tiles' at each place, of those that count there; 0 where none does.
pub fn merged(area: Area, whole: &Map, tiles: &[(Area, Map)]) -> Map {
    let side = tiles.first().map_or(whole.side(), |(tile, map)| {
        side_of_all(area, tile.w, map.side())
    });
    let value = |cell: usize| {
        let place = |at: usize, start: usize, length: usize| {
            start as f64 + (at as f64 + 0.5) * length as f64 / side as f64
        };
        let (x, y) = (
            place(cell % side, area.x, area.w),
            place(cell / side, area.y, area.h),
        );
        let (sum, count) = tiles
            .iter()
            .filter_map(|(tile, map)| at(map, *tile, x, y))
            .fold((0.0, 0), |(s, n), v| (s + v, n + 1));
        match at(whole, area, x, y) {
            Some(whole) if count > 0 => (whole + sum / count as f32) / 2.0,
            Some(whole) => whole,
            None if count > 0 => sum / count as f32,
            None => 0.0,
        }
    };
    Map::new(side, (0..side * side).map(value).collect())
}

/// The value of the cell at a place of the picture, if the map reaches it and it counts.
fn at(map: &Map, area: Area, x: f64, y: f64) -> Option<f32> {
    let cell = |at: f64, start: usize, length: usize| {
        let share = (at - start as f64) / length as f64;
        (0.0..1.0)
            .contains(&share)
            .then(|| (share * map.side() as f64) as usize)
    };
    let (row, column) = (cell(y, area.y, area.h)?, cell(x, area.x, area.w)?);
    map.counts(row, column)
        .then(|| map.values()[row * map.side() + column])
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
        let whole = Map::new(2, vec![0.2, 0.4, 0.6, 0.8]);
        let tile = |x: usize, value: f32| {
            (
                Area {
                    x,
                    y: 20,
                    w: 40,
                    h: 40,
                },
                Map::new(2, vec![value; 4]),
            )
        };
        let map = merged(area, &whole, &[tile(10, 0.0), tile(50, 1.0)]);
        assert_eq!(map.side(), 4);
        assert_eq!(map.values()[..4], [0.1, 0.1, 0.7, 0.7]);
        assert_eq!(map.values()[12..], [0.3, 0.3, 0.9, 0.9]);
    }
}
