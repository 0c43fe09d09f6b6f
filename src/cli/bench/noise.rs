//! The picture that is measured: smooth noise by a fixed seed, so that each run has the same.

use crate::data::picture::Picture;
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Width of the camera picture in pixels.
pub const WIDTH: usize = 1280;
/// Height of the camera picture in pixels.
pub const HEIGHT: usize = 720;

/// Side of a cell of one colour, in pixels.
const CELL: usize = 40;

/// A coarse random grid enlarged, with a little noise on it, so that neighbours are alike as in a photo.
pub fn picture(seed: u64) -> Picture {
    // Each cell of 40 x 40 pixels has a random colour of three bytes, row by row.
    let mut random = StdRng::seed_from_u64(seed);
    let columns = WIDTH / CELL;
    let rows = HEIGHT / CELL;
    let coarse: Vec<u8> = (0..3 * columns * rows).map(|_| random.random()).collect();

    // Each pixel has half of its cell's colour and a little noise: bytes are red, green, blue.
    let mut rgb = Vec::with_capacity(3 * WIDTH * HEIGHT);
    for row in 0..HEIGHT {
        for column in 0..WIDTH {
            let cell = row / CELL * columns + column / CELL;
            let colour = &coarse[3 * cell..][..3];
            for value in colour {
                let noise = random.random_range(0..32);
                rgb.push(value / 2 + noise);
            }
        }
    }

    Picture::new(WIDTH, HEIGHT, rgb).expect("filled row by row")
}
