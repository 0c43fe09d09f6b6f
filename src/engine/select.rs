//! Which engine judges: the one that is asked for, or the best that this machine has. Never another one than was said.

use super::cuda::device::Device;
use super::cuda::encoder::CudaEncoder;
use super::cuda::no_network::NoNetwork;
use super::cuda::stand_in::StandIn;
use super::nearest::OnnxNearest;
use super::network::{Networks, Precision};
use super::onnx::{OnnxEncoder, Runtime};
use super::tensorrt::{Found, Key, Library, Order, Plan, Plans, Progress, State, Target, TensorRt};
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
    /// Where only a plan that was accepted may judge, the command that builds a missing one: beside a line that judges
    /// there is neither time nor room for it.
    pub build_command: Option<String>,
    /// Kernels, copies and the graph alone, for those who measure them: verdicts mean nothing.
    pub without_network: bool,
}

/// Hears that a plan's build begins (nothing), then how far it is; from threads of the library.
pub type Told<'a> = dyn Fn(Option<Progress>) + Sync + 'a;

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

    /// `told` hears of the build of a plan that is missing.
    ///
    /// # Errors
    /// When the engine cannot be had, the model cannot do what the plan asks, or a plan is missing that must not be built.
    pub fn open(
        &self,
        model: &ModelFolder,
        plan: &EncodePlan,
        told: &Told,
    ) -> Result<OpenedEngine, EngineError> {
        plan.check(&model.spec)?;
        match self.backend {
            Backend::Onnx => Ok(self.on_cpu(model, plan)?.into()),
            Backend::Tensorrt => self.on_gpu(Device::open()?, model, plan, told),
            Backend::Auto => match Device::open() {
                Ok(device) if !device.is_stand_in => self.on_gpu_or_cpu(device, model, plan, told),
                Ok(_) => Ok(self.on_cpu(model, plan)?.into()),
                Err(why) => {
                    // Without a driver nobody expects a GPU; with one that fails somebody does.
                    if Device::has_driver() {
                        tracing::warn!("the CPU judges: {why}");
                    }
                    Ok(self.on_cpu(model, plan)?.into())
                }
            },
        }
    }

    /// ONNX Runtime's, which a GPU's plan is compared with.
    ///
    /// # Errors
    /// As [`Engines::open`].
    pub fn on_cpu(
        &self,
        model: &ModelFolder,
        plan: &EncodePlan,
    ) -> Result<Box<dyn Encoder>, EngineError> {
        Ok(Box::new(OnnxEncoder::open(&self.runtime()?, model, plan)?))
    }

    /// A GPU that could judge and does not is told.
    fn on_gpu_or_cpu(
        &self,
        device: Device,
        model: &ModelFolder,
        plan: &EncodePlan,
        told: &Told,
    ) -> Result<OpenedEngine, EngineError> {
        let name = device.name.clone();
        match self.on_gpu(device, model, plan, told) {
            Err(EngineError::Unavailable(why)) => {
                tracing::warn!(
                    "{name} is here, but the CPU judges: {why}; backend = \"onnx\" says that this is meant"
                );
                Ok(self.on_cpu(model, plan)?.into())
            }
            opened => opened,
        }
    }

    fn on_gpu(
        &self,
        device: Device,
        model: &ModelFolder,
        plan: &EncodePlan,
        told: &Told,
    ) -> Result<OpenedEngine, EngineError> {
        if self.without_network {
            let networks = NoNetwork::new(&device, self.precision, LOOKS_MAX);
            return Ok(self
                .encoder(device, Box::new(networks), model, plan)?
                .into());
        }
        if device.is_stand_in {
            let networks = StandIn::open(&self.runtime()?, model, plan, self.precision, LOOKS_MAX)?;
            return Ok(self
                .encoder(device, Box::new(networks), model, plan)?
                .into());
        }
        let library = Library::load(self.tensorrt.as_deref())?;
        let target = Target::of(&device)?;
        let key = Key::of(&library, model, plan, self.precision, LOOKS_MAX, &target)?;
        let plans = Plans::of(model);
        let (mut found, mut alone) = (plans.find(&key)?, None);
        if found.accepted.is_none() && found.refused.is_none() && self.build_command.is_none() {
            // Another line on this folder may be building it, or comparing what it built.
            alone = Some(plans.alone()?);
            found = plans.find(&key)?;
        }
        let serving = match self.serving(found, &device.name)? {
            Some(plan) => plan,
            None => {
                tracing::info!(
                    "no TensorRT plan for {} yet; building it, which takes minutes, once",
                    device.name
                );
                let precision = self.precision;
                told(None);
                let order = Order {
                    model,
                    plan,
                    precision,
                    looks_max: LOOKS_MAX,
                    target,
                };
                plans.build(&library, &order, &|progress| told(Some(progress)))?
            }
        };
        let opened = self.with_plan(&library, device, serving, model, plan)?;
        Ok(OpenedEngine { alone, ..opened })
    }

    /// Which of the plans found judges; nothing where one is to be built. `gpu` is for people.
    fn serving(&self, found: Found, gpu: &str) -> Result<Option<Plan>, EngineError> {
        let candidate = found.candidate.filter(|_| self.build_command.is_none()); // it would have to be compared first
        match (found.accepted.or(candidate), found.refused) {
            (Some(plan), _) => Ok(Some(plan)),
            (None, Some(why)) => Err(EngineError::Unavailable(format!(
                "the plan for {gpu} was refused: {why}; try --precision fp32, or build it again with: winspect engine build"
            ))),
            (None, None) => {
                found
                    .unfit
                    .iter()
                    .for_each(|why| tracing::info!("a plan that does not serve: {why}"));
                // Not "unavailable": the CPU must not judge instead.
                self.build_command.as_ref().map_or(Ok(None), |command| {
                    Err(EngineError::Plan(format!(
                        "no accepted TensorRT plan for {gpu}, and a line that judges builds none; build it, then try again: {command}"
                    )))
                })
            }
        }
    }

    /// The GPU's engine with this plan, which fits.
    ///
    /// # Errors
    /// When the plan cannot be run.
    pub fn with_plan(
        &self,
        library: &Library,
        device: Device,
        serving: Plan,
        model: &ModelFolder,
        plan: &EncodePlan,
    ) -> Result<OpenedEngine, EngineError> {
        let networks = TensorRt::open(library, &device, &serving)?;
        let encoder = self.encoder(device, Box::new(networks), model, plan)?;
        Ok(OpenedEngine {
            encoder,
            candidate: Some(serving).filter(|plan| plan.state == State::Candidate),
            alone: None,
        })
    }

    fn encoder(
        &self,
        device: Device,
        networks: Box<dyn Networks>,
        model: &ModelFolder,
        plan: &EncodePlan,
    ) -> Result<Box<dyn Encoder>, EngineError> {
        let nearest = Box::new(OnnxNearest::open(&self.runtime()?)?);
        let kernels = model.path.join("kernels");
        Ok(Box::new(CudaEncoder::open(
            device,
            networks,
            (plan, &model.spec),
            nearest,
            Some(&kernels),
        )?))
    }
}

