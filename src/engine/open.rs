//! Which engine judges: the one that is asked for, or the best that this machine has. Never another one than was said.

use super::cuda::device::Device;
use super::cuda::encoder::CudaEncoder;
use super::cuda::stand_in::StandIn;
use super::nearest::OnnxNearest;
use super::network::{Networks, Precision};
use super::onnx::{OnnxEncoder, Runtime};
use super::{EncodePlan, Encoder, EngineError};
use crate::model::ModelFolder;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// TensorRT where there is a GPU that works and a TensorRT for it, else ONNX Runtime.
    #[default]
    Auto,
    /// ONNX Runtime on the CPU.
    Onnx,
    /// TensorRT and our kernels on an NVIDIA GPU.
    Tensorrt,
}

/// What is asked for, and where its libraries are when they are not in their places.
#[derive(Debug, Clone, Default)]
pub struct Engines {
    pub backend: Backend,
    /// Of the GPU's network; the CPU's is fp32.
    pub precision: Precision,
    /// libonnxruntime.
    pub onnxruntime: Option<PathBuf>,
    /// Threads of ONNX Runtime; nothing means one a core.
    pub threads: Option<usize>,
    /// The folder of TensorRT's libraries.
    pub tensorrt: Option<PathBuf>,
}

/// Looks that a GPU's network takes at once: as many waiting pictures, or regions and tiles of one. More go through it
/// in turns; each of them costs memory, used or not.
pub const LOOKS_MAX: usize = 4;

impl Engines {
    /// ONNX Runtime: prompts are encoded with it, whatever judges.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the library is not there.
    pub fn runtime(&self) -> Result<Runtime, EngineError> {
        Runtime::load(self.onnxruntime.as_deref(), self.threads)
    }

    /// # Errors
    /// When the engine cannot be had, or the model cannot do what the plan asks.
    pub fn open(&self, model: &ModelFolder, plan: &EncodePlan) -> Result<Box<dyn Encoder>, EngineError> {
        plan.check(&model.spec)?;
        match self.backend {
            Backend::Onnx => self.on_cpu(model, plan),
            Backend::Tensorrt => self.on_gpu(Device::open()?, model, plan),
            Backend::Auto => match Device::open() {
                Ok(device) if !device.is_stand_in => self.on_gpu_or_cpu(device, model, plan),
                _ => self.on_cpu(model, plan),
            },
        }
    }

    fn on_cpu(&self, model: &ModelFolder, plan: &EncodePlan) -> Result<Box<dyn Encoder>, EngineError> {
        Ok(Box::new(OnnxEncoder::open(&self.runtime()?, model, plan)?))
    }

    /// A GPU that could judge and does not is told.
    fn on_gpu_or_cpu(
        &self,
        device: Device,
        model: &ModelFolder,
        plan: &EncodePlan,
    ) -> Result<Box<dyn Encoder>, EngineError> {
        let name = device.name.clone();
        match self.on_gpu(device, model, plan) {
            Err(EngineError::Unavailable(why)) => {
                tracing::warn!("{name} is here, but the CPU judges: {why}; backend = \"onnx\" says that this is meant");
                self.on_cpu(model, plan)
            }
            opened => opened,
        }
    }

    fn on_gpu(&self, device: Device, model: &ModelFolder, plan: &EncodePlan) -> Result<Box<dyn Encoder>, EngineError> {
        let runtime = self.runtime()?;
        let networks: Box<dyn Networks> = match device.is_stand_in {
            true => Box::new(StandIn::open(&runtime, model, plan, self.precision, LOOKS_MAX)?),
            false => return Err(EngineError::Unavailable("TensorRT is not in this build".to_owned())),
        };
        let nearest = Box::new(OnnxNearest::open(&runtime)?);
        let cache = model.path.join("plans");
        let encoder = CudaEncoder::open(device, networks, (plan, &model.spec), nearest, Some(&cache))?;
        Ok(Box::new(encoder))
    }
}
