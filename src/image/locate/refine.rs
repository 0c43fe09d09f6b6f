//! A pose that is nearly right is made right: Gauss-Newton on the template's own gradients (inverse
//! compositional, Baker and Matthews, IJCV 2004), with brightness and contrast solved for in each step.

use super::grey::Grey;
use crate::data::picture::Area;

/// Samples of a template, at most: beyond them the place gets no better.
const SAMPLES_MAX: usize = 6000;
/// Steps of a refinement, at most.
const STEPS: usize = 12;
/// Share of the samples that must lie in the picture.
const SEEN_MIN: f32 = 0.5;
/// Pixels of the level that one step may move a sample by, at most: gradients say nothing of what is
/// farther.
const STEP_MAX: f32 = 2.0;
/// Pixels that a search may go, at most: the coarse one was nearer, and a pattern is like itself at the
/// next place.
const WAY_MAX: f32 = 5.0;
/// Pixels below which a step ends the search.
const STEP_MIN: f32 = 0.01;
/// Damping of a step: a round part has no turn, and one of stripes no place along them.
const DAMPING: f32 = 1e-3;
/// The unknowns of a step: contrast, brightness, x, y, turn.
const UNKNOWNS: usize = 5;

/// Where a template lies in a picture of its level: how far its middle is from that on the master, in
/// pixels, and its turn in radians.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) dx: f32,
    pub(super) dy: f32,
    pub(super) turn: f32,
}

/// The part on the master picture as samples.
pub(super) struct Template {
    /// Its middle in pixels of the level.
    middle: [f32; 2],
    samples: Vec<Sample>,
    /// Distance of the outermost sample from the middle.
    radius: f32,
    /// Mean grey value, which is taken off all values: their sums of squares then keep their digits.
    mean: f32,
}

/// One pixel of the template.
struct Sample {
    /// From the middle.
    x: f32,
    y: f32,
    value: f32,
    /// Change of the value with x, y and turn.
    slopes: [f32; 3],
}

/// Sums of a step's least squares over the samples that lie in the picture.
#[derive(Default)]
struct Sums {
    gram: [[f32; UNKNOWNS]; UNKNOWNS],
    right: [f32; UNKNOWNS],
    squares: f32,
}

impl Template {
    /// The area of a master picture, both in pixels of the level.
    pub(super) fn new(master: &Grey, area: [f32; 4]) -> Self {
        let [left, top, w, h] = area;
        let middle = [left + w / 2.0, top + h / 2.0];

        // Every n-th pixel in both directions, so that no template is dear.
        let excess = w * h / SAMPLES_MAX as f32;
        let step = excess.sqrt().ceil().max(1.0) as usize;

        let first_column = left.round() as usize;
        let end_column = (left + w).round() as usize;
        let first_row = top.round() as usize;
        let end_row = (top + h).round() as usize;

        let mut samples = vec![];
        for row in (first_row..end_row).step_by(step) {
            for column in (first_column..end_column).step_by(step) {
                samples.push(Sample::new(master, column, row, middle));
            }
        }

        let sum: f32 = samples.iter().map(|sample| sample.value).sum();
        let mean = sum / samples.len().max(1) as f32;

        for sample in &mut samples {
            sample.value -= mean;
        }

        Template {
            middle,
            samples,
            radius: w.hypot(h) / 2.0,
            mean,
        }
    }

    /// Standard deviation of the template's grey values.
    pub(super) fn contrast(&self) -> f32 {
        let count = self.samples.len().max(1) as f32;

        // The mean is taken off already.
        let squares = self.samples.iter().map(|sample| sample.value.powi(2));
        let sum: f32 = squares.sum();

        let variance = sum / count;
        variance.sqrt()
    }

    /// The best place near `start`, and the correlation there; `None` where too little of the template
    /// lies in the picture.
    pub(super) fn refined(
        &self,
        picture: &Grey,
        start: Place,
        may_turn: bool,
    ) -> Option<(Place, f32)> {
        let mut place = start;
        let mut best: Option<(Place, f32)> = None;

        for _ in 0..STEPS {
            let sums = self.sums(picture, place)?;
            let likeness = sums.correlation();

            // A step may lead away from the best place, which is kept.
            if best.is_none_or(|(_, highest)| likeness > highest) {
                best = Some((place, likeness));
            }

            let Some(step) = sums.step(self.radius, may_turn) else {
                break;
            };

            let (next, moved) = self.stepped(place, step);
            place = next;

            // It ends where steps no longer move it, and where it leaves what the coarse search saw.
            let way = (place.dx - start.dx).hypot(place.dy - start.dy);

            if moved < STEP_MIN || way > WAY_MAX {
                break;
            }
        }

        best
    }

    fn sums(&self, picture: &Grey, place: Place) -> Option<Sums> {
        let mut sums = Sums::default();
        let (sin, cos) = place.turn.sin_cos();
        let x = self.middle[0] + place.dx;
        let y = self.middle[1] + place.dy;

        for sample in &self.samples {
            // The sample turns about the middle, and goes with it.
            let at_x = x + cos * sample.x - sin * sample.y;
            let at_y = y + sin * sample.x + cos * sample.y;

            // What lies beyond the picture counts on neither side.
            if let Some(value) = picture.at(at_x, at_y) {
                sums.add(sample, value - self.mean);
            }
        }

        // The factor of brightness is 1 for each sample, so that its square counts them.
        let counted = sums.gram[1][1];
        let all = self.samples.len() as f32;
        let seen = counted / all;

        (seen >= SEEN_MIN).then_some(sums)
    }

