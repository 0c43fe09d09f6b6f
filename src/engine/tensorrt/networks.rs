//! A plan on the device, behind the seam for networks.
//!
//! What lies between the layers has one room for everything that is bound of a plan: all of it runs on the device's one
//! stream, one after the other. It is as large as the largest profile asks for, and stays where it is, as captured graphs
//! hold its address.

use super::building::input;
use super::library::Library;
use super::plan::{Plan, write};
use super::raw::{Context, Engine, Scratch};
use crate::engine::EngineError;
use crate::engine::cuda::device::Device;
use crate::engine::cuda::memory::Buffer;
use crate::engine::network::{Binding, Facts, Network, Networks, Precision, TowerPart};
use cudarc::driver::sys::CUstream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The plan's graphs, deserialised.
pub struct TensorRt {
    device: Device,
    trunk: Arc<Engine>,
    windows: Option<Arc<Engine>>,
    /// Between the layers of both.
    scratch: Arc<Buffer>,
    facts: Facts,
    /// Whose kernels are kept from start to start, where the library compiles some.
    plan: Plan,
}

impl TensorRt {
    /// # Errors
    /// [`EngineError::Model`] when the plan is not what was built, [`EngineError::Unavailable`] when the library cannot
    /// run it on this device.
    pub fn open(library: &Library, device: &Device, plan: &Plan) -> Result<Self, EngineError> {
        let opened = TensorRt::of(library, device, plan);
        // Another process may have accepted a newer one between two files of it.
        match plan.successor().filter(|_| opened.is_err()) {
            Some(newer) => TensorRt::of(library, device, &newer),
            None => opened,
        }
    }

    fn of(library: &Library, device: &Device, plan: &Plan) -> Result<Self, EngineError> {
        device.bind()?;
        let engine = |part: TowerPart| -> Result<Arc<Engine>, EngineError> {
            let bytes = plan.read(part)?;
            let told = |words: String| {
                EngineError::Unavailable(format!(
                    "{} cannot run {} on {} (sm_{}): {words}",
                    library.name(),
                    plan.path.display(),
                    device.name,
                    device.sm
                ))
            };
            let made = Engine::new(
                library.loaded(),
                library.number(),
                library.slots(),
                library.logger(),
                &bytes,
            );
            let mut engine = made.map_err(told)?;
            if let Some(rtx) = library.rtx() {
                let kept = std::fs::read(plan.jit_file(part)).unwrap_or_default();
                engine = engine.compiling(rtx, &kept).map_err(told)?;
            }
            check(&engine, part, plan.key.precision).map_err(told)?;
            Ok(Arc::new(engine))
        };
        let trunk = engine(TowerPart::Trunk)?;
        let windows = (!plan.key.scales.is_empty())
            .then(|| engine(TowerPart::Windows))
            .transpose()?;
        let scratch = [Some(&trunk), windows.as_ref()]
            .into_iter()
            .flatten()
            .map(|engine| engine.scratch_bytes())
            .max();
        let scratch = Buffer::new(&device.context, scratch.unwrap_or(0))?;
        tracing::debug!(bytes = scratch.bytes(), "GPU memory between the layers");
        Ok(TensorRt {
            device: device.clone(),
            trunk,
            windows,
            scratch: Arc::new(scratch),
            facts: Facts {
                name: format!("{}-{}", library.name(), plan.key.precision.name()),
                precision: plan.key.precision,
                looks_max: plan.key.looks_max,
            },
            plan: plan.clone(),
        })
    }

    fn engine(&self, part: TowerPart) -> Result<&Arc<Engine>, EngineError> {
        match part {
            TowerPart::Trunk => Ok(&self.trunk),
            TowerPart::Windows => self
                .windows
                .as_ref()
                .ok_or_else(|| EngineError::Plan("the plan has no windows".to_owned())),
        }
    }
}

/// Whether an engine has the input that we bind, and every tensor the type that our kernels write.
fn check(engine: &Engine, part: TowerPart, precision: Precision) -> Result<(), String> {
    let tensors = engine.tensors();
    // `nvinfer1::DataType`.
    let element = match precision {
        Precision::Fp32 => 0,
        Precision::Fp16 => 1,
    };
    if !tensors
        .iter()
        .any(|tensor| tensor.is_input && tensor.name == input(part))
    {
        return Err(format!("it has no input {:?}", input(part)));
    }
    match tensors.iter().find(|tensor| tensor.element != element) {
        Some(tensor) => Err(format!(
            "{:?} holds values of type {}, not {element}",
            tensor.name, tensor.element
        )),
        None => Ok(()),
    }
}

/// The first profile that holds `dims`.
fn profile_of(engine: &Engine, name: &str, dims: &[usize]) -> Option<usize> {
    let holds = |profile: usize| {
        engine.limits(name, profile).is_some_and(|[low, high]| {
            let within = |((dim, low), high): ((&usize, &i64), &i64)| {
                (*low..=*high).contains(&(*dim as i64))
            };
            low.len() == dims.len() && dims.iter().zip(&low).zip(&high).all(within)
        })
    };
    (0..engine.profiles()).find(|&profile| holds(profile))
}

