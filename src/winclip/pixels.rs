//! From a camera's picture to the encoder's pixels, as Pillow and torchvision do it.
//!
//! Pillow resizes 8-bit pictures horizontally, rounds and clamps to 8 bits, then vertically, and rounds again. A
//! one-call resize differs by a grey level in a fifth of the values and moves embeddings; two calls on floats with the
//! rounding between them agree in all but a few values in a million.

use super::Fit;
use crate::engine::Pixels;
use crate::frame::Picture;
use crate::model::ModelSpec;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use ndarray::Array3;

/// A picture that would be enlarged beyond this many pixels on its long side by `fit = "crop"` is refused.
const LONG_SIDE_MAX: usize = 65_536;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a picture of {width} x {height} pixels, its shorter side brought to {side}, would be {long} long (at most {LONG_SIDE_MAX}); use fit = \"squash\""
)]
pub struct TooLong {
    width: usize,
    height: usize,
    side: usize,
    long: usize,
}

/// Makes pixels; owns the resizer's memory so that a frame allocates little.
pub struct PixelMaker {
    fit: Fit,
    side: usize,
    mean: [f32; 3],
    std: [f32; 3],
    resizer: Resizer,
}

impl PixelMaker {
    /// `side` is the encoder's input side in pixels.
    pub fn new(fit: Fit, side: usize, spec: &ModelSpec) -> Self {
        PixelMaker { fit, side, mean: spec.mean, std: spec.std, resizer: Resizer::new() }
    }

    /// Normalised pixels `[3, side, side]`.
    pub fn make(&mut self, picture: &Picture) -> Result<Pixels, TooLong> {
        let (width, height) = (picture.width(), picture.height());
        let side = self.side;
        let (to_width, to_height) = match self.fit {
            Fit::Squash => (side, side),
            Fit::Crop => crop_size(width, height, side)?,
        };
        let wide = self.pass(Plane::Bytes(picture.rgb()), (width, height), (to_width, height));
        let small = match &wide {
            Some(wide) => self.pass(Plane::Floats(wide), (to_width, height), (to_width, to_height)),
            None => self.pass(Plane::Bytes(picture.rgb()), (width, height), (to_width, to_height)),
        };
        let (left, top) = (centred(to_width, side), centred(to_height, side));
        let at = |row: usize, column: usize| ((top + row) * to_width + left + column) * 3;
        Ok(match small.or(wide) {
            Some(values) => self.normalised(|row, column, channel| floats(&values)[at(row, column) + channel]),
            None => self.normalised(|row, column, channel| f32::from(picture.rgb()[at(row, column) + channel])),
        })
    }

    /// One direction of the resize, rounded to grey levels; nothing when the size is right already, as in Pillow.
    fn pass(&mut self, plane: Plane, from: (usize, usize), to: (usize, usize)) -> Option<Image<'static>> {
        if from == to {
            return None;
        }
        let owned;
        let source = match plane {
            Plane::Bytes(bytes) => {
                let mut image = Image::new(from.0 as u32, from.1 as u32, PixelType::F32x3);
                floats_mut(&mut image).iter_mut().zip(bytes).for_each(|(f, b)| *f = f32::from(*b));
                owned = image;
                owned.buffer()
            }
            Plane::Floats(image) => image.buffer(),
        };
        let source = ImageRef::new(from.0 as u32, from.1 as u32, source, PixelType::F32x3).expect("its size is from");
        let mut target = Image::new(to.0 as u32, to.1 as u32, PixelType::F32x3);
        // CatmullRom is the cubic convolution with a = -0.5, Pillow's BICUBIC; wider when shrinking.
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
        self.resizer.resize(&source, &mut target, &options).expect("both are F32x3 and not empty");
        floats_mut(&mut target).iter_mut().for_each(|v| *v = (*v + 0.5).floor().clamp(0.0, 255.0));
        Some(target)
    }

    fn normalised(&self, grey: impl Fn(usize, usize, usize) -> f32) -> Pixels {
        let mut pixels = Array3::zeros((3, self.side, self.side));
        for (channel, mut plane) in pixels.outer_iter_mut().enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            for (row, mut line) in plane.outer_iter_mut().enumerate() {
                for (column, value) in line.iter_mut().enumerate() {
                    *value = (grey(row, column, channel) / 255.0 - mean) / std;
                }
            }
        }
        pixels
    }
}

enum Plane<'a> {
    Bytes(&'a [u8]),
    Floats(&'a Image<'static>),
}

fn floats<'a>(image: &'a Image<'_>) -> &'a [f32] {
    bytemuck::cast_slice(image.buffer())
}

fn floats_mut<'a>(image: &'a mut Image<'_>) -> &'a mut [f32] {
    bytemuck::cast_slice_mut(image.buffer_mut())
}

/// torchvision's `Resize(side)`: the shorter side to `side`, the long one to `floor(side * long / short)`.
fn crop_size(width: usize, height: usize, side: usize) -> Result<(usize, usize), TooLong> {
    let long = side * width.max(height) / width.min(height);
    if long > LONG_SIDE_MAX {
        return Err(TooLong { width, height, side, long });
    }
    Ok(if width <= height { (side, long) } else { (long, side) })
}

/// torchvision's `CenterCrop`: Python's `round((n - side) / 2)`, halves to even.
fn centred(n: usize, side: usize) -> usize {
    ((n - side) as f64 / 2.0).round_ties_even() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crop_has_torchvisions_sizes_and_offsets() {
        assert_eq!(crop_size(640, 480, 240), Ok((320, 240)));
        assert_eq!(crop_size(3, 7, 240), Ok((240, 560)));
        assert!(crop_size(1, 4000, 240).is_err());
        assert_eq!([centred(245, 240), centred(243, 240), centred(240, 240)], [2, 2, 0]);
    }

    #[test]
    fn thin_and_tiny_pictures_are_resized_too() {
        let spec = crate::model::ModelSpec {
            family: crate::model::Family::Dinov2,
            side: 28,
            patch: 14,
            width: 8,
            blocks: 1,
            heads: 1,
            mlp: 32,
            embed: 8,
            mean: [0.5; 3],
            std: [0.5; 3],
            text: None,
        };
        for (width, height) in [(1, 1), (1, 4000), (4000, 1), (28, 28), (28, 90)] {
            let picture = Picture::new(width, height, vec![255; 3 * width * height]).expect("its bytes");
            let pixels = PixelMaker::new(Fit::Squash, 28, &spec).make(&picture).expect("squashed");
            assert!(pixels.iter().all(|&v| (v - 1.0).abs() < 1e-6), "{width} x {height}");
        }
    }
}
