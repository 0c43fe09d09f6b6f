//! TensorRT-RTX compiles a plan's kernels on the GPU that they run on: when it does, and what is kept of it.
//!
//! By its defaults it runs slower kernels for a new shape until better ones have been compiled in the background; a graph that
//! is captured meanwhile keeps the slower ones for ever. So ours are compiled before a shape's first run.

use super::owned::Owned;
use super::run::USER_MANAGED;
use super::{Memory, Object, call};
use crate::engine::tensorrt::vtable::{RtxSlots, Vtable};
use std::ffi::{c_int, c_void};

/// `IRuntimeConfig` with its `IRuntimeCache`. What is made with it holds it.
pub(super) struct Jit {
    config: Owned,
    cache: Owned,
    slots: &'static Vtable,
    rtx: &'static RtxSlots,
}

impl Jit {
    /// `kept` is what [`Jit::compiled`] gave before, empty for nothing. Nothing when the library refuses.
    pub fn new(
        engine: Object,
        slots: &'static Vtable,
        rtx: &'static RtxSlots,
        kept: &[u8],
    ) -> Option<Self> {
        /// `DynamicShapesKernelSpecializationStrategy::kEAGER`.
        const EAGER: c_int = 1;
        let config = Owned::new(call!(engine, rtx.engine_create_jit, () -> *mut c_void))?;
        call!(config.0, rtx.jit_allocation, (c_int) -> (), USER_MANAGED);
        call!(config.0, rtx.jit_strategy, (c_int) -> (), EAGER);
        let cache = Owned::new(call!(config.0, rtx.jit_create_cache, () -> *mut c_void))?;
        let (start, size, slot) = (kept.as_ptr(), kept.len(), rtx.jit_cache_deserialize);
        // What it refuses is of another driver or GPU: it compiles anew.
        if size > 0 && !call!(cache.0, slot, (*const u8, usize) -> bool, start, size) {
            tracing::info!(
                "kernels that TensorRT-RTX compiled before do not serve here; it compiles them again"
            );
        }
        let set = call!(config.0, rtx.jit_set_cache, (*const c_void) -> bool, cache.address());
        set.then_some(Jit {
            config,
            cache,
            slots,
            rtx,
        })
    }

    pub fn new_context(&self, engine: Object) -> *mut c_void {
        call!(engine, self.rtx.engine_create_context, (*mut c_void) -> *mut c_void, self.config.address())
    }

    /// What was compiled up to now, for the next start.
    pub fn compiled(&self) -> Option<Memory<'static>> {
        Memory::new(
            call!(self.cache.0, self.rtx.jit_cache_serialize, () -> *mut c_void),
            self.slots,
        )
    }

    /// Whether a run of `context` can be captured on `stream`.
    pub fn capturable(&self, context: Object, stream: *mut c_void) -> bool {
        call!(context, self.rtx.context_capturable, (*mut c_void) -> bool, stream)
    }
}
