//! From a camera's picture to the encoder's pixels, as Pillow and torchvision do it.

use super::Fit;
use crate::data::picture::{Area, Picture};
use crate::engine::device_scorer::CropTransform;
use crate::engine::{Pixels, levels};
use crate::image::resize::{Taps, resize_columns, resize_rows};
use crate::model::ModelSpec;
use ndarray::Array3;

/// A picture that would be enlarged beyond this many pixels on its long side by `fit = "crop"` is refused.
const LONG_SIDE_MAX: usize = 65_536;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PixelError {
    #[error(
        "a picture of {width} x {height} pixels, its shorter side brought to {side}, would be {long} long (at most {LONG_SIDE_MAX}); use fit = squash"
    )]
    TooLong {
        width: usize,
        height: usize,
        side: usize,
        long: usize,
    },
    #[error("the crop {crop} (x,y,width,height) is beyond a picture of {width} x {height} pixels")]
    Beyond {
        crop: Area,
        width: usize,
        height: usize,
    },
}

/// Makes pixels. Weights and memory are kept from picture to picture: a camera's are all of one size.
pub struct PixelMaker {
    crop: Option<Area>,
    fit: Fit,
    side: usize,
    /// What each grey level of a channel becomes.
    levels: [[f32; 256]; 3],
    taps: Option<(Taps, Taps)>,
    cropped: Vec<u8>,
    wide: Vec<u8>,
    small: Vec<u8>,
}

impl PixelMaker {
    /// `side` is the encoder's input side in pixels.
    pub fn new(crop: Option<Area>, fit: Fit, side: usize, spec: &ModelSpec) -> Self {
        let levels = levels(spec);
        PixelMaker {
            crop,
            fit,
            side,
            levels,
            taps: None,
            cropped: vec![],
            wide: vec![],
            small: vec![],
        }
    }

    /// Looks at this part of pictures from now on.
    pub fn look_at(&mut self, crop: Area) {
        self.crop = Some(crop);
    }

    /// Normalised pixels `[3, side, side]`.
    pub fn make(&mut self, picture: &Picture) -> Result<Pixels, PixelError> {
        let (width, height) = (picture.width(), picture.height());
        let CropTransform {
            area: crop,
            resized: to,
            at,
        } = self.framing(width, height)?;
        let rgb = match self.crop {
            None => picture.rgb(),
            Some(crop) => {
                self.cropped.clear();
                let rows = (crop.y..crop.y + crop.h)
                    .map(|row| &picture.rgb()[3 * (row * width + crop.x)..][..3 * crop.w]);
                rows.for_each(|row| self.cropped.extend_from_slice(row));
                &self.cropped
            }
        };
        let from = (crop.w, crop.h);
        let fits = |(a, b): &(Taps, Taps)| (a.from, b.from) == from && (a.to, b.to) == to;
        let (horizontal, vertical) = match self.taps.take().filter(fits) {
            Some(taps) => taps,
            None => (Taps::new(from.0, to.0), Taps::new(from.1, to.1)),
        };
        // A direction whose size is right is left alone, as in Pillow.
        if from.0 == to.0 {
            self.wide.clear();
            self.wide.extend_from_slice(rgb);
        } else {
            resize_rows(rgb, &horizontal, &mut self.wide);
        }
        if from.1 == to.1 {
            std::mem::swap(&mut self.wide, &mut self.small);
        } else {
            resize_columns(&self.wide, 3 * to.0, &vertical, &mut self.small);
        }
        self.taps = Some((horizontal, vertical));
        Ok(self.normalised(to.0, at))
    }

    /// The part of a picture of `width` x `height` pixels that the encoder sees.
    pub fn area(&self, width: usize, height: usize) -> Area {
        area(self.crop, self.fit, width, height)
    }

    /// How the encoder's square is made of a picture of `width` x `height` pixels.
    ///
    /// # Errors
    /// When the crop is beyond the picture, or the picture too thin for `fit = "crop"`.
    pub fn framing(&self, width: usize, height: usize) -> Result<CropTransform, PixelError> {
        let area = self.crop.unwrap_or(Area::whole(width, height));
        if !area.is_inside(width, height) {
            return Err(PixelError::Beyond {
                crop: area,
                width,
                height,
            });
        }
        let resized = match self.fit {
            Fit::Squash => (self.side, self.side),
            Fit::Crop => crop_size(area.w, area.h, self.side)?,
        };
        Ok(CropTransform {
            area,
            resized,
            at: (centred(resized.0, self.side), centred(resized.1, self.side)),
        })
    }

