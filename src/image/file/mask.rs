//! Masks of a data set: which pixels of a picture are defect.
//!
//! A mask is labels, not a photograph: 0 is good, all else is defect, in the values as the file has
//! them. No value is scaled, no colour converted. What could mean two things is refused with its reason:
//!
//! | file | read as |
//! |---|---|
//! | grey of 1 to 16 bits, RGB | a pixel is defect unless all its values are 0 |
//! | palette | the same of its index, if index 0 is black and nothing else is |
//! | alpha | dropped where it is full, or where it marks what the colours mark |
//! | JPEG, lossy WebP, JPEG in TIFF, smeared edges | refused: where the defect ends is not known |
//! | all of the border marked, and most of the picture | refused: inverted |
//! | orientation tag | applied, as to the picture |

use crate::image::file::content::{bytes_of, check_content, decode_other};
use crate::image::file::error::{PictureFileError, Unfit};
use crate::image::file::exif;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::Path;
use tiff::decoder::Decoder as TiffDecoder;
use tiff::tags::Tag;

/// Different labels that a mask may have. Drawn labels have a few; photographs and smeared edges have
/// dozens.
const LABELS_MAX: usize = 64;
/// Share of the picture above which a mask whose whole border is marked is taken for an inverted one.
const INVERTED: f64 = 0.5;

/// A mask as a data set means it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// True for each pixel of a defect, row-major.
    pub is_defect: Vec<bool>,
    /// Orientation tag of the file, which was applied.
    pub orientation: Orientation,
}

/// Reasons for which a picture file is no mask.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// The file cannot be read as a picture.
    #[error(transparent)]
    File(#[from] PictureFileError),
    /// The file is a picture, and not one of labels.
    #[error("{path}: {why}")]
    Unclear {
        /// The file.
        path: String,
        /// The reason.
        why: Unclear,
    },
}

/// Reasons for which a mask could mean two things.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unclear {
    /// A format that changes values.
    #[error("a mask must not be lossy, {0} smears its edges; draw it anew and save it as PNG")]
    Lossy(&'static str),
    /// Many values.
    #[error(
        "{labels} different values: a photograph, or a mask with smeared edges, whose defects have no clear end; \
         save it with 0 for good and one value for each defect"
    )]
    Smeared {
        /// Number of different values.
        labels: usize,
    },
    /// Index and colour say different things.
    #[error(
        "a palette in which index 0 is not black or another index is: its numbers and its colours mark different pixels; \
         save it as grey, 0 for good"
    )]
    Palette,
    /// Transparency and colour say different things.
    #[error(
        "transparency and colours mark different pixels; save it as grey without transparency, 0 for good"
    )]
    Alpha,
    /// The border is marked.
    #[error(
        "all of its border and {percent} % of its pixels are marked: an inverted mask; 0 must be good"
    )]
    Inverted {
        /// Share of the pixels.
        percent: u32,
    },
}

/// Reads a mask.
///
/// # Errors
/// When the file is no picture, or what it marks is not clear.
pub fn read(path: &Path) -> Result<Mask, MaskError> {
    // Content decides: a JPEG called `a_mask.png` is a JPEG.
    let bytes = bytes_of(path)?;
    let format =
        image::guess_format(&bytes).map_err(|_| PictureFileError::unfit(path, Unfit::Unknown))?;

    let unclear = |why| MaskError::Unclear {
        path: path.display().to_string(),
        why,
    };

    refuse_lossy(format, &bytes).map_err(unclear)?;
    check_content(format, &bytes).map_err(|why| PictureFileError::unfit(path, why))?;

    let decoded = decode_other(format, &bytes);
    let decoded = decoded.map_err(|why| PictureFileError::unfit(path, why))?;

    // A palette is checked by its own indices and colours; the decoder has made colours of them.
    refuse_palette(format, &bytes).map_err(unclear)?;
    let is_defect = marked(&decoded).map_err(unclear)?;
    let mask = Mask {
        width: decoded.width() as usize,
        height: decoded.height() as usize,
        is_defect,
        orientation: orientation(format, &bytes),
    };

    mask.refuse_inverted().map_err(unclear)?;
    Ok(mask)
}

/// Orientation tag of a picture file; none where it has none or cannot be read.
pub fn orientation_of(path: &Path) -> Orientation {
    // The picture itself was read before, so that a failure here is not the first one.
    let bytes = bytes_of(path).unwrap_or_default();

    match image::guess_format(&bytes) {
        Ok(format) => orientation(format, &bytes),
        Err(_) => Orientation::NoTransforms,
    }
}

