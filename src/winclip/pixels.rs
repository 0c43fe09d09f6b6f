//! Pixels for the encoder from a camera's picture, as Pillow and torchvision make them.

use crate::data::picture::{Area, Picture};
use crate::data::verdict::Reason;
use crate::engine::device_scorer::CropTransform;
use crate::engine::{Pixels, normalisation_lut};
use crate::image::locate::NotFound;
use crate::image::resize::{Taps, resize_columns, resize_rows};
use crate::model::ModelSpec;
use ndarray::Array3;

/// Long side in pixels to which `fit = "crop"` may enlarge a picture; a larger one is refused.
const LONG_SIDE_MAX: usize = 65_536;

/// Way from a camera's picture to the encoder's input.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    serde::Deserialize,
    serde::Serialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Both sides to the input side; the aspect is not kept.
    #[default]
    Squash,
    /// The shorter side to the input side, then the centre.
    Crop,
    /// The whole into an oblong input of its own aspect; DINOv2 alone.
    Keep,
}

/// A picture of which the encoder's input cannot be made.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PixelError {
    /// The part is not found, or not all of it.
    #[error(transparent)]
    Part(#[from] NotFound),
    /// The picture is too thin for `fit = "crop"`.
    #[error(
        "a picture of {width} x {height} pixels, its shorter side brought to {side}, would be {long} long (at most {LONG_SIDE_MAX}); use fit = squash"
    )]
    TooLong {
        /// Width of the picture.
        width: usize,
        /// Height of the picture.
        height: usize,
        /// Input side of the encoder.
        side: usize,
        /// Long side after resizing.
        long: usize,
    },
    /// The crop is not inside of the picture.
    #[error("the crop {crop} (x,y,width,height) is beyond a picture of {width} x {height} pixels")]
    Beyond {
        /// The configured crop.
        crop: Area,
        /// Width of the picture.
        width: usize,
        /// Height of the picture.
        height: usize,
    },
}

impl PixelError {
    /// The reason of a part that is not judged because of it.
    pub fn reason(&self) -> Reason {
        match self {
            PixelError::Part(NotFound::Size { .. })
            | PixelError::TooLong { .. }
            | PixelError::Beyond { .. } => Reason::BadImage,
            PixelError::Part(_) => Reason::NoPart,
        }
    }
}

/// Makes pixels. Weights and memory are kept from picture to picture: a camera's are all of one
/// size.
pub struct PixelMaker {
    crop: Option<Area>,
    fit: Fit,
    /// Width and height of the encoder's input in pixels.
    input: (usize, usize),
    /// The network's input value of each grey level, by channel.
    lut: [[f32; 256]; 3],
    taps: Option<InputTaps>,
    cropped: Vec<u8>,
    wide: Vec<u8>,
    small: Vec<u8>,
}

/// Weights of a resize in both directions.
struct InputTaps {
    horizontal: Taps,
    vertical: Taps,
}

impl InputTaps {
    fn new(area: Area, to: (usize, usize)) -> Self {
        InputTaps {
            horizontal: Taps::new(area.w, to.0),
            vertical: Taps::new(area.h, to.1),
        }
    }

    fn fit(&self, area: Area, to: (usize, usize)) -> bool {
        // Weights depend on both sizes alone. A camera's pictures have one size, so that they are
        // made once.
        let from = (self.horizontal.from, self.vertical.from);
        let own_to = (self.horizontal.to, self.vertical.to);
        from == (area.w, area.h) && own_to == to
    }
}

impl PixelMaker {
    /// A maker for crops of pictures. `input` is the width and height of the encoder's input in
    /// pixels, a square for [`Fit::Crop`].
    pub fn new(crop: Option<Area>, fit: Fit, input: (usize, usize), spec: &ModelSpec) -> Self {
        PixelMaker {
            crop,
            fit,
            input,
            lut: normalisation_lut(spec),
            taps: None,
            cropped: vec![],
            wide: vec![],
            small: vec![],
        }
    }

    /// Replaces the crop.
    pub fn set_crop(&mut self, crop: Area) {
        self.crop = Some(crop);
    }

    /// Normalised pixels `[3, height, width]` of the encoder's input.
    ///
    /// # Errors
    /// The same as [`PixelMaker::transform`].
    pub fn make(&mut self, picture: &Picture) -> Result<Pixels, PixelError> {
        let transform = self.transform(picture.width(), picture.height())?;
        self.resize(picture, &transform);
        Ok(self.normalised(transform.resized.0, transform.at))
    }

    /// Resizes the crop into `small`.
    fn resize(&mut self, picture: &Picture, transform: &CropTransform) {
        let area = transform.area;
        let to = transform.resized;
        // The weights of the last picture serve again where the sizes are the same, which they are
        // unless the camera changes.
        let taps = match self.taps.take() {
            Some(taps) if taps.fit(area, to) => taps,
            _ => InputTaps::new(area, to),
        };

        // A crop is cut out first: the resize must not see pixels beyond it, as Pillow's does not
        // after a crop.
        let rgb = match self.crop {
            None => picture.rgb(),
            Some(crop) => {
                cut_out(picture, crop, &mut self.cropped);
                &self.cropped
            }
        };

        // Width and height are resized apart, rounded to bytes between the two, and a direction whose
        // size is right is left alone, exactly as in Pillow; the golden values depend on that.
        if area.w == to.0 {
            self.wide.clear();
            self.wide.extend_from_slice(rgb);
        } else {
            resize_rows(rgb, &taps.horizontal, &mut self.wide);
        }

        if area.h == to.1 {
            std::mem::swap(&mut self.wide, &mut self.small);
        } else {
            resize_columns(&self.wide, 3 * to.0, &taps.vertical, &mut self.small);
        }

        self.taps = Some(taps);
    }

