//! The first look: the template, turned in steps, is held against all places of a small picture.

use super::grey::Grey;
use super::refine::Place;
use multiversion::multiversion;
use std::f32::consts::PI;

/// Pixels of the level that half a step of the turn moves the template's outermost pixel by.
const HALF_STEP: f32 = 1.0;
/// Pixels that the picture is continued by on each side, as a share of the template's diagonal: the
/// corners of a turned template reach beyond.
const BORDER: f32 = 0.25;

/// The template in all turns.
pub(super) struct TurnedTemplates {
    turns: Vec<Turned>,
    /// Pixels that a picture is continued by.
    border: usize,
    /// Places along x and y, in pixels from that on the master: `-reach` to `reach`.
    reach: [isize; 2],
}

/// The template in one turn.
struct Turned {
    turn: f32,
    /// Its top left corner on the continued master.
    left: isize,
    top: isize,
    width: usize,
    /// Values without their mean, of norm 1; 0 outside of the template.
    values: Vec<f32>,
    /// The columns of each row that belong to the template.
    runs: Vec<std::ops::Range<usize>>,
    /// Number of pixels.
    count: f32,
}

/// A grey picture that goes on beyond its edges, with the sums by which parts of rows are added.
struct Continued {
    width: usize,
    height: usize,
    values: Vec<f32>,
    /// Sums of the values from the beginning of each row, one more a row than values.
    sums: Vec<f32>,
    squares: Vec<f32>,
}

/// The turns that are looked at, in radians, for a template of that half diagonal: all of the circle, so that a
/// part that is turned too far is told from one that is not there.
fn turns(half_diagonal: f32, may_turn: bool) -> Vec<f32> {
    if !may_turn {
        return vec![0.0];
    }

    let step = 2.0 * HALF_STEP / half_diagonal.max(1.0);
    let count = (PI / step).ceil() as i32;

    // Whole steps that share the circle, and one of the two ends.
    let turns = 1 - count..=count;
    turns
        .map(|number| number as f32 * PI / count as f32)
        .collect()
}

impl TurnedTemplates {
    /// The area `[x, y, w, h]` of a master, in its pixels. `reach` are pixels along x and y.
    pub(super) fn new(master: &Grey, area: [f32; 4], reach: [f32; 2], may_turn: bool) -> Self {
        let half_diagonal = area[2].hypot(area[3]) / 2.0;
        let diagonal = 2.0 * half_diagonal;
        let border = (diagonal * BORDER).ceil() as usize;

        // All turns are made once, because every picture is held against each of them.
        let turns = turns(half_diagonal, may_turn);
        let turned = turns
            .into_iter()
            .map(|turn| Turned::new(master, area, turn, border));

        TurnedTemplates {
            turns: turned.collect(),
            border,
            reach: reach.map(|reach| reach.ceil() as isize),
        }
    }

    /// Multiplications that a search costs.
    pub(super) fn cost(&self) -> usize {
        // Every pixel of every turn is multiplied once at each place.
        let places = self.reach.map(|reach| 2 * reach as usize + 1);
        let sizes = self.turns.iter().map(|turned| turned.values.len());
        let pixels: usize = sizes.sum();
        let all_places = places[0] * places[1];

        pixels * all_places
    }

    /// The best place of each turn with its correlation, in the order of the turns.
    pub(super) fn search(&self, picture: &Grey) -> Vec<(Place, f32)> {
        let continued = Continued::new(picture, self.border);
        let mut found = vec![];

        // All turns have their best place: the likeness of neighbouring ones differs little here.
        for turned in &self.turns {
            let mut best: Option<(Place, f32)> = None;

            for dy in -self.reach[1]..=self.reach[1] {
                let Some((dx, likeness)) = turned.best_in_row(&continued, dy, self.reach[0]) else {
                    continue;
                };

                if best.is_none_or(|(_, highest)| likeness > highest) {
                    let place = Place {
                        dx: dx as f32,
                        dy: dy as f32,
                        turn: turned.turn,
                    };

                    best = Some((place, likeness));
                }
            }

            found.extend(best);
        }

        found
    }
}

