//! The quality gate: pictures that must not be judged (`bad_image`), as they are corrupt, frozen, black,
//! saturated or blurred. A camera that shows the same good part for a week would pass everything; none of
//! these is ever a pass.
//!
//! Measures are taken on every fourth row. Limits are the recipe's, moved by what the references show: a
//! part on a black ground is not a black picture. See docs/bad-image.md for each measure, its limit and
//! its reason.

use crate::data::grid::Grid;
use crate::data::map::Map;
use crate::data::picture::Picture;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A recipe's limits; 0 switches a check off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Number of equal frames in a row, bit for bit, from which on a live camera's frames are bad.
    pub frozen_frames: u64,
    /// Share of dark pixels above which a picture is black.
    pub black: f32,
    /// Share of pixels at the sensor's end above which a picture is saturated.
    pub saturated: f32,
    /// Sharpness below this share of the least sharp reference of the same size is blurred.
    pub blurred: f32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frozen_frames: 20,
            black: 0.98,
            saturated: 0.5,
            blurred: 0.25,
        }
    }
}

/// Measures of a picture, whatever is on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Measures {
    /// Share of pixels whose brightest channel is at most 20 of 255.
    pub dark: f32,
    /// Share of pixels with a channel of at least 250 of 255.
    pub bright: f32,
    /// Mean of green, which stands for luma; 0 to 255.
    pub brightness: f32,
    /// Variance of the Laplacian of green (Pech-Pacheco et al. 2000, "LAPV" of Pertuz et al. 2013), in
    /// squared grey levels; 0 for pictures less than 3 pixels wide or high.
    pub sharpness: f32,
    /// The sharpness of each cell of [`SHARPNESS_GRID`]; 0 where no row was looked at.
    pub sharpness_map: Map,
}

/// Cells in which a picture's sharpness is told apart, whatever its size: a smudge is a place.
pub const SHARPNESS_GRID: Grid = Grid::square(16);

/// Highest grey level of a dark pixel: below the black level that cameras with video range leave, above
/// the noise of a covered lens.
const DARK: u8 = 20;
/// Lowest grey level of a pixel at the sensor's end.
const BRIGHT: u8 = 250;
/// Distance between two rows that are looked at.
const EVERY: usize = 4;

/// Reason of a bad picture, for the message and the log.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Flaw {
    /// Data of the picture are missing or wrong, by this cause.
    #[error("corrupt: {0}")]
    Corrupt(Arc<str>),
    /// Number of equal frames in a row, and the limit.
    #[error("frozen: {0} frames in a row are the same, bit for bit (limit {1})")]
    Frozen(u64, u64),
    /// Share of dark pixels, and the limit.
    #[error("black: {:.1} % of the pixels are dark (limit {:.1} %)", .0 * 100.0, .1 * 100.0)]
    Black(f32, f32),
    /// Share of pixels at the sensor's end, and the limit.
    #[error("saturated: {:.1} % of the pixels are at the sensor's end (limit {:.1} %)", .0 * 100.0, .1 * 100.0)]
    Saturated(f32, f32),
    /// Sharpness, and the limit.
    #[error("blurred: sharpness {0:.1} (limit {1:.1})")]
    Blurred(f32, f32),
}

/// The limits of one recipe, moved by what its references show.
#[derive(Debug, Clone)]
pub struct Gate {
    limits: Limits,
    black: f32,
    saturated: f32,
    /// Least sharpness of the references by picture size, on which sharpness depends.
    least_sharp: BTreeMap<(usize, usize), f32>,
}

impl Gate {
    /// `references` are pictures of good parts, whatever they show.
    pub fn new(limits: Limits, references: &[Picture]) -> Self {
        let mut gate = Gate {
            limits,
            black: limits.black,
            saturated: limits.saturated,
            least_sharp: BTreeMap::new(),
        };

        // Each reference may only widen a limit: the gate lets through what good parts show, and
        // never less than the recipe allows.
        for reference in references {
            gate.move_limits(reference);
        }

        gate
    }

    fn move_limits(&mut self, reference: &Picture) {
        // A part on a black ground is dark over most of its picture, and one on a lamp is bright.
        let measures = Measures::of(reference);
        let black = limit_above(measures.dark, self.limits.black);
        let saturated = limit_above(measures.bright, self.limits.saturated);
        self.black = self.black.max(black);
        self.saturated = self.saturated.max(saturated);

        // Sharpness depends on the picture's size: references of another size say nothing about it.
        let size = (reference.width(), reference.height());
        let least = self.least_sharp.entry(size).or_insert(f32::INFINITY);
        *least = least.min(measures.sharpness);
    }

