//! The key of a plan: all facts that it depends on. Two plans with the same key are the same plan.

use super::library::Library;
use crate::base::hex::hex;
use crate::engine::cuda::device::Device;
use crate::engine::cuda::error::failed;
use crate::engine::graphs::trunk_outputs;
use crate::engine::network::Precision;
use crate::engine::{EncodePlan, EngineError};
use crate::model::ModelFolder;
use cudarc::driver::sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
use sha2::{Digest, Sha256};

/// The GPU that a plan is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanTarget {
    /// The GPU of this machine.
    Device {
        /// Compute capability without the dot.
        sm: u32,
        /// Text that tells the GPU from others of its kind ([`PlanTarget::of`]).
        gpu: String,
    },
    /// Any of these compute capabilities (86 for 8.6); only TensorRT-RTX builds for a GPU that is
    /// not there.
    Capabilities(Vec<u32>),
}

impl PlanTarget {
    /// The GPU of `device`. Its name is not enough: every Jetson Orin is called Orin, with 8 to 16
    /// multiprocessors.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the driver does not tell.
    pub fn of(device: &Device) -> Result<Self, EngineError> {
        // The number of multiprocessors and the memory tell GPUs of one name apart, and plans are
        // tuned to both.
        let told = "the GPU does not tell its size";
        let parts = device
            .context
            .attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
            .map_err(failed(told))?;

        let bytes = device.context.total_mem().map_err(failed(told))?;

        // Drivers keep a little for themselves, each another little.
        let gib = (bytes as f64 / f64::from(1 << 30)).round();
        let name = &device.name;
        Ok(PlanTarget::Device {
            sm: device.sm,
            gpu: format!("{name}, {parts} multiprocessors, {gib} GiB"),
        })
    }

    /// Compute capabilities, sorted, each once.
    fn capabilities(&self) -> Vec<u32> {
        let mut sm = match self {
            PlanTarget::Device { sm, .. } => vec![*sm],
            PlanTarget::Capabilities(list) => list.clone(),
        };

        // The list is sorted and without repetition, so that the same GPUs give the same key in
        // whatever order they were named.
        sm.sort_unstable();
        sm.dedup();

        sm
    }

    /// The GPU of this machine; `None` for capabilities alone.
    fn gpu(&self) -> Option<String> {
        match self {
            PlanTarget::Device { gpu, .. } => Some(gpu.clone()),
            PlanTarget::Capabilities(_) => None,
        }
    }
}

/// The facts of a wanted plan, or of one that was built.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// `FORMAT` of the winspect that built it.
    pub format: u32,
    /// Library and version: `tensorrt-10.3.0`.
    pub library: String,
    /// Compute capabilities without the dot, sorted.
    pub sm: Vec<u32>,
    /// The GPU that it was built on; `None` when it was built for capabilities alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    /// Precision of the network's tensors.
    pub precision: Precision,
    /// Hex SHA-256 of the model's source.
    pub model: String,
    /// Input side in pixels.
    pub side: usize,
    /// Outputs of the trunk.
    pub outputs: Vec<String>,
    /// Window scales, one profile each, in this order.
    pub scales: Vec<usize>,
    /// The most crops that the trunk takes at once.
    pub looks_max: usize,
}

/// Version of the graphs and profiles. Raised when they are made otherwise than before.
pub const FORMAT: u32 = 2;

/// The most crops that may be asked for at once: more than a picture has.
pub const LOOKS_MOST: usize = 64;

