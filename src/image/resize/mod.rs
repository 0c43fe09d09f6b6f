//! Pillow's bicubic resize of 8-bit RGB, one direction at a time, each rounded to grey levels: the
//! same integers.
//!
//! Source: `Resample.c` of Pillow 12 and older (coefficients of 22 fractional bits, the order of the
//! passes, a = -0.5, the kernel widened when shrinking); Pillow 13 shrinks tall pictures vertically
//! first. Sums in floats fall on the other side of a half in one value of a thousand where many
//! averages lie between two grey levels. Written here because the library we had
//! (`fast_image_resize`) has no such arithmetic.

mod tap;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub use tap::BITS;

use multiversion::multiversion;
use tap::Tap;

/// Rows of a picture that are resized side by side: vector registers are full, and a strip of them
/// stays in the cache.
const ROWS: usize = 32;

/// The source pixels of each output pixel along one direction, with their weights, which sum to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Taps {
    /// Source pixels along the direction.
    pub from: usize,
    /// Output pixels along the direction.
    pub to: usize,
    each: Vec<Tap>,
    /// `None` if the processor or the size has no fast way.
    #[cfg(target_arch = "x86_64")]
    plan: Option<vnni::RowPlan>,
}

impl Taps {
    /// Weights from `from` pixels to `to`, both at least 1.
    pub fn new(from: usize, to: usize) -> Self {
        // `each` has one tap for each output pixel; all rows (or columns) of a picture use the same
        // ones.
        let each: Vec<Tap> = (0..to).map(|at| Tap::new(at, from, to)).collect();
        Taps {
            from,
            to,
            // A plan exists only where the processor has the instructions and all windows are small
            // enough.
            #[cfg(target_arch = "x86_64")]
            plan: vnni::RowPlan::new(&each),
            each,
        }
    }

    /// The first source pixel and the weights, of [`BITS`] fractional bits, of each output pixel.
    pub fn each(&self) -> impl ExactSizeIterator<Item = (usize, &[i32])> {
        self.each
            .iter()
            .map(|tap| (tap.first, tap.weights.as_slice()))
    }
}

/// Resizes rows of `taps.from` RGB pixels to rows of `taps.to`, written to `out`.
pub fn resize_rows(rgb: &[u8], taps: &Taps, out: &mut Vec<u8>) {
    #[cfg(target_arch = "x86_64")]
    // The plan writes whole rows, so that the buffer has its final length before.
    if let Some(plan) = &taps.plan {
        out.resize(rgb.len() / taps.from * taps.to, 0);
        return plan.resize_rows(rgb, taps.from, taps.to, out);
    }

    // Every other processor and size takes the plain way, which gives the same integers.
    resize_rows_in_strips(rgb, taps, out);
}

/// The plain way: strips of rows are turned on their side, so that both directions are the same sums
/// over contiguous values.
fn resize_rows_in_strips(rgb: &[u8], taps: &Taps, out: &mut Vec<u8>) {
    // `from` and `to` are the bytes of a row before and after: three channels a pixel.
    let from = 3 * taps.from;
    let to = 3 * taps.to;

    // A picture's bytes are whole rows.
    let rows = rgb.len() / from;

    // Whole strips; what is beyond the last row is dropped at the end.
    out.resize(rows.next_multiple_of(ROWS) * to, 0);

    // The buffers are of one strip: `wide` is `[from, ROWS]` and `small` is `[to, ROWS]`, one
    // column of the strip in each place.
    let mut fours = vec![[0; 4]; ROWS / 4 * from.max(to)];
    let mut wide = vec![[0; ROWS]; from];
    let mut small = vec![[0; ROWS]; to];

    // The last strip may have fewer rows; what stands in the buffers beyond them is computed and
    // then dropped.
    let strips = rgb.chunks(ROWS * from);

    // For each strip:
    //   rgb [ROWS, from] -> wide [from, ROWS] -> weighted sums -> small [to, ROWS] -> out [ROWS, to]
    for (rgb, out) in strips.zip(out.chunks_exact_mut(ROWS * to)) {
        turn(rgb, &mut fours, &mut wide);

        // One output pixel is three columns of the strip, red, green and blue, 3 * ROWS values in a
        // run. Its source pixels are as long, one after the other.
        for (tap, out) in taps.each.iter().zip(small.as_chunks_mut::<3>().0) {
            weighted_row(
                wide[3 * tap.first..].as_flattened(),
                3 * ROWS,
                &tap.weights,
                out.as_flattened_mut(),
            );
        }

        // The strip becomes rows of pixels again.
        turn_back(&small, &mut fours, out);
    }

    // The rows that filled up the last strip are dropped.
    out.truncate(rows * to);
}

