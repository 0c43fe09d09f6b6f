//! Content of picture files but JPEGs: bytes to pixels as the decoder gives them, after refusing what it
//! would silently make another picture of.

use crate::image::file::error::{DECODED_MAX, FILE_MAX, PictureFileError, Unfit};
use crate::image::jpeg::PIXELS_MAX;
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader};
use std::io::Cursor;
use std::path::Path;

/// True for the formats that [`super::read`] reads.
pub fn can_be_read(format: ImageFormat) -> bool {
    matches!(
        format,
        ImageFormat::Png
            | ImageFormat::Jpeg
            | ImageFormat::Bmp
            | ImageFormat::Tiff
            | ImageFormat::WebP
            | ImageFormat::Pnm
    )
}

/// The whole content of a file.
pub fn bytes_of(path: &Path) -> Result<Vec<u8>, PictureFileError> {
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

/// The pixels of any other format as its decoder gives them, turned by the orientation tag.
pub fn decode_other(format: ImageFormat, bytes: &[u8]) -> Result<DynamicImage, Unfit> {
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

/// Refuses content of which the decoder would silently make another picture than the one meant.
pub fn check_content(format: ImageFormat, bytes: &[u8]) -> Result<(), Unfit> {
    // One reason for each format: a decoder would return the first page or frame.
    match format {
        ImageFormat::Png if is_animated_png(bytes) => Err(Unfit::Animated),
        ImageFormat::WebP if is_animated_webp(bytes) => Err(Unfit::Animated),
        ImageFormat::Tiff if has_pages(bytes) => Err(Unfit::Pages),
        known if can_be_read(known) => Ok(()),
        other => Err(Unfit::Format(other)),
    }
}

/// Checks the header before anything is allocated for it: the decoders themselves check their inner
/// buffers only.
fn check_header(decoder: &impl ImageDecoder) -> Result<(), Unfit> {
    // In u64, since the sides of a header may be anything.
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
    // A PNG that cannot be read is refused by its decoder later.
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