    /// The part of a picture of `width` x `height` pixels that the encoder sees.
    pub fn area(&self, width: usize, height: usize) -> Area {
        area(self.crop, self.fit, width, height)
    }

    /// The way from a picture of `width` x `height` pixels to the encoder's input.
    ///
    /// # Errors
    /// When the crop is beyond the picture, or the picture too thin for `fit = "crop"`.
    pub fn transform(&self, width: usize, height: usize) -> Result<CropTransform, PixelError> {
        // The area is in camera pixels. A crop may come from a recipe of another camera, so that it
        // is checked with each picture.
        let area = self.crop.unwrap_or(Area::whole(width, height));
        if !area.is_inside(width, height) {
            return Err(PixelError::Beyond {
                crop: area,
                width,
                height,
            });
        }

        // Squash brings both sides to the encoder's; crop brings the shorter one there and cuts the
        // middle out of the longer.
        let resized = match self.fit {
            // The input has the aspect already that keep is to keep.
            Fit::Squash | Fit::Keep => self.input,
            Fit::Crop => crop_size(area.w, area.h, self.input.0)?,
        };

        // `at` is the place of the encoder's input within the resized picture; 0 where the sizes
        // are equal.
        let left = centred(resized.0, self.input.0);
        let top = centred(resized.1, self.input.1);
        Ok(CropTransform {
            area,
            resized,
            at: (left, top),
        })
    }

    /// The encoder's input at `left`, `top` of `small`, whose rows are `row` pixels.
    fn normalised(&self, row: usize, (left, top): (usize, usize)) -> Pixels {
        let (width, height) = self.input;
        // The tensor is `[3, height, width]`, channel by channel, as the encoder reads it.
        let mut pixels = Array3::zeros((3, height, width));
        let values = pixels.as_slice_mut().expect("just made");
        for (channel, plane) in values.chunks_exact_mut(width * height).enumerate() {
            // Subtraction of the mean and division by the deviation are a table of 256 values for
            // each channel.
            let lut = &self.lut[channel];
            for (down, line) in plane.chunks_exact_mut(width).enumerate() {
                // Rows of the resized picture are `row` pixels of 3 bytes; the input begins at
                // (`left`, `top`).
                let first = 3 * ((top + down) * row + left);
                let (source, _) = self.small[first..first + 3 * width].as_chunks::<3>();
                for (value, pixel) in line.iter_mut().zip(source) {
                    *value = lut[usize::from(pixel[channel])];
                }
            }
        }

        pixels
    }
}

/// Copies the rows of a crop.
fn cut_out(picture: &Picture, crop: Area, cropped: &mut Vec<u8>) {
    cropped.clear();
    // Rows are copied into memory that is kept from picture to picture.
    for row in crop.y..crop.y + crop.h {
        let first = 3 * (row * picture.width() + crop.x);
        let line = &picture.rgb()[first..first + 3 * crop.w];
        cropped.extend_from_slice(line);
    }
}

/// The part of a picture of `width` x `height` pixels that a recipe inspects.
pub fn area(crop: Option<Area>, fit: Fit, width: usize, height: usize) -> Area {
    let crop = crop.unwrap_or(Area::whole(width, height));
    match fit {
        Fit::Squash | Fit::Keep => crop,
        Fit::Crop => crop.middle_square(),
    }
}

/// torchvision's `Resize(side)`: the shorter side to `side`, the long one to `floor(side * long /
/// short)`.
fn crop_size(width: usize, height: usize, side: usize) -> Result<(usize, usize), PixelError> {
    // The longer side follows in proportion, rounded down as torchvision does.
    let long = side * width.max(height) / width.min(height);
    // A picture of one row would become as long as memory allows; the bound refuses it with the way
    // out.
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
    let half = (n - side) as f64 / 2.0;
    half.round_ties_even() as usize
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
            registers: 0,
            antialias: false,
            default_block: None,
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

            let pixels = PixelMaker::new(None, Fit::Squash, (28, 28), &spec)
                .make(&picture)
                .expect("squashed");

            assert_eq!(pixels.dim(), (3, 28, 28));
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

        let whole = cut(Area::whole(60, 50));
        let crop = Area {
            x: 11,
            y: 3,
            w: 40,
            h: 20,
        };

        for fit in [Fit::Squash, Fit::Crop] {
            let mut maker = PixelMaker::new(Some(crop), fit, (28, 28), &spec);
            let plain = PixelMaker::new(None, fit, (28, 28), &spec)
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

        let maker = PixelMaker::new(Some(crop), Fit::Crop, (28, 28), &spec);
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
