//! Pictures of 10, 12 or 14 bits in 16: how many bits a file says that it has, and the scaling to all 16.
//!
//! A conforming PNG with `sBIT` holds values that are scaled to 16 bits already. Cameras' programs also
//! write the sensor's values as they are, with the number of bits in `sBIT` (PNG) or the largest value
//! in `MaxSampleValue` (TIFF). The two are told apart by the values: scaled ones have zeros below the
//! bits that count, or are larger than those bits can hold. PGM and PPM name their white as `maxval`,
//! by which their decoder scales.

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

/// The most precise channel of `sBIT`.
fn png_bits(bytes: &[u8]) -> Option<u32> {
    // The header alone is read, up to the first pixels.
    let reader = png::Decoder::new(Cursor::new(bytes)).read_info().ok()?;
    let bits = reader.info().sbit.as_ref()?;
    bits.iter().map(|bits| u32::from(*bits)).max()
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

/// Scales values that stand in the lower `bits` of their 16. Returns true if they did.
pub fn scale(picture: &mut DynamicImage, bits: u32) -> bool {
    // Pictures of 8 bits have no bits to spare.
    let Some(mut colours) = colours(picture) else {
        return false;
    };

    // Values that reach above the bits, or that have zeros in all places below them, are scaled.
    let above = ALL - bits.min(ALL);
    let white = u16::MAX >> above;
    let has_low_bits = colours
        .values
        .iter()
        .any(|value| value.trailing_zeros() < above);
    if above == 0 || colours.highest() > white || !has_low_bits {
        return false;
    }

    colours.stretch(white);
    true
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
