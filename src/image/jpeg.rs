//! Decoder of JPEG pictures, files and MJPEG frames alike, that tells damage within the data.
//!
//! Decoders conceal: what a picture lost is filled with grey or with shifted blocks, and half a part
//! would be judged. libjpeg-turbo conceals as well, but warns; `jpeg.c` turns its warnings into a
//! [`JpegDamage`], and `scan.rs` looks at sequential data a second time. Damage is an early end, data that ends before all blocks came, invalid data, a lost restart marker, left-over data, and scans that are missing. Up to five bytes that are
//! left over before a marker are no damage: some USB cameras send them with whole pictures. An end marker
//! that is missing behind all blocks of a sequential picture is none either. MJPEG frames without Huffman
//! tables get the standard ones.
//!
//! ```text
//! bytes -> header: width, height, colours -> decode -> picture, whole
//!                     |                          \---> picture with concealed rows, and the damage
//!                     \---> refused: CMYK, too large, unsupported, or no header
//! ```

mod scan;

use crate::data::picture::{Picture, PictureError};
use mozjpeg_sys as _;
use scan::{ScanFault, ScanFaultKind, ScanLook};
use std::fmt;

/// Largest number of pixels of a picture. A larger one is a decompression bomb: the largest industrial
/// sensors have 150 megapixels.
pub const PIXELS_MAX: u64 = 200_000_000;

/// Length of libjpeg's words, `JMSG_LENGTH_MAX`.
const WORDS: usize = 200;

/// A decoded JPEG.
#[derive(Debug)]
pub struct JpegPicture {
    /// The picture, as the sensor lies: EXIF's orientation is not applied.
    pub picture: Picture,
    /// Damage of the data. The picture must then not be judged: rows from the damage on are concealed.
    /// `None` if the picture is whole.
    pub damage: Option<JpegDamage>,
}

/// Refusal of [`decode`]: there is no picture.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JpegError {
    /// The header is damaged, or nothing stands behind it.
    #[error("{0}")]
    Damaged(JpegDamage),
    /// Printing colours, whose look depends on the paper.
    #[error("a CMYK picture; save it as RGB")]
    Cmyk,
    /// A kind of JPEG that is not read, in libjpeg's words.
    #[error(
        "a JPEG of a kind that cannot be read ({0}); save it as a baseline or progressive JPEG"
    )]
    Unsupported(String),
    /// More than [`PIXELS_MAX`].
    #[error("a picture of {width} x {height} pixels is too large")]
    TooLarge {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// A side is zero.
    #[error(transparent)]
    Size(#[from] PictureError),
}

/// First damage of a JPEG, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JpegDamage {
    /// Kind of the damage.
    pub kind: DamageKind,
    /// First row of pixels that is not as it was sent; `height` if the damage lies behind the last one.
    pub row: u32,
    /// Rows of the picture; 0 if its header is damaged.
    pub height: u32,
    /// Byte near which the damage was found.
    pub byte: u64,
    /// Bytes of the whole JPEG.
    pub length: u64,
}

/// Kinds of damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DamageKind {
    /// The bytes end before the end marker: cut short.
    NoEnd,
    /// A marker comes before all blocks of the picture came.
    DataMissing,
    /// No code begins with these bits, or the values are none that a picture can have.
    BadCode,
    /// Data is left over when all blocks came: something before was read wrongly.
    LeftOver {
        /// Bytes left over.
        bytes: u32,
    },
    /// A restart marker is missing or another one came.
    RestartLost,
    /// Scans of a picture in several scans did not come.
    ScansMissing,
    /// All other damage, in libjpeg's words.
    Broken(String),
}

