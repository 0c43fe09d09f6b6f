//! Picture files: PNG, JPEG, BMP, TIFF, WebP, PGM and PPM to an 8-bit RGB [`Picture`].
//!
//! The content says what a file is, not its name; 16-bit values are scaled to 8, grey becomes RGB,
//! transparency is dropped, a camera's orientation tag is applied. Refused, because the result would
//! silently be another picture than the one meant: a file that is damaged or cut short, an animation,
//! several pages, CMYK, floating-point values. Masks are labels rather than pictures, and are read by
//! [`mask`].

mod content;
mod depth;
mod error;
mod exif;
mod folder;
pub mod mask;
mod passed_over;

pub use error::{PictureFileError, Unfit};
pub use folder::{Expanded, Listing, expand, is_foreign, list, told};
pub use passed_over::PassedOver;

use crate::data::picture::Picture;
use crate::image::jpeg;
use content::{bytes_of, check_content, decode_other};
use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat};
use std::path::Path;

/// Values of 14 bits in 16 end below this.
const FEW_BITS: u16 = 1 << 14;

/// Reads one picture.
///
/// # Errors
/// When the file cannot be read or is no picture to judge.
pub fn read(path: &Path) -> Result<Picture, PictureFileError> {
    let content = bytes_of(path)?;
    let decoded = decode_file(&content).map_err(|why| PictureFileError::unfit(path, why))?;

    // Not refused, because a dark picture of 16 bits is possible; the words name the usual mistake.
    if let Some(highest) = decoded.highest
        && highest < FEW_BITS
    {
        let advice = match decoded.told_bits {
            Some(bits) => format!(
                "It says {bits} bits, and its values are taken for scaled to 16; if they are not, save it as \
                 PGM with its maxval, or scaled to 16 bits"
            ),
            None => {
                "If its values have 10, 12 or 14 bits, save it as PGM with its maxval, as PNG with \
                     sBIT, or scaled to 16 bits"
                    .to_owned()
            }
        };

        tracing::warn!(
            "{}: 16 bits a channel, and no value above {highest} of 65535: dark. {advice}",
            path.display()
        );
    }

    Ok(decoded.picture)
}

/// The picture in the bytes of a file.
///
/// # Errors
/// When they are no picture to judge.
pub fn decode(bytes: &[u8]) -> Result<Picture, Unfit> {
    decode_file(bytes).map(|decoded| decoded.picture)
}

/// Content of a picture file.
struct DecodedFile {
    picture: Picture,
    /// Highest value of a picture with 16 bits a channel, where it is in doubt how many of them count;
    /// `None` for others.
    highest: Option<u16>,
    /// Number of bits that count, as the file says.
    told_bits: Option<u32>,
}

fn decode_file(bytes: &[u8]) -> Result<DecodedFile, Unfit> {
    // The first bytes of the content tell the format. Suffixes lie: a JPEG called `.png` is common.
    let format = image::guess_format(bytes).map_err(|_| Unfit::Unknown)?;

    if format == ImageFormat::Jpeg {
        return Ok(DecodedFile {
            picture: decode_jpeg(bytes)?,
            highest: None,
            told_bits: None,
        });
    }

    check_content(format, bytes)?;
    let mut decoded = decode_other(format, bytes)?;

    // 10, 12 or 14 bits in 16 are stretched where the file tells their number.
    let told_bits = depth::told_bits(format, bytes);
    let is_sure = told_bits.is_some_and(|bits| depth::scale(&mut decoded, bits));
    let highest = match is_sure {
        true => None,
        false => depth::highest(&mut decoded),
    };

    Ok(DecodedFile {
        picture: packed(decoded)?,
        highest,
        told_bits,
    })
}

/// The pixels of a JPEG, turned as its camera was.
fn decode_jpeg(bytes: &[u8]) -> Result<Picture, Unfit> {
    let decoded = jpeg::decode(bytes, Vec::new())?;

    // What the decoder concealed is not what the camera saw.
    if let Some(damage) = decoded.damage {
        return Err(Unfit::Damaged(damage));
    }

    let orientation = exif::orientation(bytes);
    if orientation == Orientation::NoTransforms {
        return Ok(decoded.picture);
    }

    let width = decoded.picture.width() as u32;
    let height = decoded.picture.height() as u32;
    let rgb = image::RgbImage::from_raw(width, height, decoded.picture.into_rgb());
    let mut turned = DynamicImage::ImageRgb8(rgb.expect("a picture has all its bytes"));
    turned.apply_orientation(orientation);

    packed(turned)
}

/// `[height, width, 3]`, row-major. Grey is repeated, alpha dropped, 16 bits are scaled by 257.
fn packed(decoded: DynamicImage) -> Result<Picture, Unfit> {
    let rgb = decoded.into_rgb8();
    let width = rgb.width() as usize;
    let height = rgb.height() as usize;

    Ok(Picture::new(width, height, rgb.into_raw())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_picture_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(list(folder.path()).is_err_and(|e| e.to_string().contains("no pictures in it")));
        let path = folder.path().join("words.png");
        std::fs::write(&path, b"hello").expect("written");
        assert!(read(&path).is_err_and(|e| e.to_string().contains("words.png: not a picture")));
        assert!(
            read(&folder.path().join("none.png"))
                .is_err_and(|e| e.to_string().contains("none.png"))
        );

        assert!(read(folder.path()).is_err_and(|e| e.to_string().ends_with("not a file")));
    }

    #[test]
    fn twelve_and_fourteen_bits_in_sixteen_are_noticed() {
        let of = |value| {
            let pixel = image::Luma([value]);
            let picture = image::ImageBuffer::from_pixel(2, 2, pixel);
            depth::highest(&mut DynamicImage::ImageLuma16(picture))
        };

        assert!(of(4095).is_some_and(|highest| highest < FEW_BITS));
        assert!(of(16_383).is_some_and(|highest| highest < FEW_BITS));
        assert!(of(16_384).is_some_and(|highest| highest >= FEW_BITS));
        assert_eq!(depth::highest(&mut DynamicImage::new_rgb8(2, 2)), None);
    }
}