impl Turned {
    fn new(master: &Grey, [x, y, w, h]: [f32; 4], turn: f32, border: usize) -> Self {
        // The box around the turned area, in whole pixels.
        let middle = [x + w / 2.0, y + h / 2.0];
        let (sin, cos) = turn.sin_cos();

        // The half sides of a turned box are the projections of its own half sides.
        let half_width = (cos.abs() * w + sin.abs() * h) / 2.0;
        let half_height = (sin.abs() * w + cos.abs() * h) / 2.0;
        let left = (middle[0] - half_width).floor();
        let top = (middle[1] - half_height).floor();

        // One more pixel has room for what rounding to the top left cuts off.
        let width = (2.0 * half_width).ceil() as usize + 1;
        let height = (2.0 * half_height).ceil() as usize + 1;

        let mut values = vec![0.0; width * height];
        let mut runs = vec![];

        for row in 0..height {
            let mut run = 0..0;

            for column in 0..width {
                // The pixel of the turned template comes from where it was before the turn.
                let right = left + column as f32 + 0.5 - middle[0];
                let down = top + row as f32 + 0.5 - middle[1];

                let from_x = cos * right + sin * down;
                let from_y = cos * down - sin * right;

                if from_x.abs() > w / 2.0 || from_y.abs() > h / 2.0 {
                    continue;
                }

                let value = master.at(middle[0] + from_x, middle[1] + from_y);
                values[row * width + column] = value.unwrap_or_default();

                // Rows of a turned box are in one piece.
                run = match run.is_empty() {
                    true => column..column + 1,
                    false => run.start..column + 1,
                };
            }

            runs.push(run);
        }

        let counts = runs.iter().map(|run| run.len() as f32);
        let mut turned = Turned {
            turn,
            left: left as isize + border as isize,
            top: top as isize + border as isize,
            width,
            values,
            count: counts.sum(),
            runs,
        };

        turned.normalise();
        turned
    }

    fn normalise(&mut self) {
        // Pixels beside the template are 0 before and after, and count nowhere.
        let sum: f32 = self.values.iter().sum();
        let mean = sum / self.count.max(1.0);

        let mut squares = 0.0;
        for (row, run) in self.runs.iter().enumerate() {
            let line = row * self.width;

            for value in &mut self.values[line..][run.clone()] {
                *value -= mean;
                squares += *value * *value;
            }
        }

        // A flat template has no norm; it stays at 0 and is like nothing.
        let norm = squares.sqrt().max(f32::EPSILON);
        self.values.iter_mut().for_each(|value| *value /= norm);
    }

    /// The best place of a row of places, and its correlation; `None` where the template would reach
    /// beyond the continued picture in all of them.
    fn best_in_row(&self, picture: &Continued, dy: isize, reach: isize) -> Option<(isize, f32)> {
        let rows = self.runs.len() as isize;
        let top = self.top + dy;
        let below = top + rows;

        let height = picture.height as isize;
        let is_beyond = top < 0 || below > height;

        if is_beyond {
            return None;
        }

        // Places along the row for which the whole template lies in the continued picture.
        let first = (self.left - reach).max(0);
        let last_inside = picture.width as isize - self.width as isize;
        let last = (self.left + reach).min(last_inside);
        let count = last - first + 1;
        let places = usize::try_from(count).ok()?;

        let sums = self.row_sums(picture, first as usize, top as usize, places);
        let (place, likeness) = sums.best(self.count)?;

        // Places are told from that on the master.
        let from_master = first + place as isize - self.left;

        Some((from_master, likeness))
    }

