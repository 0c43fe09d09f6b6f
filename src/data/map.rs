//! Anomaly map of a picture.

use super::grid::Grid;

/// An anomaly map: a finite value for each cell of a grid, row-major from the top left, larger is
/// more anomalous.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    grid: Grid,
    /// Values, 0 where the mask says false.
    values: Vec<f32>,
    /// One flag a cell, true if the cell counts. `None` if all count.
    mask: Option<Vec<bool>>,
}

/// Two neighbouring cells around a point, and the second one's share of its value.
#[derive(Clone, Copy)]
struct Neighbours {
    first: usize,
    second: usize,
    share: f32,
}

impl Neighbours {
    /// The value between `values[first]` and `values[second]`.
    fn mix(self, values: &[f32]) -> f32 {
        values[self.first] * (1.0 - self.share) + values[self.second] * self.share
    }
}

impl Map {
    /// A map of which all cells count.
    ///
    /// # Panics
    /// When there is not a value for each cell: a bug of the scorer.
    pub fn new(grid: Grid, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), grid.cells(), "a map has a value a cell");
        Map {
            grid,
            values,
            mask: None,
        }
    }

    /// The map with `mask`, a flag a cell; the cells that do not count become 0. `None`: all
    /// count.
    pub fn masked(mut self, mask: Option<&[bool]>) -> Self {
        // Masked cells are 0, so that a reader who does not know of the mask sees nothing there.
        self.mask = mask.map(<[bool]>::to_vec);
        for (value, counts) in self.values.iter_mut().zip(mask.unwrap_or_default()) {
            if !counts {
                *value = 0.0;
            }
        }

        self
    }

    /// True if the cell at `row`, `column` counts.
    pub fn counts(&self, row: usize, column: usize) -> bool {
        match &self.mask {
            Some(mask) => mask[row * self.grid.w + column],
            None => true,
        }
    }

    /// The mask, a flag a cell. `None` if all cells count.
    pub fn mask(&self) -> Option<&[bool]> {
        self.mask.as_deref()
    }

    /// The values of the cells that count.
    pub fn unmasked(&self) -> Vec<f32> {
        let Some(mask) = &self.mask else {
            return self.values.clone();
        };

        self.values
            .iter()
            .zip(mask)
            .filter(|(_, counts)| **counts)
            .map(|(value, _)| *value)
            .collect()
    }

    /// Columns and rows.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// All values, row-major; 0 for the cells that do not count.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The lowest value.
    pub fn min(&self) -> f32 {
        self.values.iter().copied().fold(f32::INFINITY, f32::min)
    }

    /// The highest value.
    pub fn max(&self) -> f32 {
        self.values
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max)
    }

    /// The map over a picture of `width` x `height` pixels, row-major: bilinear between the middles of
    /// the cells, flat beyond the outermost (torch's `interpolate` with `align_corners = False`).
    pub fn enlarged(&self, width: usize, height: usize) -> Vec<f32> {
        // The two columns around each pixel and their shares are the same for all rows, so that
        // they are looked up once.
        let columns: Vec<Neighbours> = (0..width)
            .map(|column| neighbours(column, width, self.grid.w))
            .collect();

        let mut all = Vec::with_capacity(width * height);
        for row in 0..height {
            // Each row of pixels lies between two rows of the map.
            let rows = neighbours(row, height, self.grid.h);
            let upper = self.row(rows.first);
            let lower = self.row(rows.second);
            // The mean is bilinear: first along the row above and the row below, then between the
            // two.
            all.extend(columns.iter().map(|column| {
                let upper = column.mix(upper);
                let lower = column.mix(lower);
                upper * (1.0 - rows.share) + lower * rows.share
            }));
        }

        all
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.grid.w..][..self.grid.w]
    }
}

/// The two of `cells` along a direction around the middle of the pixel `at` of `pixels`.
fn neighbours(at: usize, pixels: usize, cells: usize) -> Neighbours {
    // `place` is the middle of the pixel in cells, from the middle of the first cell. Pixels
    // beyond the outer cells' middles take the outer cell.
    let last = cells - 1;
    let place = (at as f32 + 0.5) * cells as f32 / pixels as f32 - 0.5;
    let place = place.clamp(0.0, last as f32);
    let first = place as usize;
    Neighbours {
        first,
        second: (first + 1).min(last),
        share: place - first as f32,
    }
}
