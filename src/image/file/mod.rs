//! Picture files: PNG, JPEG, BMP, TIFF, WebP to an 8-bit RGB [`Picture`].
//!
//! The content says what a file is, not its name; 16-bit values are scaled to 8, grey becomes RGB,
//! transparency is dropped, a camera's orientation tag is applied. Refused, because the result would
//! silently be another picture than the one meant: a file cut short, an animation, several pages, CMYK,
//! floating-point values.

mod jpeg;

use crate::data::picture::{Picture, PictureError};
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader};
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Largest number of pixels. A larger picture is a decompression bomb: the largest industrial sensors
/// have 150 megapixels.
const PIXELS_MAX: u64 = 200_000_000;
/// Largest size of a decoded picture in bytes; 200 megapixels of 8-bit RGB are 0.6 GB.
const DECODED_MAX: u64 = 1 << 30;
/// Largest size of a file in bytes: it is read whole.
const FILE_MAX: u64 = 1 << 30;
/// Values of 12 bits in 16 end below this.
const FEW_BITS: u16 = 1 << 12;
/// Extensions of pictures in a folder, in small letters.
const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

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
    #[error("{path}: no pictures in it (looked for {})", EXTENSIONS.join(", "))]
    Empty {
        /// The folder.
        path: String,
    },
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
    #[error("not a picture: neither PNG, JPEG, BMP, TIFF nor WebP")]
    Unknown,
    /// A picture format that is not read.
    #[error("a {0:?} cannot be read; save it as PNG, JPEG, BMP, TIFF or WebP")]
    Format(ImageFormat),
    /// The decoder refused.
    #[error("not a readable picture: {0}")]
    Decode(#[from] image::ImageError),
    /// A JPEG that was cut short.
    #[error("a JPEG without its end: the file was cut short; copy or take it again")]
    CutShort,
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
    let unfit = |why| PictureFileError::Unfit {
        path: path.display().to_string(),
        why,
    };

    // Asked before the file is opened: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, error))?;
    if !metadata.is_file() {
        return Err(unfit(Unfit::NotAFile));
    }

    let bytes = metadata.len();
    if bytes > FILE_MAX {
        return Err(unfit(Unfit::LargeFile { bytes }));
    }

    // Read whole: the size is bounded above, and all decoders want the bytes at once.
    let content = std::fs::read(path).map_err(|error| unreadable(path, error))?;
    let decoded = decode_file(&content).map_err(unfit)?;
    // Not refused, because a dark picture of 16 bits is possible; the words name the usual mistake.
    if let Some(highest) = decoded.highest
        && highest < FEW_BITS
    {
        tracing::warn!(
            "{}: 16 bits a channel, and no value above {highest} of 65535: nearly black. If it holds 10 or 12 bits, scale them to 16",
            path.display()
        );
    }

    Ok(decoded.picture)
}

fn unreadable(path: &Path, error: std::io::Error) -> PictureFileError {
    PictureFileError::Read {
        path: path.display().to_string(),
        error,
    }
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
    /// Highest value of a picture with 16 bits a channel; `None` for others.
    highest: Option<u16>,
}

fn decode_file(bytes: &[u8]) -> Result<DecodedFile, Unfit> {
    // By the first bytes of the content. Suffixes lie: a JPEG called `.png` is common.
    let format = image::guess_format(bytes).map_err(|_| Unfit::Unknown)?;
    check_content(format, bytes)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // The limit holds for a decoder's own buffers; `check_header` bounds the picture itself.
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
    // Before the values are scaled to 8 bits.
    let highest = highest(&decoded);
    // `[height, width, 3]`, row-major. Grey is repeated, alpha dropped, 16 bits scaled by 257.
    let rgb = decoded.into_rgb8();
    let width = rgb.width() as usize;
    let height = rgb.height() as usize;
    Ok(DecodedFile {
        picture: Picture::new(width, height, rgb.into_raw())?,
        highest,
    })
}

