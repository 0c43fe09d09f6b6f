//! Rows through AVX-512's byte instructions (Ice Lake, Zen 4 and newer): the same integers as [`super::across`] in a
//! third of the time.
//!
//! A weight is three signed bytes (its digits to the base 256), so that one instruction multiplies and adds 64 values
//! by one digit; sixteen outputs are made side by side. Their source pixels lie in a window of 128 bytes of a plane,
//! out of which one instruction picks four neighbours for each: sizes whose windows are larger go the plain way.

use super::{BITS, Tap, Taps};
use core::arch::x86_64::{
    __m512i, _mm_storeu_si128, _mm512_add_epi32, _mm512_cvtusepi32_epi8, _mm512_dpbusd_epi32,
    _mm512_loadu_si512, _mm512_max_epi32, _mm512_permutex2var_epi8, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_slli_epi32, _mm512_srai_epi32,
};

/// Outputs that are made side by side.
const LANES: usize = 16;
/// Neighbours that are multiplied at once.
const FOUR: usize = 4;
/// Source pixels within reach.
const WINDOW: usize = 128;

type Bytes = [u8; LANES * FOUR];

/// A plan for rows of one size; holding one proves that the processor has the instructions.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    blocks: Vec<Block>,
}

/// Sixteen outputs.
#[derive(Debug, Clone, PartialEq)]
struct Block {
    /// Where its window begins.
    first: usize,
    steps: Vec<Step>,
}

/// Four taps of each of sixteen outputs.
#[derive(Debug, Clone, PartialEq)]
struct Step {
    places: Bytes,
    /// Signed bytes, the lowest digit first.
    digits: [Bytes; 3],
}

impl Plan {
    /// `None`: another processor, or a window that is too large.
    pub fn new(taps: &[Tap]) -> Option<Plan> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni");
        if !has_all {
            return None;
        }
        let blocks = taps.chunks(LANES).map(|taps| {
            let first = taps.first()?.first;
            let last = taps.iter().map(|tap| tap.first + tap.weights.len()).max()?;
            let steps = taps
                .iter()
                .map(|tap| tap.weights.len())
                .max()?
                .div_ceil(FOUR);
            (last - first <= WINDOW).then(|| Block {
                first,
                steps: (0..steps).map(|step| Step::new(taps, step)).collect(),
            })
        });
        Some(Plan {
            blocks: blocks.collect::<Option<_>>()?,
        })
    }

    /// Rows of RGB to rows of RGB, as [`super::across`].
    pub fn across(&self, rgb: &[u8], taps: &Taps, out: &mut [u8]) {
        let (mut planes, mut made) = (
            vec![0; 3 * (taps.from + WINDOW)],
            vec![0; 3 * taps.to.next_multiple_of(LANES)],
        );
        for (rgb, out) in rgb
            .chunks_exact(3 * taps.from)
            .zip(out.chunks_exact_mut(3 * taps.to))
        {
            // SAFETY: a plan is only made where the processor has the instructions.
            unsafe { self.row(rgb, &mut planes, &mut made, out) };
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
    fn row(&self, rgb: &[u8], planes: &mut [u8], made: &mut [u8], out: &mut [u8]) {
        let (plane, lanes) = (planes.len() / 3, made.len() / 3);
        let (red, rest) = planes.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        for (((pixel, red), green), blue) in
            rgb.as_chunks::<3>().0.iter().zip(red).zip(green).zip(blue)
        {
            [*red, *green, *blue] = *pixel;
        }
        for (values, made) in planes.chunks_exact(plane).zip(made.chunks_exact_mut(lanes)) {
            for (block, made) in self.blocks.iter().zip(made.as_chunks_mut::<LANES>().0) {
                sixteen(block, values, made);
            }
        }
        let (red, rest) = made.split_at(lanes);
        let (green, blue) = rest.split_at(lanes);
        for (((pixel, red), green), blue) in out
            .as_chunks_mut::<3>()
            .0
            .iter_mut()
            .zip(red)
            .zip(green)
            .zip(blue)
        {
            *pixel = [*red, *green, *blue];
        }
    }
}

impl Step {
    fn new(taps: &[Tap], step: usize) -> Step {
        let mut made = Step {
            places: [0; LANES * FOUR],
            digits: [[0; LANES * FOUR]; 3],
        };
        for (lane, tap) in taps.iter().enumerate() {
            for (k, weight) in tap.weights.iter().enumerate().skip(FOUR * step).take(FOUR) {
                let at = FOUR * lane + k % FOUR;
                made.places[at] = (tap.first + k - taps[0].first) as u8;
                let mut rest = *weight;
                for digit in &mut made.digits {
                    let low = rest as i8;
                    digit[at] = low as u8;
                    rest = (rest - i32::from(low)) >> 8;
                }
            }
        }
        made
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
fn sixteen(block: &Block, values: &[u8], made: &mut [u8; LANES]) {
    let window: &[u8; WINDOW] = values[block.first..]
        .first_chunk()
        .expect("planes are a window longer");
    let (low, high) = window.split_at(WINDOW / 2);
    let (low, high) = (
        load(low.try_into().expect("half")),
        load(high.try_into().expect("half")),
    );
    let mut sums = [_mm512_setzero_si512(); 3];
    for step in &block.steps {
        let four = _mm512_permutex2var_epi8(low, load(&step.places), high);
        for (sum, digit) in sums.iter_mut().zip(&step.digits) {
            *sum = _mm512_dpbusd_epi32(*sum, four, load(digit));
        }
    }
    let [ones, bytes, words] = sums;
    let sum = _mm512_add_epi32(
        _mm512_add_epi32(ones, _mm512_set1_epi32(1 << (BITS - 1))),
        _mm512_add_epi32(
            _mm512_slli_epi32::<8>(bytes),
            _mm512_slli_epi32::<16>(words),
        ),
    );
    let grey = _mm512_max_epi32(_mm512_srai_epi32::<{ BITS }>(sum), _mm512_setzero_si512());
    // SAFETY: `made` has room for sixteen bytes.
    unsafe { _mm_storeu_si128(made.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(grey)) };
}

#[target_feature(enable = "avx512f")]
fn load(bytes: &Bytes) -> __m512i {
    // SAFETY: 64 bytes are there.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}
