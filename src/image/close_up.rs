//! A close-up: a square of a picture around a place, as large as a person needs it.

use crate::data::picture::{Area, Picture};
use image::RgbImage;
use image::imageops::{FilterType, crop_imm, resize};

/// A square of `side` pixels around the middle of `place`, moved and made smaller where the picture ends.
pub fn square_around(picture: &Picture, place: Area, side: usize) -> Area {
    let width = picture.width();
    let height = picture.height();
    let shorter = width.min(height);
    let side = side.clamp(1, shorter);

    let middle_x = place.x + place.w / 2;
    let middle_y = place.y + place.h / 2;

    Area {
        x: begin(middle_x, side, width),
        y: begin(middle_y, side, height),
        w: side,
        h: side,
    }
}

/// The beginning of `side` pixels around a middle, within `length`.
fn begin(middle: usize, side: usize, length: usize) -> usize {
    let last = length - side;
    let wanted = middle.saturating_sub(side / 2);

    wanted.min(last)
}

/// That square of the picture, as `shown` x `shown` pixels. The square must lie within the picture.
pub fn cut(picture: &Picture, square: Area, shown: usize) -> Picture {
    // No side of a picture has more pixels than 32 bits count.
    let width = picture.width() as u32;
    let height = picture.height() as u32;
    let rgb = picture.rgb().to_vec();
    let whole = RgbImage::from_raw(width, height, rgb);
    let whole = whole.expect("a picture has all its bytes");

    let x = square.x as u32;
    let y = square.y as u32;
    let side = square.w as u32;
    let place = crop_imm(&whole, x, y, side, side);

    let side = shown as u32;
    let close = resize(&*place, side, side, FilterType::Triangle);
    let rgb = close.into_raw();
    let close = Picture::new(shown, shown, rgb);

    close.expect("as many bytes as asked for")
}

/// The place of an area of the picture on the close-up of a square, cut at its edges.
pub fn on_close_up(area: Area, square: Area, shown: usize) -> Area {
    let scaled = |at: usize, start: usize| {
        let inside = at.saturating_sub(start).min(square.w);
        inside * shown / square.w.max(1)
    };

    let x = scaled(area.x, square.x);
    let y = scaled(area.y, square.y);
    let right = scaled(area.x + area.w, square.x);
    let bottom = scaled(area.y + area.h, square.y);
    Area {
        x,
        y,
        w: right.saturating_sub(x),
        h: bottom.saturating_sub(y),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_at_the_edge_is_cut_within_the_picture() {
        let picture = Picture::new(40, 30, vec![7; 40 * 30 * 3]).expect("its bytes");
        for (x, y, w, h, side) in [
            (0, 0, 4, 4, 12),
            (36, 26, 4, 4, 12),
            (0, 0, 40, 30, 120),
            (500, 500, 9, 9, 27),
            (3, 3, 0, 0, 0),
        ] {
            let square = square_around(&picture, Area { x, y, w, h }, side);
            assert!(square.w >= 1 && square.is_inside(40, 30), "{square:?}");
            let close = cut(&picture, square, 160);
            assert_eq!((close.width(), close.height()), (160, 160));
        }
    }

    #[test]
    fn a_frame_lies_over_its_place() {
        let square = Area {
            x: 10,
            y: 20,
            w: 40,
            h: 40,
        };

        let area = |x, y, w, h| Area { x, y, w, h };
        assert_eq!(
            on_close_up(area(20, 30, 10, 5), square, 80),
            area(20, 20, 20, 10)
        );
        assert_eq!(
            on_close_up(area(0, 0, 500, 30), square, 80),
            area(0, 0, 80, 20)
        );
    }
}