    /// The sums of a correlation for each of so many places, the first of which is at `first`, `top`.
    fn row_sums(&self, picture: &Continued, first: usize, top: usize, places: usize) -> RowSums {
        let mut sums = RowSums {
            both: vec![0.0; places],
            sum: vec![0.0; places],
            squares: vec![0.0; places],
        };

        // One row of the template after the other is added to all places at once.
        for (row, run) in self.runs.iter().enumerate() {
            let line = row * self.width;
            let values = &self.values[line..][run.clone()];

            let seen = (top + row) * picture.width + first;
            let under_run = &picture.values[seen + run.start..];
            add_products(&mut sums.both, values, under_run);

            // Rows of running sums are one longer than those of values.
            let running = (top + row) * (picture.width + 1) + first;
            add_runs(&mut sums.sum, run, &picture.sums[running..]);
            add_runs(&mut sums.squares, run, &picture.squares[running..]);
        }

        sums
    }
}

/// What a correlation is computed of, for each place of a row of places.
struct RowSums {
    /// Products of template and picture.
    both: Vec<f32>,
    /// The picture's values under the template, and their squares.
    sum: Vec<f32>,
    squares: Vec<f32>,
}

impl RowSums {
    /// The place with the highest correlation, the first of equal ones. `count` is the template's number of
    /// pixels.
    fn best(&self, count: f32) -> Option<(usize, f32)> {
        let mut best: Option<(usize, f32)> = None;

        for (place, both) in self.both.iter().enumerate() {
            // The template has norm 1 and mean 0 already, so that only the picture's spread is left.
            let of_mean = self.sum[place] * self.sum[place] / count;
            let spread = self.squares[place] - of_mean;

            // A grey level of deviation is noise of a camera.
            let norm = spread.max(count).sqrt();
            let likeness = both / norm;

            if best.is_none_or(|(_, highest)| likeness > highest) {
                best = Some((place, likeness));
            }
        }

        best
    }
}

/// Adds the product of the template's row with the picture's, for each place.
#[multiversion(targets("x86_64+avx2+fma", "x86_64+sse4.2", "aarch64+neon"))]
fn add_products(sums: &mut [f32], values: &[f32], picture: &[f32]) {
    let places = sums.len();

    for (column, value) in values.iter().enumerate() {
        // The inner loop goes along the places, which lie side by side in memory.
        let under = &picture[column..column + places];

        for (sum, other) in sums.iter_mut().zip(under) {
            *sum += value * other;
        }
    }
}

/// Adds the sum of the picture's values in a run, for each place.
fn add_runs(sums: &mut [f32], run: &std::ops::Range<usize>, picture: &[f32]) {
    if run.is_empty() {
        return;
    }

    // The sum of a run is the difference of the running sums at its ends.
    let from = &picture[run.start..];
    let to = &picture[run.end..];

    for (place, sum) in sums.iter_mut().enumerate() {
        *sum += to[place] - from[place];
    }
}

impl Continued {
    fn new(picture: &Grey, border: usize) -> Self {
        let width = picture.width + 2 * border;
        let height = picture.height + 2 * border;

        let mut values = Vec::with_capacity(width * height);
        let mut sums = Vec::with_capacity((width + 1) * height);
        let mut squares = Vec::with_capacity((width + 1) * height);

        // Without their mean, sums of squares keep their digits.
        let total: f32 = picture.values.iter().sum();
        let count = picture.values.len().max(1) as f32;
        let mean = total / count;

        for row in 0..height {
            let mut sum = 0.0;
            let mut square = 0.0;
            sums.push(sum);
            squares.push(square);

            // Running sums: those of any run are a difference of two.
            for column in 0..width {
                let column = column as isize - border as isize;
                let row = row as isize - border as isize;
                let value = picture.nearest(column, row) - mean;
                values.push(value);

                sum += value;
                square += value * value;
                sums.push(sum);
                squares.push(square);
            }
        }

        Continued {
            width,
            height,
            values,
            sums,
            squares,
        }
    }
}
