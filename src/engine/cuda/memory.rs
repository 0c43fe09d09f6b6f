//! Memory on the device, and pinned memory of the host that the device can copy from and to by
//! itself. Owned: freed when dropped.
//!
//! Our own instead of cudarc's slices, which keep events to order streams: there is one stream, and
//! addresses that a graph was captured with must not depend on anything.

use super::error::failed;
use crate::engine::EngineError;
use cudarc::driver::{CudaContext, result};
use std::sync::Arc;

/// Device memory. All of it was zero when it was made.
#[derive(Debug)]
pub struct Buffer {
    context: Arc<CudaContext>,
    address: u64,
    bytes: usize,
}

impl Buffer {
    /// Allocates `bytes` bytes, at least one.
    ///
    /// # Errors
    /// [`EngineError::Run`] when there is no room, with the size that was asked for.
    pub fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, EngineError> {
        let what = format!("{bytes} bytes of GPU memory cannot be had");
        context.bind_to_thread().map_err(failed(&what))?;

        // An empty allocation would have an address that the driver refuses everywhere.
        let bytes = bytes.max(1);

        // SAFETY: the context is bound; the memory is set below.
        let allocated = unsafe { result::malloc_sync(bytes) };
        let buffer = Buffer {
            context: Arc::clone(context),
            address: allocated.map_err(failed(&what))?,
            bytes,
        };

        // SAFETY: just made, of that size.
        let cleared = unsafe { result::memset_d8_sync(buffer.address, 0, bytes) };
        cleared.map_err(failed(&what))?;

        // Waiting for the context instead would wait for the work of other threads, and spoil what
        // they capture. SAFETY: the null stream, which the line above went into, is always there.
        let waited = unsafe { result::stream::synchronize(std::ptr::null_mut()) };
        waited.map_err(failed(&what))?;

        Ok(buffer)
    }

    /// Device address of the first byte, for kernels and networks; 256-byte aligned.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // A drop cannot return an error. The context remembers it and returns it at its next use.
        let bound = self.context.bind_to_thread();
        self.context.record_err(bound);

        // SAFETY: from `malloc_sync`, freed once; work that was enqueued with it has ended, because
        // its owner waits for it.
        let freed = unsafe { result::free_sync(self.address) };
        self.context.record_err(freed);
    }
}

/// Page-locked memory of the host.
#[derive(Debug)]
pub struct Pinned {
    context: Arc<CudaContext>,
    /// Pointer to `bytes` initialised bytes that this object owns alone.
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the pointer is the only one to its memory.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Allocates `bytes` zeros, at least one.
    ///
    /// # Errors
    /// [`EngineError::Run`] when there is no room, with the size that was asked for.
    pub fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, EngineError> {
        let what = format!("{bytes} bytes of pinned memory cannot be had");
        context.bind_to_thread().map_err(failed(&what))?;

        // An empty allocation is refused by the driver, as with device memory.
        let bytes = bytes.max(1);

        // SAFETY: the context is bound; the memory is set below.
        let allocated = unsafe { result::malloc_host(bytes, 0) };
        let start = allocated.map_err(failed(&what))?.cast::<u8>();

        // SAFETY: just made, of that size.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Pinned {
            context: Arc::clone(context),
            start,
            bytes,
        })
    }

    /// The bytes. No enqueued work may write them.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the invariant of `start`.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    /// The bytes. No enqueued work may read or write them.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the invariant of `start`.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let bound = self.context.bind_to_thread();
        self.context.record_err(bound);

        // SAFETY: from `malloc_host`, freed once.
        let freed = unsafe { result::free_host(self.start.cast()) };
        self.context.record_err(freed);
    }
}
