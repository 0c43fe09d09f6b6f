//! The choice of an engine: the one that is asked for, or the best that this machine has. Never
//! another one than was said.

use super::cuda::device::Device;
use super::cuda::encoder::CudaEncoder;
use super::cuda::no_network::NoNetwork;
use super::cuda::stand_in::StandIn;
use super::encoder::Encoder;
use super::error::EngineError;
use super::network::{Networks, Precision};
use super::onnx::{OnnxEncoder, OnnxNearest, Runtime};
use super::plan::EncodePlan;
use super::tensorrt::{
    BuildOrder, BuildProgress, BuiltPlan, FoundPlans, Key, Library, PlanState, PlanTarget, Plans,
    TensorRt,
};
use crate::model::ModelFolder;
use std::path::PathBuf;

/// The engine that is asked for.
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

/// Settings of the choice: what is asked for, and where its libraries lie if not in their usual
/// places.
#[derive(Debug, Clone, Default)]
pub struct Engines {
    /// The engine that is asked for.
    pub backend: Backend,
    /// Precision of the GPU's network; the CPU's is fp32.
    pub precision: Precision,
    /// File of libonnxruntime.
    pub onnxruntime: Option<PathBuf>,
    /// Threads of ONNX Runtime. `None`: one a core.
    pub threads: Option<usize>,
    /// Folder of TensorRT's libraries.
    pub tensorrt: Option<PathBuf>,
    /// Command that builds a missing plan, for a person. Set where only an accepted plan may be
    /// used: beside a running line there is neither time nor room for building one.
    pub build_command: Option<String>,
    /// True where the processor's engine computes on its caller's thread alone, and not on the threads that all
    /// sessions share: it is then as slow as that thread's priority, and keeps no other work waiting.
    pub is_single_threaded: bool,
    /// Kernels, copies and the graph alone, for measuring them: verdicts mean nothing.
    pub without_network: bool,
}

/// Hears that the build of a plan begins (`None`), then how far it is; called from threads of the
/// library.
pub type BuildListener<'a> = dyn Fn(Option<BuildProgress>) + Sync + 'a;

/// Crops in one run of a GPU's network, at most: as many waiting pictures, or regions and tiles of
/// one. More go through it in turns; each of them costs memory, used or not.
pub const LOOKS_MAX: usize = 4;

impl Engines {
    /// ONNX Runtime: prompts are encoded with it by every engine.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the library is not there.
    pub fn runtime(&self) -> Result<Runtime, EngineError> {
        let runtime = Runtime::load(self.onnxruntime.as_deref(), self.threads)?;
        Ok(match self.is_single_threaded {
            true => runtime.single_threaded(),
            false => runtime,
        })
    }

    /// Opens the engine. `listener` hears of the build of a missing plan.
    ///
    /// # Errors
    /// When the engine cannot be had, the model cannot do what the plan asks, or a plan is missing
    /// that must not be built.
    pub fn open(
        &self,
        model: &ModelFolder,
        plan: &EncodePlan,
        listener: &BuildListener,
    ) -> Result<OpenedEngine, EngineError> {
        // The plan is checked first: a wrong recipe is told also where no GPU works.
        plan.check(&model.spec)?;

        // An engine that was named is opened or refused; only `auto` may choose.
        match self.backend {
            Backend::Onnx => Ok(self.on_cpu(model, plan)?.into()),
            Backend::Tensorrt => self.on_gpu(Device::open()?, model, plan, listener),
            Backend::Auto => match Device::open() {
                // A stand-in is for tests that name it: `auto` never judges parts with it.
                Ok(device) if !device.is_stand_in => {
                    self.on_gpu_or_cpu(device, model, plan, listener)
                }

                Ok(_) => Ok(self.on_cpu(model, plan)?.into()),
                Err(why) => {
                    // Without a driver no GPU is expected; with one that fails it is.
                    if Device::has_driver() {
                        tracing::warn!("the CPU judges: {why}");
                    }

                    Ok(self.on_cpu(model, plan)?.into())
                }
            },
        }
    }

