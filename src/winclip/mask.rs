//! Masks: polygons over a recipe's crop, as cells of its map.

use crate::data::grid::Grid;
use crate::data::picture::Area;

/// Corners in camera pixels, in order; the last is joined with the first.
pub type Polygon = Vec<Point>;

/// Column and row in camera pixels.
type Point = (f64, f64);

/// Points that are tried along each side of a cell.
const TRIES: usize = 4;
/// Cells along each side by which a share is counted.
const SHARE_CELLS: usize = 32;

/// True for each of the cells of `grid` over `area` that counts: at least half of its area is
/// inside a polygon.
pub fn cell_mask(polygons: &[Polygon], area: Area, grid: Grid) -> Vec<bool> {
    (0..grid.cells())
        // Each cell is tried at TRIES * TRIES points, as the share of a polygon's area in a cell
        // has no simple formula.
        .map(|cell| {
            let inside = points(area, grid, cell)
                .filter(|point| hold(polygons, *point))
                .count();

            // Half of the points or more are inside, hence about half of the area.
            2 * inside >= TRIES * TRIES
        })
        .collect()
}

/// The polygons without an area: each is cut along the area's four sides, and what lies left, right, above and below of it
/// stays. Polygons that the area does not touch stay as they are.
pub fn without(polygons: &[Polygon], area: Area) -> Vec<Polygon> {
    let left = area.x as f64;
    let top = area.y as f64;
    let right = left + area.w as f64;
    let bottom = top + area.h as f64;

    let mut kept = vec![];
    for polygon in polygons {
        let right_of_left = clipped(polygon, Side::RightOf(left));
        let between = clipped(&right_of_left, Side::LeftOf(right));
        let below_top = clipped(&between, Side::Below(top));
        let inside = clipped(&below_top, Side::Above(bottom));

        if inside.is_empty() {
            kept.push(polygon.clone());
            continue;
        }

        let pieces = [
            clipped(polygon, Side::LeftOf(left)),
            clipped(polygon, Side::RightOf(right)),
            clipped(&between, Side::Above(top)),
            clipped(&between, Side::Below(bottom)),
        ];

        for piece in pieces {
            if !piece.is_empty() {
                kept.push(piece);
            }
        }
    }

    kept
}

/// Share of what polygons have in an area that other polygons have too, from 0 to 1; 1 where they have nothing. Counted at
/// points, because polygons may lie over each other.
pub fn share_left(before: &[Polygon], after: &[Polygon], area: Area) -> f64 {
    let grid = Grid {
        w: SHARE_CELLS,
        h: SHARE_CELLS,
    };

    let mut all = 0_u32;
    let mut left = 0_u32;

    for cell in 0..grid.cells() {
        for point in points(area, grid, cell) {
            if !hold(before, point) {
                continue;
            }

            all += 1;
            if hold(after, point) {
                left += 1;
            }
        }
    }

    match all {
        0 => 1.0,
        all => f64::from(left) / f64::from(all),
    }
}

/// One side of a line along an axis.
#[derive(Clone, Copy)]
enum Side {
    LeftOf(f64),
    RightOf(f64),
    Above(f64),
    Below(f64),
}

impl Side {
    /// The distance of a point into this side; negative on the other one.
    fn depth(self, (x, y): Point) -> f64 {
        match self {
            Side::LeftOf(line) => line - x,
            Side::RightOf(line) => x - line,
            Side::Above(line) => line - y,
            Side::Below(line) => y - line,
        }
    }
}

/// The part of a polygon on one side of a line (I. Sutherland and G. Hodgman, "Reentrant polygon clipping", CACM 1974). Of a
/// hollow polygon the pieces stay joined along the line, where they have no area. Empty where no area is left.
fn clipped(polygon: &Polygon, side: Side) -> Polygon {
    let mut kept: Polygon = vec![];
    let next_corners = polygon.iter().cycle().skip(1);

    for (a, b) in polygon.iter().zip(next_corners) {
        let depth_a = side.depth(*a);
        let depth_b = side.depth(*b);

        if depth_a >= 0.0 {
            kept.push(*a);
        }

        let leaves = depth_a > 0.0 && depth_b < 0.0;
        let enters = depth_a < 0.0 && depth_b > 0.0;

        if leaves || enters {
            let share = depth_a / (depth_a - depth_b);
            let x = a.0 + share * (b.0 - a.0);
            let y = a.1 + share * (b.1 - a.1);
            kept.push((x, y));
        }
    }

    // Corners on the line alone enclose nothing.
    let mut corners = kept.iter();
    let has_area = corners.any(|corner| side.depth(*corner) > 0.0);

    if !has_area || kept.len() < 3 {
        return vec![];
    }

    kept
}

