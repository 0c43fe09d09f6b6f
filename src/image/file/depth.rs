//! Pictures of 10, 12 or 14 bits in 16: how many bits a file says that it has, and the scaling to all 16.
//!
//! A conforming PNG with `sBIT` holds values that are scaled to 16 bits already (PNG 11.3.2.4). Cameras'
//! programs also write the sensor's values as they are, with the number of bits in `sBIT` (PNG) or the
//! largest value in `MaxSampleValue` (TIFF). The two are told apart by the values: scaled ones are
//! larger than those bits can hold, or, in a dark picture, have below them zeros or what scaling puts
//! there. A dark picture of such values is left as it is, and told. PGM and PPM name their white as
//! `maxval`, by which their decoder scales.

use image::{DynamicImage, ImageFormat};
use std::io::Cursor;
use tiff::decoder::Decoder as TiffDecoder;
use tiff::tags::Tag;

/// Bits of a whole value.
const ALL: u32 = 16;
/// TIFF's `MaxSampleValue`.
const MAX_SAMPLE_VALUE: u16 = 281;

/// Number of bits that count in the values of 16 bits of a file. `None` if the file does not say it.
pub fn told_bits(format: ImageFormat, bytes: &[u8]) -> Option<u32> {
    // `None` where nothing is told; numbers that make no sense are as good as nothing.
    let bits = match format {
        ImageFormat::Png => png_bits(bytes)?,
        ImageFormat::Tiff => tiff_bits(bytes)?,
        // A decoder that knows the white has scaled already.
        ImageFormat::Pnm => ALL,
        _ => return None,
    };

    (1..=ALL).contains(&bits).then_some(bits)
}

/// The most precise colour of `sBIT`.
fn png_bits(bytes: &[u8]) -> Option<u32> {
    // The header alone is read, up to the first pixels.
    let reader = png::Decoder::new(Cursor::new(bytes)).read_info().ok()?;
    let info = reader.info();
    let bits = info.sbit.as_ref()?;

    // Transparency, which stands last, has bits of its own, often all.
    let colours = match info.color_type {
        png::ColorType::GrayscaleAlpha | png::ColorType::Rgba => bits.len().checked_sub(1)?,
        _ => bits.len(),
    };

    bits[..colours].iter().map(|bits| u32::from(*bits)).max()
}

fn tiff_bits(bytes: &[u8]) -> Option<u32> {
    // One value for each channel; the largest one is the white.
    let mut decoder = TiffDecoder::new(Cursor::new(bytes)).ok()?;
    let largest = decoder.find_tag(Tag::Unknown(MAX_SAMPLE_VALUE)).ok()??;
    let largest = largest.into_u16_vec().ok()?.into_iter().max()?;

    // Some writers store the picture's own largest value, which says nothing of the camera's bits:
    // one picture would be brighter than the next. Only a full white of so many bits is believed.
    let bits = ALL - largest.leading_zeros();

    (largest.count_ones() == bits).then_some(bits)
}

/// Scales values that stand in the lower `bits` of their 16. Returns true if none is in doubt: false
/// for a dark picture whose values are taken for scaled ones, although the bits could hold them.
pub fn scale(picture: &mut DynamicImage, bits: u32) -> bool {
    // Pictures of 8 bits have no bits to spare.
    let above = ALL - bits.min(ALL);
    let Some(mut colours) = colours(picture).filter(|_| above > 0) else {
        return true;
    };

    // Values that reach above the bits are scaled.
    let white = u16::MAX >> above;

    if colours.highest() > white {
        return true;
    }

    if colours.all(|value| is_scaled(value, bits)) {
        return false;
    }

    colours.stretch(white);
    true
}

/// True for a value that the scaling of so many bits to 16 makes: the bits in the upper places, and
/// below them zeros (a shift), their first bits again, or the rest of the exact product (PNG 12.4).
fn is_scaled(value: u16, bits: u32) -> bool {
    let above = ALL - bits;
    let sample = u32::from(value >> above);
    let white = u32::from(u16::MAX >> above);

    // The places may be more than the bits, so that those come again and again.
    let mut repeated = 0;
    let mut filled = 0;

    while filled < ALL {
        repeated = repeated << bits | u64::from(sample);
        filled += bits;
    }

    let repeated = (repeated >> (filled - ALL)) as u32;
    let exact = (sample * u32::from(u16::MAX) + white / 2) / white;

    [sample << above, repeated, exact].contains(&u32::from(value))
}

/// The highest colour value of a picture of 16 bits a channel. `None` for other pictures.
pub fn highest(picture: &mut DynamicImage) -> Option<u16> {
    colours(picture).map(|colours| colours.highest())
}

/// Values of a picture of 16 bits a channel, `[height, width, channels]`.
struct Colours<'a> {
    values: &'a mut [u16],
    /// Channels of a pixel.
    channels: usize,
    /// Channels of a pixel that are colours; the last one may be transparency, which is often full.
    coloured: usize,
}

