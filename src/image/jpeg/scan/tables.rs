//! Huffman tables of a JPEG, for looking symbols up, and the standard ones (ITU-T T.81, annex K.3).

use std::sync::LazyLock;

/// Bits of a code that are looked up at once; longer codes are compared length by length.
const LOOK: u32 = 10;

/// Bits in which several AC codes with their values are looked up together.
const LOOK_MANY: u32 = 12;

/// A table of codes.
#[derive(Clone)]
pub struct CodeTable {
    counts: [u8; 16],
    /// By the next [`LOOK`] bits: the code's length in the high byte, its symbol in the low one. Zero
    /// for longer codes.
    short: Box<[u16; 1 << LOOK]>,
    /// By the next [`LOOK`] bits of an AC code: the [`step`] of its symbol. Zero for longer codes.
    steps: Box<[u16; 1 << LOOK]>,
    /// By the next [`LOOK_MANY`] bits: the AC codes that lie in them. Empty for a table of DC codes.
    many: Vec<Steps>,
    /// By length: the code after the last one of that length, its highest bit at bit 15; never
    /// smaller than that of the length before.
    limits: [u32; 17],
    /// By length: what added to a code of that length gives its symbol's place.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

/// AC codes with their values that lie in some bits.
#[derive(Clone, Copy, Default)]
pub struct Steps {
    /// Bits of all of them. 0: the first one is longer than the bits that are looked at.
    pub bits: u8,
    /// Coefficients that they lead on, without the end of the block.
    pub coefficients: u8,
    /// True if the last one ends the block.
    pub ends: bool,
}

impl CodeTable {
    /// The table of `counts[n]` codes of n + 1 bits, whose symbols follow each other in `symbols`
    /// (annex C.2).
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Self {
        let mut table = CodeTable {
            counts: *counts,
            many: vec![],
            short: Box::new([0; 1 << LOOK]),
            steps: Box::new([0; 1 << LOOK]),
            limits: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
        };

        // Codes of one length count upwards; the first one of the next length is twice what follows.
        let mut code = 0u32;
        let mut place = 0usize;

        for (length, count) in (1..=16u32).zip(counts) {
            table.offsets[length as usize] = place as i32 - code as i32;

            for _ in 0..*count {
                table.add_short(code, length, symbols[place]);
                code += 1;
                place += 1;
            }

            table.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }

        table
    }

    /// The table of AC codes, which are also looked up several at once.
    pub fn of_ac(counts: &[u8; 16], symbols: &[u8]) -> Self {
        let mut table = CodeTable::new(counts, symbols);
        table.many = (0..1 << LOOK_MANY)
            .map(|bits| table.steps_in(bits))
            .collect();
        table
    }

    /// True if it has these codes.
    pub fn is_of(&self, counts: &[u8; 16], symbols: &[u8]) -> bool {
        self.counts == *counts && self.symbols == symbols
    }

    /// The AC codes that lie wholly in these bits.
    fn steps_in(&self, bits: u64) -> Steps {
        let mut steps = Steps::default();
        let bits = bits << (64 - LOOK_MANY);

        while let Some(step) = self.look_up_step(bits << steps.bits) {
            let (length, coefficients) = (step & 0xFF, step >> 8);

            if u32::from(steps.bits) + u32::from(length) > LOOK_MANY {
                break;
            }

            steps.bits += length as u8;
            if u32::from(coefficients) == END_OF_BLOCK {
                steps.ends = true;
                break;
            }

            // At most twelve steps of sixteen coefficients.
            steps.coefficients += coefficients as u8;
        }

        steps
    }

    /// The AC codes that lie in the first [`LOOK_MANY`] of these bits.
    #[inline(always)]
    pub fn look_up_many(&self, bits: u64) -> Steps {
        self.many[(bits >> (64 - LOOK_MANY)) as usize]
    }