    /// Returns the first flaw of one picture by itself.
    pub fn flaw(&self, picture: &Picture) -> Option<Flaw> {
        self.measured(picture).err()
    }

    /// Returns the measures of a picture that may be judged.
    ///
    /// # Errors
    /// The first flaw of the picture by itself.
    pub fn measured(&self, picture: &Picture) -> Result<Measures, Flaw> {
        let measures = Measures::of(picture);
        match self.flaw_of(picture, &measures) {
            Some(flaw) => Err(flaw),
            None => Ok(measures),
        }
    }

    fn flaw_of(&self, picture: &Picture, measures: &Measures) -> Option<Flaw> {
        // Corrupt and frozen pictures are found elsewhere, because one picture by itself does not
        // show them.
        // A limit of 0 switches its check off.
        if self.limits.black > 0.0 && measures.dark > self.black {
            return Some(Flaw::Black(measures.dark, self.black));
        }

        if self.limits.saturated > 0.0 && measures.bright > self.saturated {
            return Some(Flaw::Saturated(measures.bright, self.saturated));
        }

        // Without a reference of this size the limit is 0, below which no sharpness lies.
        let size = (picture.width(), picture.height());
        let least = self.least_sharp.get(&size).copied().unwrap_or(0.0);

        let limit = self.limits.blurred * least;
        if measures.sharpness < limit {
            return Some(Flaw::Blurred(measures.sharpness, limit));
        }

        None
    }
}

/// Returns the limit where good parts show `shown`: half-way between that and 1 where it comes near the
/// recipe's `limit`, which it never falls below.
fn limit_above(shown: f32, limit: f32) -> f32 {
    if shown > limit / 2.0 {
        limit.max((1.0 + shown) / 2.0)
    } else {
        limit
    }
}

impl Measures {
    /// Measures every fourth row of a picture.
    pub fn of(picture: &Picture) -> Self {
        let height = picture.height();

        // Rows start in the middle of the first four, or at the last row of a picture that is lower
        // than that.
        let first = (EVERY / 2).min(height - 1);
        let rows = (first..height).step_by(EVERY);
        let mut dark = 0;
        let mut bright = 0;
        let mut green = 0;
        let mut laplacian = [Moments::default(); SHARPNESS_GRID.cells()];
        for y in rows.clone() {
            // Dark and bright are counted by the brightest of the three channels: a part of one
            // colour is neither black nor white.
            for pixel in row(picture, y) {
                let brightest = pixel[0].max(pixel[1]).max(pixel[2]);
                dark += usize::from(brightest <= DARK);
                bright += usize::from(brightest >= BRIGHT);
                green += u64::from(pixel[1]);
            }

            // The Laplacian needs the rows above and below, which the picture's edge has not.
            if y > 0 && y + 1 < height {
                let row_of_cells = y * SHARPNESS_GRID.h / height;
                let first = row_of_cells * SHARPNESS_GRID.w;
                let cells = &mut laplacian[first..first + SHARPNESS_GRID.w];
                add_row(cells, picture, y);
            }
        }

        // The shares are of the pixels that were looked at.
        let seen = (rows.count() * picture.width()) as f32;
        Measures {
            dark: dark as f32 / seen,
            bright: bright as f32 / seen,
            brightness: (green as f64 / f64::from(seen)) as f32,
            sharpness: Moments::sum(&laplacian).variance(),
            sharpness_map: Map::new(
                SHARPNESS_GRID,
                laplacian.iter().map(Moments::variance).collect(),
            ),
        }
    }
}

fn row(picture: &Picture, y: usize) -> &[[u8; 3]] {
    let stride = 3 * picture.width();
    let bytes = &picture.rgb()[y * stride..][..stride];

    bytes.as_chunks().0
}

/// Adds a row of a picture, which is neither its first nor its last, to the row of cells that it lies in.
fn add_row(cells: &mut [Moments], picture: &Picture, y: usize) {
    // The first and the last column have no Laplacian.
    let inner = picture.width().saturating_sub(2);
    let count = cells.len();
    for (column, cell) in cells.iter_mut().enumerate() {
        let from = column * inner / count;
        let to = (column + 1) * inner / count + 2;
        let part = |y| row(picture, y).get(from..to).unwrap_or_default();
        let above = part(y - 1);
        let below = part(y + 1);

        cell.add_row(above, part(y), below);
    }
}

