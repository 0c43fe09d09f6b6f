//! The picture as it would be with the part at its place on the master.

use crate::data::picture::{Area, Picture};
use crate::data::pose::Pose;

/// Fractional bits of a place in fixed point.
const BITS: u32 = 16;
/// Bits of a share between two pixels.
const SHARE_BITS: u32 = 8;
/// A whole share.
const WHOLE: u32 = 1 << SHARE_BITS;

/// A place in a picture, from the middle of its first pixel.
type FixedPlace = [i64; 2];

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
        // A row of the crop is a straight line through the picture: where both ends are inside, all is.
        let steps = pixels.len() as i64;
        let end = [at[0] + steps * step[0], at[1] + steps * step[1]];
        let is_inside = has_neighbours(picture, at) && has_neighbours(picture, end);
        for pixel in pixels {
            *pixel = match is_inside {
                true => inside(picture, at),
                false => anywhere(picture, at),
            };

            at = [at[0] + step[0], at[1] + step[1]];
        }
    }

    Picture::new(width, height, rgb).expect("the master's size")
}

fn fixed(value: f32) -> i64 {
    (f64::from(value) * f64::from(1 << BITS)).round() as i64
}

/// True for a place whose four pixels are all in the picture.
fn has_neighbours(picture: &Picture, [x, y]: FixedPlace) -> bool {
    let columns = 0..(picture.width() as i64 - 1) << BITS;
    let rows = 0..(picture.height() as i64 - 1) << BITS;
    columns.contains(&x) && rows.contains(&y)
}

/// The colour at a place that has its four pixels, bilinear.
fn inside(picture: &Picture, [x, y]: FixedPlace) -> [u8; 3] {
    let row_bytes = 3 * picture.width();
    let first = (y >> BITS) as usize * row_bytes + 3 * (x >> BITS) as usize;
    // Two pixels beside each other, and the two below.
    let upper = &picture.rgb()[first..first + 6];
    let lower = &picture.rgb()[first + row_bytes..first + row_bytes + 6];
    let shares = [share(x), share(y)];
    [0, 1, 2].map(|channel| {
        let four = [channel, channel + 3];
        let above = four.map(|byte| u32::from(upper[byte]));
        mixed(above, four.map(|byte| u32::from(lower[byte])), shares)
    })
}

/// The colour at a place that may be beyond the picture, which goes on there as at its edge.
fn anywhere(picture: &Picture, [x, y]: FixedPlace) -> [u8; 3] {
    let last = [picture.width(), picture.height()].map(|pixels| pixels as i64 - 1);
    let x = x.clamp(0, last[0] << BITS);
    let y = y.clamp(0, last[1] << BITS);
    let columns = [x >> BITS, ((x >> BITS) + 1).min(last[0])];
    let rows = [y >> BITS, ((y >> BITS) + 1).min(last[1])];
    [0, 1, 2].map(|channel| {
        let byte = |column: i64, row: i64| {
            let pixel = row as usize * picture.width() + column as usize;
            u32::from(picture.rgb()[3 * pixel + channel])
        };

        let above = columns.map(|column| byte(column, rows[0]));
        let below = columns.map(|column| byte(column, rows[1]));
        mixed(above, below, [share(x), share(y)])
    })
}

/// The share of the next pixel at a place in one direction.
fn share(place: i64) -> u32 {
    (place >> (BITS - SHARE_BITS)) as u32 & (WHOLE - 1)
}

/// Two pixels and the two below, mixed by the shares of the right ones and of the lower ones.
fn mixed(above: [u32; 2], below: [u32; 2], [right, down]: [u32; 2]) -> u8 {
    let upper = above[0] * (WHOLE - right) + above[1] * right;
    let lower = below[0] * (WHOLE - right) + below[1] * right;
    let sum = upper * (WHOLE - down) + lower * down;
    ((sum + WHOLE * WHOLE / 2) >> (2 * SHARE_BITS)) as u8
}