impl Key {
    /// The key of a plan for `plan` of a model, for at most `looks_max` crops at once.
    ///
    /// # Errors
    /// [`EngineError::Plan`] for a plan that cannot be built.
    pub fn of(
        library: &Library,
        model: &ModelFolder,
        plan: &EncodePlan,
        precision: Precision,
        looks_max: usize,
        target: &PlanTarget,
    ) -> Result<Self, EngineError> {
        // What the model cannot do is refused here, before minutes of building.
        plan.check(&model.spec)?;

        if !(1..=LOOKS_MOST).contains(&looks_max) {
            return Err(EngineError::Plan(format!(
                "looks: must be 1 to {LOOKS_MOST}, got {looks_max}"
            )));
        }

        let sm = target.capabilities();
        let gpu = target.gpu();

        // Full TensorRT measures its kernels on the GPU at hand and has no way to build for
        // another.
        if gpu.is_none() && library.rtx().is_none() {
            let name = library.name();
            return Err(EngineError::Plan(format!(
                "{name} builds for the GPU of this machine alone; TensorRT-RTX builds for others"
            )));
        }

        // An empty list would build a plan that runs nowhere.
        if sm.is_empty() {
            return Err(EngineError::Plan(
                "no compute capability is named; for example 86,89".to_owned(),
            ));
        }

        // The model is named by the hash of its source and not by its folder, which may be moved.
        Ok(Key {
            format: FORMAT,
            library: library.name(),
            sm,
            gpu,
            precision,
            model: model.hash.clone(),
            side: plan.square_side()?,
            outputs: trunk_outputs(plan),
            scales: plan.scales.clone(),
            looks_max,
        })
    }

    /// Name of the plan's folder: 16 hex digits.
    pub fn name(&self) -> String {
        // The text of the key is what is hashed: a new field of it changes the name, and old plans
        // are not taken.
        let text = toml::to_string(self).expect("a key is a table of plain values");
        let digest = Sha256::digest(text.as_bytes());

        hex(&digest[..8])
    }

    /// Name of the file with the library's measurements on this GPU: on another one they would
    /// mislead.
    pub(super) fn timings(&self) -> String {
        // Characters that a file name should not hold become dashes, because names of GPUs have
        // blanks and slashes.
        let gpu = self.gpu.as_deref().unwrap_or_default();
        let words = format!("timing-{}-{}-{gpu}", self.library, self.gpus());
        let words: Vec<&str> = words
            .split(|c: char| !c.is_ascii_alphanumeric() && !"_.".contains(c))
            .filter(|word| !word.is_empty())
            .collect();

        format!("{}.cache", words.join("-"))
    }

    /// The compute capabilities in words: `sm_86, sm_89`.
    pub fn gpus(&self) -> String {
        let list: Vec<String> = self.sm.iter().map(|sm| format!("sm_{sm}")).collect();

        list.join(", ")
    }

    /// Reasons why a plan of this key does not serve for `wanted`; empty when it serves: it may
    /// compute more than that.
    pub fn unfit(&self, wanted: &Key) -> Vec<String> {
        // All reasons are collected, so that a person sees at once whether another build would
        // help.
        let mut reasons = UnfitReasons::default();

        if self.format != wanted.format {
            let has = self.format.to_string();
            let needed = wanted.format.to_string();
            reasons.note("its format is", &has, &needed);
        }

        if self.library != wanted.library {
            reasons.note("it was built by", &self.library, &wanted.library);
        }

        // The GPU is compared apart: a plan for capabilities alone runs on any GPU of theirs.
        self.check_gpu(wanted, &mut reasons);

        if self.precision != wanted.precision {
            let has = self.precision.name();
            let needed = wanted.precision.name();
            reasons.note("it computes in", has, needed);
        }

        // Hashes are told by their first digits, which suffice to see that they differ.
        if self.model != wanted.model {
            let has = short(&self.model);
            let needed = short(&wanted.model);
            reasons.note("it is of the model", has, needed);
        }

        // Outputs, scales and crops may be more than is wanted. Less is no use.
        self.check_sizes(wanted, &mut reasons);

        reasons.0
    }

    fn check_sizes(&self, wanted: &Key, reasons: &mut UnfitReasons) {
        // Pixels are fixed in the graph, so that the side has to be the very same.
        if self.side != wanted.side {
            let has = format!("{} pixels", self.side);
            let needed = format!("{} pixels", wanted.side);
            reasons.note("it takes a side of", &has, &needed);
        }

        // Outputs are looked for by name, in any order: bindings go by name too.
        if !holds_all(&self.outputs, &wanted.outputs) {
            let has = self.outputs.join(", ");
            let needed = wanted.outputs.join(", ");
            reasons.note("it computes", &has, &needed);
        }

        if !holds_all(&self.scales, &wanted.scales) {
            let has = format!("{:?}", self.scales);
            let needed = format!("{:?}", wanted.scales);
            reasons.note("it has windows of", &has, &needed);
        }

        if self.looks_max < wanted.looks_max {
            let has = self.looks_max.to_string();
            let needed = wanted.looks_max.to_string();
            reasons.note("it takes looks up to", &has, &needed);
        }
    }

