//! The way from a plan to a run on a stream: runtime, engine, context.

use super::jit::{Jit, USER_MANAGED};
use super::owned::Owned;
use super::{Dims, Loaded, Logger, Memory, c_string, call};
use crate::engine::tensorrt::vtable::{RtxSlots, Vtable};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;

/// `TensorIOMode::kINPUT`.
const INPUT: c_int = 1;
/// `OptProfileSelector::kMIN`.
const SMALLEST: c_int = 0;
/// `OptProfileSelector::kMAX`.
const LARGEST: c_int = 2;

/// A plan, ready on the current device. Its parts are freed in the order of the fields.
pub struct DeserializedEngine {
    jit: Option<Jit>,
    engine: Owned,
    /// The runtime that made the engine.
    _runtime: Owned,
    slots: &'static Vtable,
    logger: &'static Logger,
}

// SAFETY: an engine may be used from any thread, and several at once (NVIDIA's guide, "Threading").
unsafe impl Send for DeserializedEngine {}
// SAFETY: an engine may be used from any thread, and several at once (NVIDIA's guide, "Threading").
unsafe impl Sync for DeserializedEngine {}

/// An input or output, as the engine describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the graph.
    pub name: String,
    /// Dims, -1 for one that is only known at run time.
    pub dims: Vec<i64>,
    /// `nvinfer1::DataType`: 0 is fp32, 1 fp16.
    pub element: i32,
    /// True for an input.
    pub is_input: bool,
}

impl TensorInfo {
    /// True for the input of this name.
    pub fn is_input_named(&self, name: &str) -> bool {
        self.is_input && self.name == name
    }
}

/// Device memory for the values between the layers, shared by runs that follow one another.
#[derive(Debug, Clone, Copy)]
pub struct Scratch {
    /// Device address of the first byte.
    pub address: u64,
    /// Size in bytes.
    pub bytes: usize,
}

impl DeserializedEngine {
    /// Deserialises a plan on the current device.
    ///
    /// # Errors
    /// The library's words.
    pub fn new(
        library: &Loaded,
        version: u32,
        slots: &'static Vtable,
        logger: &'static Logger,
        plan: &[u8],
    ) -> Result<Self, String> {
        // The runtime outlives its engine, as the order of the fields says.
        let runtime = Owned(library.make("createInferRuntime_INTERNAL", logger, version)?);
        logger.clear();

        // The bytes are read during the call, and the plan is ready on the current device
        // afterwards.
        let engine = call!(
            runtime.0,
            slots.runtime_deserialize,
            (*const u8, usize) -> *mut c_void,
            plan.as_ptr(),
            plan.len()
        );

        let engine = Owned::new(engine).ok_or_else(|| logger.words())?;
        Ok(DeserializedEngine {
            jit: None,
            engine,
            _runtime: runtime,
            slots,
            logger,
        })
    }

    /// The engine of TensorRT-RTX, which compiles for this GPU; `kept` is the result of
    /// [`Context::compiled`] of an earlier start, empty for none.
    ///
    /// # Errors
    /// The library's words.
    pub fn compiling(mut self, rtx: &'static RtxSlots, kept: &[u8]) -> Result<Self, String> {
        // Errors of earlier calls would otherwise be told as the reason of this one.
        self.logger.clear();
        let jit = Jit::new(self.engine.0, self.slots, rtx, kept);
        self.jit = Some(jit.ok_or_else(|| self.logger.words())?);

        Ok(self)
    }

    /// Inputs and outputs.
    pub fn tensors(&self) -> Vec<TensorInfo> {
        // The library numbers inputs and outputs together, from 0.
        let count = call!(self.engine.0, self.slots.engine_tensors, () -> c_int);

        (0..count).filter_map(|index| self.tensor(index)).collect()
    }

    fn tensor(&self, index: c_int) -> Option<TensorInfo> {
        let engine = self.engine.0;
        let slots = self.slots;
        let name = call!(engine, slots.engine_tensor_name, (c_int) -> *const c_char, index);

        // An index beyond the last has no name.
        if name.is_null() {
            return None;
        }

        // The library's own string is passed back, and copied only at the end.
        let dims = call!(engine, slots.engine_tensor_shape, (*const c_char) -> Dims, name);
        let element = call!(engine, slots.engine_tensor_type, (*const c_char) -> c_int, name);
        let mode = call!(engine, slots.engine_tensor_mode, (*const c_char) -> c_int, name);

        // SAFETY: the engine's names end with a zero and live as long as it.
        let name = unsafe { CStr::from_ptr(name) };
        Some(TensorInfo {
            name: name.to_string_lossy().into_owned(),
            dims: dims.list()?,
            element,
            is_input: mode == INPUT,
        })
    }

    /// Number of profiles.
    pub fn profiles(&self) -> usize {
        let count = call!(self.engine.0, self.slots.engine_profiles, () -> c_int);

        usize::try_from(count).unwrap_or(0)
    }

    /// Smallest and largest dims of an input in a profile; `None` for an unknown input.
    pub fn limits(&self, input: &str, profile: usize) -> Option<[Vec<i64>; 2]> {
        // The two ends bound what a profile serves; the best shape between is of no interest here.
        let smallest = self.limit(input, profile, SMALLEST)?;
        let largest = self.limit(input, profile, LARGEST)?;

        Some([smallest, largest])
    }

    fn limit(&self, input: &str, profile: usize, which: c_int) -> Option<Vec<i64>> {
        let name = c_string(input);

        // The library copies no name and returns the dims by value.
        let dims = call!(
            self.engine.0,
            self.slots.engine_profile_shape,
            (*const c_char, c_int, c_int) -> Dims,
            name.as_ptr(),
            profile as c_int,
            which
        );

        dims.list()
    }

