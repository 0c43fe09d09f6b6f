//! A close-up: a square of a picture around a place, as large as a person needs it.

use crate::data::picture::{Area, Picture};
use image::RgbImage;
use image::imageops::{FilterType, crop_imm, resize};

/// A square of `side` pixels around the middle of `place`, moved and made smaller where the picture ends.
pub fn square_around(picture: &Picture, place: Area, side: usize) -> Area {
    let (width, height) = (picture.width(), picture.height());
    let side = side.max(1).min(width.min(height));
    let begin = |middle: usize, length: usize| middle.saturating_sub(side / 2).min(length - side);

    Area {
        x: begin(place.x + place.w / 2, width),
        y: begin(place.y + place.h / 2, height),
        w: side,
        h: side,
    }
}

/// That square of the picture, as `shown` x `shown` pixels. The square must lie within the picture.
pub fn cut(picture: &Picture, square: Area, shown: usize) -> Picture {
    let width = picture.width() as u32;
    let height = picture.height() as u32;
    let whole = RgbImage::from_raw(width, height, picture.rgb().to_vec());
    let whole = whole.expect("a picture has all its bytes");

    let [x, y, w, h] = [square.x, square.y, square.w, square.h].map(|pixels| pixels as u32);
    let place = crop_imm(&whole, x, y, w, h);
    let close = resize(&*place, shown as u32, shown as u32, FilterType::Triangle);
    Picture::new(shown, shown, close.into_raw()).expect("as many bytes as asked for")
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