fn orientation(format: ImageFormat, bytes: &[u8]) -> Orientation {
    // A JPEG's tag stands in a segment of its own.
    if format == ImageFormat::Jpeg {
        return exif::orientation(bytes);
    }

    let reader = ImageReader::with_format(Cursor::new(bytes), format);
    let found = reader
        .into_decoder()
        .and_then(|mut decoder| decoder.orientation());

    found.unwrap_or(Orientation::NoTransforms)
}

impl Mask {
    /// Refuses a mask of which the whole border and most of the rest is marked. A picture that is
    /// marked everywhere is no such mask: it says that all of the part is wrong.
    fn refuse_inverted(&self) -> Result<(), Unclear> {
        // The share of all pixels first, since most masks mark little.
        let all = self.is_defect.len();
        let marked = self.is_defect.iter().filter(|is_defect| **is_defect);
        let marked = marked.count();
        let share = marked as f64 / all as f64;

        let is_marked_everywhere = marked == all;
        if share <= INVERTED || is_marked_everywhere {
            return Ok(());
        }

        // First and last row, then the ends of all rows between them.
        let mut rows = self.is_defect.chunks_exact(self.width);
        let first = rows.next().unwrap_or_default();
        let last = rows.next_back().unwrap_or_default();
        let are_marked = |pixels: &[bool]| pixels.iter().all(|is_defect| *is_defect);
        let are_ends_marked = are_marked(first) && are_marked(last);

        let right = self.width - 1;
        let are_sides_marked = rows.all(|row| row[0] && row[right]);

        if are_ends_marked && are_sides_marked {
            let percent = (100.0 * share) as u32;
            return Err(Unclear::Inverted { percent });
        }

        Ok(())
    }
}

/// Refuses formats that keep an impression of a picture rather than its values.
fn refuse_lossy(format: ImageFormat, bytes: &[u8]) -> Result<(), Unclear> {
    match format {
        ImageFormat::Jpeg => Err(Unclear::Lossy("JPEG")),
        // The lossless form has the chunk `VP8L`; a file of both holds lossy pixels.
        ImageFormat::WebP => {
            let mut names = bytes.windows(4);

            match names.any(|name| name == b"VP8 ") {
                true => Err(Unclear::Lossy("lossy WebP")),
                false => Ok(()),
            }
        }

        ImageFormat::Tiff if is_jpeg_in_tiff(bytes) => Err(Unclear::Lossy("JPEG in TIFF")),
        _ => Ok(()),
    }
}

fn is_jpeg_in_tiff(bytes: &[u8]) -> bool {
    /// JPEG, in the new form and the old one.
    const JPEG: [u32; 2] = [7, 6];

    // The tag of the first page; several pages are refused elsewhere.
    let compression = TiffDecoder::new(Cursor::new(bytes))
        .and_then(|mut decoder| decoder.get_tag_u32(Tag::Compression));

    compression.is_ok_and(|compression| JPEG.contains(&compression))
}

/// Refuses a palette of which numbers and colours mark different pixels.
fn refuse_palette(format: ImageFormat, bytes: &[u8]) -> Result<(), Unclear> {
    if format != ImageFormat::Png {
        return Ok(());
    }

    // Indices as they are: no transformation to colours, one byte for 8 / depth of them.
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let Ok(mut reader) = decoder.read_info() else {
        return Ok(());
    };

    let Some(palette) = reader
        .info()
        .palette
        .as_ref()
        .map(|palette| palette.to_vec())
    else {
        return Ok(());
    };

    if reader.info().color_type != png::ColorType::Indexed {
        return Ok(());
    }

    // Which indices are used: colours that no pixel has do not matter.
    let depth = reader.info().bit_depth as usize;
    let width = reader.info().width as usize;
    let mut used = BTreeSet::new();

    while let Ok(Some(row)) = reader.next_row() {
        used.extend(indices(row.data(), depth).take(width));
    }

    // An interlaced picture has narrow rows, filled up with zeros: index 0 is then among the used
    // ones, which asks for nothing that a mask of labels does not have.
    let colour = |index: u8| palette.get(3 * usize::from(index)..).unwrap_or_default();
    let is_black = |index: u8| colour(index).starts_with(&[0; 3]);

    let agrees = used.iter().all(|index| is_black(*index) == (*index == 0));
    if agrees {
        Ok(())
    } else {
        Err(Unclear::Palette)
    }
}

/// The indices of a row of `depth` bits each.
fn indices(row: &[u8], depth: usize) -> impl Iterator<Item = u8> + '_ {
    // From the highest bits of a byte to the lowest.
    let each = 8 / depth;
    let mask = (u16::MAX >> (16 - depth)) as u8;
    let of_byte = move |byte: u8| {
        (0..each).map(move |at| {
            let below = 8 - depth * (at + 1);
            (byte >> below) & mask
        })
    };

    row.iter().copied().flat_map(of_byte)
}