    /// The place after a step of the template, and how far the step moves its outermost sample.
    fn stepped(&self, place: Place, [x, y, turn]: [f32; 3]) -> (Place, f32) {
        // A turn moves the outermost sample along its arc.
        let arc = turn.abs() * self.radius;
        let moved = x.hypot(y).max(arc);

        // A longer step is cut, in all three alike.
        let longest = moved.max(STEP_MAX);
        let share = (STEP_MAX / longest).min(1.0);
        let turned = place.turn - share * turn;

        // The step is one of the template, whose axes are turned in the picture.
        let (sin, cos) = turned.sin_cos();
        let right = cos * x - sin * y;
        let down = sin * x + cos * y;

        // The template was moved; the picture's place moves the other way.
        let next = Place {
            dx: place.dx - share * right,
            dy: place.dy - share * down,
            turn: turned,
        };

        (next, share * moved)
    }
}

impl Sample {
    fn new(master: &Grey, column: usize, row: usize, middle: [f32; 2]) -> Self {
        let value = |right: isize, down: isize| {
            let column = column as isize + right;
            let row = row as isize + down;
            master.nearest(column, row)
        };

        // The middle of a pixel is half a pixel behind its edge.
        let x = column as f32 + 0.5 - middle[0];
        let y = row as f32 + 0.5 - middle[1];

        // Central differences; a turn moves the sample across its arm.
        let along_x = (value(1, 0) - value(-1, 0)) / 2.0;
        let along_y = (value(0, 1) - value(0, -1)) / 2.0;
        let along_turn = along_y * x - along_x * y;

        Sample {
            x,
            y,
            value: value(0, 0),
            slopes: [along_x, along_y, along_turn],
        }
    }
}

impl Sums {
    fn add(&mut self, sample: &Sample, value: f32) {
        // One row of the least squares: contrast, brightness, then the three slopes.
        let [x, y, turn] = sample.slopes;
        let row = [sample.value, 1.0, x, y, turn];

        for (i, factor) in row.iter().enumerate() {
            for (sum, other) in self.gram[i].iter_mut().zip(&row) {
                *sum += factor * other;
            }

            self.right[i] += factor * value;
        }

        self.squares += value * value;
    }

    /// Correlation of the template and the picture, 0 where one of them is flat.
    fn correlation(&self) -> f32 {
        // Each sum less what the means make of it; the factor of brightness counts the samples.
        let count = self.gram[1][1];
        let template_sum = self.gram[0][1];
        let picture_sum = self.right[1];

        let template = self.gram[0][0] - template_sum * template_sum / count;
        let picture = self.squares - picture_sum * picture_sum / count;
        let both = self.right[0] - template_sum * picture_sum / count;

        let scale = template * picture;

        // A grey level of deviation is noise of a camera, and no part.
        match picture > count {
            true if scale > 0.0 => (both / scale.sqrt()).clamp(-1.0, 1.0),
            _ => 0.0,
        }
    }

    /// How the template has to move and turn to be like the picture; `None` where nothing says that.
    fn step(&self, radius: f32, may_turn: bool) -> Option<[f32; 3]> {
        let mut gram = self.gram;

        // The damping is Levenberg's: as a share of what the two directions say. A turn moves the
        // outermost sample by its radius.
        let least = (gram[2][2] + gram[3][3]) * DAMPING;

        for (i, arm) in [(2, 1.0), (3, 1.0), (4, radius)] {
            gram[i][i] += least * arm * arm;
        }

        let mut right = self.right;
        if !may_turn {
            // The row says that the turn is 0.
            gram[4] = [0.0, 0.0, 0.0, 0.0, 1.0];
            right[4] = 0.0;
        }

        let solved = solved(gram, right)?;
        let contrast = solved[0];

        // A picture that is the template's negative leads nowhere.
        let is_alike = contrast > 1e-3;

        if !is_alike {
            return None;
        }

        // The step was solved for in the picture's contrast.
        let step = [2, 3, 4].map(|i| solved[i] / contrast);

        Some(step)
    }
}

/// Solves `matrix * x = right` by elimination; `None` where the matrix is singular.
fn solved(
    mut matrix: [[f32; UNKNOWNS]; UNKNOWNS],
    mut right: [f32; UNKNOWNS],
) -> Option<[f32; UNKNOWNS]> {
    for column in 0..UNKNOWNS {
        // The row with the largest factor of this unknown leads: small ones lose digits.
        let largest = (column..UNKNOWNS).max_by(|a, b| {
            matrix[*a][column]
                .abs()
                .total_cmp(&matrix[*b][column].abs())
        })?;

        matrix.swap(column, largest);
        right.swap(column, largest);

        // The matrix is singular where even the largest factor is 0.
        let pivot = matrix[column][column];

        if pivot.abs() < f32::EPSILON {
            return None;
        }

        // The unknown goes out of all rows below.
        let pivot_row = matrix[column];

        for row in column + 1..UNKNOWNS {
            let factor = matrix[row][column] / pivot;

            let values = matrix[row].iter_mut().zip(pivot_row);
            for (value, above) in values.skip(column) {
                *value -= factor * above;
            }

            right[row] -= factor * right[column];
        }
    }

    // The last row has one unknown left; each above it has one more.
    let mut solved = [0.0; UNKNOWNS];

    for row in (0..UNKNOWNS).rev() {
        let known: f32 = (row + 1..UNKNOWNS)
            .map(|i| matrix[row][i] * solved[i])
            .sum();

        solved[row] = (right[row] - known) / matrix[row][row];
    }

    // A nearly singular matrix may still lead beyond what a number holds.
    let is_finite = solved.iter().all(|value| value.is_finite());

    is_finite.then_some(solved)
}

/// An area in pixels of a level whose pixels are `side` wide.
pub(super) fn on_level(area: Area, side: usize) -> [f32; 4] {
    let side = side as f32;
    let lengths = [area.x, area.y, area.w, area.h];

    lengths.map(|length| length as f32 / side)
}
