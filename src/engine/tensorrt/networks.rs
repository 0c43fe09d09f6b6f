//! A plan on the device, behind the seam for networks.
//!
//! The values between the layers have one room for everything that is bound of a plan: all of it
//! runs on the device's one stream, one after the other. It is as large as the largest profile asks
//! for, and stays at its address, which captured graphs hold.

use super::building::input;
use super::library::Library;
use super::plan::{BuiltPlan, write};
use super::raw::{Context, DeserializedEngine, Scratch};
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
    trunk: Arc<DeserializedEngine>,
    windows: Option<Arc<DeserializedEngine>>,
    /// Room for the values between the layers of both.
    scratch: Arc<Buffer>,
    facts: Facts,
    /// The plan, beside whose folder compiled kernels are kept from start to start.
    plan: BuiltPlan,
}

impl TensorRt {
    /// Opens the plan on the device.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the plan's bytes are not those that were built,
    /// [`EngineError::Unavailable`] when the library cannot run it on this device.
    pub fn open(library: &Library, device: &Device, plan: &BuiltPlan) -> Result<Self, EngineError> {
        let opened = TensorRt::of(library, device, plan);

        if opened.is_err() {
            // Another process may have accepted a newer one between two files of it.
            if let Some(newer) = plan.successor() {
                return TensorRt::of(library, device, &newer);
            }
        }

        opened
    }

    fn of(library: &Library, device: &Device, plan: &BuiltPlan) -> Result<Self, EngineError> {
        // The device is made current, because deserialising allocates on the current one.
        device.bind()?;
        let trunk = engine_of(library, device, plan, TowerPart::Trunk)?;

        // Both graphs run one after the other on one stream, so that the larger need serves both.
        let mut scratch = trunk.scratch_bytes();
        let mut windows = None;

        if !plan.key.scales.is_empty() {
            let engine = engine_of(library, device, plan, TowerPart::Windows)?;
            scratch = scratch.max(engine.scratch_bytes());
            windows = Some(engine);
        }

        // The room stays at its address for the life of the plan: captured graphs hold the address.
        let scratch = Buffer::new(&device.context, scratch)?;
        tracing::debug!(bytes = scratch.bytes(), "GPU memory between the layers");
        let precision = plan.key.precision;
        Ok(TensorRt {
            device: device.clone(),
            trunk,
            windows,
            scratch: Arc::new(scratch),
            facts: Facts {
                name: format!("{}-{}", library.name(), precision.name()),
                precision,
                looks_max: plan.key.looks_max,
            },
            plan: plan.clone(),
        })
    }

    fn engine(&self, part: TowerPart) -> Result<&Arc<DeserializedEngine>, EngineError> {
        match part {
            TowerPart::Trunk => Ok(&self.trunk),
            TowerPart::Windows => self
                .windows
                .as_ref()
                .ok_or_else(|| EngineError::Plan("the plan has no windows".to_owned())),
        }
    }
}

/// The plan's graph of `part`, ready on the device.
fn engine_of(
    library: &Library,
    device: &Device,
    plan: &BuiltPlan,
    part: TowerPart,
) -> Result<Arc<DeserializedEngine>, EngineError> {
    // The bytes are compared with their hash when they are read; a plan that was cut short never
    // reaches the library.
    let bytes = plan.read(part)?;
    let engine = deserialized(library, plan, part, &bytes).map_err(|words| {
        let name = library.name();
        let path = plan.path.display();
        let gpu = &device.name;
        let sm = device.sm;
        EngineError::Unavailable(format!(
            "{name} cannot run {path} on {gpu} (sm_{sm}): {words}"
        ))
    })?;

    Ok(Arc::new(engine))
}

fn deserialized(
    library: &Library,
    plan: &BuiltPlan,
    part: TowerPart,
    bytes: &[u8],
) -> Result<DeserializedEngine, String> {
    // The bytes are copied by the library and may go afterwards.
    let mut engine = DeserializedEngine::new(
        library.loaded(),
        library.number(),
        library.slots(),
        library.logger(),
        bytes,
    )?;

    // RTX finishes its kernels on this GPU, and keeps them in a file that saves the time at the
    // next start.
    if let Some(rtx) = library.rtx() {
        let kept = std::fs::read(plan.jit_file(part)).unwrap_or_default();
        engine = engine.compiling(rtx, &kept)?;
    }

    check(&engine, part, plan.key.precision)?;
    Ok(engine)
}

