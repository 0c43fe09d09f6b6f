//! Numbers of cells of a map, which are those of an encoder's patches.

/// Columns and rows of a map. One cell is one patch of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Columns: cells in a row.
    pub w: usize,
    /// Rows.
    pub h: usize,
}

impl Grid {
    /// A grid of `side` columns and as many rows.
    pub const fn square(side: usize) -> Self {
        Grid { w: side, h: side }
    }

    /// The finest grid for an area of `w` x `h` pixels, both at least 1: at most `cells` cells, at
    /// most `most` along a side. One cell covers nearly as many pixels across as down.
    pub fn nearest(w: usize, h: usize, cells: usize, most: usize) -> Self {
        let mut best = Grid::square(1);
        // Of two grids the one is finer whose coarser direction has more cells to the pixel: it
        // wastes neither cells nor pixels. Where that is equal, the cells nearer to squares win.
        for columns in 1..=cells.min(most) {
            for rows in 1..=(cells / columns).min(most) {
                let grid = Grid {
                    w: columns,
                    h: rows,
                };

                let fineness = |grid: Grid| (grid.w * h).min(grid.h * w);
                let stretch = |grid: Grid| (grid.w * h).abs_diff(grid.h * w);
                let is_finer = fineness(grid) > fineness(best);
                let is_alike = fineness(grid) == fineness(best);
                if is_finer || (is_alike && stretch(grid) < stretch(best)) {
                    best = grid;
                }
            }
        }

        best
    }

    /// Number of cells.
    pub const fn cells(self) -> usize {
        self.w * self.h
    }

    /// True if there are as many columns as rows.
    pub fn is_square(self) -> bool {
        self.w == self.h
    }

    /// Row of a cell, counted row-major.
    pub fn row(self, cell: usize) -> usize {
        cell / self.w
    }

    /// Column of a cell, counted row-major.
    pub fn column(self, cell: usize) -> usize {
        cell % self.w
    }

    /// The places of the top-left cells of windows of `scale` x `scale` cells, at most as wide and
    /// high as the grid.
    pub fn windows(self, scale: usize) -> Self {
        Grid {
            w: self.w - scale + 1,
            h: self.h - scale + 1,
        }
    }
}

impl std::fmt::Display for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {}", self.w, self.h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_nearest_grid_has_the_areas_aspect_and_spends_its_cells() {
        let grids = [
            ((500, 500), (16, 16)),
            ((100, 250), (10, 25)),
            ((250, 100), (25, 10)),
            ((640, 480), (18, 14)),
            ((1280, 720), (21, 12)),
            ((1, 4000), (1, 128)),
            ((1, 1), (16, 16)),
        ];

        for ((w, h), (columns, rows)) in grids {
            let grid = Grid {
                w: columns,
                h: rows,
            };

            assert_eq!(Grid::nearest(w, h, 256, 128), grid, "{w} x {h}");
        }
    }

    proptest! {
        #[test]
        fn the_nearest_grid_keeps_its_bounds(w in 1usize..5000, h in 1usize..5000, cells in 1usize..600) {
            let grid = Grid::nearest(w, h, cells, 128);
            prop_assert!(grid.w >= 1 && grid.h >= 1 && grid.cells() <= cells && grid.w.max(grid.h) <= 128);
            let turned = Grid::nearest(h, w, cells, 128);
            prop_assert_eq!((turned.w * w).min(turned.h * h), (grid.w * h).min(grid.h * w));
        }
    }
}