    /// Enters a code under all bits that may follow it.
    fn add_short(&mut self, code: u32, length: u32, symbol: u8) {
        // Longer codes are rare, and found by `look_up_long`.
        if length > LOOK {
            return;
        }

        // The code stands at the top of the LOOK bits; whatever follows it has the same entry.
        let first = (code << (LOOK - length)) as usize;
        let entry = (length as u16) << 8 | u16::from(symbol);

        // A table with too many codes, which libjpeg refuses, must not lead beyond the end.
        let last = (first + (1 << (LOOK - length))).min(1 << LOOK);
        let first = first.min(last);
        self.short[first..last].fill(entry);
        self.steps[first..last].fill(step(u32::from(symbol), length));
    }

    /// The [`step`] of the AC code at the top of `bits`. `None` if no code begins so.
    #[inline(always)]
    pub fn look_up_step(&self, bits: u64) -> Option<u16> {
        // One look for nine codes of ten.
        let entry = self.steps[(bits >> (64 - LOOK)) as usize];

        if entry != 0 {
            return Some(entry);
        }

        let (symbol, length) = self.look_up_long(bits)?;
        Some(step(symbol, length))
    }

    /// The symbol at the top of `bits`, and the length of its code. `None` if no code begins so.
    #[inline(always)]
    pub fn look_up(&self, bits: u64) -> Option<(u32, u32)> {
        // An entry of 0 has no length, and so is none.
        let entry = self.short[(bits >> (64 - LOOK)) as usize];

        if entry != 0 {
            return Some((u32::from(entry & 0xFF), u32::from(entry >> 8)));
        }

        self.look_up_long(bits)
    }

    fn look_up_long(&self, bits: u64) -> Option<(u32, u32)> {
        // Codes of one length are consecutive, and those of a longer one come behind them: the
        // first length below whose limit the bits lie is the code's own.
        let sixteen = (bits >> 48) as u32;

        for length in LOOK + 1..=16 {
            if sixteen < self.limits[length as usize] {
                let code = (sixteen >> (16 - length)) as i32;
                let place = code + self.offsets[length as usize];
                let symbol = self.symbols.get(place as usize)?;
                return Some((u32::from(*symbol), length));
            }
        }

        None
    }
}

/// Coefficients that the end of a block leads on: beyond all that a run can lead to.
pub const END_OF_BLOCK: u32 = 128;

/// An AC symbol as its bits, code and value, in the low byte, and the coefficients that it leads on in
/// the high one. The low half of a symbol is the bits of the value, the high half the zeros before it; 0
/// ends the block, F0 is sixteen zeros.
fn step(symbol: u32, length: u32) -> u16 {
    // 16 bits of code and 15 of value fit into the low byte.
    let size = symbol & 15;
    let run = symbol >> 4;
    let ends = size == 0 && run < 15;
    let coefficients = if ends { END_OF_BLOCK } else { run + 1 };

    (coefficients << 8 | (length + size)) as u16
}

/// DC of luma and chroma, AC of luma and chroma.
pub static STANDARD: LazyLock<[CodeTable; 4]> = LazyLock::new(|| {
    [
        CodeTable::new(&DC_LUMA, &DC_SYMBOLS),
        CodeTable::new(&DC_CHROMA, &DC_SYMBOLS),
        CodeTable::of_ac(&AC_LUMA, &AC_LUMA_SYMBOLS),
        CodeTable::of_ac(&AC_CHROMA, &AC_CHROMA_SYMBOLS),
    ]
});

const DC_SYMBOLS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const DC_LUMA: [u8; 16] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
const DC_CHROMA: [u8; 16] = [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0];
const AC_LUMA: [u8; 16] = [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125];
#[rustfmt::skip]
const AC_LUMA_SYMBOLS: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51,
    0x61, 0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1,
    0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18,
    0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39,
    0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57,
    0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75,
    0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92,
    0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
    0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8,
    0xd9, 0xda, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2,
    0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
];
const AC_CHROMA: [u8; 16] = [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119];
#[rustfmt::skip]
const AC_CHROMA_SYMBOLS: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07,
    0x61, 0x71, 0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09,
    0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25,
    0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38,
    0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56,
    0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74,
    0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
    0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba,
    0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6,
    0xd7, 0xd8, 0xd9, 0xda, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2,
    0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
];