impl Networks for TensorRt {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    unsafe fn bind(
        &self,
        part: TowerPart,
        tensors: &[Binding],
    ) -> Result<Box<dyn Network>, EngineError> {
        self.device.bind()?;
        let engine = self.engine(part)?;
        let (device, scratch, bytes_each) =
            (&self.device, &self.scratch, self.facts.precision.bytes());
        let binder = Binder {
            device,
            engine,
            scratch,
            part,
            tensors,
            bytes_each,
        };
        let mut context = binder.context()?;
        let mut unasked = vec![];
        for (name, dims) in binder.shapes(&context)? {
            let address = match binder.asked(&name) {
                Some(binding) => binding.address,
                None => {
                    let space = binder.space(&dims)?;
                    let address = space.address();
                    unasked.push(space);
                    address
                }
            };
            // SAFETY: the caller's promise for what is bound; the rest lives beside the context.
            unsafe { context.set_address(&name, address) }
                .map_err(|words| binder.failed(&words))?;
        }
        self.device.wait()?;
        let stream = self.device.stream.cu_stream();
        // SAFETY: the stream is the device's.
        if !unsafe { context.capturable(stream.cast()) } {
            return Err(binder
                .wrong("its runs cannot be captured as a graph; build the plan again with: winspect engine build"));
        }
        let keep = Some(self.plan.jit_file(part));
        Ok(Box::new(Bound {
            context,
            stream: stream as usize,
            keep,
            _scratch: Arc::clone(scratch),
            _unasked: unasked,
        }))
    }
}

/// What is bound to what.
struct Binder<'a> {
    device: &'a Device,
    engine: &'a Arc<Engine>,
    scratch: &'a Buffer,
    part: TowerPart,
    tensors: &'a [Binding],
    bytes_each: usize,
}

impl Binder<'_> {
    /// A context with the profile that holds the input, and the input's shape.
    fn context(&self) -> Result<Context, EngineError> {
        let name = input(self.part);
        let taken = self
            .asked(name)
            .ok_or_else(|| self.wrong(&format!("nothing is bound to its input {name:?}")))?;
        let profile = profile_of(self.engine, name, &taken.dims).ok_or_else(|| {
            self.wrong(&format!(
                "no profile of the plan holds {name} of {:?}",
                taken.dims
            ))
        })?;
        let stream = self.device.stream.cu_stream();
        let scratch = Scratch {
            address: self.scratch.address(),
            bytes: self.scratch.bytes(),
        };
        // SAFETY: the stream is the device's, which is current; the bound graph holds the scratch and runs on that stream
        // alone.
        let context = unsafe { self.engine.context(profile, stream.cast(), scratch) };
        let mut context = context.map_err(|words| self.failed(&words))?;
        // The profile's copies end before anything else uses it.
        self.device.wait()?;
        context
            .set_shape(name, &taken.dims)
            .map_err(|words| self.failed(&words))?;
        Ok(context)
    }

    /// Every tensor of the engine with its dims, which are those of what is bound; and nothing else is bound.
    fn shapes(&self, context: &Context) -> Result<Vec<(String, Vec<usize>)>, EngineError> {
        let mut shapes = vec![];
        for name in self.engine.tensors().into_iter().map(|tensor| tensor.name) {
            let dims = context.dims(&name).unwrap_or_default();
            let known: Option<Vec<usize>> =
                dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
            let dims = known.ok_or_else(|| {
                self.wrong(&format!("the shape of {name:?} stays unknown: {dims:?}"))
            })?;
            if let Some(binding) = self.asked(&name).filter(|binding| binding.dims != dims) {
                return Err(self.wrong(&format!(
                    "{name:?} is {dims:?} in the plan, {:?} is bound",
                    binding.dims
                )));
            }
            shapes.push((name, dims));
        }
        match self
            .tensors
            .iter()
            .find(|binding| shapes.iter().all(|(name, _)| *name != binding.name))
        {
            Some(binding) => Err(self.wrong(&format!("the plan has no {:?}", binding.name))),
            None => Ok(shapes),
        }
    }

    /// Where an output goes that the plan computes and the recipe does not need.
    fn space(&self, dims: &[usize]) -> Result<Buffer, EngineError> {
        Buffer::new(
            &self.device.context,
            dims.iter().product::<usize>() * self.bytes_each,
        )
    }

    fn asked(&self, name: &str) -> Option<&Binding> {
        self.tensors.iter().find(|binding| binding.name == name)
    }

    fn wrong(&self, words: &str) -> EngineError {
        EngineError::Plan(format!("{}: {words}", self.part.file()))
    }

    fn failed(&self, words: &str) -> EngineError {
        EngineError::Run(format!("{}: {words}", self.part.file()))
    }
}

struct Bound {
    /// Freed before what it writes to.
    context: Context,
    /// The one that all who share the scratch run on.
    stream: usize,
    /// Where to keep what its first run compiles; nothing after it.
    keep: Option<PathBuf>,
    _scratch: Arc<Buffer>,
    _unasked: Vec<Buffer>,
}

impl Network for Bound {
    unsafe fn enqueue(&mut self, stream: CUstream) -> Result<(), EngineError> {
        if stream as usize != self.stream {
            return Err(EngineError::Run(
                "a plan runs on the stream of the device that it was opened for alone".to_owned(),
            ));
        }
        // SAFETY: the caller's promise; every tensor has its address.
        unsafe { self.context.enqueue(stream.cast()) }.map_err(EngineError::Run)?;
        if let Some(file) = self.keep.take()
            && let Some(compiled) = self.context.compiled()
        {
            keep(&file, compiled.bytes());
        }
        Ok(())
    }
}

/// Keeps what was compiled, unless it is there already.
fn keep(file: &Path, compiled: &[u8]) {
    if std::fs::read(file).is_ok_and(|kept| kept == compiled) {
        return;
    }
    if let Err(error) = write(file, compiled) {
        tracing::warn!("TensorRT-RTX compiles its kernels at each start: {error}");
    }
}
