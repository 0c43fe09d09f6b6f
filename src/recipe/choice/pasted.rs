//! Defects that are drawn on pictures of good parts: pieces of the picture in another place (CutPaste: Li et al., CVPR
//! 2021), thin strips of it, and soft spots.
//!
//! Alone they choose badly, as a defect of the product looks otherwise (docs/teach.md). They know one thing well: a block
//! that does not even see them sees few others. So a combination needs them beside the real bad pictures.

use crate::data::picture::{Area, Picture};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Defects for each good picture.
const FOR_EACH: usize = 8;
/// Pasted pictures of a choice, at most.
const COUNT_MAX: usize = 64;
/// Seed of the places: the same pictures give the same choice.
const SEED: u64 = 11;

/// Logarithms of the least and the largest aspect of a piece: 0.3 and 3.3.
const LEAST_LOG: f64 = -1.2;
const MOST_LOG: f64 = 1.2;

/// A kind of drawn defect.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Piece,
    Strip,
    Spot,
}

/// The kinds in turn.
const KINDS: [Kind; FOR_EACH] = [
    Kind::Piece,
    Kind::Strip,
    Kind::Spot,
    Kind::Piece,
    Kind::Strip,
    Kind::Piece,
    Kind::Strip,
    Kind::Spot,
];

/// A good picture with a drawn defect.
pub struct Pasted {
    /// Place among the good pictures of the one that it was made of.
    pub of: usize,
    /// The picture.
    pub picture: Picture,
}

/// Returns the number of pictures that are made of so many good ones.
pub fn count(good: usize) -> usize {
    good * each(good)
}

fn each(good: usize) -> usize {
    let most = COUNT_MAX / good.max(1);
    most.clamp(1, FOR_EACH)
}

/// Draws defects on good pictures, inside of `crop`; one picture at a time, as all together would not fit into
/// memory.
pub fn pasted(good: &[Picture], crop: Option<Area>) -> impl Iterator<Item = Pasted> + '_ {
    let mut random = StdRng::seed_from_u64(SEED);
    let each = each(good.len());
    (0..good.len() * each).map(move |number| {
        // The defects of one picture come one after the other.
        let of = number / each;
        let kind = KINDS[number % each];
        let picture = drawn(&good[of], crop, kind, &mut random);

        Pasted { of, picture }
    })
}

fn drawn(good: &Picture, crop: Option<Area>, kind: Kind, random: &mut StdRng) -> Picture {
    let whole = Area {
        x: 0,
        y: 0,
        w: good.width(),
        h: good.height(),
    };

    // A crop beyond the picture is refused where the picture is encoded.
    let area = crop
        .filter(|crop| crop.is_inside(whole.w, whole.h))
        .unwrap_or(whole);

    let mut rgb = good.rgb().to_vec();
    match kind {
        Kind::Spot => spot(&mut rgb, whole.w, area, random),
        Kind::Piece => {
            // The size is a share of the area. The aspect is drawn evenly in its logarithm, so that upright
            // pieces are as many as lying ones.
            let pixels = random.random_range(0.01..0.06_f64) * area.w as f64;
            let pixels = pixels * area.h as f64;
            let shape = random.random_range(LEAST_LOG..MOST_LOG);
            let aspect = shape.exp();

            // A piece of that aspect that has so many pixels.
            let across = (pixels * aspect).sqrt();
            let down = (pixels / aspect).sqrt();
            piece(&mut rgb, whole.w, area, (across, down), random);
        }
        Kind::Strip => {
            // A strip is like a scratch: narrow against the shorter side, long along the longer one.
            let shorter = area.w.min(area.h) as f64;
            let longer = area.w.max(area.h) as f64;
            let narrow = 2.0 + shorter * random.random_range(0.01..0.04_f64);
            let long = 2.0 + longer * random.random_range(0.05..0.15_f64);

            let is_upright: bool = random.random();
            let size = match is_upright {
                true => (narrow, long),
                false => (long, narrow),
            };

            piece(&mut rgb, whole.w, area, size, random);
        }
    }

    Picture::new(whole.w, whole.h, rgb).expect("the good picture's size")
}

