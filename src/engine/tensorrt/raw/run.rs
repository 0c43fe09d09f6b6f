//! From a plan to a run on a stream: runtime, engine, context.

use super::jit::Jit;
use super::owned::Owned;
use super::{Dims, Loaded, Logger, Memory, c_string, call};
use crate::engine::tensorrt::vtable::{RtxSlots, Vtable};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;

/// A plan, ready on the current device. Its parts are freed in the order of the fields.
pub struct Engine {
    jit: Option<Jit>,
    engine: Owned,
    /// Made it.
    _runtime: Owned,
    slots: &'static Vtable,
    logger: &'static Logger,
}

// SAFETY: an engine may be used from any thread, and several at once (NVIDIA's guide, "Threading").
unsafe impl Send for Engine {}
// SAFETY: as above.
unsafe impl Sync for Engine {}

/// What the engine says of an input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    pub name: String,
    /// -1 for what is only known at run time.
    pub dims: Vec<i64>,
    /// `nvinfer1::DataType`: 0 is fp32, 1 fp16.
    pub element: i32,
    pub is_input: bool,
}

/// Device memory for what lies between the layers, which runs share that follow one another.
#[derive(Debug, Clone, Copy)]
pub struct Scratch {
    pub address: u64,
    pub bytes: usize,
}

/// `ExecutionContextAllocationStrategy::kUSER_MANAGED`: a context allocates nothing for what lies between its layers.
pub(super) const USER_MANAGED: c_int = 2;

impl Engine {
    /// # Errors
    /// What the library said.
    pub fn new(
        library: &Loaded,
        version: u32,
        slots: &'static Vtable,
        logger: &'static Logger,
        plan: &[u8],
    ) -> Result<Self, String> {
        let runtime = Owned(library.make("createInferRuntime_INTERNAL", logger, version)?);
        logger.clear();
        let slot = slots.runtime_deserialize;
        let engine =
            call!(runtime.0, slot, (*const u8, usize) -> *mut c_void, plan.as_ptr(), plan.len());
        let engine = Owned::new(engine).ok_or_else(|| logger.words())?;
        Ok(Engine {
            jit: None,
            engine,
            _runtime: runtime,
            slots,
            logger,
        })
    }

    /// TensorRT-RTX's compiles for this GPU; `kept` is what [`Context::compiled`] gave before, empty for nothing.
    ///
    /// # Errors
    /// What the library said.
    pub fn compiling(mut self, rtx: &'static RtxSlots, kept: &[u8]) -> Result<Self, String> {
        self.logger.clear();
        let jit =
            Jit::new(self.engine.0, self.slots, rtx, kept).ok_or_else(|| self.logger.words())?;
        self.jit = Some(jit);
        Ok(self)
    }

    /// Inputs and outputs.
    pub fn tensors(&self) -> Vec<Tensor> {
        let count = call!(self.engine.0, self.slots.engine_tensors, () -> c_int);
        (0..count).filter_map(|place| self.tensor(place)).collect()
    }

    fn tensor(&self, place: c_int) -> Option<Tensor> {
        let (engine, slots) = (self.engine.0, self.slots);
        let name = call!(engine, slots.engine_tensor_name, (c_int) -> *const c_char, place);
        if name.is_null() {
            return None;
        }
        /// `TensorIOMode::kINPUT`.
        const INPUT: c_int = 1;
        Some(Tensor {
            dims: call!(engine, slots.engine_tensor_shape, (*const c_char) -> Dims, name).list()?,
            element: call!(engine, slots.engine_tensor_type, (*const c_char) -> c_int, name),
            is_input: call!(engine, slots.engine_tensor_mode, (*const c_char) -> c_int, name)
                == INPUT,
            // SAFETY: the engine's names end with a zero and live as long as it.
            name: unsafe { CStr::from_ptr(name) }
                .to_string_lossy()
                .into_owned(),
        })
    }

    pub fn profiles(&self) -> usize {
        usize::try_from(call!(self.engine.0, self.slots.engine_profiles, () -> c_int)).unwrap_or(0)
    }

    /// Smallest and largest dims of an input in a profile.
    pub fn limits(&self, input: &str, profile: usize) -> Option<[Vec<i64>; 2]> {
        let name = c_string(input);
        /// `OptProfileSelector`.
        const SMALLEST: c_int = 0;
        const LARGEST: c_int = 2;
        let limit = |which: c_int| {
            let slot = self.slots.engine_profile_shape;
            let dims = call!(self.engine.0, slot, (*const c_char, c_int, c_int) -> Dims, name.as_ptr(), profile as c_int, which);
            dims.list()
        };
        Some([limit(SMALLEST)?, limit(LARGEST)?])
    }