impl fmt::Display for JpegDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DamageKind::NoEnd => f.write_str("a JPEG without its end: it was cut short")?,
            DamageKind::DataMissing => f.write_str("a damaged JPEG: data is missing in it")?,
            DamageKind::BadCode => f.write_str("a damaged JPEG: invalid data in it")?,
            DamageKind::LeftOver { bytes } => {
                write!(f, "a damaged JPEG: {bytes} bytes of data too many")?;
            }

            DamageKind::RestartLost => f.write_str("a damaged JPEG: a part of it was lost")?,
            DamageKind::ScansMissing => f.write_str("a damaged JPEG: scans of it are missing")?,
            DamageKind::Broken(words) => write!(f, "a damaged JPEG ({words})")?,
        }

        write!(f, " (at byte {} of {}", self.byte, self.length)?;
        if self.height > 0 && self.row < self.height {
            write!(f, ", row {} of {}", self.row, self.height)?;
        }

        f.write_str(")")
    }
}

/// Decodes one JPEG to RGB. `memory` is used again for the pixels; an empty one will do.
///
/// # Errors
/// [`JpegError`] where there is no picture at all. Damage within a picture is no error but stands
/// beside it: see [`JpegPicture::damage`].
pub fn decode(bytes: &[u8], memory: Vec<u8>) -> Result<JpegPicture, JpegError> {
    // The header alone first: a few bytes can claim any size, and memory is taken for what they claim.
    let header = Report::of_header(bytes);
    let width = header.width;
    let height = header.height;

    if u64::from(width) * u64::from(height) > PIXELS_MAX {
        return Err(JpegError::TooLarge { width, height });
    }

    header.refused()?;
    if let Some(damage) = header.damage(bytes) {
        return Err(JpegError::Damaged(damage));
    }

    // Fresh memory is zero already. Old memory is not cleared, since every row is written; after a fatal
    // error the rows below are cleared, so that they do not show another picture.
    let stride = 3 * width as usize;
    let size = stride * height as usize;
    let mut rgb = memory;

    if rgb.capacity() < size {
        rgb = vec![0; size];
    }

    rgb.resize(size, 0);
    let report = Report::of_decoding(bytes, &mut rgb);
    rgb[stride * report.rows as usize..].fill(0);

    // Refusals that come late: the header does not say which coding the scans have.
    report.refused()?;

    // libjpeg's word first, then the second look at what it read without a warning.
    let damage = match report.damage(bytes) {
        None => match scan::look(bytes) {
            ScanLook::Fault(fault) => Some(header.scan_damage(fault, bytes)),
            ScanLook::Whole | ScanLook::Unknown => None,
        },
        // Cameras that send no end marker send whole pictures all the same.
        Some(damage) if damage.kind == DamageKind::NoEnd => {
            (scan::look(bytes) != ScanLook::Whole).then_some(damage)
        }

        damage => damage,
    };

    match damage {
        Some(damage) if report.has_picture == 0 => Err(JpegError::Damaged(damage)),
        damage => Ok(JpegPicture {
            picture: Picture::new(width as usize, height as usize, rgb)?,
            damage,
        }),
    }
}

/// Findings of `jpeg.c`; the layout is that of its `struct report`.
#[repr(C)]
struct Report {
    width: u32,
    height: u32,
    refusal: u32,
    damage: u32,
    count: u32,
    row: u32,
    at: u64,
    has_picture: u32,
    rows: u32,
    words: [u8; WORDS],
}

unsafe extern "C" {
    fn winspect_jpeg_header(bytes: *const u8, length: usize, report: *mut Report);
    fn winspect_jpeg_decode(bytes: *const u8, length: usize, rgb: *mut u8, report: *mut Report);
}

impl Report {
    fn empty() -> Self {
        Report {
            width: 0,
            height: 0,
            refusal: 0,
            damage: 0,
            count: 0,
            row: 0,
            at: 0,
            has_picture: 0,
            rows: 0,
            words: [0; WORDS],
        }
    }

    fn of_header(bytes: &[u8]) -> Self {
        let mut report = Report::empty();

        // SAFETY: `bytes` are read up to their length, and `report` has the layout that is written.
        unsafe { winspect_jpeg_header(bytes.as_ptr(), bytes.len(), &mut report) };

        report
    }