/// Count, sum and sum of squares of `4 g - left - right - above - below` of green.
#[derive(Debug, Default, Clone, Copy)]
struct Moments {
    count: i64,
    sum: i64,
    squares: i64,
}

impl Moments {
    fn add_row(&mut self, above: &[[u8; 3]], line: &[[u8; 3]], below: &[[u8; 3]]) {
        // Green stands for luma: it has the largest share in it, and sensors have twice as many
        // green pixels.
        let green = |pixel: &[u8; 3]| i32::from(pixel[1]);

        // The pixel in the middle of `three` is one to the right of the window's first, and so are
        // those above and below.
        let above = &above[1.min(above.len())..];
        let below = &below[1.min(below.len())..];
        let mut sum = 0;
        let mut squares = 0;
        for ((three, above), below) in line.windows(3).zip(above).zip(below) {
            // The value is the second derivative: 0 on flat areas and even slopes, large on edges.
            let beside = green(&three[0]) + green(&three[2]);
            let around = beside + green(above) + green(below);
            let value = 4 * green(&three[1]) - around;

            sum += i64::from(value);
            squares += i64::from(value * value);
        }

        // The first and last pixel of a row have no neighbour on one side.
        self.count += line.len().saturating_sub(2) as i64;
        self.sum += sum;
        self.squares += squares;
    }

    fn sum(all: &[Moments]) -> Self {
        let mut sum = Moments::default();
        for moments in all {
            sum.count += moments.count;
            sum.sum += moments.sum;
            sum.squares += moments.squares;
        }

        sum
    }

    fn variance(&self) -> f32 {
        // Pictures less than 3 pixels wide or high have no Laplacian.
        if self.count == 0 {
            return 0.0;
        }

        // The variance is the mean of the squares less the square of the mean, which rounding may
        // leave just below 0.
        let count = self.count as f64;
        let mean = self.sum as f64 / count;

        let mean_of_squares = self.squares as f64 / count;
        let variance = mean_of_squares - mean * mean;

        variance.max(0.0) as f32
    }
}

/// Returns true for a picture without a part on it, black, white or flat from edge to edge: as a reference
/// it would let exactly such pictures pass.
pub fn shows_nothing(picture: &Picture) -> bool {
    // A picture of one grey level has no edge at all. One that is too small for the Laplacian is
    // not called flat.
    let measures = Measures::of(picture);
    let has_laplacian = picture.width() > 2 && picture.height() > 2;
    let is_flat = has_laplacian && measures.sharpness == 0.0;

    measures.dark > 0.999 || measures.bright > 0.999 || is_flat
}

/// Number of times that one camera's newest picture has come in a row.
#[derive(Debug, Default)]
pub struct Repeats {
    last: Option<Arc<Picture>>,
    count: u64,
}

