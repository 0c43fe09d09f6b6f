//! Layer 1: picture files: PNG, JPEG, BMP, TIFF, WebP to an 8-bit RGB [`Picture`].
//!
//! What is decided here: the content says what a file is, not its name; 16-bit values are scaled to 8, grey becomes
//! RGB, transparency is dropped, a camera's orientation tag is applied. Refused, because the result would silently be
//! another picture than the one meant: a file cut short, an animation, several pages, CMYK, floating-point values.

mod jpeg;

use crate::data::picture::{Picture, PictureError};
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader};
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// More is no camera picture but a decompression bomb: the largest industrial sensors have 150 megapixels.
const PIXELS_MAX: u64 = 200_000_000;
/// Bytes that a decoded picture may have; 200 megapixels of 8-bit RGB are 0.6 GB.
const DECODED_MAX: u64 = 1 << 30;
/// Bytes that a file may have: it is read whole.
const FILE_MAX: u64 = 1 << 30;
/// 12 bits in 16 end below this.
const FEW_BITS: u16 = 1 << 12;
const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

#[derive(Debug, thiserror::Error)]
pub enum PictureFileError {
    #[error("{path}: {error}")]
    Read { path: String, error: std::io::Error },
    #[error("{path}: {why}")]
    Unfit { path: String, why: Unfit },
    #[error("{path}: no pictures in it (looked for {})", EXTENSIONS.join(", "))]
    Empty { path: String },
}

/// Why the bytes of a file are no picture to judge.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("not a file")]
    NotAFile,
    #[error("{bytes} bytes are too many, at most {FILE_MAX} are read; make the picture smaller")]
    LargeFile { bytes: u64 },
    #[error("not a picture: neither PNG, JPEG, BMP, TIFF nor WebP")]
    Unknown,
    #[error("a {0:?} cannot be read; save it as PNG, JPEG, BMP, TIFF or WebP")]
    Format(ImageFormat),
    #[error("not a readable picture: {0}")]
    Decode(#[from] image::ImageError),
    #[error("a JPEG without its end: the file was cut short; copy or take it again")]
    CutShort,
    #[error("an animation; give one picture")]
    Animated,
    #[error("a TIFF of several pages; give one picture a file")]
    Pages,
    #[error("a CMYK picture; save it as RGB")]
    Cmyk,
    #[error(
        "a picture of floating-point values, whose white is not known; save it with 8 or 16 bits a channel"
    )]
    Float,
    #[error(
        "a picture of {width} x {height} pixels ({decoded} bytes decoded) is too large, at most {PIXELS_MAX} pixels and {DECODED_MAX} bytes are read; make it smaller"
    )]
    TooLarge {
        width: u32,
        height: u32,
        decoded: u64,
    },
    #[error(transparent)]
    Size(#[from] PictureError),
}

/// Reads one picture.
pub fn read(path: &Path) -> Result<Picture, PictureFileError> {
    let name = || path.display().to_string();
    let reading = |error| PictureFileError::Read {
        path: name(),
        error,
    };
    let unfit = |why| PictureFileError::Unfit { path: name(), why };
    // Asked before it is opened: opening a pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(reading)?;
    if !metadata.is_file() {
        return Err(unfit(Unfit::NotAFile));
    }
    if metadata.len() > FILE_MAX {
        return Err(unfit(Unfit::LargeFile {
            bytes: metadata.len(),
        }));
    }
    let (picture, highest) = decoded(&std::fs::read(path).map_err(reading)?).map_err(unfit)?;
    if let Some(highest) = highest.filter(|highest| *highest < FEW_BITS) {
        tracing::warn!(
            "{}: 16 bits a channel, and no value above {highest} of 65535: nearly black. If it holds 10 or 12 bits, scale them to 16",
            name()
        );
    }
    Ok(picture)
}

/// The picture in the bytes of a file.
pub fn decode(bytes: &[u8]) -> Result<Picture, Unfit> {
    decoded(bytes).map(|(picture, _)| picture)
}