    /// Decodes to `rgb`, which has the size that the header tells.
    fn of_decoding(bytes: &[u8], rgb: &mut [u8]) -> Self {
        let mut report = Report::empty();

        // SAFETY: as above. `rgb` has three bytes for each pixel of the header, which is read again
        // from the same bytes, so that it says the same.
        unsafe {
            winspect_jpeg_decode(bytes.as_ptr(), bytes.len(), rgb.as_mut_ptr(), &mut report);
        }

        report
    }

    /// Refuses what is whole and yet not decoded. The numbers are those of `enum refusal`.
    fn refused(&self) -> Result<(), JpegError> {
        match self.refusal {
            0 => Ok(()),
            1 => Err(JpegError::Cmyk),
            _ => Err(JpegError::Unsupported(self.words())),
        }
    }

    /// The damage, if there is any. The numbers are those of `enum damage`.
    fn damage(&self, bytes: &[u8]) -> Option<JpegDamage> {
        let kind = match self.damage {
            0 => return None,
            1 => DamageKind::NoEnd,
            2 => DamageKind::DataMissing,
            3 => DamageKind::BadCode,
            4 => DamageKind::LeftOver { bytes: self.count },
            5 => DamageKind::RestartLost,
            6 => DamageKind::ScansMissing,
            _ => DamageKind::Broken(self.words()),
        };

        Some(JpegDamage {
            kind,
            row: self.row,
            height: self.height,
            byte: self.at,
            length: bytes.len() as u64,
        })
    }

    /// The damage behind a fault of a scan; the header tells the picture's height.
    fn scan_damage(&self, fault: ScanFault, bytes: &[u8]) -> JpegDamage {
        JpegDamage {
            kind: match fault.kind {
                ScanFaultKind::Missing => DamageKind::DataMissing,
                ScanFaultKind::Invalid => DamageKind::BadCode,
                ScanFaultKind::LeftOver(bytes) => DamageKind::LeftOver { bytes },
            },
            row: fault.row.min(self.height),
            height: self.height,
            byte: fault.byte,
            length: bytes.len() as u64,
        }
    }

    /// libjpeg's words, up to their terminating zero.
    fn words(&self) -> String {
        let length = self.words.iter().position(|byte| *byte == 0);
        let words = &self.words[..length.unwrap_or(WORDS)];

        String::from_utf8_lossy(words).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Vec<u8> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures");
        std::fs::read(folder.join(name)).expect("part of the project")
    }

