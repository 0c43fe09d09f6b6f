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

    // One pixel to the right on the master is this step in the camera's picture.
    let step = [fixed(cos), fixed(sin)];

    let shown_bottom = shown.y + shown.h;
    let bottom = shown_bottom.min(height);

    for row in shown.y..bottom {
        // The middle of the first pixel, then one step for each.
        let first = [shown.x as f32 + 0.5, row as f32 + 0.5];
        let [x, y] = pose.camera_from_master(first);
        let mut at = [fixed(x - 0.5), fixed(y - 0.5)];

        let line = 3 * (row * width + shown.x);
        let line_end = line + 3 * shown.w;
        let line_bytes = &mut rgb[line..line_end];
        let (pixels, _) = line_bytes.as_chunks_mut::<3>();

        // A row of the crop is a straight line through the picture: where both ends are inside, all is.
        let steps = pixels.len() as i64;
        let end_x = at[0] + steps * step[0];
        let end_y = at[1] + steps * step[1];
        let begins_inside = has_neighbours(picture, at);
        let ends_inside = has_neighbours(picture, [end_x, end_y]);
        let is_inside = begins_inside && ends_inside;

        for pixel in pixels {
            *pixel = match is_inside {
                true => inside(picture, at),
                false => anywhere(picture, at),
            };

            let next_x = at[0] + step[0];
            let next_y = at[1] + step[1];
            at = [next_x, next_y];
        }
    }

    Picture::new(width, height, rgb).expect("the master's size")
}

fn fixed(value: f32) -> i64 {
    let scale = f64::from(1 << BITS);

    // Double precision holds every place of a picture with all fractional bits.
    let scaled = f64::from(value) * scale;

    scaled.round() as i64
}

/// True for a place whose four pixels are all in the picture.
fn has_neighbours(picture: &Picture, [x, y]: FixedPlace) -> bool {
    // The last column and row have no neighbour right of them or below.
    let last_column = picture.width() as i64 - 1;
    let last_row = picture.height() as i64 - 1;

    let columns = 0..last_column << BITS;
    let rows = 0..last_row << BITS;

    columns.contains(&x) && rows.contains(&y)
}

/// The colour at a place that has its four pixels, bilinear.
fn inside(picture: &Picture, [x, y]: FixedPlace) -> [u8; 3] {
    let row_bytes = 3 * picture.width();
    let row = (y >> BITS) as usize;
    let column = (x >> BITS) as usize;

    // Two pixels beside each other, and the two below.
    let first = row * row_bytes + 3 * column;
    let below_first = first + row_bytes;
    let rgb = picture.rgb();
    let upper = &rgb[first..first + 6];
    let lower = &rgb[below_first..below_first + 6];

    // Right and down, the same for all channels.
    let shares = [share(x), share(y)];
    [0, 1, 2].map(|channel| {
        // The same channel of the next pixel is three bytes further on.
        let pair = [channel, channel + 3];
        let above = pair.map(|byte| u32::from(upper[byte]));
        let below = pair.map(|byte| u32::from(lower[byte]));
        mixed(above, below, shares)
    })
}

/// The colour at a place that may be beyond the picture, which goes on there as at its edge.
fn anywhere(picture: &Picture, [x, y]: FixedPlace) -> [u8; 3] {
    let last_column = picture.width() as i64 - 1;
    let last_row = picture.height() as i64 - 1;
    let x = x.clamp(0, last_column << BITS);
    let y = y.clamp(0, last_row << BITS);

    // The last column and row are their own neighbours, as the picture goes on beyond them.
    let column = x >> BITS;
    let row = y >> BITS;
    let next_column = (column + 1).min(last_column);
    let next_row = (row + 1).min(last_row);
    let columns = [column, next_column];
    let rows = [row, next_row];

    let shares = [share(x), share(y)];
    [0, 1, 2].map(|channel| {
        let byte = |column: i64, row: i64| {
            let row_first = row as usize * picture.width();
            let pixel = row_first + column as usize;
            let byte = picture.rgb()[3 * pixel + channel];
            u32::from(byte)
        };

        let above = columns.map(|column| byte(column, rows[0]));
        let below = columns.map(|column| byte(column, rows[1]));
        mixed(above, below, shares)
    })
}

/// The share of the next pixel at a place in one direction.
fn share(place: i64) -> u32 {
    // The uppermost fractional bits are enough: a colour has 8 bits itself.
    let shortened = place >> (BITS - SHARE_BITS);
    let fraction = WHOLE - 1;

    shortened as u32 & fraction
}

/// Two pixels and the two below, mixed by the shares of the right ones and of the lower ones.
fn mixed(above: [u32; 2], below: [u32; 2], [right, down]: [u32; 2]) -> u8 {
    // The two shares of a direction sum to a whole.
    let left = WHOLE - right;
    let up = WHOLE - down;

    let upper = above[0] * left + above[1] * right;
    let lower = below[0] * left + below[1] * right;
    let sum = upper * up + lower * down;

    // Half of the divisor is added, so that the shift rounds to the nearest value.
    let half = WHOLE * WHOLE / 2;
    let rounded = (sum + half) >> (2 * SHARE_BITS);

    rounded as u8
}