/// True for each pixel that the values mark.
fn marked(decoded: &DynamicImage) -> Result<Vec<bool>, Unclear> {
    // One walk over all pixels: what is marked, how many labels there are, and what transparency
    // says.
    let pixels = Pixels::of(decoded);
    let mut marked = Vec::new();
    let mut labels = BTreeSet::new();
    let mut levels = BTreeSet::new();
    let mut is_alpha_full = true;
    let mut is_alpha_equal = true;

    for pixel in pixels.values.chunks_exact(pixels.channels) {
        let (colour, alpha) = pixel.split_at(pixels.coloured);
        let is_marked = colour.iter().any(|value| *value != 0);
        marked.push(is_marked);

        if labels.len() <= LABELS_MAX {
            labels.insert(label(colour));
            levels.extend(colour.iter().max());
        }

        for alpha in alpha {
            is_alpha_full &= *alpha == pixels.opaque;
            is_alpha_equal &= (*alpha != 0) == is_marked;
        }
    }

    // Transparency that marks what the colours mark says nothing new.
    if !is_alpha_full && !is_alpha_equal {
        return Err(Unclear::Alpha);
    }

    // Labels are few, and do not crowd around black and white.
    if labels.len() > LABELS_MAX || is_smeared(&levels, pixels.opaque) {
        let labels = labels.len();
        return Err(Unclear::Smeared { labels });
    }

    Ok(marked)
}

/// One number for a pixel's colour.
fn label(colour: &[u16]) -> u64 {
    colour
        .iter()
        .fold(0, |label, value| (label << 16) | u64::from(*value))
}

/// True for values that ring around 0 and around the highest one, as a JPEG leaves them. Labels count
/// upwards from 1, beside 255 for what is to be ignored.
fn is_smeared(levels: &BTreeSet<u16>, highest: u16) -> bool {
    // An eighth of all values at either end, black and white themselves left out.
    let eighth = highest / 8;
    let below = levels.range(highest - eighth..highest).count();
    let above = levels.range(1..eighth).count();

    below >= 2 && above >= 2
}

/// Values of a decoded picture, each as 16 bits, unscaled.
struct Pixels {
    values: Vec<u16>,
    /// Values of a pixel.
    channels: usize,
    /// Colours among them; the last one may be alpha.
    coloured: usize,
    /// The highest value: full alpha.
    opaque: u16,
}

impl Pixels {
    fn of(decoded: &DynamicImage) -> Self {
        // Two bytes a value where the file has 16 bits.
        let colour = decoded.color();
        let channels = usize::from(colour.channel_count());
        let is_deep = usize::from(colour.bytes_per_pixel()) == 2 * channels;
        let bytes = decoded.as_bytes();
        let pairs = bytes.as_chunks::<2>().0.iter();
        let values = if is_deep {
            pairs.map(|pair| u16::from_ne_bytes(*pair)).collect()
        } else {
            bytes.iter().map(|value| u16::from(*value)).collect()
        };

        Pixels {
            values,
            channels,
            coloured: channels - usize::from(colour.has_alpha()),
            opaque: if is_deep { u16::MAX } else { 255 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ColorType, ImageFormat};

    fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).expect("written");
        (folder, file)
    }

    fn read_bytes(bytes: &[u8]) -> Result<Mask, MaskError> {
        let (_folder, file) = written("mask.png", bytes);
        read(&file)
    }

    fn encoded(values: &[u8], width: u32, height: u32, colour: ColorType) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        let format = ImageFormat::Png;
        image::write_buffer_with_format(&mut bytes, values, width, height, colour, format)
            .expect("encodes");