/// Refuses content of which the decoder would silently make another picture than the one meant.
fn check_content(format: ImageFormat, bytes: &[u8]) -> Result<(), Unfit> {
    // One reason for each format. A decoder would return the first page or frame, or decode what is
    // there of a file that was cut short.
    match format {
        ImageFormat::Png if is_animated_png(bytes) => Err(Unfit::Animated),
        ImageFormat::WebP if is_animated_webp(bytes) => Err(Unfit::Animated),
        ImageFormat::Tiff if has_pages(bytes) => Err(Unfit::Pages),
        ImageFormat::Jpeg => {
            let walk = jpeg::walk(bytes);
            if !walk.is_whole {
                Err(Unfit::CutShort)
            } else if walk.components == 4 {
                Err(Unfit::Cmyk)
            } else {
                Ok(())
            }
        }
        ImageFormat::Png | ImageFormat::WebP | ImageFormat::Tiff | ImageFormat::Bmp => Ok(()),
        other => Err(Unfit::Format(other)),
    }
}

fn highest(decoded: &DynamicImage) -> Option<u16> {
    // The highest of all channels.
    let values = match decoded {
        DynamicImage::ImageLuma16(picture) => picture.as_raw(),
        DynamicImage::ImageRgb16(picture) => picture.as_raw(),
        // Transparency is often full.
        _ => return None,
    };

    values.iter().max().copied()
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

/// The pictures of a folder, by extension, numbers in names in their natural order (`2.png` before
/// `10.png`).
///
/// # Errors
/// When the folder cannot be read or holds no picture.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, PictureFileError> {
    // Only the folder itself: what lies in folders below it belongs to another class or line.
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        if has_picture_extension(&path) {
            found.push(path);
        }
    }

    if found.is_empty() {
        return Err(PictureFileError::Empty {
            path: folder.display().to_string(),
        });
    }

    // The order of a directory is the file system's; results must not depend on it.
    found.sort_by_cached_key(|path| {
        let name = path.file_name().unwrap_or_default();
        natural_key(&name.to_string_lossy())
    });

    Ok(found)
}

fn has_picture_extension(path: &Path) -> bool {
    // Cameras and Windows programs write `.JPG`.
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    EXTENSIONS.contains(&extension.to_lowercase().as_str())
}

/// The files of several paths. A file is itself, a folder is its pictures; a folder without any is a
/// problem beside them.
pub fn expand(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<PictureFileError>) {
    let mut files = vec![];
    let mut problems = vec![];
    // Problems are gathered, so that one run tells all folders that are wrong.
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }

        match list(path) {
            Ok(found) => files.extend(found),
            Err(problem) => problems.push(problem),
        }
    }

    (files, problems)
}

/// Key by which numbers in names sort as numbers: runs of digits, as a number and as they are, each
/// after the run of other characters before it.
fn natural_key(name: &str) -> Vec<(String, u128, String)> {
    let mut key = Vec::new();
    let mut rest = name;
    // Each turn takes the characters before a number and the number itself.
    while !rest.is_empty() {
        let is_digit = |c: char| c.is_ascii_digit();
        let words = rest.find(is_digit).unwrap_or(rest.len());
        let (before, from_number) = rest.split_at(words);
        let digits = from_number
            .find(|c: char| !is_digit(c))
            .unwrap_or(from_number.len());

        let (number, after) = from_number.split_at(digits);
        // Beyond 38 digits all numbers are equal here; the digits themselves, the third part of the
        // key, still order them.
        let value = number.parse().unwrap_or(u128::MAX);
        key.push((before.to_owned(), value, number.to_owned()));
        rest = after;
    }

    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_sort_as_numbers() {
        let mut names = ["b10.png", "b2.png", "a.png", "b02.png"];
        names.sort_by_cached_key(|name| natural_key(name));
        assert_eq!(names, ["a.png", "b02.png", "b2.png", "b10.png"]);
    }

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
    fn twelve_bits_in_sixteen_are_noticed() {
        let of = |value| {
            highest(&DynamicImage::ImageLuma16(image::ImageBuffer::from_pixel(
                2,
                2,
                image::Luma([value]),
            )))
        };

        assert!(of(4095).is_some_and(|highest| highest < FEW_BITS));
        assert!(of(4096).is_some_and(|highest| highest >= FEW_BITS));
        assert_eq!(highest(&DynamicImage::new_rgb8(2, 2)), None);
    }

    #[test]
    fn an_empty_folder_is_a_problem_beside_the_good_ones() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a.png");
        let (files, problems) = expand(&[folder.path().to_owned(), file.clone()]);
        assert_eq!((files, problems.len()), (vec![file], 1));
    }
}
