//! Rows through AVX-512's byte instructions (Ice Lake, Zen 4 and newer): the same integers as
//! [`super::resize_rows`] in a third of the time.
//!
//! A weight is three signed bytes (its digits to the base 256), so that one instruction multiplies and
//! adds 64 values by one digit; sixteen outputs are made side by side. Their source pixels lie in a
//! window of 128 bytes of a plane, out of which one instruction picks four neighbours for each: sizes
//! whose windows are larger go the plain way.

use crate::image::resize::tap::{BITS, Tap};
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

/// One byte for each neighbour of each output: a vector register.
type Bytes = [u8; LANES * FOUR];

/// Plan for rows of one size. A plan exists only if the processor has the instructions.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPlan {
    blocks: Vec<OutputBlock>,
}

/// Plan of sixteen outputs.
#[derive(Debug, Clone, PartialEq)]
struct OutputBlock {
    /// First source pixel of the window.
    first: usize,
    steps: Vec<TapStep>,
}

/// Four taps of each of sixteen outputs.
#[derive(Debug, Clone, PartialEq)]
struct TapStep {
    /// Places of the source pixels in the window.
    places: Bytes,
    /// Weights as signed bytes, the lowest digit first.
    digits: [Bytes; 3],
}

impl RowPlan {
    /// The plan of `taps`. `None` if the processor lacks an instruction, or a window is too large.
    pub fn new(taps: &[Tap]) -> Option<RowPlan> {
        // The instructions are asked for one by one, since `avx512vbmi` and `avx512vnni` came with
        // different processors.
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni");

        // The plain way then gives the same integers.
        if !has_all {
            return None;
        }

        // One block whose window is too large makes the whole plan impossible.
        let blocks: Option<Vec<OutputBlock>> = taps.chunks(LANES).map(OutputBlock::new).collect();

        Some(RowPlan { blocks: blocks? })
    }

    /// Resizes rows of `from` RGB pixels to rows of `to`, as [`super::resize_rows`].
    pub fn resize_rows(&self, rgb: &[u8], from: usize, to: usize, out: &mut [u8]) {
        // Three planes of `from` values, each with a window of zeros behind it, so that the last
        // load stays inside the buffer.
        let mut planes = vec![0; 3 * (from + WINDOW)];

        // `made` has three planes of whole blocks of outputs; those beyond `to` are dropped.
        let mut made = vec![0; 3 * to.next_multiple_of(LANES)];

        // Buffers are made once and used for each row.
        let rows = rgb.chunks_exact(3 * from);

        for (rgb, out) in rows.zip(out.chunks_exact_mut(3 * to)) {
            // SAFETY: a plan is only made where the processor has the instructions.
            unsafe { self.resize_row(rgb, &mut planes, &mut made, out) };
        }
    }

    /// Resizes one row: RGB to three planes, each plane by itself, and back to RGB.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
    fn resize_row(&self, rgb: &[u8], planes: &mut [u8], made: &mut [u8], out: &mut [u8]) {
        // `plane` and `lanes` are the bytes of one plane before and after.
        let plane = planes.len() / 3;
        let lanes = made.len() / 3;

        // Planes lie one after the other in one buffer: red, green, blue, each followed by its
        // window of zeros.
        let (red, rest) = planes.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);

        // Pixels RGB, RGB, ... become all red, all green and all blue values.
        let pixels = rgb.as_chunks::<3>().0.iter();

        for (((pixel, red), green), blue) in pixels.zip(red).zip(green).zip(blue) {
            [*red, *green, *blue] = *pixel;
        }

        // Each plane is resized by itself, sixteen neighbouring outputs at a time.
        for (values, made) in planes.chunks_exact(plane).zip(made.chunks_exact_mut(lanes)) {
            for (block, made) in self.blocks.iter().zip(made.as_chunks_mut::<LANES>().0) {
                sixteen(block, values, made);
            }
        }

        // The three planes become pixels again.
        let (red, rest) = made.split_at(lanes);
        let (green, blue) = rest.split_at(lanes);
        let pixels = out.as_chunks_mut::<3>().0.iter_mut();

        for (((pixel, red), green), blue) in pixels.zip(red).zip(green).zip(blue) {
            *pixel = [*red, *green, *blue];
        }
    }
}

impl OutputBlock {
    /// The plan of at most sixteen outputs. `None` if their window is too large.
    fn new(taps: &[Tap]) -> Option<OutputBlock> {
        // The window goes from the first source pixel of the first output to beyond the last of
        // any: it must hold the pixels of all sixteen.
        let first = taps.first()?.first;
        let last = taps.iter().map(|tap| tap.first + tap.weights.len()).max()?;

        // The steps are as many as the output with the most taps needs.
        let most = taps.iter().map(|tap| tap.weights.len()).max()?;

        if last - first > WINDOW {
            return None;
        }

        // Outputs with fewer taps than the others have zero weights in the last steps.
        let steps = 0..most.div_ceil(FOUR);
        Some(OutputBlock {
            first,
            steps: steps.map(|step| TapStep::new(taps, step)).collect(),
        })
    }
}