    /// The square at `left`, `top` of `small`, whose rows are `width` pixels.
    fn normalised(&self, width: usize, (left, top): (usize, usize)) -> Pixels {
        let mut pixels = Array3::zeros((3, self.side, self.side));
        let plane = self.side * self.side;
        let (red, rest) = pixels
            .as_slice_mut()
            .expect("just made")
            .split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        let lines = |plane| <[f32]>::chunks_exact_mut(plane, self.side);
        for (row, ((red, green), blue)) in lines(red).zip(lines(green)).zip(lines(blue)).enumerate()
        {
            let source = &self.small[3 * ((top + row) * width + left)..][..3 * self.side];
            for (((pixel, red), green), blue) in source
                .as_chunks::<3>()
                .0
                .iter()
                .zip(red)
                .zip(green)
                .zip(blue)
            {
                [*red, *green, *blue] = std::array::from_fn(|channel| {
                    self.levels[channel][usize::from(pixel[channel])]
                });
            }
        }
        pixels
    }
}

/// The part of a picture of `width` x `height` pixels that a recipe looks at.
pub fn area(crop: Option<Area>, fit: Fit, width: usize, height: usize) -> Area {
    let crop = crop.unwrap_or(Area::whole(width, height));
    match fit {
        Fit::Squash => crop,
        Fit::Crop => crop.middle_square(),
    }
}

/// torchvision's `Resize(side)`: the shorter side to `side`, the long one to `floor(side * long / short)`.
fn crop_size(width: usize, height: usize, side: usize) -> Result<(usize, usize), PixelError> {
    let long = side * width.max(height) / width.min(height);
    if long > LONG_SIDE_MAX {
        return Err(PixelError::TooLong {
            width,
            height,
            side,
            long,
        });
    }
    Ok(if width <= height {
        (side, long)
    } else {
        (long, side)
    })
}

/// torchvision's `CenterCrop`: Python's `round((n - side) / 2)`, halves to even.
fn centred(n: usize, side: usize) -> usize {
    ((n - side) as f64 / 2.0).round_ties_even() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> crate::model::ModelSpec {
        crate::model::ModelSpec {
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
        }
    }

    #[test]
    fn the_crop_has_torchvisions_sizes_and_offsets() {
        assert_eq!(crop_size(640, 480, 240), Ok((320, 240)));
        assert_eq!(crop_size(3, 7, 240), Ok((240, 560)));
        assert!(crop_size(1, 4000, 240).is_err());
        assert_eq!(
            [centred(245, 240), centred(243, 240), centred(240, 240)],
            [2, 2, 0]
        );
    }

    #[test]
    fn thin_and_tiny_pictures_are_resized_too() {
        let spec = spec();
        for (width, height) in [(1, 1), (1, 4000), (4000, 1), (28, 28), (28, 90)] {
            let picture =
                Picture::new(width, height, vec![255; 3 * width * height]).expect("its bytes");
            let pixels = PixelMaker::new(None, Fit::Squash, 28, &spec)
                .make(&picture)
                .expect("squashed");
            assert!(
                pixels.iter().all(|&v| (v - 1.0).abs() < 1e-6),
                "{width} x {height}"
            );
        }
    }

    #[test]
    fn a_crop_gives_the_pixels_of_the_picture_that_it_cuts_out() {
        let spec = spec();
        let value = |x: usize, y: usize| (3 * x + 7 * y) as u8;
        let cut = |crop: Area| {
            let places = (crop.y..crop.y + crop.h)
                .flat_map(|y| (crop.x..crop.x + crop.w).map(move |x| (x, y)));
            Picture::new(
                crop.w,
                crop.h,
                places.flat_map(|(x, y)| [value(x, y); 3]).collect(),
            )
            .expect("its bytes")
        };
        let (whole, crop) = (
            cut(Area::whole(60, 50)),
            Area {
                x: 11,
                y: 3,
                w: 40,
                h: 20,
            },
        );
        for fit in [Fit::Squash, Fit::Crop] {
            let mut maker = PixelMaker::new(Some(crop), fit, 28, &spec);
            let plain = PixelMaker::new(None, fit, 28, &spec)
                .make(&cut(crop))
                .expect("made");
            assert_eq!(maker.make(&whole).expect("inside"), plain);
            let beyond = PixelError::Beyond {
                crop,
                width: 50,
                height: 50,
            };
            assert_eq!(maker.make(&cut(Area::whole(50, 50))).err(), Some(beyond));
        }
        let maker = PixelMaker::new(Some(crop), Fit::Crop, 28, &spec);
        assert_eq!(
            maker.area(60, 50),
            Area {
                x: 21,
                y: 3,
                w: 20,
                h: 20
            }
        );
    }
}
