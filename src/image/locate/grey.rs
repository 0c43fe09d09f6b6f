//! Grey pictures of fewer pixels, in which parts are looked for.

use crate::data::picture::Picture;

/// A grey picture, row by row, 0 to 255.
pub(super) struct Grey {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) values: Vec<f32>,
}

impl Grey {
    /// The grey of a picture, the mean of each `side` x `side` pixels. A rest at the right or the bottom
    /// is left out.
    pub(super) fn of(picture: &Picture, side: usize) -> Self {
        let width = picture.width() / side;
        let height = picture.height() / side;
        let row_bytes = 3 * picture.width();

        let mut values = Vec::with_capacity(width * height);
        let mut sums = vec![0u32; 3 * side * width];

        // Each pixel has four shares: one of red, two of green, one of blue.
        let part = 1.0 / (4 * side * side) as f32;

        for row in 0..height {
            // Rows are added first: that goes straight through memory.
            sums.fill(0);

            for line in row * side..(row + 1) * side {
                let bytes = &picture.rgb()[line * row_bytes..];

                for (sum, byte) in sums.iter_mut().zip(bytes) {
                    *sum += u32::from(*byte);
                }
            }

            for pixels in sums.chunks_exact(3 * side) {
                // Green counts twice: it is half of a sensor's pixels, and most of what is seen.
                let (pixels, _) = pixels.as_chunks::<3>();
                let sum: u32 = pixels.iter().map(|[r, g, b]| r + 2 * g + b).sum();
                values.push(sum as f32 * part);
            }
        }

        Grey {
            width,
            height,
            values,
        }
    }

    /// The picture without what is as fine as its pixels: teeth, weaves and noise, which the mean of a few
    /// pixels shows as a pattern that moves with the part. Binomial weights (1, 2, 1) in both directions.
    pub(super) fn smoothed(&self) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        let rows = self.height as isize;
        let columns = self.width as isize;

        for row in 0..rows {
            for column in 0..columns {
                let line = |row: isize| {
                    self.nearest(column - 1, row)
                        + 2.0 * self.nearest(column, row)
                        + self.nearest(column + 1, row)
                };

                // The weights of both directions sum to 4 times 4.
                let sum = line(row - 1) + 2.0 * line(row) + line(row + 1);
                values.push(sum / 16.0);
            }
        }

        Grey {
            width: self.width,
            height: self.height,
            values,
        }
    }

    /// The mean of each `side` x `side` pixels.
    pub(super) fn shrunk(&self, side: usize) -> Self {
        let width = self.width / side;
        let height = self.height / side;
        let part = 1.0 / (side * side) as f32;

        let mut values = Vec::with_capacity(width * height);
        for row in 0..height {
            for column in 0..width {
                let lines = row * side..(row + 1) * side;
                let first = column * side;
                let sum: f32 = lines
                    .flat_map(|line| &self.values[line * self.width + first..][..side])
                    .sum();
                values.push(sum * part);
            }
        }

        Grey {
            width,
            height,
            values,
        }
    }

    /// The value at a place in pixels whose edges are at whole numbers, bilinear between the middles of
    /// pixels; `None` beyond the picture.
    pub(super) fn at(&self, x: f32, y: f32) -> Option<f32> {
        // Half a pixel at the edges has its own value: there is no other to mix it with.
        let is_across = (0.0..=self.width as f32).contains(&x);
        let is_down = (0.0..=self.height as f32).contains(&y);

        if !is_across || !is_down {
            return None;
        }

        // From here on places are counted from the middle of the first pixel.
        let last_column = (self.width - 1) as f32;
        let last_row = (self.height - 1) as f32;
        let x = (x - 0.5).clamp(0.0, last_column);
        let y = (y - 0.5).clamp(0.0, last_row);

        // The pixel at or before the place, and the shares of those right of and below it.
        let column = (x as usize).min(self.width.saturating_sub(2));
        let row = (y as usize).min(self.height.saturating_sub(2));
        let right = x - column as f32;
        let below = y - row as f32;

        // A picture of one row or column is its own neighbour.
        let at = row * self.width + column;
        let next = at + usize::from(self.width > 1);
        let under = if self.height > 1 { self.width } else { 0 };

        // The two upper pixels are mixed, then the two lower ones, then both.
        let upper = mixed(self.values[at], self.values[next], right);
        let lower = mixed(self.values[at + under], self.values[next + under], right);

        Some(mixed(upper, lower, below))
    }

    /// The value of a pixel; that of the nearest one beyond the edges.
    pub(super) fn nearest(&self, column: isize, row: isize) -> f32 {
        let last_column = self.width as isize - 1;
        let last_row = self.height as isize - 1;
        let column = column.clamp(0, last_column) as usize;
        let row = row.clamp(0, last_row) as usize;

        self.values[row * self.width + column]
    }
}

fn mixed(first: f32, second: f32, share: f32) -> f32 {
    first + (second - first) * share
}
