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
    let noise = (0..bytes.len()).map(|_| random.random()).collect();
    let inverted = bytes.iter().map(|value| 255 - value).collect();

    // Left half black, right half white: a row has three bytes a pixel.
    let row = reference.width() * 3;
    let halves = (0..bytes.len())
        .map(|place| if place % row < row / 2 { 0 } else { 255 })
        .collect();

    [noise, inverted, halves].map(|rgb: Vec<u8>| {
        Picture::new(reference.width(), reference.height(), rgb).expect("the reference's size")
    })
}
