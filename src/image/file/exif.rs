//! Orientation of a JPEG by its EXIF segment: by how much the camera was turned when it took the
//! picture.
//!
//! ```text
//! FF D8 | FF E0 len .. | FF E1 len "Exif\0\0" TIFF header and entries | ... | FF DA len .. scan
//! ```

use image::metadata::Orientation;

/// Marker of a scan: no segment behind it concerns the whole picture.
const SCAN: u8 = 0xDA;
/// Marker of the segment that EXIF stands in.
const APP1: u8 = 0xE1;
/// First bytes of the segment, by which it is told from XMP under the same marker.
const NAME: &[u8] = b"Exif\0\0";

/// Orientation of a JPEG; none where the file says nothing.
pub fn orientation(jpeg: &[u8]) -> Orientation {
    // A tag that is none of the eight orientations is as good as none.
    let chunk = segment(jpeg).and_then(Orientation::from_exif_chunk);

    chunk.unwrap_or(Orientation::NoTransforms)
}

/// The content of the first EXIF segment before the first scan, behind its name.
fn segment(jpeg: &[u8]) -> Option<&[u8]> {
    // Behind the start marker, segments follow each other; the length counts its own two bytes.
    let mut at = 2;

    loop {
        // A marker, its fill bytes before it, and its length behind it.
        let rest = jpeg.get(at..)?;
        let fill = rest.iter().position(|byte| *byte != 0xFF)?;
        let marker = rest[fill];
        let length = rest.get(fill + 1..fill + 3)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));

        if marker == SCAN {
            return None;
        }

        // A segment that reaches beyond the file has no content that could be relied on.
        let content = rest.get(fill + 3..fill + 1 + length)?;

        if marker == APP1
            && let Some(exif) = content.strip_prefix(NAME)
        {
            return Some(exif);
        }

        at += fill + 1 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EXIF with one entry, the orientation, between other segments.
    fn turned(value: u8) -> Vec<u8> {
        let exif = [
            b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(),
            &[value, 0, 0, 0, 0, 0, 0],
        ]
        .concat();

        let mut jpeg = vec![0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xFF, APP1];
        jpeg.extend((exif.len() as u16 + 2).to_be_bytes());
        jpeg.extend(exif);
        jpeg.extend([0xFF, SCAN, 0, 2]);
        jpeg
    }

    #[test]
    fn the_orientation_is_found_between_other_segments() {
        assert_eq!(orientation(&turned(6)), Orientation::Rotate90);
        assert_eq!(orientation(&turned(3)), Orientation::Rotate180);
        assert_eq!(orientation(&turned(1)), Orientation::NoTransforms);
    }

    #[test]
    fn no_cut_and_no_wrong_length_is_read_beyond() {
        let whole = turned(6);
        for length in 0..whole.len() - 8 {
            assert_eq!(orientation(&whole[..length]), Orientation::NoTransforms);
        }

        let mut endless = whole;
        endless[4..6].fill(0);
        orientation(&endless);
    }
}
