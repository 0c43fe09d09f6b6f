//! Check that a JPEG is whole: its segments are walked from the start to the end-of-image marker.
//!
//! Decoders fill what a cut file lacks with grey and say nothing: half a part would be judged. A search
//! for `FF D9` anywhere is not enough, because the thumbnail inside an EXIF segment has one of its own;
//! segments are therefore skipped by their length. Bytes after the end (padding, a second picture) do
//! not matter.
//!
//! ```text
//! FF D8 | FF E1 len .. | FF DB len .. | FF C0 len .. | FF DA len .. scan | FF D9
//!                                                                   FF 00 and FF D0-D7 belong to it
//! ```

const START: u8 = 0xD8;
const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;

/// Findings of a walk over the segments.
#[derive(Debug, PartialEq, Eq)]
pub struct Walk {
    /// True if the end-of-image marker was found.
    pub is_whole: bool,
    /// Colour components by the frame header: 1 grey, 3 colour, 4 CMYK; 0 without a frame header.
    pub components: u8,
}

/// Walks a file that begins as a JPEG.
pub fn walk(bytes: &[u8]) -> Walk {
    let mut walk = Walk {
        is_whole: false,
        components: 0,
    };

    // Inside a scan, bytes are data until a marker that may stand there; outside, each marker
    // begins a segment with a length.
    let mut at = 0;
    let mut in_scan = false;
    while let Some((marker, after)) = next_marker(bytes, at) {
        at = after;
        match marker {
            END => {
                walk.is_whole = true;
                return walk;
            }
            // A stuffed byte or a restart inside a scan, or a marker that stands alone.
            0x00 | 0x01 | 0xD0..=START => continue,
            // Between segments every marker begins one; inside a scan only those that may follow one.
            _ if in_scan && !may_follow_a_scan(marker) => continue,
            _ => {}
        }

        // The length counts its own two bytes. A file that ends here was cut short.
        let Some(length) = bytes.get(at..at + 2) else {
            return walk;
        };

        let length = u16::from_be_bytes([length[0], length[1]]);
        if is_frame_header(marker) {
            // length (2), precision (1), height (2), width (2), components (1)
            walk.components = bytes.get(at + 7).copied().unwrap_or(0);
        }

        // Skipped whole: what is in a segment, such as a thumbnail, is no marker of this picture.
        at += usize::from(length);
        in_scan = marker == SCAN;
    }

    walk
}

/// The next `FF x` at or after `at` (fill bytes `FF FF` skipped), and where the bytes after it begin.
fn next_marker(bytes: &[u8], at: usize) -> Option<(u8, usize)> {
    // Any number of fill bytes may stand before a marker.
    let rest = bytes.get(at..)?;
    let first = rest.iter().position(|byte| *byte == 0xFF)?;
    let fill = rest[first..].iter().position(|byte| *byte != 0xFF)?;
    let marker = first + fill;
    Some((rest[marker], at + marker + 1))
}

/// True for SOF0 to SOF15; C4, C8 and CC are tables and extensions.
fn is_frame_header(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC)
}

/// True for tables (DHT, DAC, DQT, DNL, DRI), the next scan, application segments and comments.
fn may_follow_a_scan(marker: u8) -> bool {
    matches!(marker, 0xC4 | 0xCC | SCAN..=0xDD | 0xE0..=0xEF | 0xFE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start, an EXIF segment with a thumbnail's end in it, a frame header, one scan, and what the test appends.
    fn jpeg(end: &[u8]) -> Vec<u8> {
        let exif = [0xFF, 0xE1, 0x00, 0x06, 0xFF, 0xD8, 0xFF, 0xD9];
        let frame = [0xFF, 0xC0, 0x00, 0x0B, 8, 0, 1, 0, 1, 3, 0, 0, 0];
        let scan = [0xFF, 0xDA, 0x00, 0x04, 1, 2, 7, 0xFF, 0x00, 0xFF, 0xD0, 9];
        [&[0xFF, 0xD8], &exif[..], &frame, &scan, end].concat()
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end_of_the_picture() {
        assert_eq!(
            walk(&jpeg(&[])),
            Walk {
                is_whole: false,
                components: 3
            }
        );

        assert_eq!(
            walk(&jpeg(&[0xFF, 0xD9])),
            Walk {
                is_whole: true,
                components: 3
            }
        );
    }

    #[test]
    fn padding_after_the_end_and_tables_between_scans_are_fine() {
        for end in [
            &[0xFF, 0xD9, 0, 0, 0, 0][..],
            &[0xFF, 0xFF, 0xD9, 1],
            &[0xFF, 0xC4, 0, 3, 0, 0xFF, 0xD9],
        ] {
            assert!(walk(&jpeg(end)).is_whole, "{end:?}");
        }
    }

    #[test]
    fn every_cut_is_seen() {
        let whole = jpeg(&[0xFF, 0xD9]);
        for length in 0..whole.len() {
            assert!(!walk(&whole[..length]).is_whole, "cut at {length}");
        }
    }
}
