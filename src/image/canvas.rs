//! Pixels on which pictures for people are drawn: rectangles, other pictures, and text.
//!
//! The font is DejaVu Sans Bold, which has Latin, Greek and Cyrillic letters and the symbols of verdicts;
//! a letter that it has not is an empty box.

use crate::data::picture::{Area, Picture};
use crate::image::overlay::Rgb as Colour;
use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use image::{Pixel, Rgb, RgbImage, Rgba, imageops};
use std::sync::OnceLock;

/// A picture that is being drawn. What lies beyond it is not drawn.
pub struct Canvas(RgbImage);

impl Canvas {
    /// A canvas of one colour; both sides are at least 1.
    pub fn new(width: usize, height: usize, colour: Colour) -> Self {
        let size = (width as u32, height as u32);

        Canvas(RgbImage::from_pixel(size.0, size.1, Rgb(colour)))
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.0.width() as usize
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.0.height() as usize
    }

    /// The finished picture.
    pub fn into_picture(self) -> Picture {
        let width = self.width();
        let height = self.height();

        Picture::new(width, height, self.0.into_raw()).expect("three bytes a pixel")
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, area: Area, colour: Colour) {
        let right = (area.x + area.w).min(self.width());
        let bottom = (area.y + area.h).min(self.height());

        for row in area.y..bottom {
            for column in area.x..right {
                self.0.put_pixel(column as u32, row as u32, Rgb(colour));
            }
        }
    }

    /// Draws the frame of a rectangle, `thick` pixels inwards from each side.
    pub fn outline(&mut self, area: Area, thick: usize, colour: Colour) {
        let across = Area { h: thick, ..area };
        let down = Area { w: thick, ..area };
        let y = (area.y + area.h).saturating_sub(thick);
        let x = (area.x + area.w).saturating_sub(thick);
        self.fill(across, colour);
        self.fill(Area { y, ..across }, colour);
        self.fill(down, colour);
        self.fill(Area { x, ..down }, colour);
    }

    /// Puts a picture, its upper left corner at `x`, `y`.
    pub fn put(&mut self, picture: Picture, x: usize, y: usize) {
        let picture = Canvas::from(picture);
        imageops::replace(&mut self.0, &picture.0, x as i64, y as i64);
    }

    /// Writes a line of text of `size` pixels height, its upper left corner at `x`, `y`.
    pub fn text(&mut self, (x, y): (usize, usize), size: usize, colour: Colour, text: &str) {
        let font = font().as_scaled(PxScale::from(size as f32));
        let mut from_left = x as f32;
        let base = y as f32 + font.ascent();

        for letter in text.chars() {
            let mut glyph = font.scaled_glyph(letter);
            glyph.position = point(from_left, base);
            from_left += font.h_advance(glyph.id);
            let Some(outlined) = font.outline_glyph(glyph) else {
                continue; // a space
            };

            let corner = outlined.px_bounds().min;
            outlined.draw(|column, row, coverage| {
                let column = corner.x as i64 + i64::from(column);
                let row = corner.y as i64 + i64::from(row);
                self.blend(column, row, colour, coverage);
            });
        }
    }

    fn blend(&mut self, column: i64, row: i64, colour: Colour, coverage: f32) {
        let (Ok(column), Ok(row)) = (u32::try_from(column), u32::try_from(row)) else {
            return;
        };

        if let Some(pixel) = self.0.get_pixel_mut_checked(column, row) {
            let alpha = (255.0 * coverage.clamp(0.0, 1.0)) as u8;
            let [red, green, blue] = colour;
            let mut mixed = pixel.to_rgba();
            mixed.blend(&Rgba([red, green, blue, alpha]));
            *pixel = mixed.to_rgb();
        }
    }
}

impl From<Picture> for Canvas {
    fn from(picture: Picture) -> Self {
        let width = picture.width() as u32;
        let height = picture.height() as u32;
        let image = RgbImage::from_raw(width, height, picture.into_rgb());

        Canvas(image.expect("a picture has all its bytes"))
    }
}

/// Width in pixels of a text of `size` pixels height.
pub fn text_width(size: usize, text: &str) -> usize {
    let font = font().as_scaled(PxScale::from(size as f32));
    let letters = text
        .chars()
        .map(|letter| font.h_advance(font.glyph_id(letter)));

    letters.sum::<f32>().ceil() as usize
}

/// Lines of a text, each at most `width` pixels wide, broken at spaces, and within a word that is too
/// long; at most `count` lines, the last of which ends in `…` if there was more.
pub fn wrapped(size: usize, text: &str, width: usize, count: usize) -> Vec<String> {
    let fits = |line: &str| text_width(size, line) <= width;
    let mut lines: Vec<String> = vec![];
    let mut line = String::new();

    for word in text.split_whitespace() {
        let longer = format!("{line} {word}");

        if !line.is_empty() && fits(&longer) {
            line = longer;
            continue;
        }

        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }

        for letter in word.chars() {
            line.push(letter);

            if line.chars().count() > 1 && !fits(&line) {
                line.pop();
                lines.push(std::mem::replace(&mut line, letter.to_string()));
            }
        }
    }

    lines.push(line);
    if lines.len() > count {
        lines.truncate(count);

        if let Some(last) = lines.last_mut() {
            while !last.is_empty() && !fits(&format!("{last}…")) {
                last.pop();
            }

            last.push('…');
        }
    }

    lines
}

fn font() -> &'static FontRef<'static> {
    static FONT: OnceLock<FontRef<'static>> = OnceLock::new();
    FONT.get_or_init(|| {
        FontRef::try_from_slice(dejavu::sans::bold()).expect("a test reads this font")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_the_letters_that_pictures_need() {
        for letter in "AZaz09ÄßéΩЖ·×✔✘⚠…%".chars() {
            assert_ne!(font().glyph_id(letter).0, 0, "{letter}");
        }
    }

    #[test]
    fn text_is_drawn_within_its_place_and_not_beyond_the_canvas() {
        let mut canvas = Canvas::new(60, 30, [0; 3]);
        canvas.text((4, 5), 16, [255; 3], "Hg");
        canvas.text((50, 20), 16, [255; 3], "beyond");
        let width = text_width(16, "Hg");
        let picture = canvas.into_picture();
        let lit = |column: usize, row: usize| picture.rgb()[3 * (row * 60 + column)] > 128;
        let columns: Vec<usize> = (0..45)
            .filter(|column| (0..20).any(|row| lit(*column, row)))
            .collect();

        assert!(columns.len() > 8, "{columns:?}");
        assert!(
            columns.iter().all(|column| (4..4 + width).contains(column)),
            "{columns:?}"
        );
    }

    #[test]
    fn lines_fit_and_nothing_is_lost_but_what_is_told() {
        let text = "blurred: its sharpness is 0.11 of that of the references";
        let lines = wrapped(14, text, 150, 9);
        assert!(lines.len() > 2 && lines.iter().all(|line| text_width(14, line) <= 150));
        assert_eq!(lines.join(" "), text);
        let long = "x".repeat(200);
        assert_eq!(wrapped(14, &long, 150, 99).concat(), long);
        let cut = wrapped(14, text, 150, 2);
        assert!(cut.len() == 2 && cut[1].ends_with('…'), "{cut:?}");
    }
}