impl TapStep {
    fn new(taps: &[Tap], step: usize) -> TapStep {
        // The places begin as zeros: an unused one picks a pixel and multiplies it by 0.
        // A register of 64 bytes, one lane for each output, four taps a lane:
        //   places   o0: t0 t1 t2 t3 | o1: t0 t1 t2 t3 | ... | o15: t0 t1 t2 t3
        //   digits   the weights' lowest bytes in the same order; then the middle, then the highest ones
        let mut made = TapStep {
            places: [0; LANES * FOUR],
            digits: [[0; LANES * FOUR]; 3],
        };

        // The window begins at the first output's first source pixel; first pixels never decrease
        // from output to output.
        let first = taps[0].first;

        // A step has taps 4 * step to 4 * step + 3 of each output, at the four bytes of its lane.
        for (lane, tap) in taps.iter().enumerate() {
            let weights = tap.weights.iter().enumerate();

            for (k, weight) in weights.skip(FOUR * step).take(FOUR) {
                // `at` is the byte of the lane; the pixel's place within the window is below 128.
                let at = FOUR * lane + k % FOUR;
                made.places[at] = (tap.first + k - first) as u8;
                made.set_weight(at, *weight);
            }
        }

        made
    }

    /// Splits a weight into its digits.
    fn set_weight(&mut self, at: usize, weight: i32) {
        // Digits are signed, so that the rest after a negative one is carried upwards.
        let mut rest = weight;

        //   weight = d0 + 256 d1 + 65536 d2,   each digit from -128 to 127
        // 24 bits are enough: weights have 22 fractional bits and stay well below 2.
        for digit in &mut self.digits {
            // The lowest byte is taken as -128 to 127; what is left is a multiple of 256.
            let low = rest as i8;
            digit[at] = low as u8;
            rest = (rest - i32::from(low)) >> 8;
        }
    }
}

/// Sixteen outputs of one plane.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
fn sixteen(block: &OutputBlock, values: &[u8], made: &mut [u8; LANES]) {
    // The window is 128 source pixels, in two registers of 64 bytes each.
    //   window [128] -> four neighbours x 16 outputs [64] -> three sums [16] of i32 -> 16 grey levels
    let window: &[u8; WINDOW] = values[block.first..]
        .first_chunk()
        .expect("planes are a window longer");

    let (low, high) = window.split_at(WINDOW / 2);
    let low = load(low.try_into().expect("half"));
    let high = load(high.try_into().expect("half"));

    // Each digit of the weights has the sums of sixteen outputs in a register of its own.
    let mut sums = [_mm512_setzero_si512(); 3];

    // The values are unsigned bytes and the weights signed ones, which is what the instruction
    // multiplies; sums of four products go to 32 bits.
    for step in &block.steps {
        // Each lane gets its output's four neighbours, and adds the sum of their four products.
        let four = _mm512_permutex2var_epi8(low, load(&step.places), high);

        for (sum, digit) in sums.iter_mut().zip(&step.digits) {
            *sum = _mm512_dpbusd_epi32(*sum, four, load(digit));
        }
    }

    // The digits' sums have place values of 1, 256 and 65536, which are shifts by 8 and 16 bits.
    // Half a grey level is added for rounding.
    let [ones, bytes, words] = sums;
    let half = _mm512_set1_epi32(1 << (BITS - 1));
    let lower = _mm512_add_epi32(ones, half);
    let upper = _mm512_add_epi32(
        _mm512_slli_epi32::<8>(bytes),
        _mm512_slli_epi32::<16>(words),
    );

    // The sums are shifted back to grey levels and clamped to 0 to 255; narrowing saturates upwards
    // only, so that negative values are raised first.
    let sum = _mm512_add_epi32(lower, upper);
    let whole = _mm512_srai_epi32::<{ BITS }>(sum);
    let positive = _mm512_max_epi32(whole, _mm512_setzero_si512());
    let grey = _mm512_cvtusepi32_epi8(positive);

    // SAFETY: `made` has room for sixteen bytes.
    unsafe { _mm_storeu_si128(made.as_mut_ptr().cast(), grey) };
}

#[target_feature(enable = "avx512f")]
fn load(bytes: &Bytes) -> __m512i {
    // SAFETY: the array has the 64 bytes that are read, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}