/// Turns at most [`ROWS`] rows to columns, through `fours`, which holds four rows of each column in a
/// place.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
fn turn(rows: &[u8], fours: &mut [[u8; 4]], columns: &mut [[u8; ROWS]]) {
    // Four rows at a time go to places of four bytes: writes stay contiguous, where single bytes
    // would be strewn over the columns.
    // Bytes of a row, `width` of them, are the columns; a, b, c, d are four rows:
    //   rows      a0 a1 a2 ...  b0 b1 b2 ...  c0 c1 c2 ...  d0 d1 d2 ...
    //   fours     a0 b0 c0 d0   a1 b1 c1 d1   a2 b2 c2 d2   ...
    //   columns   a0 b0 c0 d0 and the next seven fours of column 0, then column 1, ...
    let width = columns.len();
    let groups = rows.chunks_exact(4 * width);

    // One to three rows may fill no group, in the last strip of a picture alone.
    let rest = groups.remainder();
    let whole_groups = groups.len();

    for (rows, fours) in groups.zip(fours.chunks_exact_mut(width)) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|row| &rows[row * width..][..width]);

        // All four rows are walked at once, byte by byte: the compiler makes interleaving
        // instructions of it.
        for ((((four, a), b), c), d) in fours.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *four = [*a, *b, *c, *d];
        }
    }

    for (row, values) in rest.chunks_exact(width).enumerate() {
        // These rows go to the group after the last whole one, in which only the first places of
        // each four are written.
        let fours = &mut fours[whole_groups * width..];

        for (four, value) in fours.iter_mut().zip(values) {
            four[row] = *value;
        }
    }

    // Column x of the strip is the x-th place of each group, one group below the other.
    for (x, column) in columns.iter_mut().enumerate() {
        // A column of ROWS values is ROWS / 4 fours.
        let groups = column.as_chunks_mut::<4>().0;

        for (group, four) in groups.iter_mut().enumerate() {
            *four = fours[group * width + x];
        }
    }
}

/// Turns columns back to [`ROWS`] rows.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
fn turn_back(columns: &[[u8; ROWS]], fours: &mut [[u8; 4]], rows: &mut [u8]) {
    // This is the reverse of `turn`, in two steps as well: columns to places of four rows.
    //   columns   a0 b0 c0 d0 and seven more fours of column 0, then column 1, ...
    //   fours     a0 b0 c0 d0   a1 b1 c1 d1   ...
    //   rows      a0 a1 a2 ...  b0 b1 b2 ...  c0 c1 c2 ...  d0 d1 d2 ...
    let width = columns.len();

    for (x, column) in columns.iter().enumerate() {
        // Four values of a column are four rows of the same byte.
        let groups = column.as_chunks::<4>().0;

        for (group, four) in groups.iter().enumerate() {
            fours[group * width + x] = *four;
        }
    }

    // Places of four become four rows.
    let groups = rows.chunks_exact_mut(4 * width);

    for (rows, fours) in groups.zip(fours.chunks_exact(width)) {
        // The four rows are separate slices, because one mutable slice cannot be walked at four
        // places.
        let (ab, cd) = rows.split_at_mut(2 * width);
        let (a, b) = ab.split_at_mut(width);
        let (c, d) = cd.split_at_mut(width);

        for ((((four, a), b), c), d) in fours.iter().zip(a).zip(b).zip(c).zip(d) {
            [*a, *b, *c, *d] = *four;
        }
    }
}

/// Resizes columns: `taps.from` rows of `row_values` grey levels to `taps.to` rows, written to `out`.
pub fn resize_columns(values: &[u8], row_values: usize, taps: &Taps, out: &mut Vec<u8>) {
    // Rows `[from, row_values]` become `[to, row_values]`, where `row_values` is three times the
    // width.
    out.resize(taps.to * row_values, 0);

    // A row of the output is a weighted sum of whole rows, which lie in memory as they are summed:
    // nothing has to be turned.
    let rows = out.chunks_exact_mut(row_values);

    for (tap, row) in taps.each.iter().zip(rows) {
        // The window begins at the tap's first row; `weighted_row` reads as many rows as there are
        // weights.
        let window = &values[tap.first * row_values..];
        weighted_row(window, row_values, &tap.weights, row);
    }
}

/// Values of a row that are summed side by side: two vector registers of i32 on the widest machines.
const LANES: usize = 32;

