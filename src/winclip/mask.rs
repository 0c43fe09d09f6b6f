//! Masks: polygons over a recipe's crop, as cells of its map.

use crate::data::grid::Grid;
use crate::data::picture::Area;

/// Corners in camera pixels, in order; the last is joined with the first.
pub type Polygon = Vec<Point>;

/// Column and row in camera pixels.
type Point = (f64, f64);

/// Points that are tried along each side of a cell.
const TRIES: usize = 4;

/// True for each of the cells of `grid` over `area` that counts: at least half of its area is
/// inside a polygon.
pub fn cell_mask(polygons: &[Polygon], area: Area, grid: Grid) -> Vec<bool> {
    (0..grid.cells())
        // Each cell is tried at TRIES * TRIES points, as the share of a polygon's area in a cell
        // has no simple formula.
        .map(|cell| {
            let inside = points(area, grid, cell)
                .filter(|point| polygons.iter().any(|polygon| holds(polygon, *point)))
                .count();

            // Half of the points or more are inside, hence about half of the area.
            2 * inside >= TRIES * TRIES
        })
        .collect()
}

/// Evenly spaced points in a cell.
fn points(area: Area, grid: Grid, cell: usize) -> impl Iterator<Item = Point> {
    (0..TRIES * TRIES).map(move |i| {
        // A point is a share of the area, from 0 to 1, and then a place in camera pixels, in which
        // polygons are drawn.
        let column = share(grid.column(cell), i % TRIES, grid.w);
        let row = share(grid.row(cell), i / TRIES, grid.h);
        let x = area.x as f64 + column * area.w as f64;
        let y = area.y as f64 + row * area.h as f64;
        (x, y)
    })
}

/// Place of a point along one side of the map, from 0 to 1.
fn share(cell: usize, point: usize, cells: usize) -> f64 {
    let in_cell = (point as f64 + 0.5) / TRIES as f64;
    (cell as f64 + in_cell) / cells as f64
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
