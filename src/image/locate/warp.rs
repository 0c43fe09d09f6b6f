//! The picture as it would be with the part at its place on the master.

use crate::data::picture::{Area, Picture};
use crate::data::pose::Pose;

/// Fractional bits of a place between two pixels.
const BITS: u32 = 16;
/// Bits of a share between two pixels.
const SHARE_BITS: u32 = 8;

/// A picture of `size` in which the part lies as on the master. Only `shown` is made, the rest is black.
/// What lies beyond the camera's picture goes on as at its edge.
pub fn aligned(picture: &Picture, pose: &Pose, size: (usize, usize), shown: Area) -> Picture {
    let (width, height) = size;
    let mut rgb = vec![0; 3 * width * height];
    let (sin, cos) = pose.turn_deg.to_radians().sin_cos();
    let step = [fixed(cos), fixed(sin)];
    for row in shown.y..(shown.y + shown.h).min(height) {
        // The middle of the first pixel, then one step for each.
        let first = [shown.x as f32 + 0.5, row as f32 + 0.5];
        let [x, y] = pose.camera_from_master(first);
        let mut at = [fixed(x - 0.5), fixed(y - 0.5)];
        let line = 3 * (row * width + shown.x);
        let (pixels, _) = rgb[line..line + 3 * shown.w].as_chunks_mut::<3>();
        for pixel in pixels {
            *pixel = between(picture, at);
            at = [at[0] + step[0], at[1] + step[1]];
        }
    }

    Picture::new(width, height, rgb).expect("the master's size")
}

fn fixed(value: f32) -> i64 {
    (f64::from(value) * f64::from(1 << BITS)).round() as i64
}

/// The colour at a place, bilinear.
fn between(picture: &Picture, [x, y]: [i64; 2]) -> [u8; 3] {
    let (column, right) = split(x, picture.width());
    let (row, below) = split(y, picture.height());
    // At the last column or row the pixel is its own neighbour.
    let at = 3 * (row * picture.width() + column);
    let next = if column + 1 < picture.width() { 3 } else { 0 };
    let under = if row + 1 < picture.height() {
        3 * picture.width()
    } else {
        0
    };

    let rgb = picture.rgb();
    let mut pixel = [0; 3];
    for (channel, value) in pixel.iter_mut().enumerate() {
        // Along the row above and the row below, then between the two.
        let at = at + channel;
        let upper = mixed(u32::from(rgb[at]), u32::from(rgb[at + next]), right);
        let at = at + under;
        let lower = mixed(u32::from(rgb[at]), u32::from(rgb[at + next]), right);
        let value_bits = 2 * SHARE_BITS;
        let sum = upper * ((1 << SHARE_BITS) - below) + lower * below;
        *value = ((sum + (1 << (value_bits - 1))) >> value_bits) as u8;
    }

    pixel
}

/// `first` and `second` mixed, times 256.
fn mixed(first: u32, second: u32, share: u32) -> u32 {
    first * ((1 << SHARE_BITS) - share) + second * share
}

/// The pixel at or before a place, and the share of the next one.
fn split(place: i64, pixels: usize) -> (usize, u32) {
    let last = (pixels as i64 - 1) << BITS;
    let place = place.clamp(0, last);
    let share = (place >> (BITS - SHARE_BITS)) & ((1 << SHARE_BITS) - 1);
    ((place >> BITS) as usize, share as u32)
}