    /// Bytes of device memory that a run needs beside its tensors, whichever its profile.
    pub fn scratch_bytes(&self) -> usize {
        let of = |profile: usize| call!(self.engine.0, self.slots.engine_scratch, (c_int) -> i64, profile as c_int);
        let most = (0..self.profiles()).map(of).max();
        most.and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(0)
    }

    /// A run of its own, with `profile` chosen: what of it is copied to the device goes through `stream`.
    ///
    /// # Safety
    /// `stream` belongs to the current device, and so does `scratch`, which nothing else uses while a run is under way, for as
    /// long as the context is there.
    ///
    /// # Errors
    /// What the library said; mostly that the device has no memory left for it.
    pub unsafe fn context(
        self: &Arc<Self>,
        profile: usize,
        stream: *mut c_void,
        scratch: Scratch,
    ) -> Result<Context, String> {
        self.logger.clear();
        let context = Owned::new(self.new_context()).ok_or_else(|| self.logger.words())?;
        let context = Context {
            context,
            engine: Arc::clone(self),
        };
        let slot = self.slots.context_set_profile;
        if !call!(context.context.0, slot, (c_int, *mut c_void) -> bool, profile as c_int, stream) {
            return Err(self.logger.words());
        }
        let (address, bytes, slot) = (
            scratch.address,
            scratch.bytes as i64,
            self.slots.context_set_scratch,
        );
        call!(context.context.0, slot, (u64, i64) -> (), address, bytes);
        Ok(context)
    }

    fn new_context(&self) -> *mut c_void {
        match &self.jit {
            Some(jit) => jit.new_context(self.engine.0),
            None => {
                call!(self.engine.0, self.slots.engine_create_context, (c_int) -> *mut c_void, USER_MANAGED)
            }
        }
    }
}

/// One graph with shapes and addresses of its own. Freed before its engine.
pub struct Context {
    context: Owned,
    engine: Arc<Engine>,
}

// SAFETY: a context may be used from any thread, one at a time: what changes it takes `&mut`.
unsafe impl Send for Context {}

impl Context {
    /// # Errors
    /// What the library said.
    pub fn set_shape(&mut self, input: &str, dims: &[usize]) -> Result<(), String> {
        let (name, dims, slot) = (
            c_string(input),
            Dims::new(dims),
            self.engine.slots.context_set_shape,
        );
        self.engine.logger.clear();
        match call!(self.context.0, slot, (*const c_char, *const Dims) -> bool, name.as_ptr(), &dims)
        {
            true => Ok(()),
            false => Err(self.engine.logger.words()),
        }
    }

    /// A tensor's dims, once all inputs have theirs.
    pub fn dims(&self, name: &str) -> Option<Vec<i64>> {
        let (name, slot) = (c_string(name), self.engine.slots.context_tensor_shape);
        call!(self.context.0, slot, (*const c_char) -> Dims, name.as_ptr()).list()
    }

    /// # Errors
    /// What the library said.
    ///
    /// # Safety
    /// The tensor fits at this address of the device until the last run has ended.
    pub unsafe fn set_address(&mut self, name: &str, address: u64) -> Result<(), String> {
        let (name, slot) = (c_string(name), self.engine.slots.context_set_address);
        self.engine.logger.clear();
        match call!(self.context.0, slot, (*const c_char, u64) -> bool, name.as_ptr(), address) {
            true => Ok(()),
            false => Err(self.engine.logger.words()),
        }
    }

    /// Whether runs on `stream` can be captured, once shapes and addresses are set; only TensorRT-RTX tells.
    ///
    /// # Safety
    /// `stream` belongs to the device of the engine.
    pub unsafe fn capturable(&self, stream: *mut c_void) -> bool {
        self.engine
            .jit
            .as_ref()
            .is_none_or(|jit| jit.capturable(self.context.0, stream))
    }

    /// What TensorRT-RTX compiled for the runs of this engine up to now; nothing of others, whose plans hold machine code.
    pub fn compiled(&self) -> Option<Memory<'static>> {
        self.engine.jit.as_ref().and_then(Jit::compiled)
    }

    /// Enqueues one run.
    ///
    /// # Errors
    /// What the library said.
    ///
    /// # Safety
    /// `stream` belongs to the device of the engine, and every tensor has its address.
    pub unsafe fn enqueue(&mut self, stream: *mut c_void) -> Result<(), String> {
        self.engine.logger.clear();
        match call!(self.context.0, self.engine.slots.context_enqueue, (*mut c_void) -> bool, stream)
        {
            true => Ok(()),
            false => Err(self.engine.logger.words()),
        }
    }
}
