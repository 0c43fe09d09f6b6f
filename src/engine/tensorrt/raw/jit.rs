//! TensorRT-RTX compiles a plan's kernels on the GPU that runs them: when it does, and how they are
//! kept.
//!
//! By its defaults it runs slower kernels for a new shape until better ones have been compiled in
//! the background; a graph that is captured meanwhile keeps the slower ones for ever. So ours are
//! compiled before a shape's first run.

use super::owned::Owned;
use super::{Memory, Object, call};
use crate::engine::tensorrt::vtable::{RtxSlots, Vtable};
use std::ffi::{c_int, c_void};

/// `ExecutionContextAllocationStrategy::kUSER_MANAGED`: a context allocates nothing for the values
/// between its layers.
pub(super) const USER_MANAGED: c_int = 2;

/// `DynamicShapesKernelSpecializationStrategy::kEAGER`.
const EAGER: c_int = 1;

/// `IRuntimeConfig` with its `IRuntimeCache`. Contexts that are made with it hold it.
pub(super) struct Jit {
    config: Owned,
    cache: Owned,
    slots: &'static Vtable,
    rtx: &'static RtxSlots,
}

impl Jit {
    /// A configuration for `engine`. `kept` is the result of [`Jit::compiled`] of an earlier start,
    /// empty for none. `None` when the library refuses.
    pub fn new(
        engine: Object,
        slots: &'static Vtable,
        rtx: &'static RtxSlots,
        kept: &[u8],
    ) -> Option<Self> {
        // Allocation is the caller's, and kernels are compiled at once for each shape: both are
        // needed for a capture.
        let config = Owned::new(call!(engine, rtx.engine_create_jit, () -> *mut c_void))?;
        call!(config.0, rtx.jit_allocation, (c_int) -> (), USER_MANAGED);
        call!(config.0, rtx.jit_strategy, (c_int) -> (), EAGER);

        // The cache collects compiled kernels; contexts that are made later share it.
        let cache = Owned::new(call!(config.0, rtx.jit_create_cache, () -> *mut c_void))?;
        let jit = Jit {
            config,
            cache,
            slots,
            rtx,
        };

        if !kept.is_empty() && !jit.takes(kept) {
            // The kept kernels are of another driver or GPU.
            tracing::info!(
                "kernels that TensorRT-RTX compiled before do not serve here; it compiles them again"
            );
        }

        // The cache is attached after it was filled, so that the first context finds the kept
        // kernels.
        let address = jit.cache.address();
        let set = call!(jit.config.0, rtx.jit_set_cache, (*const c_void) -> bool, address);

        set.then_some(jit)
    }

    /// Reads kernels that were compiled before; false when the library refuses them.
    fn takes(&self, kept: &[u8]) -> bool {
        // The bytes are copied by the library.
        let slot = self.rtx.jit_cache_deserialize;
        let start = kept.as_ptr();
        let size = kept.len();

        call!(self.cache.0, slot, (*const u8, usize) -> bool, start, size)
    }

    pub fn new_context(&self, engine: Object) -> *mut c_void {
        let slot = self.rtx.engine_create_context;
        let config = self.config.address();

        call!(engine, slot, (*mut c_void) -> *mut c_void, config)
    }

    /// All kernels that were compiled up to now, for the next start.
    pub fn compiled(&self) -> Option<Memory<'static>> {
        let slot = self.rtx.jit_cache_serialize;
        let bytes = call!(self.cache.0, slot, () -> *mut c_void);

        Memory::new(bytes, self.slots)
    }

    /// True when a run of `context` can be captured on `stream`.
    pub fn capturable(&self, context: Object, stream: *mut c_void) -> bool {
        let slot = self.rtx.context_capturable;

        call!(context, slot, (*mut c_void) -> bool, stream)
    }
}
