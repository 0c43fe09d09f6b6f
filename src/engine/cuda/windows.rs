//! The windows of a run's crops that are computed: the tables that the kernels follow.

use super::kernels::gather::WindowPlace;
use crate::data::grid::Grid;
use crate::engine::unmasked_windows;

/// The unmasked windows of one scale, crop by crop; patches are windows of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmaskedWindows {
    /// Patches along a window's side.
    pub scale: usize,
    /// All windows; those of a crop follow each other.
    pub places: Vec<WindowPlace>,
    /// Index of each crop's first window, and the number of windows: `[N + 1]`.
    pub begin: Vec<i32>,
    /// Index in `places` of each window of each crop, -1 for a masked one: `[N, W]`, `W` those of
    /// [`Grid::windows`].
    pub place: Vec<i32>,
}

impl UnmaskedWindows {
    /// `masks` holds for each crop the patches that count; `None` means all.
    pub fn new(grid: Grid, scale: usize, masks: &[Option<&[bool]>]) -> Self {
        // Each window begins at another patch, and the last ends with the grid.
        let corners = grid.windows(scale);
        let mut windows = UnmaskedWindows {
            scale,
            places: vec![],
            begin: vec![0],
            place: vec![],
        };

        // The crops' windows are numbered through, so that all of them go through the network as
        // one batch.
        for (crop, mask) in masks.iter().enumerate() {
            let mut place = vec![-1; corners.cells()];

            for window in unmasked_windows(grid, scale, *mask) {
                // A window's index in the batch is the number of windows before it. Masked ones
                // keep -1 and count as 0 in the maps.
                place[window] = windows.count() as i32;
                let row = corners.row(window);
                let column = corners.column(window);
                windows.places.push(WindowPlace {
                    crop: crop as i32,
                    corner: (row * grid.w + column) as i32,
                });
            }

            // The end of a crop is the begin of the next; the last entry is the number of all
            // windows.
            windows.place.extend(place);
            windows.begin.push(windows.count() as i32);
        }

        windows
    }

    /// Number of unmasked windows of all crops.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// The most windows of one crop.
    pub fn most(&self) -> usize {
        self.begin
            .windows(2)
            .map(|ends| (ends[1] - ends[0]) as usize)
            .max()
            .unwrap_or(0)
    }

    /// Index of each window's crop.
    pub fn crops(&self) -> Vec<i32> {
        self.places.iter().map(|place| place.crop).collect()
    }

    /// The row of each patch in `[N, 1 + P, D]`; for windows of one.
    pub fn patch_rows(&self, grid: Grid) -> Vec<i32> {
        // Before the patches of a crop come all rows of the crops before, and its own class token.
        let each = (1 + grid.cells()) as i32;
        self.places
            .iter()
            .map(|place| place.crop * each + 1 + place.corner)
            .collect()
    }

    /// The range of `places` that lie in a crop.
    pub fn in_crop(&self, crop: usize) -> std::ops::Range<usize> {
        let begin = self.begin[crop] as usize;
        let end = self.begin[crop + 1] as usize;

        begin..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_leaves_windows_out_and_the_others_keep_their_place() {
        let corner: Vec<bool> = (0..9).map(|cell| cell == 8).collect();
        let windows = UnmaskedWindows::new(Grid::square(3), 2, &[None, Some(&corner)]);
        assert_eq!(windows.begin, [0, 4, 5]);
        assert_eq!(windows.place, [0, 1, 2, 3, -1, -1, -1, 4]);
        let corners: Vec<i32> = windows.places.iter().map(|place| place.corner).collect();
        assert_eq!(corners, [0, 1, 3, 4, 4]);
        assert_eq!(
            (windows.crops(), windows.most(), windows.in_crop(1)),
            (vec![0, 0, 0, 0, 1], 4, 4..5)
        );
    }

    #[test]
    fn patches_lie_after_the_class_token_of_their_crop() {
        let last: Vec<bool> = (0..4).map(|cell| cell == 3).collect();
        let windows = UnmaskedWindows::new(Grid::square(2), 1, &[None, Some(&last)]);
        assert_eq!(windows.patch_rows(Grid::square(2)), [1, 2, 3, 4, 9]);
    }
}
