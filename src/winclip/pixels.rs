//! From a camera's picture to the encoder's pixels, as Pillow and torchvision do it.

use super::Fit;
use super::resample::{Taps, across, down};
use crate::engine::Pixels;
use crate::frame::Picture;
use crate::model::ModelSpec;
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

/// Makes pixels. Weights and memory are kept from picture to picture: a camera's are all of one size.
pub struct PixelMaker {
    fit: Fit,
    side: usize,
    /// What each grey level of a channel becomes.
    levels: [[f32; 256]; 3],
    taps: Option<(Taps, Taps)>,
    wide: Vec<u8>,
    small: Vec<u8>,
}

impl PixelMaker {
    /// `side` is the encoder's input side in pixels.
    pub fn new(fit: Fit, side: usize, spec: &ModelSpec) -> Self {
        let level = |channel: usize, grey: usize| (grey as f32 / 255.0 - spec.mean[channel]) / spec.std[channel];
        let levels = [0, 1, 2].map(|channel| std::array::from_fn(|grey| level(channel, grey)));
        PixelMaker { fit, side, levels, taps: None, wide: vec![], small: vec![] }
    }

    /// Normalised pixels `[3, side, side]`.
    pub fn make(&mut self, picture: &Picture) -> Result<Pixels, TooLong> {
        let from = (picture.width(), picture.height());
        let to = match self.fit {
            Fit::Squash => (self.side, self.side),
            Fit::Crop => crop_size(from.0, from.1, self.side)?,
        };
        let fits = |(a, b): &(Taps, Taps)| (a.from, b.from) == from && (a.to, b.to) == to;
        let (horizontal, vertical) = match self.taps.take().filter(fits) {
            Some(taps) => taps,
            None => (Taps::new(from.0, to.0), Taps::new(from.1, to.1)),
        };
        // A direction whose size is right is left alone, as in Pillow.
        if from.0 == to.0 {
            self.wide.clear();
            self.wide.extend_from_slice(picture.rgb());
        } else {
            across(picture.rgb(), &horizontal, &mut self.wide);
        }
        if from.1 == to.1 {
            std::mem::swap(&mut self.wide, &mut self.small);
        } else {
            down(&self.wide, 3 * to.0, &vertical, &mut self.small);
        }
        self.taps = Some((horizontal, vertical));
        Ok(self.normalised(to))
    }

    /// The middle of `small`, which is `width` x `height`.
    fn normalised(&self, (width, height): (usize, usize)) -> Pixels {
        let (left, top) = (centred(width, self.side), centred(height, self.side));
        let mut pixels = Array3::zeros((3, self.side, self.side));
        let plane = self.side * self.side;
        let (red, rest) = pixels.as_slice_mut().expect("just made").split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        let lines = |plane| <[f32]>::chunks_exact_mut(plane, self.side);
        for (row, ((red, green), blue)) in lines(red).zip(lines(green)).zip(lines(blue)).enumerate() {
            let source = &self.small[3 * ((top + row) * width + left)..][..3 * self.side];
            for (((pixel, red), green), blue) in source.as_chunks::<3>().0.iter().zip(red).zip(green).zip(blue) {
                [*red, *green, *blue] =
                    std::array::from_fn(|channel| self.levels[channel][usize::from(pixel[channel])]);
            }
        }
        pixels
    }
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
