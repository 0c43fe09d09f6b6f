//! Bits of a NAL unit: emulation prevention taken out, fixed-length and Exp-Golomb codes.

/// Bytes of a NAL unit that hold its header: slice headers are far shorter, parameter sets too.
const HEADER_MAX: usize = 512;

/// The payload's first bytes, without the 3 that encoders put after two zeros.
pub fn unescaped(payload: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(payload.len().min(HEADER_MAX));
    let mut zeros = 0;

    for byte in payload.iter().take(HEADER_MAX) {
        // Two zeros and a 3 stand for the two zeros: the 3 keeps them from becoming a start code.
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }

        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        clean.push(*byte);
    }

    clean
}

/// Reader of bits, most significant first. `None` behind the end.
pub struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    /// A reader of unescaped bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Bits { bytes, at: 0 }
    }

    /// One bit.
    pub fn flag(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;

        Some(bit == 1)
    }

    /// A number of `count` bits, at most 32: `u(n)`.
    pub fn number(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;

        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }

        Some(value)
    }

    /// Leaves out bits.
    pub fn skip(&mut self, count: u32) -> Option<()> {
        for _ in 0..count {
            self.flag()?;
        }

        Some(())
    }

    /// An unsigned Exp-Golomb code: `ue(v)`.
    pub fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;

        while !self.flag()? {
            zeros += 1;

            // No field that is read here is longer than 32 bits; more zeros are damage.
            if zeros > 31 {
                return None;
            }
        }

        let rest = self.number(zeros)?;
        Some((1 << zeros) - 1 + rest)
    }

    /// A signed Exp-Golomb code: `se(v)`.
    pub fn signed(&mut self) -> Option<i64> {
        let code = i64::from(self.golomb()?);
        let size = (code + 1) / 2;

        // The codes go 0, 1, -1, 2, -2: odd ones are positive.
        let is_positive = code % 2 == 1;

        Some(if is_positive { size } else { -size })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Bytes of bits in words: `0` and `1` as they are, a number behind `#` as an Exp-Golomb code. A stop
    /// bit ends them.
    pub fn written(words: &str) -> Vec<u8> {
        let mut bits = String::new();
        for word in words.split_whitespace() {
            match word.strip_prefix('#') {
                Some(number) => {
                    let code = number.parse::<u32>().expect("a number") + 1;
                    bits += &"0".repeat(code.ilog2() as usize);
                    bits += &format!("{code:b}");
                }
                None => bits += word,
            }
        }

        bits += "1";
        let count = bits.len().div_ceil(8);
        let bits = format!("{bits:0<width$}", width = count * 8);
        let byte = |at: usize| u8::from_str_radix(&bits[8 * at..8 * at + 8], 2).expect("bits");
        (0..count).map(byte).collect()
    }

    #[test]
    fn the_3_after_two_zeros_is_taken_out() {
        assert_eq!(
            unescaped(&[0, 0, 3, 1, 0, 0, 0, 0, 3]),
            [0, 0, 1, 0, 0, 0, 0]
        );
        assert_eq!(unescaped(&[0, 3, 0, 0, 3, 0, 0, 3]), [0, 3, 0, 0, 0, 0]);
    }

    #[test]
    fn codes_are_those_of_the_standards_table() {
        // 1 010 011 00100 00101 (table 9-1 of H.264: 0 1 2 3 4), signed: 0 1 -1 2 -2.
        let bytes = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut bits = Bits::new(&bytes);
        let unsigned: Vec<Option<u32>> = (0..5).map(|_| bits.golomb()).collect();
        assert_eq!(unsigned, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        let mut bits = Bits::new(&bytes);
        let signed: Vec<Option<i64>> = (0..5).map(|_| bits.signed()).collect();
        assert_eq!(signed, [Some(0), Some(1), Some(-1), Some(2), Some(-2)]);
        assert_eq!(Bits::new(&[0; 8]).golomb(), None);
        assert_eq!(Bits::new(&[]).flag(), None);
    }
}
