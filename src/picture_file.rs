//! Layer 1: picture files: PNG, JPEG, BMP, TIFF, WebP to an 8-bit RGB [`Picture`].
//!
//! What is decided here: 16-bit values are scaled to 8, grey becomes RGB, transparency is dropped, a camera's
//! orientation tag is applied, an animation is refused (which picture would be meant?).

use crate::frame::Picture;
use image::{DynamicImage, ImageDecoder, ImageReader};
use std::path::{Path, PathBuf};

/// A side beyond this is no camera picture but a decompression bomb.
const SIDE_MAX: u32 = 32_768;
/// Bytes that a decoder may allocate.
const DECODED_MAX: u64 = 1 << 30;
const EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"];

#[derive(Debug, thiserror::Error)]
pub enum PictureFileError {
    #[error("{path}: {error}")]
    Read { path: String, error: std::io::Error },
    #[error("{path}: not a readable picture: {error}")]
    Decode { path: String, error: image::ImageError },
    #[error("{path}: an animation; give one picture")]
    Animated { path: String },
    #[error("{path}: no pictures in it (looked for {})", EXTENSIONS.join(", "))]
    Empty { path: String },
}

/// Reads one picture.
pub fn read(path: &Path) -> Result<Picture, PictureFileError> {
    let name = || path.display().to_string();
    let failed = |error| PictureFileError::Decode { path: name(), error };
    let reading = |error| PictureFileError::Read { path: name(), error };
    let mut reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(reading)?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(DECODED_MAX);
    reader.limits(limits);
    if is_animated(path, reader.format()) {
        return Err(PictureFileError::Animated { path: name() });
    }
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let orientation = decoder.orientation().map_err(failed)?;
    let mut decoded = DynamicImage::from_decoder(decoder).map_err(failed)?;
    decoded.apply_orientation(orientation);
    let rgb = decoded.into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Picture::new(width, height, rgb.into_raw()).map_err(|error| PictureFileError::Read {
        path: name(),
        error: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
    })
}

/// True for an animated PNG or WebP.
fn is_animated(path: &Path, format: Option<image::ImageFormat>) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    let file = std::io::BufReader::new(file);
    match format {
        Some(image::ImageFormat::Png) => {
            image::codecs::png::PngDecoder::new(file).is_ok_and(|d| d.is_apng().unwrap_or(false))
        }
        Some(image::ImageFormat::WebP) => image::codecs::webp::WebPDecoder::new(file).is_ok_and(|d| d.has_animation()),
        _ => false,
    }
}

/// The pictures of a folder, by extension, numbers in names in their natural order (`2.png` before `10.png`).
///
/// # Errors
/// When the folder cannot be read or holds no picture.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>, PictureFileError> {
    let reading = |error| PictureFileError::Read { path: folder.display().to_string(), error };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(reading)? {
        let path = entry.map_err(reading)?.path();
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        if extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(PictureFileError::Empty { path: folder.display().to_string() });
    }
    found.sort_by_cached_key(|path| natural_key(&path.file_name().unwrap_or_default().to_string_lossy()));
    Ok(found)
}

/// A file is itself, a folder is its pictures.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, PictureFileError> {
    let mut all = Vec::new();
    for path in paths {
        if path.is_dir() { all.extend(list(path)?) } else { all.push(path.clone()) }
    }
    Ok(all)
}

/// Runs of digits, as numbers, between runs of other characters.
fn natural_key(name: &str) -> Vec<(String, u128, String)> {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let words = rest.len() - rest.trim_start_matches(|c: char| !c.is_ascii_digit()).len();
        let digits = rest[words..].len() - rest[words..].trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = &rest[words..words + digits];
        key.push((rest[..words].to_owned(), number.parse().unwrap_or(u128::MAX), number.to_owned()));
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
        let path = folder.path().join("cut.png");
        image::RgbImage::new(64, 64).save(&path).expect("written");
        let bytes = std::fs::read(&path).expect("there");
        std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
        assert!(read(&path).is_err_and(|e| e.to_string().contains("cut.png: not a readable picture")));
        std::fs::write(&path, b"hello").expect("written");
        assert!(read(&path).is_err());
        assert!(read(&folder.path().join("none.png")).is_err_and(|e| e.to_string().contains("none.png")));
    }

    #[test]
    fn sixteen_bit_and_grey_pictures_become_eight_bit_rgb() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("deep.png");
        image::ImageBuffer::from_pixel(2, 1, image::Luma([65535u16])).save(&path).expect("written");
        assert_eq!(read(&path).expect("readable").rgb(), [255; 6]);
    }
}