/// Copies a piece of `area` to another place in it, a little brighter or darker. `width` is the picture's.
fn piece(rgb: &mut [u8], width: usize, area: Area, size: (f64, f64), random: &mut StdRng) {
    // A piece is at most half as wide and as high as the area, so that it can move.
    let most_across = (area.w / 2).max(1);
    let most_down = (area.h / 2).max(1);
    let w = (size.0 as usize).clamp(1, most_across);
    let h = (size.1 as usize).clamp(1, most_down);

    let from = place(area, w, h, random);
    let to = place(area, w, h, random);

    // Each channel has a light of its own: where the product has one colour, a copy would not be seen.
    let light: [f32; 3] = std::array::from_fn(|_| random.random_range(0.85..1.15));

    // Both places may overlap, so that the source is a copy.
    let before = rgb.to_vec();
    for row in 0..h {
        let source_row = from.1 + row;
        let target_row = to.1 + row;
        let source = first_byte(width, from.0, source_row);
        let target = first_byte(width, to.0, target_row);

        for byte in 0..w * 3 {
            let there = f32::from(before[source + byte]);
            let channel = byte % 3;
            let value = there * light[channel];

            // Light beyond a byte stays white, as in a camera.
            rgb[target + byte] = value.clamp(0.0, 255.0) as u8;
        }
    }
}

/// A place in the area for a piece of that size: its first column and row.
fn place(area: Area, w: usize, h: usize, random: &mut StdRng) -> (usize, usize) {
    let most_right = area.w - w;
    let most_below = area.h - h;
    // The draw of the column comes first: another order would draw other defects.
    let right = random.random_range(0..=most_right);
    let below = random.random_range(0..=most_below);

    (area.x + right, area.y + below)
}

/// Place of a pixel's first byte in a picture that is so wide.
fn first_byte(width: usize, column: usize, row: usize) -> usize {
    let pixel = row * width + column;
    3 * pixel
}

/// Draws a soft ellipse, darker or lighter than what is there.
fn spot(rgb: &mut [u8], width: usize, area: Area, random: &mut StdRng) {
    // Half axes, in pixels.
    let shorter = area.w.min(area.h) as f32;
    let radius = shorter * random.random_range(0.02..0.06_f32);
    let across = radius * random.random_range(0.7..1.4_f32);
    let down = radius * random.random_range(0.7..1.4_f32);

    // The middle, in pixels of the picture, a little inside of the area's edges.
    let right = area.w as f32 * random.random_range(0.05..0.95_f32);
    let below = area.h as f32 * random.random_range(0.05..0.95_f32);
    let x = area.x as f32 + right;
    let y = area.y as f32 + below;

    // Grey levels by which the middle differs.
    let strength = random.random_range(25.0..60.0_f32);
    let is_light: bool = random.random();
    let level = if is_light { strength } else { -strength };

    for row in area.y..area.y + area.h {
        for column in area.x..area.x + area.w {
            let right = (column as f32 - x) / across.max(1.0);
            let below = (row as f32 - y) / down.max(1.0);

            // The square of the distance is 1 on the ellipse. The spot is whole up to half of that, and
            // fades to nothing from there.
            let far = right.powi(2) + below.powi(2);
            let share = (2.0 - 2.0 * far).clamp(0.0, 1.0);

            let start = first_byte(width, column, row);
            for value in &mut rgb[start..start + 3] {
                let lit = f32::from(*value) + level * share;
                *value = lit.clamp(0.0, 255.0) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize) -> Picture {
        let bytes = (0..width * height * 3).map(|place| (place * 7919 % 251) as u8);

        Picture::new(width, height, bytes.collect()).expect("its size")
    }

    #[test]
    fn defects_are_drawn_inside_of_the_crop_and_everywhere_the_same() {
        let good = [noise(64, 48), noise(64, 48)];
        let crop = Area {
            x: 10,
            y: 5,
            w: 30,
            h: 20,
        };

        let first: Vec<Pasted> = pasted(&good, Some(crop)).collect();
        assert_eq!(first.len(), count(2));
        for one in &first {
            let pairs = one.picture.rgb().iter().zip(good[one.of].rgb());
            let changed: Vec<usize> = (0..)
                .zip(pairs)
                .filter(|(_, (a, b))| a != b)
                .map(|(place, _)| place / 3)
                .collect();

            assert!(!changed.is_empty());

            let is_inside =
                |place: &usize| (10..40).contains(&(place % 64)) && (5..25).contains(&(place / 64));
            assert!(changed.iter().all(is_inside));
        }

        let again: Vec<Pasted> = pasted(&good, Some(crop)).collect();
        let same = first
            .iter()
            .zip(&again)
            .all(|(a, b)| a.picture == b.picture);
        assert!(same);
    }

    #[test]
    fn the_smallest_pictures_and_many_of_them_have_their_bounds() {
        let good: Vec<Picture> = (0..64).map(|_| noise(1, 1)).collect();
        assert_eq!(pasted(&good, None).count(), COUNT_MAX);

        let counts = [1, 8, 16, 64].map(count);
        assert_eq!(counts, [8, 64, 64, 64]);
    }
}