    /// A textured picture as JPEG, and where its entropy-coded data begins.
    fn textured() -> (Vec<u8>, usize) {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 26) as u8
        };

        let picture = image::RgbImage::from_fn(160, 128, |x, y| {
            image::Rgb([next() + x as u8, next() + y as u8, next()])
        });

        let mut bytes = Vec::new();
        let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 85);
        picture.write_with_encoder(encoder).expect("encodes");
        let scan = bytes.windows(2).rposition(|pair| pair == [0xFF, 0xDA]);
        (bytes, scan.expect("a scan") + 14)
    }

    fn damage(bytes: &[u8]) -> Option<DamageKind> {
        match decode(bytes, Vec::new()) {
            Ok(decoded) => decoded.damage.map(|damage| damage.kind),
            Err(JpegError::Damaged(damage)) => Some(damage.kind),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn whole_pictures_have_no_damage() {
        for name in ["progressive.jpg", "restarts.jpg", "thumbnail.jpg"] {
            assert_eq!(damage(&file(name)), None, "{name}");
        }

        assert_eq!(damage(&textured().0), None);
    }

    #[test]
    fn data_that_ends_early_is_told_with_its_place() {
        let (whole, scan) = textured();
        let middle = scan + (whole.len() - scan) / 2;
        let half = [&whole[..middle], &[0xFF, 0xD9]].concat();
        let decoded = decode(&half, Vec::new()).expect("a picture all the same");
        let damage = decoded.damage.expect("half of it is missing");
        assert_eq!(damage.kind, DamageKind::DataMissing);
        assert!((40..90).contains(&damage.row), "{damage}");
        assert_eq!(damage.height, 128);
        let words = damage.to_string();
        assert!(words.contains("data is missing"), "{words}");
        assert!(
            words.contains(", row ") && words.contains(" of 128)"),
            "{words}"
        );
    }

    #[test]
    fn lost_bytes_and_zeroed_bytes_and_a_cut_are_damage() {
        let (whole, scan) = textured();
        let middle = scan + (whole.len() - scan) / 2;
        let gap = [&whole[..middle], &whole[middle + 200..]].concat();
        assert!(damage(&gap).is_some());
        let mut hole = whole.clone();
        hole[middle..middle + 200].fill(0);
        assert!(damage(&hole).is_some());
        assert_eq!(damage(&whole[..middle]), Some(DamageKind::NoEnd));
    }

    #[test]
    fn all_blocks_without_an_end_marker_are_a_whole_picture() {
        let (whole, _) = textured();
        let bare = &whole[..whole.len() - 2];
        let expected = decode(&whole, Vec::new()).expect("a picture").picture;
        let decoded = decode(bare, Vec::new()).expect("a picture");
        assert_eq!(decoded.damage, None);
        assert!(decoded.picture == expected);
        // The last blocks are gone with the last bytes.
        let cut = &whole[..whole.len() - 12];
        assert_eq!(damage(cut), Some(DamageKind::NoEnd));
        // A progressive picture is not looked at, so that its end must be there.
        let progressive = file("progressive.jpg");
        let cut = &progressive[..progressive.len() - 2];
        assert_eq!(damage(cut), Some(DamageKind::NoEnd));
    }

    #[test]
    fn zero_bytes_in_the_data_are_damage_wherever_they_stand() {
        let (whole, scan) = textured();
        for start in (scan..whole.len() - 80).step_by(97) {
            let mut hole = whole.clone();
            hole[start..start + 64].fill(0);
            assert!(damage(&hole).is_some(), "at {start}");
        }
    }

    #[test]
    fn a_picture_without_texture_is_no_hole() {
        for level in [0, 127, 255] {
            let flat = image::GrayImage::from_pixel(640, 480, image::Luma([level]));
            let mut bytes = Vec::new();
            let encoder = image::codecs::jpeg::JpegEncoder::new(&mut bytes);
            flat.write_with_encoder(encoder).expect("encodes");
            assert_eq!(damage(&bytes), None, "{level}");
        }
    }

    #[test]
    fn a_scan_header_without_its_spectral_range_is_no_damage() {
        let (mut jpeg, scan) = textured();
        // The three bytes before the scan's data: 0, 63, 0 in a sequential picture.
        assert_eq!(jpeg[scan - 3..scan], [0, 63, 0]);
        jpeg[scan - 2] = 0;
        assert_eq!(damage(&jpeg), None);
    }

    #[test]
    fn a_frame_header_inside_of_a_segment_ends_nothing() {
        let (jpeg, _) = textured();
        // Bytes that libjpeg skips, and that read as a segment hide a header of no width.
        let hidden = [
            0xEE, 0x00, 0x06, 0xFF, 0xC0, 0x00, 0x0B, 8, 0, 16, 0, 0, 1, 1, 0x11, 0, 0xFF, 0xDA, 0,
            8, 1, 1, 0, 0, 63, 0,
        ];
        let crafted = [&jpeg[..2], &hidden, &jpeg[2..]].concat();
        let _ = damage(&crafted); // whatever it is, it is told without a crash
    }

    #[test]
    fn a_scan_header_without_its_components_is_damage_and_ends_nothing() {
        let (jpeg, _) = textured();
        let data = &jpeg[..jpeg.len() - 2];
        for header in [[0xFF, 0xDA, 0, 3, 1], [0xFF, 0xDA, 0, 3, 0]] {
            assert!(damage(&[data, &header].concat()).is_some(), "{header:?}");
        }
    }

    #[test]
    fn a_few_surplus_bytes_of_usb_cameras_are_no_damage_and_many_are() {
        let (whole, _) = textured();
        let (data, end) = whole.split_at(whole.len() - 2);
        for surplus in 1..=5 {
            let padded = [data, &vec![7; surplus], end].concat();
            assert_eq!(damage(&padded), None, "{surplus} bytes");
        }

        let padded = [data, &[7; 40], end].concat();
        let found = damage(&padded).expect("40 bytes");
        assert!(
            matches!(found, DamageKind::LeftOver { bytes: 30.. }),
            "{found:?}"
        );
    }

    #[test]
    fn scans_of_a_progressive_picture_that_never_came_are_damage() {
        let whole = file("progressive.jpg");
        let scans: Vec<usize> = (0..whole.len() - 1)
            .filter(|at| whole[*at..].starts_with(&[0xFF, 0xDA]))
            .collect();

        // Tables may stand before a scan: cut where the last one's tables begin, or at the scan.
        let last = *scans.last().expect("several scans");
        let tables = whole[..last]
            .windows(2)
            .rposition(|pair| pair == [0xFF, 0xC4]);
        let previous = scans[scans.len() - 2];
        let cut = tables.filter(|at| *at > previous).unwrap_or(last);
        let fewer = [&whole[..cut], &[0xFF, 0xD9]].concat();
        assert_eq!(damage(&fewer), Some(DamageKind::ScansMissing));
    }

    #[test]
    fn a_lost_restart_marker_is_damage() {
        let mut bytes = file("restarts.jpg");
        let marker = bytes.windows(2).position(|pair| pair == [0xFF, 0xD0]);
        let marker = marker.expect("a restart marker");
        // The first one was lost, and the fourth one comes in its place.
        bytes[marker + 1] = 0xD3;
        assert_eq!(damage(&bytes), Some(DamageKind::RestartLost));
    }

    /// libjpeg decodes these without a word: a loss that fits, and values that no picture has.
    #[test]
    fn losses_that_come_out_even_are_seen_by_the_second_look() {
        let (whole, scan) = textured();
        let mut seen = 0;
        for start in (scan + 50..whole.len() - 400).step_by(331) {
            let gap = [&whole[..start], &whole[start + 120..]].concat();
            seen += usize::from(damage(&gap).is_some());
        }

        let tried = (scan + 50..whole.len() - 400).step_by(331).count();
        assert!(seen * 10 >= tried * 9, "{seen} of {tried} losses were seen");
    }

    #[test]
    fn frames_without_tables_of_codes_are_read_with_the_standard_ones() {
        let (whole, _) = textured();
        let mut bare = whole.clone();
        while let Some(at) = bare.windows(2).position(|pair| pair == [0xFF, 0xC4]) {
            let length = usize::from(u16::from_be_bytes([bare[at + 2], bare[at + 3]]));
            bare.drain(at..at + 2 + length);
        }

        let with = decode(&whole, Vec::new()).expect("a picture");
        let without = decode(&bare, Vec::new()).expect("a picture");
        assert!(bare.len() < whole.len() - 400 && without.damage.is_none());
        assert!(with.picture == without.picture);
    }

    #[test]
    fn no_header_is_told_as_damage() {
        for bytes in [&[][..], &[0xFF, 0xD8], &[0xFF, 0xD8, 0xFF, 0xD9]] {
            let error = decode(bytes, Vec::new()).expect_err("no picture");
            assert!(matches!(error, JpegError::Damaged(_)), "{error}");
        }
    }

    #[test]
    fn memory_that_held_another_picture_does_not_show_it() {
        let (whole, scan) = textured();
        let expected = decode(&whole, Vec::new()).expect("a picture").picture;
        for length in [10, 3 * 160 * 128, 999_999] {
            let decoded = decode(&whole, vec![200; length]).expect("a picture");
            assert!(decoded.picture == expected, "{length}");
        }

        let cut = [&whole[..scan], &[0xFF, 0xD9]].concat();
        let decoded = decode(&cut, vec![200; 999_999]).expect("a header");
        assert_eq!(decoded.picture.rgb().len(), 3 * 160 * 128);
        assert!(decoded.damage.is_some());
        assert!(!decoded.picture.rgb().contains(&200));
    }
}
