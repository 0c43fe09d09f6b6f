//! Picture files: PNG, JPEG, BMP, TIFF, WebP, PGM and PPM to an 8-bit RGB [`Picture`].
//!
//! The content says what a file is, not its name; 16-bit values are scaled to 8, grey becomes RGB,
//! transparency is dropped, a camera's orientation tag is applied. Refused, because the result would
//! silently be another picture than the one meant: a file that is damaged or cut short, an animation,
//! several pages, CMYK, floating-point values. Masks are labels rather than pictures, and are read by
//! [`mask`].

mod depth;
mod exif;
mod folder;
pub mod mask;

pub use folder::{Expanded, Listing, PassedOver, expand, is_foreign, list, told};

use crate::data::picture::{Picture, PictureError};
use crate::image::jpeg::{self, JpegDamage, JpegError, PIXELS_MAX};
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader};
use std::io::Cursor;
use std::path::Path;

/// Largest size of a decoded picture in bytes; 200 megapixels of 8-bit RGB are 0.6 GB.
const DECODED_MAX: u64 = 1 << 30;
/// Largest size of a file in bytes: it is read whole.
const FILE_MAX: u64 = 1 << 30;
/// Values of 14 bits in 16 end below this.
const FEW_BITS: u16 = 1 << 14;

/// Error of reading a picture file or a folder of them.
#[derive(Debug, thiserror::Error)]
pub enum PictureFileError {
    /// The disk refused.
    #[error("{path}: {error}")]
    Read {
        /// The file or folder.
        path: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file is no picture to judge.
    #[error("{path}: {why}")]
    Unfit {
        /// The file.
        path: String,
        /// The reason.
        why: Unfit,
    },
    /// The folder has no picture.
    #[error("{path}: no pictures in it{}", but(passed_over))]
    Empty {
        /// The folder.
        path: String,
        /// What else is in it.
        passed_over: PassedOver,
    },
}

/// What an empty folder holds beside pictures, in words.
fn but(passed_over: &PassedOver) -> String {
    if passed_over.is_empty() {
        return String::new();
    }

    format!(" (passed over {passed_over})")
}

impl PictureFileError {
    /// An error of reading `path`.
    fn read(path: &Path, error: std::io::Error) -> Self {
        PictureFileError::Read {
            path: path.display().to_string(),
            error,
        }
    }

    /// The error of a file that is no picture to judge.
    fn unfit(path: &Path, why: Unfit) -> Self {
        PictureFileError::Unfit {
            path: path.display().to_string(),
            why,
        }
    }
}

/// Reasons for which the bytes of a file are no picture to judge.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// A folder, a pipe or a device.
    #[error("not a file")]
    NotAFile,
    /// More than `FILE_MAX`.
    #[error("{bytes} bytes are too many, at most {FILE_MAX} are read; make the picture smaller")]
    LargeFile {
        /// Size of the file.
        bytes: u64,
    },
    /// No known picture format.
    #[error("not a picture: neither PNG, JPEG, BMP, TIFF, WebP, PGM nor PPM")]
    Unknown,
    /// A picture format that is not read.
    #[error("a {0:?} cannot be read; save it as PNG, JPEG, BMP, TIFF or WebP")]
    Format(ImageFormat),
    /// The decoder refused.
    #[error("not a readable picture: {0}")]
    Decode(#[from] image::ImageError),
    /// A JPEG of which a part is missing or wrong.
    #[error("{0}; copy or take it again")]
    Damaged(JpegDamage),
    /// A kind of JPEG that cannot be read.
    #[error(transparent)]
    Jpeg(JpegError),
    /// Several pictures in one PNG or WebP.
    #[error("an animation; give one picture")]
    Animated,
    /// Several pictures in one TIFF.
    #[error("a TIFF of several pages; give one picture a file")]
    Pages,
    /// Printing colours, whose look depends on the paper.
    #[error("a CMYK picture; save it as RGB")]
    Cmyk,
    /// Values without a known white.
    #[error(
        "a picture of floating-point values, whose white is not known; save it with 8 or 16 bits a channel"
    )]
    Float,
    /// More than `PIXELS_MAX` or `DECODED_MAX`.
    #[error(
        "a picture of {width} x {height} pixels ({decoded} bytes decoded) is too large, at most {PIXELS_MAX} pixels and {DECODED_MAX} bytes are read; make it smaller"
    )]
    TooLarge {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Bytes after decoding.
        decoded: u64,
    },
    /// A side is zero.
    #[error(transparent)]
    Size(#[from] PictureError),
}

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
        tracing::warn!(
            "{}: 16 bits a channel, and no value above {highest} of 65535: dark. If its values have 10, 12 or 14 bits, \
             save it as PGM with its maxval, as PNG with sBIT, or scaled to 16 bits",
            path.display()
        );
    }

    Ok(decoded.picture)
}