        bytes.into_inner()
    }

    fn why(bytes: &[u8]) -> Unclear {
        match read_bytes(bytes).expect_err("could mean two things") {
            MaskError::Unclear { why, .. } => why,
            MaskError::File(error) => panic!("{error}"),
        }
    }

    #[test]
    fn every_value_but_zero_is_a_defect_also_the_smallest_of_sixteen_bits() {
        let ids = [0u16, 1, 2, 127, 128, 65_535];
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_ne_bytes()).collect();
        let mask = read_bytes(&encoded(&bytes, 6, 1, ColorType::L16)).expect("labels");
        assert_eq!(mask.is_defect, [false, true, true, true, true, true]);

        let classes = encoded(&[0, 1, 2, 3, 255, 0], 3, 2, ColorType::L8);
        let mask = read_bytes(&classes).expect("labels");
        assert_eq!((mask.width, mask.height), (3, 2));
        assert_eq!(mask.is_defect, [false, true, true, true, true, false]);

        let colours = encoded(&[0, 0, 0, 0, 0, 1], 2, 1, ColorType::Rgb8);
        assert_eq!(
            read_bytes(&colours).expect("labels").is_defect,
            [false, true]
        );
    }

    #[test]
    fn alpha_counts_only_where_it_says_what_the_colours_say() {
        let full = encoded(&[0, 255, 9, 255], 2, 1, ColorType::La8);
        assert_eq!(read_bytes(&full).expect("opaque").is_defect, [false, true]);
        let same = encoded(&[0, 0, 9, 255], 2, 1, ColorType::La8);
        assert_eq!(read_bytes(&same).expect("equal").is_defect, [false, true]);

        // White everywhere, the defect in the transparency; and erased colours.
        assert_eq!(
            why(&encoded(&[255, 0, 255, 255], 2, 1, ColorType::La8)),
            Unclear::Alpha
        );
        let erased = encoded(&[200, 0, 0, 0, 200, 0, 0, 255], 2, 1, ColorType::Rgba8);
        assert_eq!(why(&erased), Unclear::Alpha);
    }

    /// An indexed PNG of four pixels.
    fn indexed(palette: &[u8], indices: [u8; 4]) -> Vec<u8> {
        let mut bytes = vec![];
        let mut encoder = png::Encoder::new(&mut bytes, 4, 1);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Two);
        encoder.set_palette(palette.to_vec());
        let mut writer = encoder.write_header().expect("memory takes all");
        let packed = indices.iter().fold(0, |byte, index| (byte << 2) | index);
        writer
            .write_image_data(&[packed])
            .expect("memory takes all");
        drop(writer);
        bytes
    }

    #[test]
    fn a_palette_is_read_where_its_numbers_and_colours_agree() {
        let classes = indexed(&[0, 0, 0, 128, 0, 0, 0, 128, 0], [0, 1, 2, 0]);
        let mask = read_bytes(&classes).expect("they agree");
        assert_eq!(mask.is_defect, [false, true, true, false]);

        // White is number 0, as programs that save space order their colours.
        let turned = indexed(&[255, 255, 255, 0, 0, 0], [0, 1, 1, 1]);
        assert_eq!(why(&turned), Unclear::Palette);
        // Class 2 is black.
        let black = indexed(&[0, 0, 0, 128, 0, 0, 0, 0, 0], [0, 1, 2, 0]);
        assert_eq!(why(&black), Unclear::Palette);
    }

    #[test]
    fn an_inverted_mask_is_refused_and_a_large_defect_is_not() {
        let drawn = |is_marked: &dyn Fn(usize, usize) -> bool| {
            let pixel = |at: usize| u8::from(is_marked(at % 10, at / 10)) * 255;
            let values: Vec<u8> = (0..80).map(pixel).collect();
            encoded(&values, 10, 8, ColorType::L8)
        };

        let inverted = drawn(&|x, y| !((3..6).contains(&x) && (2..5).contains(&y)));
        assert_eq!(why(&inverted), Unclear::Inverted { percent: 88 });
        for large in [
            drawn(&|_, y| y > 0),
            drawn(&|_, _| true),
            drawn(&|x, y| x == 0 || y == 0 || x == 9 || y == 7),
        ] {
            read_bytes(&large).expect("as it is");
        }
    }

    #[test]
    fn a_mask_that_went_through_a_lossy_format_is_refused() {
        let drawn = image::GrayImage::from_fn(64, 64, |x, y| {
            image::Luma([
                255 * u8::from((20..40).contains(&x) && (10..50).contains(&y) && x + y > 40)
            ])
        });

        let mut jpeg = vec![];
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 90);
        drawn.write_with_encoder(encoder).expect("encodes");
        assert_eq!(why(&jpeg), Unclear::Lossy("JPEG"));

        // Saved as PNG afterwards, in grey and in colour.
        let again = image::load_from_memory(&jpeg).expect("a JPEG");
        for (values, colour) in [
            (again.to_luma8().into_raw(), ColorType::L8),
            (again.to_rgb8().into_raw(), ColorType::Rgb8),
        ] {
            let found = why(&encoded(&values, 64, 64, colour));
            assert!(matches!(found, Unclear::Smeared { .. }), "{found}");
        }

        let plain = encoded(drawn.as_raw(), 64, 64, ColorType::L8);
        read_bytes(&plain).expect("as it was drawn");
        let blurred = image::imageops::blur(&drawn, 2.0);
        let found = why(&encoded(blurred.as_raw(), 64, 64, ColorType::L8));
        assert!(matches!(found, Unclear::Smeared { .. }), "{found}");
    }
}