    /// Bytes of device memory that a run needs beside its tensors, whichever its profile.
    pub fn scratch_bytes(&self) -> usize {
        let slot = self.slots.engine_scratch;

        // The largest need of all profiles serves each of them, because they never run at the same
        // time.
        let mut most = 0;

        for profile in 0..self.profiles() {
            let bytes = call!(self.engine.0, slot, (c_int) -> i64, profile as c_int);
            most = most.max(bytes);
        }

        usize::try_from(most).unwrap_or(0)
    }

    /// A run of its own, with `profile` chosen: its copies to the device go through `stream`.
    ///
    /// # Safety
    /// `stream` belongs to the current device, and so does `scratch`, which is used by nothing else
    /// while a run is under way, for as long as the context is there.
    ///
    /// # Errors
    /// The library's words; mostly that the device has no memory left for it.
    pub unsafe fn context(
        self: &Arc<Self>,
        profile: usize,
        stream: *mut c_void,
        scratch: Scratch,
    ) -> Result<Context, String> {
        self.logger.clear();
        let context = Owned::new(self.new_context()).ok_or_else(|| self.logger.words())?;

        // The profile is chosen before the shapes, which are compared with its limits.
        let slot = self.slots.context_set_profile;
        let profile = profile as c_int;

        if !call!(context.0, slot, (c_int, *mut c_void) -> bool, profile, stream) {
            return Err(self.logger.words());
        }

        // The scratch has to be set before the first run, because the context allocates none
        // itself.
        let slot = self.slots.context_set_scratch;
        let bytes = scratch.bytes as i64;
        call!(context.0, slot, (u64, i64) -> (), scratch.address, bytes);
        Ok(Context {
            context,
            engine: Arc::clone(self),
        })
    }

    fn new_context(&self) -> *mut c_void {
        // RTX makes its contexts from a configuration, which holds the compiled kernels.
        match &self.jit {
            Some(jit) => jit.new_context(self.engine.0),
            None => {
                let slot = self.slots.engine_create_context;

                call!(self.engine.0, slot, (c_int) -> *mut c_void, USER_MANAGED)
            }
        }
    }

    /// `Ok` when a call succeeded, else the library's words.
    fn checked(&self, succeeded: bool) -> Result<(), String> {
        if succeeded {
            Ok(())
        } else {
            Err(self.logger.words())
        }
    }
}

/// One graph with shapes and addresses of its own. Freed before its engine.
pub struct Context {
    context: Owned,
    engine: Arc<DeserializedEngine>,
}

// SAFETY: a context may be used from any thread, one at a time: what changes it takes `&mut`.
unsafe impl Send for Context {}

impl Context {
    /// Sets the dims of an input.
    ///
    /// # Errors
    /// The library's words.
    pub fn set_shape(&mut self, input: &str, dims: &[usize]) -> Result<(), String> {
        // The name and the dims have to live through the call; the library copies both.
        let name = c_string(input);
        let dims = Dims::new(dims);
        self.engine.logger.clear();
        let set = call!(
            self.context.0,
            self.engine.slots.context_set_shape,
            (*const c_char, *const Dims) -> bool,
            name.as_ptr(),
            &dims
        );

        self.engine.checked(set)
    }

    /// A tensor's dims, once all inputs have theirs; `None` for an unknown tensor.
    pub fn dims(&self, name: &str) -> Option<Vec<i64>> {
        let name = c_string(name);
        let slot = self.engine.slots.context_tensor_shape;
        let dims = call!(self.context.0, slot, (*const c_char) -> Dims, name.as_ptr());

        dims.list()
    }

    /// Sets the device address of a tensor.
    ///
    /// # Errors
    /// The library's words.
    ///
    /// # Safety
    /// The tensor fits at this address of the device until the last run has ended.
    pub unsafe fn set_address(&mut self, name: &str, address: u64) -> Result<(), String> {
        // The address is only noted here, and read by the runs.
        let name = c_string(name);
        self.engine.logger.clear();
        let set = call!(
            self.context.0,
            self.engine.slots.context_set_address,
            (*const c_char, u64) -> bool,
            name.as_ptr(),
            address
        );

        self.engine.checked(set)
    }

    /// True when runs on `stream` can be captured, once shapes and addresses are set; only
    /// TensorRT-RTX tells.
    ///
    /// # Safety
    /// `stream` belongs to the device of the engine.
    pub unsafe fn capturable(&self, stream: *mut c_void) -> bool {
        match &self.engine.jit {
            Some(jit) => jit.capturable(self.context.0, stream),
            None => true,
        }
    }

    /// Kernels that TensorRT-RTX compiled for the runs of this engine up to now; `None` for other
    /// libraries, whose plans hold machine code.
    pub fn compiled(&self) -> Option<Memory<'static>> {
        self.engine.jit.as_ref().and_then(Jit::compiled)
    }

    /// Enqueues one run.
    ///
    /// # Errors
    /// The library's words.
    ///
    /// # Safety
    /// `stream` belongs to the device of the engine, and every tensor has its address.
    pub unsafe fn enqueue(&mut self, stream: *mut c_void) -> Result<(), String> {
        self.engine.logger.clear();
        let slot = self.engine.slots.context_enqueue;
        let enqueued = call!(self.context.0, slot, (*mut c_void) -> bool, stream);

        self.engine.checked(enqueued)
    }
}