/// The whole content of a file.
fn bytes_of(path: &Path) -> Result<Vec<u8>, PictureFileError> {
    // Asked before the file is opened: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path);
    let metadata = metadata.map_err(|error| PictureFileError::read(path, error))?;
    if !metadata.is_file() {
        return Err(PictureFileError::unfit(path, Unfit::NotAFile));
    }

    let bytes = metadata.len();
    if bytes > FILE_MAX {
        let why = Unfit::LargeFile { bytes };
        return Err(PictureFileError::unfit(path, why));
    }

    // Read whole: the size is bounded above, and all decoders want the bytes at once.
    std::fs::read(path).map_err(|error| PictureFileError::read(path, error))
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
    /// Highest value of a picture with 16 bits a channel whose file does not say how many of them
    /// count; `None` for others.
    highest: Option<u16>,
}

fn decode_file(bytes: &[u8]) -> Result<DecodedFile, Unfit> {
    // The first bytes of the content tell the format. Suffixes lie: a JPEG called `.png` is common.
    let format = image::guess_format(bytes).map_err(|_| Unfit::Unknown)?;
    if format == ImageFormat::Jpeg {
        let picture = decode_jpeg(bytes)?;
        let highest = None;
        return Ok(DecodedFile { picture, highest });
    }

    check_content(format, bytes)?;
    let mut decoded = decode_other(format, bytes)?;

    // 10, 12 or 14 bits in 16 are stretched where the file tells their number.
    let bits = depth::told_bits(format, bytes);
    if let Some(bits) = bits {
        depth::scale(&mut decoded, bits);
    }

    let highest = match bits {
        Some(_) => None,
        None => depth::highest(&mut decoded),
    };

    Ok(DecodedFile {
        picture: packed(decoded)?,
        highest,
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

/// The pixels of any other format as its decoder gives them, turned by the orientation tag.
fn decode_other(format: ImageFormat, bytes: &[u8]) -> Result<DynamicImage, Unfit> {
    // The limit holds for a decoder's own buffers; `check_header` bounds the picture itself.
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(DECODED_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    check_header(&decoder)?;

    // Asked before the decoder is consumed, and applied to the pixels: the picture as a person sees
    // it.
    let orientation = decoder.orientation()?;
    let mut decoded = DynamicImage::from_decoder(decoder)?;
    decoded.apply_orientation(orientation);
    Ok(decoded)
}

/// `[height, width, 3]`, row-major. Grey is repeated, alpha dropped, 16 bits are scaled by 257.
fn packed(decoded: DynamicImage) -> Result<Picture, Unfit> {
    let rgb = decoded.into_rgb8();
    let width = rgb.width() as usize;
    let height = rgb.height() as usize;
    Ok(Picture::new(width, height, rgb.into_raw())?)
}

impl From<JpegError> for Unfit {
    fn from(error: JpegError) -> Self {
        match error {
            JpegError::Damaged(damage) => Unfit::Damaged(damage),
            JpegError::Cmyk => Unfit::Cmyk,
            JpegError::TooLarge { width, height } => Unfit::TooLarge {
                width,
                height,
                decoded: 3 * u64::from(width) * u64::from(height),
            },
            JpegError::Size(error) => Unfit::Size(error),
            unsupported => Unfit::Jpeg(unsupported),
        }
    }
}

/// Refuses content of which the decoder would silently make another picture than the one meant.
fn check_content(format: ImageFormat, bytes: &[u8]) -> Result<(), Unfit> {
    // One reason for each format: a decoder would return the first page or frame.
    match format {
        ImageFormat::Png if is_animated_png(bytes) => Err(Unfit::Animated),
        ImageFormat::WebP if is_animated_webp(bytes) => Err(Unfit::Animated),
        ImageFormat::Tiff if has_pages(bytes) => Err(Unfit::Pages),
        known if folder::can_be_read(known) => Ok(()),
        other => Err(Unfit::Format(other)),
    }
}

/// Checks the header before anything is allocated for it: the decoders themselves check their inner
/// buffers only.
fn check_header(decoder: &impl ImageDecoder) -> Result<(), Unfit> {
    // The product is taken in u64, since the sides of a header may be anything.
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    let decoded = decoder.total_bytes();
    if pixels > PIXELS_MAX || decoded > DECODED_MAX {
        return Err(Unfit::TooLarge {
            width,
            height,
            decoded,
        });
    }

    // Decoders convert CMYK without its profile, to colours that no camera saw.
    let original = decoder.original_color_type();
    if matches!(
        original,
        ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16
    ) {
        return Err(Unfit::Cmyk);
    }

    // The white of floating-point values is a convention of the program that wrote them.
    let colour = decoder.color_type();
    if matches!(colour, ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(Unfit::Float);
    }

    Ok(())
}

fn is_animated_png(bytes: &[u8]) -> bool {
    image::codecs::png::PngDecoder::new(Cursor::new(bytes))
        .is_ok_and(|decoder| decoder.is_apng().unwrap_or(false))
}

fn is_animated_webp(bytes: &[u8]) -> bool {
    image::codecs::webp::WebPDecoder::new(Cursor::new(bytes))
        .is_ok_and(|decoder| decoder.has_animation())
}

fn has_pages(bytes: &[u8]) -> bool {
    tiff::decoder::Decoder::new(Cursor::new(bytes)).is_ok_and(|decoder| decoder.more_images())
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