    /// The engine of ONNX Runtime, which a GPU's plan is compared with.
    ///
    /// # Errors
    /// The same as [`Engines::open`].
    pub fn on_cpu(
        &self,
        model: &ModelFolder,
        plan: &EncodePlan,
    ) -> Result<Box<dyn Encoder>, EngineError> {
        let encoder = OnnxEncoder::open(&self.runtime()?, model, plan)?;

        Ok(Box::new(encoder))
    }

    /// The GPU's engine, or the CPU's with a warning that the GPU is not used.
    fn on_gpu_or_cpu(
        &self,
        device: Device,
        model: &ModelFolder,
        plan: &EncodePlan,
        listener: &BuildListener,
    ) -> Result<OpenedEngine, EngineError> {
        let name = device.name.clone();

        // Only a GPU that cannot be had lets the CPU take over. A wrong plan or model would be
        // wrong there too.
        match self.on_gpu(device, model, plan, listener) {
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
        listener: &BuildListener,
    ) -> Result<OpenedEngine, EngineError> {
        // An input that no GPU is served with is refused before minutes are spent on it.
        plan.square_side()?;

        // The tests' networks and the measuring mode need neither TensorRT nor a plan.
        if let Some(networks) = self.networks_without_tensorrt(&device, model, plan)? {
            let encoder = self.encoder(device, networks, model, plan)?;
            return Ok(encoder.into());
        }

        // The key names all facts that a plan depends on, so that a plan of another GPU or version
        // is never run.
        let library = Library::load(self.tensorrt.as_deref())?;
        let target = PlanTarget::of(&device)?;
        let key = Key::of(&library, model, plan, self.precision, LOOKS_MAX, &target)?;
        let plans = Plans::of(model);

        // The search is repeated under the lock: another process may have finished the plan in the
        // meantime.
        let mut lock = None;
        let mut found = plans.find(&key)?;

        if self.must_build(&found) {
            // Another line on this folder may be building it, or comparing what it built.
            lock = Some(plans.alone()?);
            found = plans.find(&key)?;
        }

        // A plan that serves is used as it is; building is the last resort and takes minutes.
        let usable = match self.usable_plan(found, &device.name)? {
            Some(usable) => usable,
            None => {
                tracing::info!(
                    "no TensorRT plan for {} yet; building it, which takes minutes, once",
                    device.name
                );

                listener(None);
                let order = BuildOrder {
                    model,
                    plan,
                    precision: self.precision,
                    looks_max: LOOKS_MAX,
                    target,
                };

                plans.build(&library, &order, &|progress| listener(Some(progress)))?
            }
        };

        // The lock goes to the caller, who drops it after the comparison with the CPU.
        let opened = self.with_plan(&library, device, usable, model, plan)?;

        Ok(OpenedEngine { lock, ..opened })
    }

    /// Networks that need no plan of TensorRT: none at all, or those of the tests' device.
    fn networks_without_tensorrt(
        &self,
        device: &Device,
        model: &ModelFolder,
        plan: &EncodePlan,
    ) -> Result<Option<Box<dyn Networks>>, EngineError> {
        if self.without_network {
            let networks = NoNetwork::new(device, self.precision, LOOKS_MAX);
            return Ok(Some(Box::new(networks)));
        }

        if device.is_stand_in {
            let runtime = self.runtime()?;
            let networks = StandIn::open(&runtime, model, plan, self.precision, LOOKS_MAX)?;
            return Ok(Some(Box::new(networks)));
        }

        Ok(None)
    }

    /// True if no plan was judged yet, and one may be built here.
    fn must_build(&self, found: &FoundPlans) -> bool {
        // A refused plan is not built again: the same build would be refused for the same reason.
        found.accepted.is_none() && found.refused.is_none() && self.build_command.is_none()
    }

    /// The plan to use. `None` where one is to be built. `gpu` is its name for a person.
    fn usable_plan(&self, found: FoundPlans, gpu: &str) -> Result<Option<BuiltPlan>, EngineError> {
        // A candidate would have to be compared first.
        let candidate = found.candidate.filter(|_| self.build_command.is_none());

        if let Some(plan) = found.accepted.or(candidate) {
            return Ok(Some(plan));
        }

        if let Some(why) = found.refused {
            return Err(EngineError::Unavailable(format!(
                "the plan for {gpu} was refused: {why}; try --precision fp32, or build it again with: winspect engine build"
            )));
        }

        // Plans that do not serve are named in the log: a person wonders why an existing plan is
        // built again.
        for why in &found.unfit {
            tracing::info!("a plan that does not serve: {why}");
        }

        match &self.build_command {
            None => Ok(None),
            // Not "unavailable": the CPU must not be used instead.
            Some(command) => Err(EngineError::Plan(format!(
                "no accepted TensorRT plan for {gpu}, and a line that judges builds none; build it, then try again: {command}"
            ))),
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
        built: BuiltPlan,
        model: &ModelFolder,
        plan: &EncodePlan,
    ) -> Result<OpenedEngine, EngineError> {
        // The networks own the plan's memory on the device and are moved into the encoder.
        let networks = TensorRt::open(library, &device, &built)?;
        let encoder = self.encoder(device, Box::new(networks), model, plan)?;
        Ok(OpenedEngine {
            encoder,
            candidate: Some(built).filter(|built| built.state == PlanState::Candidate),
            lock: None,
        })
    }

    fn encoder(
        &self,
        device: Device,
        networks: Box<dyn Networks>,
        model: &ModelFolder,
        plan: &EncodePlan,
    ) -> Result<Box<dyn Encoder>, EngineError> {
        // Features that are on the host, as those of references against each other, are compared on
        // the CPU, whatever engine runs the network.
        let nearest = Box::new(OnnxNearest::open(&self.runtime()?)?);

        // Compiled kernels are kept with the model, beside its plans.
        let kernels = model.path.join("kernels");
        let encoder = CudaEncoder::open(
            device,
            networks,
            (plan, &model.spec),
            nearest,
            Some(&kernels),
        )?;

        Ok(Box::new(encoder))
    }
}

/// An engine, ready for use.
pub struct OpenedEngine {
    /// The engine itself.
    pub encoder: Box<dyn Encoder>,
    /// The plan that it runs, where the plan was not compared with the CPU yet.
    pub candidate: Option<BuiltPlan>,
    /// Held until the comparison is done: no other process builds or compares a plan of this model
    /// meanwhile.
    pub lock: Option<std::fs::File>,
}

impl From<Box<dyn Encoder>> for OpenedEngine {
    fn from(encoder: Box<dyn Encoder>) -> Self {
        OpenedEngine {
            encoder,
            candidate: None,
            lock: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_plan_is_built_or_refused_with_the_command_and_the_cpu_does_not_judge_instead() {
        let startup = Engines::default();
        assert!(matches!(
            startup.usable_plan(FoundPlans::default(), "Orin"),
            Ok(None)
        ));

        let live = Engines {
            build_command: Some("winspect engine build my-model".to_owned()),
            ..startup
        };

        match live.usable_plan(FoundPlans::default(), "Orin") {
            Err(EngineError::Plan(words)) => {
                assert!(words.ends_with("try again: winspect engine build my-model"))
            }
            other => panic!("{other:?}"),
        }

        let refused = FoundPlans {
            refused: Some("scores differ".to_owned()),
            ..FoundPlans::default()
        };

        assert!(matches!(
            live.usable_plan(refused, "Orin"),
            Err(EngineError::Unavailable(_))
        ));
    }
}