/// The corners of an area, as a polygon.
pub fn outline(area: Area) -> Polygon {
    let left = area.x as f64;
    let top = area.y as f64;
    let right = left + area.w as f64;
    let bottom = top + area.h as f64;

    vec![(left, top), (right, top), (right, bottom), (left, bottom)]
}

/// Evenly spaced points in a cell.
fn points(area: Area, grid: Grid, cell: usize) -> impl Iterator<Item = Point> {
    let column = grid.column(cell);
    let row = grid.row(cell);
    let left = area.x as f64;
    let top = area.y as f64;
    let width = area.w as f64;
    let height = area.h as f64;

    let points = 0..TRIES * TRIES;
    points.map(move |point| {
        // A point is a share of the area, from 0 to 1, and then a place in camera pixels, in which
        // polygons are drawn.
        let across = share(column, point % TRIES, grid.w);
        let down = share(row, point / TRIES, grid.h);
        let x = left + across * width;
        let y = top + down * height;
        (x, y)
    })
}

/// Place of a point along one side of the map, from 0 to 1.
fn share(cell: usize, point: usize, cells: usize) -> f64 {
    let in_cell = (point as f64 + 0.5) / TRIES as f64;

    (cell as f64 + in_cell) / cells as f64
}

/// True if a polygon holds the point.
fn hold(polygons: &[Polygon], point: Point) -> bool {
    let mut polygons = polygons.iter();

    polygons.any(|polygon| holds(polygon, point))
}

/// True if a ray from the point to the right crosses the outline an odd number of times.
fn holds(polygon: &Polygon, point: Point) -> bool {
    // The outline is closed: each corner has the next one as its neighbour, the last the first.
    let next_corners = polygon.iter().cycle().skip(1);
    let crossed = polygon
        .iter()
        .zip(next_corners)
        .filter(|(a, b)| is_crossed(**a, **b, point));

    // A ray leaves the polygon as often as it enters, if the point is outside.
    crossed.count() % 2 == 1
}

/// True if the ray to the right of (`x`, `y`) crosses the line from `a` to `b`.
fn is_crossed(a: Point, b: Point, (x, y): Point) -> bool {
    let (ax, ay) = a;
    let (bx, by) = b;

    // The end points count as above or below, never as on the ray: a corner on the ray is crossed
    // once, not twice.
    let spans = (ay > y) != (by > y);

    // The column at which the line passes the row of the point must lie to its right.
    spans && x < ax + (y - ay) / (by - ay) * (bx - ax)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cell_counts_when_half_of_it_is_inside() {
        let area = Area {
            x: 100,
            y: 50,
            w: 40,
            h: 40,
        };

        // The left half, and a corner that is too small to count.
        let left = vec![(100.0, 50.0), (120.0, 50.0), (120.0, 90.0), (100.0, 90.0)];
        let corner = vec![(140.0, 90.0), (136.0, 90.0), (140.0, 86.0)];
        assert_eq!(
            cell_mask(&[left.clone(), corner], area, Grid::square(2)),
            [true, false, true, false]
        );

        let four = cell_mask(std::slice::from_ref(&left), area, Grid::square(4));
        assert_eq!(four[..4], [true, true, false, false]);
        let oblong = cell_mask(&[left], area, Grid { w: 4, h: 1 });
        assert_eq!(oblong, [true, true, false, false]);
    }

    proptest! {
        #[test]
        fn a_point_counts_without_an_area_where_it_did_and_is_outside_of_it(
            corners in prop::collection::vec((0u8..40, 0u8..40), 3..9),
            (x, y, w, h) in (0usize..35, 0usize..35, 1usize..12, 1usize..12),
            (column, row) in (0u8..40, 0u8..40),
        ) {
            // Corners are whole, so that no point lies on an edge that runs along an axis.
            let polygon = corners.iter().map(|(x, y)| (f64::from(*x), f64::from(*y))).collect();
            let polygons: [Polygon; 1] = [polygon];
            let point = (f64::from(column) + 0.497, f64::from(row) + 0.503);
            let area = Area { x, y, w, h };
            let inside = holds(&outline(area), point);
            let held = |polygons: &[Polygon]| polygons.iter().any(|polygon| holds(polygon, point));
            prop_assert_eq!(held(&without(&polygons, area)), held(&polygons) && !inside);
        }
    }

    #[test]
    fn a_hollow_outline_holds_what_is_between_its_arms() {
        let u = vec![
            (0.0, 0.0),
            (1.0, 0.0),
            (1.0, 2.0),
            (2.0, 2.0),
            (2.0, 0.0),
            (3.0, 0.0),
            (3.0, 3.0),
            (0.0, 3.0),
        ];

        let held = [(0.5, 0.5), (1.5, 0.5), (2.5, 0.5), (1.5, 2.5), (3.5, 1.0)]
            .map(|point| holds(&u, point));

        assert_eq!(held, [true, false, true, true, false]);
    }
}