/// Checks that an engine has the input that we bind, and every tensor the type that our kernels
/// write.
fn check(engine: &DeserializedEngine, part: TowerPart, precision: Precision) -> Result<(), String> {
    // `nvinfer1::DataType`.
    let element = match precision {
        Precision::Fp32 => 0,
        Precision::Fp16 => 1,
    };

    // The names were written when the graph was made; their absence means another graph.
    let input = input(part);
    let tensors = engine.tensors();

    if !tensors.iter().any(|tensor| tensor.is_input_named(input)) {
        return Err(format!("it has no input {input:?}"));
    }

    // Kernels read and write one element type, so that every tensor has to be of it.
    for tensor in &tensors {
        if tensor.element != element {
            return Err(format!(
                "{:?} holds values of type {}, not {element}",
                tensor.name, tensor.element
            ));
        }
    }

    Ok(())
}

/// The first profile that holds `dims`.
fn profile_of(engine: &DeserializedEngine, name: &str, dims: &[usize]) -> Option<usize> {
    // Profiles of the windows differ in their token count: the first that holds the shape is the
    // only one.
    for profile in 0..engine.profiles() {
        if let Some([low, high]) = engine.limits(name, profile)
            && are_within(dims, &low, &high)
        {
            return Some(profile);
        }
    }

    None
}

/// True when there are as many limits as dims, and each dim is from its lowest to its highest.
fn are_within(dims: &[usize], low: &[i64], high: &[i64]) -> bool {
    // Another number of dimensions is another tensor.
    if low.len() != dims.len() {
        return false;
    }

    let limits = low.iter().zip(high);
    dims.iter().zip(limits).all(|(dim, (low, high))| {
        let dim = *dim as i64;
        (*low..=*high).contains(&dim)
    })
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
        // The device is current before a context is made on it.
        self.device.bind()?;
        let binder = Binder {
            device: &self.device,
            engine: self.engine(part)?,
            scratch: &self.scratch,
            part,
            tensors,
            bytes_each: self.facts.precision.bytes(),
        };

        // The context knows its profile and the input's shape now; all other shapes follow from
        // these.
        let mut context = binder.context()?;
        let mut unbound = vec![];

        // Each tensor gets an address: that of its binding, or memory of its own for an output that
        // no binding names. The library refuses to run with a tensor that has none.
        for (name, dims) in binder.shapes(&context)? {
            let address = match binder.bound(&name) {
                Some(binding) => binding.address,
                None => {
                    let room = binder.room(&dims)?;
                    let address = room.address();
                    unbound.push(room);

                    address
                }
            };

            // SAFETY: the caller's promise for bound tensors; the rest lives beside the context.
            unsafe { context.set_address(&name, address) }
                .map_err(|words| binder.failed(&words))?;
        }

        // Everything that setting up enqueued has ended before the first run.
        self.device.wait()?;
        let stream = self.device.stream.cu_stream();

        // SAFETY: the stream is the device's.
        if !unsafe { context.capturable(stream.cast()) } {
            return Err(binder
                .wrong("its runs cannot be captured as a graph; build the plan again with: winspect engine build"));
        }

        Ok(Box::new(BoundPlan {
            context,
            stream: stream as usize,
            keep: Some(self.plan.jit_file(part)),
            _scratch: Arc::clone(&self.scratch),
            _unbound: unbound,
        }))
    }
}

/// An engine, and the tensors that are bound to it.
struct Binder<'a> {
    device: &'a Device,
    engine: &'a Arc<DeserializedEngine>,
    scratch: &'a Buffer,
    part: TowerPart,
    tensors: &'a [Binding],
    bytes_each: usize,
}