/// One row from as many rows as there are weights.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
fn weighted_row(values: &[u8], row_values: usize, weights: &[i32], out: &mut [u8]) {
    // Whole blocks come first, whose sums fill the registers; then the values that are left, one by
    // one.
    let (blocks, rest) = out.as_chunks_mut::<LANES>();

    // `beyond` is the first value that no block covers.
    let beyond = blocks.len() * LANES;

    // Every block reads the same columns of all rows of the window.
    for (i, block) in blocks.iter_mut().enumerate() {
        sum(&values[i * LANES..], row_values, weights, block);
    }

    for (i, value) in rest.iter_mut().enumerate() {
        // At most LANES - 1 values of the row are left, each of which is a sum by itself.
        let one = std::array::from_mut(value);
        sum(&values[beyond + i..], row_values, weights, one);
    }
}

/// Weighted sums of the first `N` values of each row. `N` is a constant, so that the sums stay in
/// registers.
#[inline(always)]
fn sum<const N: usize>(values: &[u8], row_values: usize, weights: &[i32], out: &mut [u8; N]) {
    // An i32 is enough: weights of 22 bits sum to 1, lobes included they stay below 2, and a value
    // has 8 bits.
    let mut sums = [0; N];

    // Row by row, so that each weight is broadcast once for all N values. The last row of the
    // picture may be shorter than `row_values` here, as the slice began inside of a row.
    for (row, weight) in values.chunks(row_values).zip(weights) {
        for (sum, value) in sums.iter_mut().zip(&row[..N]) {
            *sum += i32::from(*value) * weight;
        }
    }

    // The sums are rounded and clamped: the kernel's negative lobes overshoot at edges.
    for (out, sum) in out.iter_mut().zip(sums) {
        *out = grey(sum);
    }
}

/// A fixed-point sum, rounded to a grey level.
#[inline(always)]
fn grey(sum: i32) -> u8 {
    // Halves go up, as in `Resample.c`.
    let half = 1 << (BITS - 1);

    ((sum + half) >> BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_picture_stays_flat_whatever_its_size() {
        for (from, to) in [(1, 7), (7, 1), (5, 5), (4000, 3), (3, 90)] {
            let taps = Taps::new(from, to);
            let mut wide = vec![];
            let mut small = vec![];
            resize_rows(&vec![200; 3 * from * from.min(9)], &taps, &mut wide);
            assert!(wide.iter().all(|v| *v == 200), "{from} to {to}");
            resize_columns(&vec![200; from * 3], 3, &taps, &mut small);
            assert_eq!(small, vec![200; to * 3]);
        }
    }

    #[test]
    fn both_directions_agree_on_any_number_of_rows() {
        let taps = Taps::new(50, 17);
        for rows in [1, ROWS, 2 * ROWS + 5] {
            let value =
                |row: usize, x: usize, channel: usize| (x * x * (row + 1) + 77 * channel) as u8;

            let order = |width: usize| (0..rows).flat_map(move |r| (0..width).map(move |x| (r, x)));
            let rgb: Vec<u8> = order(50)
                .flat_map(|(r, x)| [0, 1, 2].map(|c| value(r, x, c)))
                .collect();

            let turned: Vec<u8> = (0..50)
                .flat_map(|x| (0..rows).flat_map(move |r| [0, 1, 2].map(|c| value(r, x, c))))
                .collect();

            let mut wide = vec![];
            let mut tall = vec![];
            resize_rows_in_strips(&rgb, &taps, &mut wide);
            resize_columns(&turned, 3 * rows, &taps, &mut tall);
            let turned_back: Vec<u8> = order(17)
                .flat_map(|(r, x)| [0, 1, 2].map(|c| tall[3 * (x * rows + r) + c]))
                .collect();

            assert_eq!(wide, turned_back, "{rows} rows");
        }
    }

    /// Both are the plain way where the processor lacks the instructions.
    #[test]
    fn fast_rows_give_the_integers_of_the_plain_one() {
        use rand::{Rng, SeedableRng, rngs::StdRng};
        let mut random = StdRng::seed_from_u64(1);
        for (from, to) in [
            (1280, 224),
            (427, 240),
            (1280, 427),
            (224, 448),
            (33, 17),
            (17, 17),
            (7, 1),
            (1, 9),
            (4000, 3),
        ] {
            let rgb: Vec<u8> = (0..3 * from * 5)
                .map(|_| {
                    *[0, 255, random.random()]
                        .get(random.random_range(0..3))
                        .expect("three")
                })
                .collect();

            let taps = Taps::new(from, to);
            let mut fast = vec![];
            let mut plain = vec![];
            resize_rows(&rgb, &taps, &mut fast);
            resize_rows_in_strips(&rgb, &taps, &mut plain);
            assert_eq!(fast, plain, "{from} to {to}");
        }
    }
}
