//! Pictures that show no part at all: a threshold that passes them passes everything.
//!
//! A threshold is only known to be too high by something that must fail. Without a bad part at hand
//! these are the surest: noise, a reference with its colours inverted, and black and white halves. The
//! highest of their scores is a bound that no sensible threshold exceeds.

use crate::data::picture::Picture;
use crate::winclip::Inspector;
use crate::winclip::inspector::InspectError;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Seed of the noise: the same picture at each start.
const SEED: u64 = 7;

/// Returns for each region the highest score of pictures without a part, of a reference's size.
///
/// # Errors
/// When the engine fails.
pub fn scores(reference: &Picture, inspector: &mut Inspector) -> Result<Vec<f32>, InspectError> {
    let mut highest: Vec<f32> = vec![];
    for picture in pictures(reference) {
        let judged = inspector.inspect_in_place(&picture)?;
        if highest.is_empty() {
            highest = vec![0.0; judged.len()];
        }

        for (highest, region) in highest.iter_mut().zip(judged) {
            *highest = highest.max(region.score);
        }
    }

    Ok(highest)
}

fn pictures(reference: &Picture) -> [Picture; 3] {
    let mut random = StdRng::seed_from_u64(SEED);
    let bytes = reference.rgb();
    let row_bytes = reference.width() * 3;
    let mut noise = Vec::with_capacity(bytes.len());
    let mut inverted = Vec::with_capacity(bytes.len());
    let mut halves = Vec::with_capacity(bytes.len());
    for (place, value) in bytes.iter().enumerate() {
        noise.push(random.random());
        inverted.push(255 - value);

        // Left half black, right half white: a row has three bytes a pixel.
        let is_left = place % row_bytes < row_bytes / 2;
        halves.push(if is_left { 0 } else { 255 });
    }

    let width = reference.width();
    let height = reference.height();
    [noise, inverted, halves].map(|rgb: Vec<u8>| {
        // The reference is a picture of as many bytes.
        Picture::new(width, height, rgb).expect("the reference's size")
    })
}
