//! Looks of known bad parts: patches by which a bad part is found again that scores like a good one.
//!
//! A patch counts as a look that it is much nearer to than to any patch of a good part: the ratio test of
//! D. Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004, section 7.1, with a share
//! so low that it holds for the same fault of the same part, and for few other places (docs/decisions.md).
//!
//! With d the distance to the nearest look, g that to the nearest patch of a good part, s the [`SHARE`]:
//! `value' = value + (1 - value) * max(0, 1 - d / (s * g))`. Both distances are `(1 - cos) / 2`, a
//! quarter of the squared distance of unit vectors, so that by the triangle inequality a patch with d < s * g has
//! `g > G / (1 + sqrt(s))^2`, where G is the look's own distance to the nearest good patch. Hence the
//! rule is continuous, does nothing at a patch of a reference (g = 0), and makes the look itself 1.

use crate::data::map::Map;
use crate::engine::device_scorer::PatchDistances;

/// Highest part of its distance to the good parts that a patch may be from a look.
pub const SHARE: f32 = 0.1;
/// Distance from the good parts below which a patch is no look: it cannot be told from them.
pub const LEAST_DISTANCE: f32 = 1e-4;
/// Looks of one region at most; each costs as much as a patch of a reference.
pub const LOOKS_MAX: usize = 256;

/// Raises the values of a visual map, from 0 to 1, where patches are looks of known bad parts. They stay
/// from 0 to 1, and become no lower.
pub fn raise(visual: &mut [f32], patches: &PatchDistances) {
    // All three are row-major over the same grid.
    let distances = patches.good.iter().zip(&patches.bad);

    for (value, (good, bad)) in visual.iter_mut().zip(distances) {
        *value += (1.0 - *value) * likeness(*good, *bad);
    }
}

/// Returns how surely a patch is a look, from 0 to 1.
pub(super) fn likeness(good: f32, bad: f32) -> f32 {
    let reach = SHARE * good;

    // Without any distance to a good part nothing is nearer to a look; so there is no division by 0.
    match bad < reach {
        true => 1.0 - bad / reach,
        false => 0.0,
    }
}

/// Returns the cells with the `count` highest values of a map, those that do not count left out, highest
/// first.
pub(super) fn highest_cells(map: &Map, count: usize) -> Vec<usize> {
    // Cells under the mask are 0 and would only come where there are too few others.
    let grid = map.grid();
    let mut cells = vec![];

    for cell in 0..grid.cells() {
        if map.counts(grid.row(cell), grid.column(cell)) {
            cells.push(cell);
        }
    }

    // The order of equal cells is that of the map, as everywhere.
    cells.sort_by(|a, b| map.values()[*b].total_cmp(&map.values()[*a]));
    cells.truncate(count);

    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::grid::Grid;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_only_rise_stay_finite_and_a_small_step_changes_little(
            value in 0.0f32..=1.0,
            good in 1e-4f32..=1.0,
            bad in 0.0f32..=1.0,
        ) {
            let raised = |good: f32, bad: f32| {
                let mut values = [value];
                raise(&mut values, &PatchDistances { good: vec![good], bad: vec![bad] });
                values[0]
            };

            let here = raised(good, bad);
            prop_assert!((value..=1.0).contains(&here), "{value} {here}");
            prop_assert_eq!(raised(good, 0.0), 1.0, "the look itself");
            prop_assert_eq!(raised(0.0, bad), value, "a patch of a reference");
            // A thousandth of the reach further, a thousandth less at most.
            let further = raised(good, bad + SHARE * good / 1000.0);
            prop_assert!((here - further).abs() <= 0.0011, "{here} {further}");
        }
    }

    #[test]
    fn a_ball_around_a_look_holds_no_patch_of_a_good_part() {
        // Unit vectors of the plane by their angle: the good one at 0, the look at 0.4.
        let distance = |a: f32, b: f32| (1.0 - (a - b).cos()) / 2.0;
        let looks_own = distance(0.4, 0.0);
        for step in -400..=800 {
            let angle = step as f32 / 1000.0;
            let (good, bad) = (distance(angle, 0.0), distance(angle, 0.4));
            if likeness(good, bad) > 0.0 {
                let nearest = looks_own / (1.0 + SHARE.sqrt()).powi(2);
                assert!(good > nearest, "{angle}: {good}, {nearest}");
                assert!((0.25..0.65).contains(&angle), "{angle}");
            }
        }

        assert_eq!(likeness(looks_own, 0.0), 1.0);
    }

    #[test]
    fn the_highest_cells_are_those_that_count() {
        let map = Map::new(Grid::square(2), vec![0.4, 0.9, 0.1, 0.5]);
        assert_eq!(highest_cells(&map, 2), [1, 3]);
        let map = map.masked(Some(&[true, false, true, true]));
        assert_eq!(highest_cells(&map, 2), [3, 0]);
        assert_eq!(highest_cells(&map, 9).len(), 3);
    }
}
