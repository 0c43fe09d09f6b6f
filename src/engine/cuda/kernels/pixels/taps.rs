//! The weights of a resize in one direction, as the kernels read them.

use crate::image::resize::{BITS, Taps};
use std::ops::Range;

/// The weight of a source pixel that is copied: 1.0 with 22 fractional bits.
const WHOLE: &[i32] = &[1 << BITS];

/// One direction's taps, of the output pixels that are wanted: for each its first source pixel, the
/// number of its weights, and the index of the first in the table; then the weights, of 22
/// fractional bits. A size that stays has one tap a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapTable {
    from: usize,
    words: Vec<i32>,
    sources: Range<usize>,
}

impl TapTable {
    /// The table that brings `from` pixels to `to`, of which only `wanted` are computed; all at
    /// least 1, `wanted` within `to`.
    pub fn new(from: usize, to: usize, wanted: Range<usize>) -> Self {
        let all = Taps::new(from, to);

        // A size that stays has one weight of exactly one: Pillow leaves such a direction out,
        // whose weights would be a one and zeros.
        let taps: Vec<(usize, &[i32])> = if from == to {
            wanted.map(|at| (at, WHOLE)).collect()
        } else {
            all.each().skip(wanted.start).take(wanted.len()).collect()
        };

        TapTable {
            from,
            words: words(&taps),
            sources: sources(&taps),
        }
    }

    /// Source pixels that the table was made for.
    pub fn from(&self) -> usize {
        self.from
    }

    /// The words that the kernels read.
    pub fn words(&self) -> &[i32] {
        &self.words
    }

    /// The source pixels that any wanted output pixel reads.
    pub fn sources(&self) -> Range<usize> {
        self.sources.clone()
    }
}

fn words(taps: &[(usize, &[i32])]) -> Vec<i32> {
    let mut words = Vec::new();

    // The header is three words an output pixel (first source, number of weights, index of the
    // first weight), so that the weights begin after all headers.
    let mut begin = 3 * taps.len();

    for (first, weights) in taps {
        words.push(*first as i32);
        words.push(weights.len() as i32);
        words.push(begin as i32);
        begin += weights.len();
    }

    // Weights follow in the order of the headers, without gaps: `begin` above counted on it.
    for (_, weights) in taps {
        words.extend_from_slice(weights);
    }

    words
}

fn sources(taps: &[(usize, &[i32])]) -> Range<usize> {
    let mut start = usize::MAX;
    let mut end = 0;

    for (first, weights) in taps {
        start = start.min(*first);
        end = end.max(first + weights.len());
    }

    // No taps leave `start` beyond `end`; the range is then empty at 0.
    start.min(end)..end
}
