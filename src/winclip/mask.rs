//! Where scores count: polygons over a recipe's crop, as cells of its map.

use crate::data::picture::Area;

/// Corners in camera pixels, in order; the last is joined with the first.
pub type Polygon = Vec<(f64, f64)>;

/// Points that are tried along each side of a cell.
const TRIES: usize = 4;

/// Which of the `grid x grid` cells over `area` count: those with at least half of their area inside a polygon.
pub fn cells(polygons: &[Polygon], area: Area, grid: usize) -> Vec<bool> {
    let place =
        |cell: usize, try_: usize| (cell as f64 + (try_ as f64 + 0.5) / TRIES as f64) / grid as f64;
    let counts = |cell: usize| {
        let points = (0..TRIES * TRIES).map(|i| {
            let (column, row) = (place(cell % grid, i % TRIES), place(cell / grid, i / TRIES));
            (
                area.x as f64 + column * area.w as f64,
                area.y as f64 + row * area.h as f64,
            )
        });
        let inside = points
            .filter(|point| polygons.iter().any(|polygon| holds(polygon, *point)))
            .count();
        2 * inside >= TRIES * TRIES
    };
    (0..grid * grid).map(counts).collect()
}

/// Whether a ray from the point to the right crosses the outline an odd number of times.
fn holds(polygon: &Polygon, (x, y): (f64, f64)) -> bool {
    let ends = polygon.iter().zip(polygon.iter().cycle().skip(1));
    let crossed = ends.filter(|((ax, ay), (bx, by))| {
        (*ay > y) != (*by > y) && x < ax + (y - ay) / (by - ay) * (bx - ax)
    });
    crossed.count() % 2 == 1
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
        let (yes, no) = (true, false);
        assert_eq!(cells(&[left.clone(), corner], area, 2), [yes, no, yes, no]);
        assert_eq!(cells(&[left], area, 4)[..4], [yes, yes, no, no]);
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
