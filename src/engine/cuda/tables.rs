//! Which windows of a run's looks are computed, and where each lies: the tables that the kernels follow.

use super::kernels::gather::Place;
use crate::engine::unmasked_windows;

/// The windows of one scale that count, look by look; patches are windows of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub scale: usize,
    /// All of them, those of a look in a row.
    pub places: Vec<Place>,
    /// Where each look's begin, and their end: `[N + 1]`.
    pub begin: Vec<i32>,
    /// Of each window of each look, its index in `places`, -1 for one that does not count: `[N, (grid - scale + 1)^2]`.
    pub place: Vec<i32>,
}

impl Counted {
    /// `cells` are those that count of each look; nothing means all.
    pub fn new(grid: usize, scale: usize, cells: &[Option<&[bool]>]) -> Self {
        let places = grid - scale + 1;
        let mut counted = Counted {
            scale,
            places: vec![],
            begin: vec![0],
            place: vec![],
        };
        for (look, cells) in cells.iter().enumerate() {
            let mut place = vec![-1; places * places];
            for window in unmasked_windows(grid, scale, *cells) {
                place[window] = counted.places.len() as i32;
                let corner = (window / places * grid + window % places) as i32;
                counted.places.push(Place {
                    look: look as i32,
                    corner,
                });
            }
            counted.place.extend(place);
            counted.begin.push(counted.places.len() as i32);
        }
        counted
    }

    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// The most of one look.
    pub fn most(&self) -> usize {
        self.begin
            .windows(2)
            .map(|ends| (ends[1] - ends[0]) as usize)
            .max()
            .unwrap_or(0)
    }

    /// The look that each is of.
    pub fn looks(&self) -> Vec<i32> {
        self.places.iter().map(|place| place.look).collect()
    }

    /// Of patches: the row of each in `[N, 1 + P, D]`.
    pub fn patch_rows(&self, grid: usize) -> Vec<i32> {
        let each = (1 + grid * grid) as i32;
        self.places
            .iter()
            .map(|place| place.look * each + 1 + place.corner)
            .collect()
    }

    /// The range of `places` that are of a look.
    pub fn of_look(&self, look: usize) -> std::ops::Range<usize> {
        self.begin[look] as usize..self.begin[look + 1] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_leaves_windows_out_and_the_others_keep_their_place() {
        let corner: Vec<bool> = (0..9).map(|cell| cell == 8).collect();
        let counted = Counted::new(3, 2, &[None, Some(&corner)]);
        assert_eq!(counted.begin, [0, 4, 5]);
        assert_eq!(counted.place, [0, 1, 2, 3, -1, -1, -1, 4]);
        let corners: Vec<i32> = counted.places.iter().map(|place| place.corner).collect();
        assert_eq!(corners, [0, 1, 3, 4, 4]);
        assert_eq!(
            (counted.looks(), counted.most(), counted.of_look(1)),
            (vec![0, 0, 0, 0, 1], 4, 4..5)
        );
    }

    #[test]
    fn patches_lie_after_the_class_token_of_their_look() {
        let last: Vec<bool> = (0..4).map(|cell| cell == 3).collect();
        let counted = Counted::new(2, 1, &[None, Some(&last)]);
        assert_eq!(counted.patch_rows(2), [1, 2, 3, 4, 9]);
    }
}