fn colours(picture: &mut DynamicImage) -> Option<Colours<'_>> {
    // Decoders give 16 bits in the machine's own order.
    let (values, channels, coloured): (&mut [u16], usize, usize) = match picture {
        DynamicImage::ImageLuma16(picture) => (picture, 1, 1),
        DynamicImage::ImageLumaA16(picture) => (picture, 2, 1),
        DynamicImage::ImageRgb16(picture) => (picture, 3, 3),
        DynamicImage::ImageRgba16(picture) => (picture, 4, 3),
        _ => return None,
    };

    Some(Colours {
        values,
        channels,
        coloured,
    })
}

impl Colours<'_> {
    fn all(&self, fits: impl Fn(u16) -> bool) -> bool {
        let mut pixels = self.values.chunks_exact(self.channels);

        pixels.all(|pixel| pixel[..self.coloured].iter().all(|value| fits(*value)))
    }

    fn highest(&self) -> u16 {
        // Over all colours of all pixels.
        let mut highest = 0;

        for pixel in self.values.chunks_exact(self.channels) {
            for value in &pixel[..self.coloured] {
                highest = highest.max(*value);
            }
        }

        highest
    }

    /// Makes `white` the largest value.
    fn stretch(&mut self, white: u16) {
        for pixel in self.values.chunks_exact_mut(self.channels) {
            for value in &mut pixel[..self.coloured] {
                // Rounded; u32 holds the product of two values of 16 bits.
                let scaled = u32::from(*value) * u32::from(u16::MAX) + u32::from(white) / 2;
                *value = (scaled / u32::from(white)) as u16;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, LumaA};

    fn grey(values: &[u16]) -> DynamicImage {
        let pixels = ImageBuffer::<Luma<u16>, _>::from_raw(values.len() as u32, 1, values.to_vec());
        DynamicImage::ImageLuma16(pixels.expect("as many"))
    }

    /// Values after scaling, and whether they are beyond doubt.
    fn scaled(values: &[u16], bits: u32) -> (Vec<u16>, bool) {
        let mut picture = grey(values);
        let is_sure = scale(&mut picture, bits);
        let values = picture.into_luma16().into_raw();
        (values, is_sure)
    }

    /// Scalings of samples of so many bits to 16: a shift, repeated bits, and the standard's formula.
    fn scalings(samples: &[u16], bits: u32) -> [Vec<u16>; 3] {
        let above = ALL - bits;
        let white = f64::from(u16::MAX >> above);
        let shifted = |v: &u16| v << above;
        let repeated = |v: &u16| v << above | v >> (bits - above);
        let exact = |v: &u16| (f64::from(*v) * 65535.0 / white).round() as u16;
        [
            samples.iter().map(shifted).collect(),
            samples.iter().map(repeated).collect(),
            samples.iter().map(exact).collect(),
        ]
    }

    #[test]
    fn scaled_values_are_never_scaled_again() {
        for bits in [9, 10, 12, 14, 15] {
            let all: Vec<u16> = (0..=u16::MAX >> (ALL - bits)).collect();
            // Of a dark picture the values fit into the bits as they are.
            let dark = &all[..all.len() >> (ALL - bits)];
            for values in scalings(&all, bits) {
                assert_eq!(scaled(&values, bits), (values, true), "{bits} bits");
            }

            for values in scalings(dark, bits) {
                assert_eq!(scaled(&values, bits), (values, false), "{bits} bits, dark");
            }
        }
    }

    #[test]
    fn values_in_the_lower_bits_are_scaled_also_where_they_are_dark() {
        for bits in [9, 10, 12, 14, 15] {
            let white = u16::MAX >> (ALL - bits);
            let exact = |v: u16| (f64::from(v) * 65535.0 / f64::from(white)).round() as u16;
            for highest in [white, white / 4, white / 16] {
                let values: Vec<u16> = (0..=highest).collect();
                let expected: Vec<u16> = values.iter().map(|v| exact(*v)).collect();
                assert_eq!(scaled(&values, bits), (expected, true), "{bits}, {highest}");
            }
        }
    }

    #[test]
    fn what_fits_both_is_left_as_it_is_and_told() {
        for values in [[0, 0, 0], [0, 16, 4080], [0, 16, 3201]] {
            assert_eq!(scaled(&values, 12), (values.to_vec(), false));
        }
    }

    #[test]
    fn the_bits_of_transparency_are_not_those_of_the_colours() {
        let mut bytes = vec![];
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        encoder.set_color(png::ColorType::GrayscaleAlpha);
        encoder.set_depth(png::BitDepth::Sixteen);
        let mut writer = encoder.write_header().expect("memory takes all");
        let written = writer.write_chunk(png::chunk::sBIT, &[12, 16]);
        written.expect("memory takes all");
        writer.write_image_data(&[1, 2, 255, 255]).expect("a pixel");
        drop(writer);
        assert_eq!(told_bits(ImageFormat::Png, &bytes), Some(12));
    }

    #[test]
    fn transparency_says_nothing_of_the_colours() {
        let values = vec![0x10, 0xFFFF, 0x800, 0x0FFF];
        let pixels = ImageBuffer::<LumaA<u16>, _>::from_raw(2, 1, values.clone());
        let mut picture = DynamicImage::ImageLumaA16(pixels.expect("two pixels"));
        assert!(!scale(&mut picture, 12));
        assert_eq!(picture.into_luma_alpha16().into_raw(), values);
    }
}