    fn check_gpu(&self, wanted: &Key, reasons: &mut UnfitReasons) {
        // Another compute capability says enough; the names of the GPUs would only repeat it.
        if !holds_all(&self.sm, &wanted.sm) {
            reasons.note("it is for", &self.gpus(), &wanted.gpus());
            return;
        }

        if let Some(has) = &self.gpu
            && let Some(needed) = &wanted.gpu
            && has != needed
        {
            reasons.note("it was built on", has, needed);
        }
    }
}

/// Reasons why a plan does not serve.
#[derive(Default)]
struct UnfitReasons(Vec<String>);

impl UnfitReasons {
    fn note(&mut self, what: &str, has: &str, needed: &str) {
        self.0.push(format!("{what} {has}, not {needed}"));
    }
}

fn holds_all<T: PartialEq>(has: &[T], needed: &[T]) -> bool {
    needed.iter().all(|item| has.contains(item))
}

/// The first digits of a hash.
fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// ViT-B-16-plus-240 on an Orin.
    pub fn key() -> Key {
        Key {
            format: FORMAT,
            library: "tensorrt-10.3.0".to_owned(),
            sm: vec![87],
            gpu: Some("Orin".to_owned()),
            precision: Precision::Fp16,
            model: "0123456789".to_owned(),
            side: 240,
            outputs: vec![
                "block12".to_owned(),
                "tokens".to_owned(),
                "image".to_owned(),
            ],
            scales: vec![2, 3],
            looks_max: 4,
        }
    }

    #[test]
    fn what_was_measured_on_one_gpu_is_not_used_on_another() {
        assert_eq!(key().timings(), "timing-tensorrt-10.3.0-sm_87-Orin.cache");
        let gpu = Some("NVIDIA GeForce RTX 4090, 128 multiprocessors, 24 GiB".to_owned());
        let other = Key {
            sm: vec![89],
            gpu,
            ..key()
        };

        assert_eq!(
            other.timings(),
            "timing-tensorrt-10.3.0-sm_89-NVIDIA-GeForce-RTX-4090-128-multiprocessors-24-GiB.cache"
        );

        let several = Key {
            sm: vec![86, 89],
            gpu: None,
            ..key()
        };

        assert_eq!(
            several.timings(),
            "timing-tensorrt-10.3.0-sm_86-sm_89.cache"
        );
    }

    #[test]
    fn a_plan_serves_what_asks_for_less_and_nothing_else() {
        let has = key();
        let less = Key {
            outputs: vec!["tokens".to_owned()],
            scales: vec![3],
            looks_max: 1,
            ..key()
        };

        assert!(has.unfit(&key()).is_empty() && has.unfit(&less).is_empty());
        assert_eq!(less.unfit(&has).len(), 3);
        let changes: [(&str, Key); 6] = [
            (
                "tensorrt-10.3.0, not tensorrt-10.13.0",
                Key {
                    library: "tensorrt-10.13.0".to_owned(),
                    ..key()
                },
            ),
            (
                "it is for sm_87, not sm_110",
                Key {
                    sm: vec![110],
                    ..key()
                },
            ),
            (
                "it was built on Orin, not Orin Nano",
                Key {
                    gpu: Some("Orin Nano".to_owned()),
                    ..key()
                },
            ),
            (
                "fp16, not fp32",
                Key {
                    precision: Precision::Fp32,
                    ..key()
                },
            ),
            (
                "01234567, not abcdefgh",
                Key {
                    model: "abcdefghij".to_owned(),
                    ..key()
                },
            ),
            ("240 pixels, not 336 pixels", Key { side: 336, ..key() }),
        ];

        for (words, wanted) in changes {
            let reasons = has.unfit(&wanted);
            assert!(
                reasons.len() == 1 && reasons[0].contains(words),
                "{words}: {reasons:?}"
            );

            assert_ne!(has.name(), wanted.name());
        }
    }
}
