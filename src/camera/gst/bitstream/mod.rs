//! Access units of H.264 and H.265 as far as their headers go: is one whole, what does it need, and
//! where may decoding begin. Pure functions over bytes; nothing here decodes a picture.
//!
//! ```text
//! access unit: one coded picture = NAL units: [SPS PPS SEI] slice slice ...
//! ```
//! A header tells what a decoder conceals in silence: slices that are not there, pictures that were
//! lost before this one, bytes that no encoder writes. Damage inside of a slice's data is the
//! decoder's to find ([`super::decoder_log`]).

mod bits;
mod h264;
mod h265;
mod layout;
mod marking;
mod sei;
mod unit;

pub use h264::H264;
pub use h265::H265;
pub use unit::{AccessUnit, Entry};

/// The NAL units of an access unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Each behind a start code.
    StartCodes,
    /// Each behind its length, of so many bytes.
    Lengths(usize),
}

/// The checker of one coded stream, by its codec.
pub enum Checker {
    /// H.264.
    H264(H264),
    /// H.265.
    H265(H265),
}

impl Checker {
    /// Takes parameter sets that travel beside the stream (`codec_data`), one NAL unit each.
    pub fn parameter_set(&mut self, nal: &[u8]) {
        match self {
            Checker::H264(checker) => checker.parameter_set(nal),
            Checker::H265(checker) => checker.parameter_set(nal),
        }
    }

    /// Damage of such a stream that no check finds, in words with the way out; `None` where FFmpeg tells
    /// wrong bytes.
    pub fn blind_spot(&self) -> Option<&'static str> {
        match self {
            Checker::H264(checker) if checker.has_cavlc() => Some(
                "it sends H.264 with CAVLC, in which wrong bytes within a picture are not always seen; set it to \
                 profile Main or High (CABAC)",
            ),
            Checker::H264(_) => None,
            Checker::H265(_) => Some(
                "it sends H.265, in which wrong bytes within a picture are not seen; set it to H.264 of profile Main \
                 or High (CABAC)",
            ),
        }
    }

    /// Looks at one access unit. The units come in decoding order.
    pub fn check(&mut self, bytes: &[u8], framing: Framing) -> AccessUnit {
        let (nals, broken) = split(bytes, framing);
        let mut unit = match self {
            Checker::H264(checker) => checker.check(&nals),
            Checker::H265(checker) => checker.check(&nals),
        };

        // The forbidden bit is zero in every unit of both codecs; a one was made on the way.
        if nals.iter().any(|nal| nal[0] & 0x80 != 0) {
            unit.damage = Some("the forbidden bit of a NAL unit is set".to_owned());
        }

        // A length that leads out of the unit is named first: what follows from it is a consequence.
        if let Some(broken) = broken {
            unit.damage = Some(broken);
        }

        unit
    }
}

/// The NAL units without their start codes or lengths, and the fault where lengths do not add up.
pub fn split(bytes: &[u8], framing: Framing) -> (Vec<&[u8]>, Option<String>) {
    match framing {
        Framing::StartCodes => (after_start_codes(bytes), None),
        Framing::Lengths(size) => after_lengths(bytes, size),
    }
}

fn after_start_codes(bytes: &[u8]) -> Vec<&[u8]> {
    let mut nals = vec![];
    let mut begin = None;
    let mut at = 0;

    // Three bytes are compared at once. Where the third is above 1 no start code can end before it,
    // so that the search jumps over it: a tenth of a millisecond for 100 kB.
    while at + 3 <= bytes.len() {
        match bytes[at + 2] {
            2.. => at += 3,
            1 if bytes[at] == 0 && bytes[at + 1] == 0 => {
                if let Some(begin) = begin {
                    nals.push(without_zeros(&bytes[begin..at]));
                }

                at += 3;
                begin = Some(at);
            }

            _ => at += 1,
        }
    }

    if let Some(begin) = begin {
        nals.push(without_zeros(&bytes[begin..]));
    }

    nals.retain(|nal| !nal.is_empty());
    nals
}

/// The unit without the zeros that may stand between it and the next start code.
fn without_zeros(nal: &[u8]) -> &[u8] {
    let end = nal
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);

    &nal[..end]
}

fn after_lengths(bytes: &[u8], size: usize) -> (Vec<&[u8]>, Option<String>) {
    let mut nals = vec![];
    let mut rest = bytes;

    while !rest.is_empty() {
        // A length is big-endian, of 1 to 4 bytes as the stream's header says.
        let Some((length, after)) = rest.split_at_checked(size) else {
            return (nals, Some("its last bytes are no NAL unit".to_owned()));
        };

        let length = length
            .iter()
            .fold(0, |value, byte| value << 8 | usize::from(*byte));

        let Some((nal, after)) = after.split_at_checked(length) else {
            let left = after.len();
            let words = format!("a NAL unit of {length} bytes, {left} are there");
            return (nals, Some(words));
        };

        if !nal.is_empty() {
            nals.push(nal);
        }

        rest = after;
    }

    (nals, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_found_behind_start_codes_and_behind_lengths() {
        let stream = [
            0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 0, 0, 3, 1,
        ];
        let expected: [&[u8]; 3] = [&[0x67, 1, 2], &[0x68, 3], &[0x65, 0, 0, 3, 1]];
        assert_eq!(
            split(&stream, Framing::StartCodes),
            (expected.to_vec(), None)
        );

        let lengths = [0, 3, 0x67, 1, 2, 0, 2, 0x68, 3];
        let (nals, broken) = split(&lengths, Framing::Lengths(2));
        assert_eq!((nals, broken), (expected[..2].to_vec(), None));
    }

    #[test]
    fn a_length_that_leads_out_of_the_unit_is_damage() {
        let (nals, broken) = split(&[0, 2, 0x67, 1, 0, 9, 0x68], Framing::Lengths(2));
        assert_eq!(nals, [&[0x67, 1]]);
        let words = "a NAL unit of 9 bytes, 1 are there".to_owned();
        assert_eq!(broken, Some(words));
        let (_, broken) = split(&[0], Framing::Lengths(4));
        assert!(broken.is_some());
    }

    /// 4 Mbit/s of 1280 x 720 at 10 frames a second are 50 kB a picture, an intra picture four times that.
    #[test]
    fn an_access_unit_of_200_kb_is_checked_within_three_tenths_of_a_millisecond() {
        let mut bytes = vec![0, 0, 0, 1, 0x65, 0x88];
        let noise = (0..200_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8);
        bytes.extend(noise.map(|byte| byte.max(4)));
        let mut checker = Checker::H264(H264::default());
        let mut least = std::time::Duration::MAX;
        for _ in 0..50 {
            let started = std::time::Instant::now();
            checker.check(&bytes, Framing::StartCodes);
            least = least.min(started.elapsed());
        }

        println!("{least:?}");
        assert!(least < std::time::Duration::from_micros(300), "{least:?}");
    }
}