/// The picture, and the highest value of one with 16 bits a channel.
fn decoded(bytes: &[u8]) -> Result<(Picture, Option<u16>), Unfit> {
    let format = image::guess_format(bytes).map_err(|_| Unfit::Unknown)?;
    match format {
        ImageFormat::Png if is_animated_png(bytes) => return Err(Unfit::Animated),
        ImageFormat::WebP if is_animated_webp(bytes) => return Err(Unfit::Animated),
        ImageFormat::Tiff if has_pages(bytes) => return Err(Unfit::Pages),
        ImageFormat::Jpeg => match jpeg::walk(bytes) {
            jpeg::Walk {
                is_whole: false, ..
            } => return Err(Unfit::CutShort),
            jpeg::Walk { components: 4, .. } => return Err(Unfit::Cmyk),
            _ => {}
        },
        ImageFormat::Png | ImageFormat::WebP | ImageFormat::Tiff | ImageFormat::Bmp => {}
        other => return Err(Unfit::Format(other)),
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(DECODED_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    check(&decoder)?;
    let orientation = decoder.orientation()?;
    let mut decoded = DynamicImage::from_decoder(decoder)?;
    decoded.apply_orientation(orientation);
    let highest = highest(&decoded);
    let rgb = decoded.into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Ok((Picture::new(width, height, rgb.into_raw())?, highest))
}

fn highest(decoded: &DynamicImage) -> Option<u16> {
    let values = match decoded {
        DynamicImage::ImageLuma16(picture) => picture.as_raw(),
        DynamicImage::ImageRgb16(picture) => picture.as_raw(),
        // Transparency is often full.
        _ => return None,
    };
    values.iter().max().copied()
}

/// What the header says, before anything is allocated for it: the decoders themselves check their inner buffers only.
fn check(decoder: &impl ImageDecoder) -> Result<(), Unfit> {
    let ((width, height), decoded) = (decoder.dimensions(), decoder.total_bytes());
    if u64::from(width) * u64::from(height) > PIXELS_MAX || decoded > DECODED_MAX {
        return Err(Unfit::TooLarge {
            width,
            height,
            decoded,
        });
    }
    if matches!(
        decoder.original_color_type(),
        ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16
    ) {
        return Err(Unfit::Cmyk);
    }
    if matches!(decoder.color_type(), ColorType::Rgb32F | ColorType::Rgba32F) {
        return Err(Unfit::Float);
    }
    Ok(())
}

fn is_animated_png(bytes: &[u8]) -> bool {
    image::codecs::png::PngDecoder::new(Cursor::new(bytes))
        .is_ok_and(|d| d.is_apng().unwrap_or(false))
}

fn is_animated_webp(bytes: &[u8]) -> bool {
    image::codecs::webp::WebPDecoder::new(Cursor::new(bytes)).is_ok_and(|d| d.has_animation())
}

fn has_pages(bytes: &[u8]) -> bool {
    tiff::decoder::Decoder::new(Cursor::new(bytes)).is_ok_and(|d| d.more_images())
}

/// The pictures of a folder, by extension, numbers in names in their natural order (`2.png` before `10.png`).
///
/// # Errors
/// When the folder cannot be read or holds no picture.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, PictureFileError> {
    let reading = |error| PictureFileError::Read {
        path: folder.display().to_string(),
        error,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(reading)? {
        let path = entry.map_err(reading)?.path();
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        if extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(PictureFileError::Empty {
            path: folder.display().to_string(),
        });
    }
    found.sort_by_cached_key(|path| {
        natural_key(&path.file_name().unwrap_or_default().to_string_lossy())
    });
    Ok(found)
}

/// A file is itself, a folder is its pictures; a folder without any is a problem beside them.
pub fn expand(paths: &[PathBuf]) -> (Vec<PathBuf>, Vec<PictureFileError>) {
    let (mut files, mut problems) = (vec![], vec![]);
    for path in paths {
        match if path.is_dir() {
            list(path)
        } else {
            Ok(vec![path.clone()])
        } {
            Ok(found) => files.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    (files, problems)
}

/// Runs of digits, as numbers, between runs of other characters.
fn natural_key(name: &str) -> Vec<(String, u128, String)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let words = rest.len() - rest.trim_start_matches(|c: char| !c.is_ascii_digit()).len();
        let digits = rest[words..].len()
            - rest[words..]
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .len();
        let number = &rest[words..words + digits];
        key.push((
            rest[..words].to_owned(),
            number.parse().unwrap_or(u128::MAX),
            number.to_owned(),
        ));
        rest = &rest[words + digits..];
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
