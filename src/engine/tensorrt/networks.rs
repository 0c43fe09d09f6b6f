//! A plan on the device, behind the seam for networks.

use super::building::input;
use super::library::Library;
use super::plans::Plan;
use super::raw::{Context, Engine};
use crate::engine::EngineError;
use crate::engine::cuda::device::Device;
use crate::engine::network::{Binding, Network, Networks, Part, Precision};
use cudarc::driver::sys::CUstream;
use cudarc::driver::{CudaSlice, DevicePtr};
use std::sync::Arc;

/// The plan's graphs, deserialised.
pub struct TensorRt {
    device: Device,
    trunk: Arc<Engine>,
    windows: Option<Arc<Engine>>,
    precision: Precision,
    looks_max: usize,
    name: String,
}

impl TensorRt {
    /// # Errors
    /// [`EngineError::Model`] when the plan is not what was built, [`EngineError::Unavailable`] when the library cannot
    /// run it on this device.
    pub fn open(library: &Library, device: &Device, plan: &Plan) -> Result<Self, EngineError> {
        device.bind()?;
        let engine = |part: Part| -> Result<Arc<Engine>, EngineError> {
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
            let made = Engine::new(library.loaded(), library.number(), library.slots(), library.logger(), &bytes);
            let engine = made.map_err(told)?;
            check(&engine, part, plan.key.precision).map_err(told)?;
            Ok(Arc::new(engine))
        };
        Ok(TensorRt {
            device: device.clone(),
            trunk: engine(Part::Trunk)?,
            windows: (!plan.key.scales.is_empty()).then(|| engine(Part::Windows)).transpose()?,
            precision: plan.key.precision,
            looks_max: plan.key.looks_max,
            name: format!("{}-{}", library.name(), plan.key.precision.name()),
        })
    }

    fn engine(&self, part: Part) -> Result<&Arc<Engine>, EngineError> {
        match part {
            Part::Trunk => Ok(&self.trunk),
            Part::Windows => {
                self.windows.as_ref().ok_or_else(|| EngineError::Plan("the plan has no windows".to_owned()))
            }
        }
    }
}

/// Whether an engine has the input that we bind, and every tensor the type that our kernels write.
fn check(engine: &Engine, part: Part, precision: Precision) -> Result<(), String> {
    let tensors = engine.tensors();
    // `nvinfer1::DataType`.
    let element = match precision {
        Precision::Fp32 => 0,
        Precision::Fp16 => 1,
    };
    if !tensors.iter().any(|tensor| tensor.is_input && tensor.name == input(part)) {
        return Err(format!("it has no input {:?}", input(part)));
    }
    match tensors.iter().find(|tensor| tensor.element != element) {
        Some(tensor) => Err(format!("{:?} holds values of type {}, not {element}", tensor.name, tensor.element)),
        None => Ok(()),
    }
}

/// The first profile that holds `dims`.
fn profile_of(engine: &Engine, name: &str, dims: &[usize]) -> Option<usize> {
    let holds = |profile: usize| {
        engine.limits(name, profile).is_some_and(|[low, high]| {
            let within = |((dim, low), high): ((&usize, &i64), &i64)| (*low..=*high).contains(&(*dim as i64));
            low.len() == dims.len() && dims.iter().zip(&low).zip(&high).all(within)
        })
    };
    (0..engine.profiles()).find(|&profile| holds(profile))
}

impl Networks for TensorRt {
    fn name(&self) -> &str {
        &self.name
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn looks_max(&self) -> usize {
        self.looks_max
    }

    unsafe fn bind(&self, part: Part, tensors: &[Binding]) -> Result<Box<dyn Network>, EngineError> {
        self.device.bind()?;
        let engine = self.engine(part)?;
        let wrong = |words: String| EngineError::Plan(format!("{}: {words}", part.file()));
        let failed = |words: String| EngineError::Run(format!("{}: {words}", part.file()));
        let asked = |name: &str| tensors.iter().find(|binding| binding.name == name);
        let Some(taken) = asked(input(part)) else {
            return Err(wrong(format!("nothing is bound to its input {:?}", input(part))));
        };
        let Some(profile) = profile_of(engine, &taken.name, &taken.dims) else {
            return Err(wrong(format!("no profile of the plan holds {} of {:?}", taken.name, taken.dims)));
        };
        let stream = self.device.stream.cu_stream();
        // SAFETY: the stream is the device's, which is current.
        let mut context = unsafe { engine.context(profile, stream.cast()) }.map_err(failed)?;
        self.device.wait()?;
        context.set_shape(&taken.name, &taken.dims).map_err(failed)?;
        let mut unasked = vec![];
        for tensor in engine.tensors() {
            let dims: Option<Vec<usize>> = context
                .dims(&tensor.name)
                .and_then(|dims| dims.into_iter().map(|dim| usize::try_from(dim).ok()).collect());
            let dims = dims.ok_or_else(|| wrong(format!("the shape of {:?} stays unknown", tensor.name)))?;
            let address = match asked(&tensor.name) {
                Some(binding) if binding.dims != dims => {
                    let (name, has) = (&tensor.name, &binding.dims);
                    return Err(wrong(format!("{name:?} is {dims:?} in the plan, {has:?} is bound")));
                }
                Some(binding) => binding.address,
                // The plan computes more than the recipe needs; it has to be written somewhere.
                None => {
                    let bytes = dims.iter().product::<usize>() * self.precision.bytes();
                    let space =
                        self.device.stream.alloc_zeros::<u8>(bytes).map_err(|error| failed(error.to_string()))?;
                    let address = space.device_ptr(&self.device.stream).0;
                    unasked.push(space);
                    address
                }
            };
            // SAFETY: the caller's promise for what is bound; the rest lives beside the context.
            unsafe { context.set_address(&tensor.name, address) }.map_err(failed)?;
        }
        let known: Vec<String> = engine.tensors().into_iter().map(|tensor| tensor.name).collect();
        if let Some(binding) = tensors.iter().find(|binding| !known.contains(&binding.name)) {
            return Err(wrong(format!("it has no {:?}, only {}", binding.name, known.join(", "))));
        }
        self.device.wait()?;
        Ok(Box::new(Bound { context, _unasked: unasked }))
    }
}

struct Bound {
    /// Freed before what it writes to.
    context: Context,
    _unasked: Vec<CudaSlice<u8>>,
}

impl Network for Bound {
    unsafe fn enqueue(&mut self, stream: CUstream) -> Result<(), EngineError> {
        // SAFETY: the caller's promise; every tensor has its address.
        unsafe { self.context.enqueue(stream.cast()) }.map_err(EngineError::Run)
    }
}
