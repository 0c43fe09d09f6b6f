//! Memory on the device, and pinned memory of the host that it can copy from and to by itself. Owned: freed when dropped.
//!
//! Our own instead of cudarc's slices, which keep events to order streams: there is one stream, and addresses that a
//! graph was captured with must not depend on anything.

use super::device::failed;
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
    /// # Errors
    /// [`EngineError::Run`] when there is no room, with how much was asked for.
    pub fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, EngineError> {
        let what = format!("{bytes} bytes of GPU memory cannot be had");
        context.bind_to_thread().map_err(failed(&what))?;
        // Nothing would be an address that nothing may be asked of.
        let bytes = bytes.max(1);
        // SAFETY: the context is bound; what is in it is set below.
        let address = unsafe { result::malloc_sync(bytes) }.map_err(failed(&what))?;
        let buffer = Buffer {
            context: Arc::clone(context),
            address,
            bytes,
        };
        // SAFETY: just made, of that size.
        unsafe { result::memset_d8_sync(address, 0, bytes) }.map_err(failed(&what))?;
        // Not the context: that would wait for what other threads have enqueued, and spoil what they capture.
        // SAFETY: the null stream, which the line above went into, is always there.
        unsafe { result::stream::synchronize(std::ptr::null_mut()) }.map_err(failed(&what))?;
        Ok(buffer)
    }

    /// Where it begins, for kernels and networks; 256-byte aligned.
    pub fn address(&self) -> u64 {
        self.address
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.context.record_err(self.context.bind_to_thread());
        // SAFETY: from `malloc_sync`, freed once; who enqueues work with it owns it until that has ended.
        self.context
            .record_err(unsafe { result::free_sync(self.address) });
    }
}

/// Page-locked memory of the host.
#[derive(Debug)]
pub struct Pinned {
    context: Arc<CudaContext>,
    /// To `bytes` initialised bytes of nobody else's.
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the pointer is the only one to what it points to.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Zeros.
    ///
    /// # Errors
    /// [`EngineError::Run`] when there is no room, with how much was asked for.
    pub fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, EngineError> {
        let what = format!("{bytes} bytes of pinned memory cannot be had");
        context.bind_to_thread().map_err(failed(&what))?;
        let bytes = bytes.max(1);
        // SAFETY: the context is bound; what is in it is set below.
        let start = unsafe { result::malloc_host(bytes, 0) }
            .map_err(failed(&what))?
            .cast::<u8>();
        // SAFETY: just made, of that size.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Pinned {
            context: Arc::clone(context),
            start,
            bytes,
        })
    }

    /// Nothing may be enqueued that writes it.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the invariant of `start`.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    /// Nothing may be enqueued that reads or writes it.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the invariant of `start`.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.context.record_err(self.context.bind_to_thread());
        // SAFETY: from `malloc_host`, freed once.
        self.context
            .record_err(unsafe { result::free_host(self.start.cast()) });
    }
}
