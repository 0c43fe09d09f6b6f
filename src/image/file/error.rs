//! Errors of picture files and folders of them.

use crate::data::picture::PictureError;
use crate::image::file::passed_over::PassedOver;
use crate::image::jpeg::{JpegDamage, JpegError, PIXELS_MAX};
use image::ImageFormat;
use std::path::Path;

/// Largest size of a decoded picture in bytes; 200 megapixels of 8-bit RGB are 0.6 GB.
pub const DECODED_MAX: u64 = 1 << 30;
/// Largest size of a file in bytes: it is read whole.
pub const FILE_MAX: u64 = 1 << 30;
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
    pub fn read(path: &Path, error: std::io::Error) -> Self {
        PictureFileError::Read {
            path: path.display().to_string(),
            error,
        }
    }

    /// The error of a file that is no picture to judge.
    pub fn unfit(path: &Path, why: Unfit) -> Self {
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
