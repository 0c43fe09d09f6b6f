//! A contact sheet: rows of pictures side by side, each with a place marked, and that place enlarged below it.

use crate::data::picture::Picture;
use crate::data::verdict::Defect;
use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb, RgbImage};

/// Pictures of a row; more are left out.
pub const COLUMNS_MAX: usize = 8;
/// Side of the square that a picture is drawn into, in pixels.
const TILE: u32 = 160;
/// Pixels between two squares, and around a row.
const GAP: u32 = 8;
/// Least side of the place that is enlarged.
const PLACE_MIN: u32 = 32;
/// Colour between the squares, and of the frame around a place.
const GROUND: Rgb<u8> = Rgb([40, 40, 40]);
const FRAME: Rgb<u8> = Rgb([255, 60, 60]);

/// Draws rows of pictures, each with its place. `None` without any picture.
pub fn draw(rows: &[Vec<(&Picture, Defect)>]) -> Option<Picture> {
    let longest = rows.iter().map(Vec::len).max()?;
    let columns = longest.min(COLUMNS_MAX);

    // A row has two squares one below the other, and a wider gap before the next row.
    let column_width = TILE + GAP;
    let row_height = 2 * TILE + 3 * GAP;

    let width = GAP + columns as u32 * column_width;
    let height = GAP + rows.len() as u32 * row_height;
    let mut sheet = RgbImage::from_pixel(width, height, GROUND);

    for (row, pictures) in rows.iter().enumerate() {
        let top = GAP + row as u32 * row_height;
        let below = top + TILE + GAP;

        for (column, (picture, place)) in pictures.iter().take(COLUMNS_MAX).enumerate() {
            let left = GAP + column as u32 * column_width;

            // The square of a picture that cannot be drawn stays empty.
            let Some(whole) = as_image(picture) else {
                continue;
            };

            let with_frame = marked(&whole, place);
            put(&mut sheet, &with_frame, (left, top));

            let closer = enlarged(&whole, place);
            put(&mut sheet, &closer, (left, below));
        }
    }

    let sheet_width = width as usize;
    let sheet_height = height as usize;
    let rgb = sheet.into_raw();

    Picture::new(sheet_width, sheet_height, rgb).ok()
}

fn as_image(picture: &Picture) -> Option<RgbImage> {
    let width = picture.width() as u32;
    let height = picture.height() as u32;
    let rgb = picture.rgb().to_vec();

    ImageBuffer::from_raw(width, height, rgb)
}

/// The whole picture as it fits a square, with a frame around the place.
fn marked(whole: &RgbImage, place: &Defect) -> RgbImage {
    let longer = whole.width().max(whole.height()).max(1);

    // The product may be beyond 32 bits.
    let scaled = |pixels: u32| {
        let product = u64::from(pixels) * u64::from(TILE);
        let length = product / u64::from(longer);
        length as u32
    };

    // The shorter side of a very narrow picture would vanish.
    let width = scaled(whole.width()).max(1);
    let height = scaled(whole.height()).max(1);
    let mut small = imageops::resize(whole, width, height, FilterType::Triangle);

    // A place that reaches beyond the picture is framed as far as the edge.
    let last_column = width - 1;
    let last_row = height - 1;
    let place_right = place.x + place.w;
    let place_bottom = place.y + place.h;

    let left = scaled(place.x as u32).min(last_column);
    let top = scaled(place.y as u32).min(last_row);
    let right = scaled(place_right as u32).clamp(left, last_column);
    let bottom = scaled(place_bottom as u32).clamp(top, last_row);

    for x in left..=right {
        small.put_pixel(x, top, FRAME);
        small.put_pixel(x, bottom, FRAME);
    }

    for y in top..=bottom {
        small.put_pixel(left, y, FRAME);
        small.put_pixel(right, y, FRAME);
    }

    small
}

/// The place and as much again around it, as a square that fits.
fn enlarged(whole: &RgbImage, place: &Defect) -> RgbImage {
    let longer_of_place = place.w.max(place.h) as u32;
    let side = (2 * longer_of_place).max(PLACE_MIN);

    // A small picture is shown as a whole.
    let width = side.min(whole.width());
    let height = side.min(whole.height());

    // The place is in the middle unless that would go beyond the picture.
    let from = |start: usize, length: usize, side: u32, all: u32| {
        let middle = (start + length / 2) as u32;
        let first = middle.saturating_sub(side / 2);
        let last_first = all - side;
        first.min(last_first)
    };

    let left = from(place.x, place.w, width, whole.width());
    let top = from(place.y, place.h, height, whole.height());
    let view = imageops::crop_imm(whole, left, top, width, height);
    let cut = view.to_image();

    // The longer side fills the square.
    let longer = width.max(height);
    let shown_width = (width * TILE / longer).max(1);
    let shown_height = (height * TILE / longer).max(1);

    imageops::resize(&cut, shown_width, shown_height, FilterType::Triangle)
}

fn put(sheet: &mut RgbImage, tile: &RgbImage, (left, top): (u32, u32)) {
    let x = i64::from(left);
    let y = i64::from(top);
    imageops::replace(sheet, tile, x, y);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_a_row_a_group_and_marks_the_place() {
        assert!(draw(&[]).is_none());
        let picture = Picture::new(320, 160, vec![200; 320 * 160 * 3]).expect("a picture");
        let place = Defect {
            x: 300,
            y: 140,
            w: 40, // beyond the edge
            h: 40,
            peak: 1.0,
        };

        let rows = [vec![(&picture, place); 9], vec![(&picture, place)]];
        let sheet = draw(&rows).expect("pictures");
        assert_eq!(sheet.width(), 8 + 8 * 168);
        assert_eq!(sheet.height(), 8 + 2 * (2 * 160 + 24));
        let is_frame = |pixel: &[u8]| pixel == FRAME.0;
        assert!(sheet.rgb().chunks_exact(3).any(is_frame));
        let tiny = Picture::new(1, 1, vec![0; 3]).expect("a picture");
        let place = Defect {
            x: 0,
            y: 0,
            w: 1,
            h: 1,
            peak: 0.0,
        };

        assert!(draw(&[vec![(&tiny, place)]]).is_some());
    }
}
