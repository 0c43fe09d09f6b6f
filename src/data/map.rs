//! The anomaly map of a picture.

/// A square anomaly map: `side * side` finite values, row-major from the top left, larger is more anomalous.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    side: usize,
    values: Vec<f32>,
    /// Cells that count; nothing means all. The others are 0.
    counted: Option<Vec<bool>>,
}

impl Map {
    /// # Panics
    /// When `values` is not `side * side` long: a bug of the scorer.
    pub fn new(side: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), side * side, "a map is square");
        Map {
            side,
            values,
            counted: None,
        }
    }

    /// Only these cells count.
    pub fn masked(mut self, cells: Option<&[bool]>) -> Self {
        self.counted = cells.map(<[bool]>::to_vec);
        self.values
            .iter_mut()
            .zip(cells.unwrap_or_default())
            .filter(|(_, c)| !**c)
            .for_each(|(v, _)| *v = 0.0);
        self
    }

    /// Whether the cell at `row`, `column` counts.
    pub fn counts(&self, row: usize, column: usize) -> bool {
        self.counted
            .as_ref()
            .is_none_or(|cells| cells[row * self.side + column])
    }

    /// Which cells count, `side * side` of them; nothing means all.
    pub fn cells(&self) -> Option<&[bool]> {
        self.counted.as_deref()
    }

    /// The values of the cells that count.
    pub fn counted(&self) -> Vec<f32> {
        match &self.counted {
            None => self.values.clone(),
            Some(cells) => self
                .values
                .iter()
                .zip(cells)
                .filter(|(_, counts)| **counts)
                .map(|(v, _)| *v)
                .collect(),
        }
    }

    /// Cells along one side.
    pub fn side(&self) -> usize {
        self.side
    }

    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub fn min(&self) -> f32 {
        self.values.iter().copied().fold(f32::INFINITY, f32::min)
    }

    pub fn max(&self) -> f32 {
        self.values
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max)
    }

    /// The map over a picture of `width` x `height` pixels, row-major: bilinear between the middles of the cells, flat
    /// beyond the outermost (torch's `interpolate` with `align_corners = False`).
    pub fn enlarged(&self, width: usize, height: usize) -> Vec<f32> {
        let columns: Vec<_> = (0..width)
            .map(|column| self.between(column, width))
            .collect();
        let mut all = Vec::with_capacity(width * height);
        for row in 0..height {
            let (top, bottom, down) = self.between(row, height);
            let [upper, lower] =
                [top, bottom].map(|row| &self.values[row * self.side..][..self.side]);
            all.extend(columns.iter().map(|&(left, right, across)| {
                let upper = upper[left] * (1.0 - across) + upper[right] * across;
                let lower = lower[left] * (1.0 - across) + lower[right] * across;
                upper * (1.0 - down) + lower * down
            }));
        }
        all
    }

    /// The two cells around the middle of the pixel `at` of `of`, and how far it is from the first to the second.
    fn between(&self, at: usize, of: usize) -> (usize, usize, f32) {
        let last = self.side - 1;
        let place =
            ((at as f32 + 0.5) * self.side as f32 / of as f32 - 0.5).clamp(0.0, last as f32);
        let first = place as usize;
        (first, (first + 1).min(last), place - first as f32)
    }
}
