//! The anomaly of a feature in words (WinCLIP, equation 1): `s(f) = softmax([<f, t_n>, <f, t_a>] /
//! tau)` of anomalous.
//!
//! One warp a row: it reads the row once for its length and both products. 365 windows and the
//! picture at E = 640 are 0.5 MB (fp16): 0.1 us of an H200's 4.8 TB/s; the launch takes longer than
//! the work.

use super::{Kernels, LaunchShape, launch};
use crate::engine::EngineError;
use cudarc::driver::{CudaStream, DeviceRepr};

/// Arguments of the kernel. All addresses are the device's.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct LanguageArgs {
    /// REAL `[count, embed]`: raw features.
    pub rows: u64,
    /// i32 `[count]`: index of each row's crop.
    pub crop: u64,
    /// f32 `[2, embed]`: the unit prototypes, normal and anomalous.
    pub prototypes: u64,
    /// Written: f32 `[count]`, finite: 0 to 1; 0.5 for a row of zeros.
    pub values: u64,
    /// Raised to 1, u32 by crop: a row of that crop, or its squared length, is not finite in f32.
    pub flags: u64,
    /// Number of rows.
    pub count: u32,
    /// E, the width of an embedding.
    pub embed: u32,
    /// Softmax temperature tau.
    pub temperature: f32,
    /// Padding.
    pub unused: u32,
}

// SAFETY: plain numbers, laid out as the kernel's `struct Language`.
unsafe impl DeviceRepr for LanguageArgs {}

const WARPS: u32 = 4;

/// Enqueues the comparison of all rows with the two prototypes.
///
/// # Errors
/// [`EngineError::Run`] when the driver refuses.
///
/// # Safety
/// When the stream comes to it, the memory at the addresses is as [`LanguageArgs`] says.
pub unsafe fn enqueue(
    kernels: &Kernels,
    stream: &CudaStream,
    args: &LanguageArgs,
) -> Result<(), EngineError> {
    if args.count == 0 {
        return Ok(());
    }

    let shape = LaunchShape {
        blocks: (args.count.div_ceil(WARPS), 1, 1),
        threads: (32, WARPS, 1),
    };

    // SAFETY: the caller's promise; `LanguageArgs` is the kernel's struct.
    unsafe { launch(stream, &kernels.language, shape, args) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, on_device, random};
    use super::*;
    use crate::winclip::vectors::cosine;

    /// The plain reference: `Language::of_row` in `winclip/scorer.rs`.
    fn plain(row: &[f32], [normal, anomalous]: [&[f32]; 2], temperature: f32) -> f32 {
        1.0 / (1.0 + ((cosine(row, normal) - cosine(row, anomalous)) / temperature).exp())
    }

    fn prototypes(embed: usize) -> Vec<f32> {
        let raw =
            ndarray::Array2::from_shape_vec((2, embed), random(77, 2 * embed)).expect("two rows");

        crate::winclip::vectors::unit_rows(raw.view())
            .into_iter()
            .collect()
    }

    fn values(
        bench: &Bench,
        rows: &[f32],
        crop: &[i32],
        prototypes: &[f32],
        temperature: f32,
    ) -> (Vec<f32>, Vec<u32>) {
        let (values, flags) = (bench.out(crop.len(), f32::NAN), bench.out(3, 0u32));
        let args = LanguageArgs {
            rows: bench.up_real(rows),
            crop: bench.up(crop),
            prototypes: bench.up(prototypes),
            values: values.address,
            flags: flags.address,
            count: crop.len() as u32,
            embed: (prototypes.len() / 2) as u32,
            temperature,
            unused: 0,
        };

        // SAFETY: the bench holds what the sizes say.
        unsafe { enqueue(&bench.kernels, &bench.stream, &args) }.expect("enqueued");
        (bench.down(&values), bench.down(&flags))
    }

    /// Within 1e-5 at tau = 0.07: sums of floats against sums of doubles.
    #[test]
    fn it_is_the_softmax_of_two_cosines() {
        on_device(|bench| {
            for embed in [1, 31, 32, 77, 640] {
                let prototypes = prototypes(embed);
                let mut rows = bench.stored(&random(3, 9 * embed));
                rows[2 * embed..3 * embed].fill(0.0);
                rows[4 * embed..5 * embed].copy_from_slice(&bench.stored(&prototypes[..embed]));
                let (found, flags) = values(
                    bench,
                    &rows,
                    &[0, 0, 0, 1, 1, 1, 1, 2, 2],
                    &prototypes,
                    0.07,
                );

                let (normal, anomalous) = prototypes.split_at(embed);
                for (row, found) in rows.chunks_exact(embed).zip(&found) {
                    let plain = plain(row, [normal, anomalous], 0.07);
                    assert!(
                        (found - plain).abs() < 1e-5,
                        "E = {embed}: {found}, plainly {plain}"
                    );
                }

                assert_eq!((found[2], flags), (0.5, vec![0; 3]));
            }
        });
    }

    #[test]
    fn a_row_that_is_not_finite_raises_its_crops_flag_and_has_a_finite_value() {
        on_device(|bench| {
            let (embed, prototypes) = (40, prototypes(40));
            for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut rows = random(4, 3 * embed);
                rows[2 * embed - 1] = strange;
                let (found, flags) = values(bench, &rows, &[0, 1, 2], &prototypes, 0.01);
                assert!(
                    found.iter().all(|value| (0.0..=1.0).contains(value)),
                    "{found:?}"
                );

                assert_eq!(flags, [0, 1, 0]);
            }
        });
    }
}
