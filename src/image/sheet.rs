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
    let columns = rows.iter().map(Vec::len).max()?.min(COLUMNS_MAX);
    let width = GAP + columns as u32 * (TILE + GAP);
    let row_height = 2 * TILE + 3 * GAP;
    let mut sheet = RgbImage::from_pixel(width, rows.len() as u32 * row_height + GAP, GROUND);
    for (row, pictures) in rows.iter().enumerate() {
        let top = GAP + row as u32 * row_height;
        for (column, (picture, place)) in pictures.iter().take(COLUMNS_MAX).enumerate() {
            let left = GAP + column as u32 * (TILE + GAP);
            let Some(whole) = as_image(picture) else {
                continue;
            };

            put(&mut sheet, &marked(&whole, place), (left, top));
            put(
                &mut sheet,
                &enlarged(&whole, place),
                (left, top + TILE + GAP),
            );
        }
    }

    let (width, height) = (sheet.width() as usize, sheet.height() as usize);
    Picture::new(width, height, sheet.into_raw()).ok()
}

fn as_image(picture: &Picture) -> Option<RgbImage> {
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    ImageBuffer::from_raw(width, height, picture.rgb().to_vec())
}

/// The whole picture as it fits a square, with a frame around the place.
fn marked(whole: &RgbImage, place: &Defect) -> RgbImage {
    let longer = whole.width().max(whole.height()).max(1);
    let scaled = |pixels: u32| (u64::from(pixels) * u64::from(TILE) / u64::from(longer)) as u32;
    let (width, height) = (scaled(whole.width()).max(1), scaled(whole.height()).max(1));
    let mut small = imageops::resize(whole, width, height, FilterType::Triangle);
    let left = scaled(place.x as u32).min(width - 1);
    let top = scaled(place.y as u32).min(height - 1);
    let right = scaled((place.x + place.w) as u32).clamp(left, width - 1);
    let bottom = scaled((place.y + place.h) as u32).clamp(top, height - 1);
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
    let side = (2 * place.w.max(place.h) as u32).max(PLACE_MIN);
    let (width, height) = (side.min(whole.width()), side.min(whole.height()));
    let from = |start: usize, length: usize, side: u32, all: u32| {
        let middle = (start + length / 2) as u32;
        middle.saturating_sub(side / 2).min(all - side)
    };

    let left = from(place.x, place.w, width, whole.width());
    let top = from(place.y, place.h, height, whole.height());
    let cut = imageops::crop_imm(whole, left, top, width, height).to_image();
    let longer = width.max(height);
    imageops::resize(
        &cut,
        (width * TILE / longer).max(1),
        (height * TILE / longer).max(1),
        FilterType::Triangle,
    )
}

fn put(sheet: &mut RgbImage, tile: &RgbImage, (left, top): (u32, u32)) {
    imageops::replace(sheet, tile, i64::from(left), i64::from(top));
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