impl Repeats {
    /// Counts `picture`. Returns a flaw when it has come `limit` times or more; never where that is 0. One
    /// frame that several parts share counts once: a burst of triggers is no frozen camera.
    pub fn flaw(&mut self, picture: &Arc<Picture>, limit: u64) -> Option<Flaw> {
        let last = self.last.as_ref();

        // Another part of the same frame is no new look of the camera.
        if !last.is_some_and(|last| Arc::ptr_eq(last, picture)) {
            // Pictures are compared byte by byte: a sensor's noise makes two frames of a still
            // scene differ.
            let is_same = last.is_some_and(|last| **last == **picture);
            self.count = if is_same { self.count + 1 } else { 1 };
            self.last = Some(picture.clone());
        }

        // A limit of 0 switches the check off.
        (limit > 0 && self.count >= limit).then_some(Flaw::Frozen(self.count, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disc on a ground, with a texture of `contrast` grey levels that a box of `blur` pixels has smeared.
    fn picture(ground: u8, contrast: u8, blur: usize) -> Picture {
        let (width, height) = (64, 48);
        let texture = |x: usize, y: usize| (x * 7 + y * 13 + x * y) % 2 * usize::from(contrast);
        let mut rgb = Vec::new();
        for y in 0usize..height {
            for x in 0usize..width {
                let inside = (x.abs_diff(32)).pow(2) + y.abs_diff(24).pow(2) < 200;
                let smeared: usize = (0..blur).map(|d| texture(x + d, y)).sum::<usize>() / blur;
                let value = if inside {
                    120 + smeared
                } else {
                    usize::from(ground) + smeared * usize::from(ground) / 255
                };

                rgb.extend([value.min(255) as u8; 3]);
            }
        }

        Picture::new(width, height, rgb).expect("its bytes")
    }

    fn flat(value: u8) -> Picture {
        Picture::new(64, 48, vec![value; 3 * 64 * 48]).expect("its bytes")
    }

    #[test]
    fn black_and_saturated_pictures_are_named_with_measure_and_limit() {
        let gate = Gate::new(Limits::default(), &[picture(90, 40, 1)]);
        assert_eq!(gate.flaw(&picture(90, 40, 1)), None);
        assert_eq!(gate.flaw(&flat(12)), Some(Flaw::Black(1.0, 0.98)));
        assert_eq!(gate.flaw(&flat(255)), Some(Flaw::Saturated(1.0, 0.5)));
        assert!(
            Flaw::Black(1.0, 0.98).to_string().contains("100.0 %")
                && Flaw::Black(1.0, 0.98).to_string().contains("98.0 %")
        );
    }

    #[test]
    fn a_ground_that_is_black_or_white_on_good_parts_is_no_flaw() {
        for ground in [0, 255] {
            let good = picture(ground, 40, 1);
            let gate = Gate::new(Limits::default(), std::slice::from_ref(&good));
            assert_eq!(gate.flaw(&good), None);
            assert!(
                gate.flaw(&flat(ground)).is_some(),
                "the part is gone on {ground}"
            );
        }
    }

    #[test]
    fn a_picture_without_a_part_is_no_reference() {
        assert!([flat(0), flat(90), flat(255)].iter().all(shows_nothing));
        assert!(
            ![picture(0, 40, 1), picture(255, 40, 1), picture(90, 40, 8)]
                .iter()
                .any(shows_nothing)
        );
    }

    #[test]
    fn a_blurred_picture_is_told_from_references_of_its_size_only() {
        let gate = Gate::new(Limits::default(), &[picture(90, 40, 1), picture(90, 40, 1)]);
        assert!(
            matches!(gate.flaw(&picture(90, 40, 8)), Some(Flaw::Blurred(got, limit)) if got < limit)
        );

        assert_eq!(
            Gate::new(Limits::default(), &[]).flaw(&picture(90, 40, 8)),
            None
        );
    }

    #[test]
    fn every_check_can_be_switched_off_and_small_pictures_have_no_sharpness() {
        let off = Limits {
            frozen_frames: 0,
            black: 0.0,
            saturated: 0.0,
            blurred: 0.0,
        };

        let gate = Gate::new(off, &[picture(90, 40, 1)]);
        for shown in [flat(0), flat(255), picture(90, 40, 8)] {
            assert_eq!(gate.flaw(&shown), None);
        }

        for (width, height) in [(1, 1), (2, 9), (9, 2), (1, 400)] {
            let tiny =
                Picture::new(width, height, vec![77; 3 * width * height]).expect("its bytes");

            assert_eq!(
                Measures::of(&tiny),
                Measures {
                    dark: 0.0,
                    bright: 0.0,
                    brightness: 77.0,
                    sharpness: 0.0,
                    sharpness_map: Map::new(SHARPNESS_GRID, vec![0.0; SHARPNESS_GRID.cells()]),
                }
            );
        }
    }

    #[test]
    fn a_camera_is_frozen_at_the_limit_and_well_again_with_the_next_different_frame() {
        let (mut repeats, still, other) =
            (Repeats::default(), Arc::new(flat(80)), Arc::new(flat(81)));

        let said: Vec<_> = (0..4)
            .map(|_| repeats.flaw(&Arc::new((*still).clone()), 3))
            .collect();

        assert_eq!(
            said,
            [
                None,
                None,
                Some(Flaw::Frozen(3, 3)),
                Some(Flaw::Frozen(4, 3))
            ]
        );

        assert_eq!(
            (repeats.flaw(&other, 3), repeats.flaw(&still, 3)),
            (None, None)
        );

        assert!((0..99).all(|_| repeats.flaw(&Arc::new((*still).clone()), 0).is_none()));
        // Many parts of one frame.
        let mut repeats = Repeats::default();
        assert!((0..99).all(|_| repeats.flaw(&still, 3).is_none()));
    }
}