impl Binder<'_> {
    /// A context with the profile that holds the input, and the input's shape.
    fn context(&self) -> Result<Context, EngineError> {
        // The input alone decides about the profile, because outputs follow from it.
        let name = input(self.part);
        let Some(input) = self.bound(name) else {
            let words = format!("nothing is bound to its input {name:?}");
            return Err(self.wrong(&words));
        };

        let dims = &input.dims;
        let Some(profile) = profile_of(self.engine, name, dims) else {
            let words = format!("no profile of the plan holds {name} of {dims:?}");
            return Err(self.wrong(&words));
        };

        // The scratch is handed over by address; its owner is kept beside the context.
        let stream = self.device.stream.cu_stream();
        let scratch = Scratch {
            address: self.scratch.address(),
            bytes: self.scratch.bytes(),
        };

        // SAFETY: the stream is the device's, which is current; the bound graph holds the scratch
        // and runs on that stream alone.
        let context = unsafe { self.engine.context(profile, stream.cast(), scratch) };
        let mut context = context.map_err(|words| self.failed(&words))?;

        // The profile's copies end before anything else uses it.
        self.device.wait()?;
        let set = context.set_shape(name, dims);
        set.map_err(|words| self.failed(&words))?;

        Ok(context)
    }

    /// Every tensor of the engine with its dims, which are those of its binding; all bindings have
    /// a tensor.
    fn shapes(&self, context: &Context) -> Result<Vec<(String, Vec<usize>)>, EngineError> {
        let mut shapes = vec![];

        for tensor in self.engine.tensors() {
            let name = tensor.name;

            // An unknown dimension stays -1, and is refused by `dims_of`: a buffer could not be
            // sized by it.
            let dims = self.dims_of(context, &name)?;

            if let Some(binding) = self.bound(&name)
                && binding.dims != dims
            {
                let bound = &binding.dims;
                return Err(self.wrong(&format!(
                    "{name:?} is {dims:?} in the plan, {bound:?} is bound"
                )));
            }

            shapes.push((name, dims));
        }

        // A binding that the plan does not know would never be written, and stale values would pass
        // for features.
        for binding in self.tensors {
            if !shapes.iter().any(|(name, _)| *name == binding.name) {
                let name = &binding.name;
                return Err(self.wrong(&format!("the plan has no {name:?}")));
            }
        }

        Ok(shapes)
    }

    fn dims_of(&self, context: &Context, name: &str) -> Result<Vec<usize>, EngineError> {
        // An unknown tensor has no dims at all, which is no error here: its binding is compared
        // next.
        let dims = context.dims(name).unwrap_or_default();
        let mut known = vec![];

        for dim in &dims {
            let Ok(dim) = usize::try_from(*dim) else {
                let words = format!("the shape of {name:?} stays unknown: {dims:?}");
                return Err(self.wrong(&words));
            };

            known.push(dim);
        }

        Ok(known)
    }

    /// Room for an output that the plan computes and the recipe does not need.
    fn room(&self, dims: &[usize]) -> Result<Buffer, EngineError> {
        // The values are never read; the memory only has to be there.
        let count: usize = dims.iter().product();

        Buffer::new(&self.device.context, count * self.bytes_each)
    }

    fn bound(&self, name: &str) -> Option<&Binding> {
        self.tensors.iter().find(|binding| binding.name == name)
    }

    fn wrong(&self, words: &str) -> EngineError {
        let file = self.part.file();

        EngineError::Plan(format!("{file}: {words}"))
    }

    fn failed(&self, words: &str) -> EngineError {
        let file = self.part.file();

        EngineError::Run(format!("{file}: {words}"))
    }
}

/// A plan's graph with an address for each of its tensors.
struct BoundPlan {
    /// Stands before the buffers that it writes to, so that it is dropped first.
    context: Context,
    /// The stream of all graphs that share the scratch.
    stream: usize,
    /// File for the kernels that the first run compiles; `None` after it.
    keep: Option<PathBuf>,
    _scratch: Arc<Buffer>,
    _unbound: Vec<Buffer>,
}

impl Network for BoundPlan {
    unsafe fn enqueue(&mut self, stream: CUstream) -> Result<(), EngineError> {
        // The scratch is shared in the order of one stream; another stream would overwrite it.
        if stream as usize != self.stream {
            return Err(EngineError::Run(
                "a plan runs on the stream of the device that it was opened for alone".to_owned(),
            ));
        }

        // SAFETY: the caller's promise; every tensor has its address.
        unsafe { self.context.enqueue(stream.cast()) }.map_err(EngineError::Run)?;

        // The first run has compiled all kernels of its shape. Their bytes are kept once, in a file
        // for the next start.
        if let Some(file) = self.keep.take()
            && let Some(compiled) = self.context.compiled()
        {
            keep(&file, compiled.bytes());
        }

        Ok(())
    }
}

/// Keeps compiled kernels, unless they are there already.
fn keep(file: &Path, compiled: &[u8]) {
    // The same bytes are not written again: flash memory wears.
    if std::fs::read(file).is_ok_and(|kept| kept == compiled) {
        return;
    }

    if let Err(error) = write(file, compiled) {
        tracing::warn!("TensorRT-RTX compiles its kernels at each start: {error}");
    }
}