/// An engine, ready.
pub struct OpenedEngine {
    pub encoder: Box<dyn Encoder>,
    /// The plan that it runs, where nobody has compared it with the CPU yet.
    pub candidate: Option<Plan>,
    /// Held until that was done: no other process builds or compares a plan of this model meanwhile.
    pub alone: Option<std::fs::File>,
}

impl From<Box<dyn Encoder>> for OpenedEngine {
    fn from(encoder: Box<dyn Encoder>) -> Self {
        OpenedEngine {
            encoder,
            candidate: None,
            alone: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_plan_is_built_or_refused_with_the_command_and_the_cpu_does_not_judge_instead() {
        let starting = Engines::default();
        assert!(matches!(
            starting.serving(Found::default(), "Orin"),
            Ok(None)
        ));
        let beside = Engines {
            build_command: Some("winspect engine build my-model".to_owned()),
            ..starting
        };
        match beside.serving(Found::default(), "Orin") {
            Err(EngineError::Plan(words)) => {
                assert!(words.ends_with("try again: winspect engine build my-model"))
            }
            other => panic!("{other:?}"),
        }
        let refused = Found {
            refused: Some("scores differ".to_owned()),
            ..Found::default()
        };
        assert!(matches!(
            beside.serving(refused, "Orin"),
            Err(EngineError::Unavailable(_))
        ));
    }
}
