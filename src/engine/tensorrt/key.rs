//! What a plan depends on. Two plans with the same key are the same plan.

use super::library::Library;
use crate::base::hex::hex;
use crate::engine::cuda::device::{Device, failed};
use crate::engine::graphs::trunk_outputs;
use crate::engine::network::Precision;
use crate::engine::{EncodePlan, EngineError};
use crate::model::ModelFolder;
use cudarc::driver::sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
use sha2::{Digest, Sha256};

/// The GPU that a plan is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one of this machine; `gpu` tells it from others of its kind ([`Target::of`]).
    Device { sm: u32, gpu: String },
    /// Any of these compute capabilities (86 for 8.6); only TensorRT-RTX builds for a GPU that is not there.
    Capabilities(Vec<u32>),
}

impl Target {
    /// The GPU of `device`. Its name is not enough: every Jetson Orin is called Orin, with 8 to 16 multiprocessors.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the driver does not tell.
    pub fn of(device: &Device) -> Result<Self, EngineError> {
        let told = "the GPU does not tell its size";
        let parts = device
            .context
            .attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
            .map_err(failed(told))?;
        let bytes = device.context.total_mem().map_err(failed(told))?;
        // Drivers keep a little for themselves, each another little.
        let gib = (bytes as f64 / f64::from(1 << 30)).round();
        let gpu = format!("{}, {parts} multiprocessors, {gib} GiB", device.name);
        Ok(Target::Device { sm: device.sm, gpu })
    }
}

/// What is wanted, or what was built.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// `FORMAT` of who built it.
    pub format: u32,
    /// Library and version: `tensorrt-10.3.0`.
    pub library: String,
    /// Compute capabilities without the dot, sorted.
    pub sm: Vec<u32>,
    /// The GPU that it was built on; nothing where it was built for capabilities alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,
    pub precision: Precision,
    /// Hex SHA-256 of the model's source.
    pub model: String,
    /// Input side in pixels.
    pub side: usize,
    /// What the trunk computes.
    pub outputs: Vec<String>,
    /// Window scales, one profile each, in this order.
    pub scales: Vec<usize>,
    /// Looks that the trunk takes at once, at most.
    pub looks_max: usize,
}

/// Raised when graphs or profiles are made otherwise than before.
pub const FORMAT: u32 = 2;

/// Looks that may be asked for at once: more than a picture has.
pub const LOOKS_MOST: usize = 64;

impl Key {
    /// # Errors
    /// [`EngineError::Plan`] for what no plan can be built for.
    pub fn of(
        library: &Library,
        model: &ModelFolder,
        plan: &EncodePlan,
        precision: Precision,
        looks_max: usize,
        target: &Target,
    ) -> Result<Self, EngineError> {
        plan.check(&model.spec)?;
        if !(1..=LOOKS_MOST).contains(&looks_max) {
            return Err(EngineError::Plan(format!(
                "looks: must be 1 to {LOOKS_MOST}, got {looks_max}"
            )));
        }
        let (mut sm, gpu) = match target {
            Target::Device { sm, gpu } => (vec![*sm], Some(gpu.clone())),
            Target::Capabilities(list) => (list.clone(), None),
        };
        if gpu.is_none() && library.rtx().is_none() {
            let name = library.name();
            return Err(EngineError::Plan(format!(
                "{name} builds for the GPU of this machine alone; TensorRT-RTX builds for others"
            )));
        }
        if sm.is_empty() {
            return Err(EngineError::Plan(
                "no compute capability is named; for example 86,89".to_owned(),
            ));
        }
        sm.sort_unstable();
        sm.dedup();
        Ok(Key {
            format: FORMAT,
            library: library.name(),
            sm,
            gpu,
            precision,
            model: model.hash.clone(),
            side: plan.side,
            outputs: trunk_outputs(plan),
            scales: plan.scales.clone(),
            looks_max,
        })
    }

    /// The plan's folder: 16 hex digits.
    pub fn name(&self) -> String {
        let text = toml::to_string(self).expect("a key is a table of plain values");
        hex(&Sha256::digest(text.as_bytes())[..8])
    }

    /// The file of what the library measured on the GPU that it is for: of another one it would mislead.
    pub(super) fn timings(&self) -> String {
        let gpu = self.gpu.as_deref().unwrap_or_default();
        let words = format!("timing-{}-{}-{gpu}", self.library, self.gpus());
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
        let words: Vec<&str> = words
            .split(|c| !plain(c))
            .filter(|word| !word.is_empty())
            .collect();
        format!("{}.cache", words.join("-"))
    }

    /// `sm_86, sm_89`
    pub fn gpus(&self) -> String {
        let list: Vec<String> = self.sm.iter().map(|sm| format!("sm_{sm}")).collect();
        list.join(", ")
    }

    /// Why a plan of this key does not do what is `wanted`; empty when it does: it may compute more than that.
    pub fn unfit(&self, wanted: &Key) -> Vec<String> {
        let mut reasons = vec![];
        let mut differ = |what: &str, has: String, needed: String, fits: bool| {
            if !fits {
                reasons.push(format!("{what} {has}, not {needed}"));
            }
        };
        let format = |key: &Key| key.format.to_string();
        differ(
            "its format is",
            format(self),
            format(wanted),
            self.format == wanted.format,
        );
        differ(
            "it was built by",
            self.library.clone(),
            wanted.library.clone(),
            self.library == wanted.library,
        );
        let runs = wanted.sm.iter().all(|sm| self.sm.contains(sm));
        differ("it is for", self.gpus(), wanted.gpus(), runs);
        if let (true, Some(has), Some(needed)) = (runs, &self.gpu, &wanted.gpu) {
            differ(
                "it was built on",
                has.clone(),
                needed.clone(),
                has == needed,
            );
        }
        differ(
            "it computes in",
            name(self),
            name(wanted),
            self.precision == wanted.precision,
        );
        differ(
            "it is of the model",
            short(&self.model),
            short(&wanted.model),
            self.model == wanted.model,
        );
        differ(
            "it takes a side of",
            pixels(self),
            pixels(wanted),
            self.side == wanted.side,
        );
        let outputs = wanted
            .outputs
            .iter()
            .all(|output| self.outputs.contains(output));
        differ(
            "it computes",
            self.outputs.join(", "),
            wanted.outputs.join(", "),
            outputs,
        );
        let scales = wanted
            .scales
            .iter()
            .all(|scale| self.scales.contains(scale));
        differ(
            "it has windows of",
            format!("{:?}", self.scales),
            format!("{:?}", wanted.scales),
            scales,
        );
        let looks = self.looks_max >= wanted.looks_max;
        differ(
            "it takes looks up to",
            self.looks_max.to_string(),
            wanted.looks_max.to_string(),
            looks,
        );
        reasons
    }
}

fn name(key: &Key) -> String {
    key.precision.name().to_owned()
}

fn pixels(key: &Key) -> String {
    format!("{} pixels", key.side)
}

fn short(hash: &str) -> String {
    hash.get(..8).unwrap_or(hash).to_owned()
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
