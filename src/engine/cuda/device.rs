//! One GPU: its context, the one stream that all work of an encoder goes through, and copies that have ended when they
//! return.

use super::memory::Buffer;
use crate::engine::EngineError;
use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};
use std::sync::Arc;

/// Holding one proves that libcuda is there and has a device that works.
#[derive(Debug, Clone)]
pub struct Device {
    pub context: Arc<CudaContext>,
    pub stream: Arc<CudaStream>,
    /// For people: `NVIDIA H200`.
    pub name: String,
    /// Compute capability without the dot: 87, 90.
    pub sm: u32,
    /// Not a GPU: the tests' libcuda, whose device memory is the host's.
    pub is_stand_in: bool,
}

/// The name under which cudarc and we look for the driver.
const DRIVER: &str = "libcuda.so.1";

impl Device {
    /// The first GPU.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]: no driver, no device, or one that does not answer.
    pub fn open() -> Result<Self, EngineError> {
        if !Device::has_driver() {
            return Err(EngineError::Unavailable(format!(
                "no {DRIVER}: there is no NVIDIA driver on this machine; install it (Jetson: it comes with JetPack), or use backend = \"onnx\""
            )));
        }
        let dead = |error: DriverError| {
            EngineError::Unavailable(format!(
                "the NVIDIA driver has no device that works: {error}; nvidia-smi tells more; backend = \"onnx\" needs none"
            ))
        };
        let context = CudaContext::new(0).map_err(dead)?;
        // SAFETY: all memory is ours (`memory.rs`), on one stream: there is nothing for events to keep in order.
        unsafe { context.disable_event_tracking() };
        // Nobody who paints or prepares another recipe goes before a part.
        let (_, highest) = result::stream::get_priority_range().map_err(dead)?;
        let stream = context.new_stream_with_priority(highest).map_err(dead)?;
        let (major, minor) = context.compute_capability().map_err(dead)?;
        let name = context.name().map_err(dead)?;
        let sm = (10 * major + minor) as u32;
        Ok(Device {
            context,
            stream,
            name,
            sm,
            is_stand_in: is_stand_in(),
        })
    }

    /// Whether libcuda can be loaded at all.
    pub fn has_driver() -> bool {
        // SAFETY: asks the loader only.
        unsafe { sys::is_culib_present() }
    }

    /// Makes the calling thread one that may use the device.
    pub fn bind(&self) -> Result<(), EngineError> {
        self.context
            .bind_to_thread()
            .map_err(failed("the GPU cannot be used"))
    }

    /// Waits for all that was enqueued.
    pub fn wait(&self) -> Result<(), EngineError> {
        self.stream.synchronize().map_err(failed("the GPU failed"))
    }

    /// Copies `values` to the beginning of `to`.
    pub fn upload<T: Copy>(&self, to: &Buffer, values: &[T]) -> Result<(), EngineError> {
        assert!(
            size_of_val(values) <= to.bytes(),
            "a buffer is made as large as what it holds"
        );
        // SAFETY: `to` is large enough, and `values` lives until the wait below.
        unsafe { result::memcpy_htod_async(to.address(), values, self.stream.cu_stream()) }
            .map_err(failed("cannot copy to the GPU"))?;
        self.wait()
    }

    /// The `count` values that lie `at` values after the beginning of `from`.
    pub fn download<T: Copy + Default>(
        &self,
        from: &Buffer,
        at: usize,
        count: usize,
    ) -> Result<Vec<T>, EngineError> {
        assert!(
            (at + count) * size_of::<T>() <= from.bytes(),
            "a buffer is read where it holds something"
        );
        let mut values = vec![T::default(); count];
        let address = from.address() + (at * size_of::<T>()) as u64;
        // SAFETY: the range is inside of `from`, and `values` lives until the wait below.
        unsafe { result::memcpy_dtoh_async(&mut values, address, self.stream.cu_stream()) }
            .map_err(failed("cannot copy from the GPU"))?;
        self.wait()?;
        Ok(values)
    }

    /// Enqueues that the bytes from `at` on are no number in any precision: what is not written after this cannot pass for
    /// the values of the frame before.
    pub fn spoil(&self, buffer: &Buffer, at: usize, bytes: usize) -> Result<(), EngineError> {
        assert!(
            at + bytes <= buffer.bytes(),
            "a buffer is spoiled where it holds something"
        );
        // SAFETY: the range is inside of the buffer.
        unsafe {
            result::memset_d8_async(
                buffer.address() + at as u64,
                0xff,
                bytes,
                self.stream.cu_stream(),
            )
        }
        .map_err(failed("cannot clear what the GPU writes"))
    }

    /// A buffer that holds `values`.
    pub fn buffer_of<T: Copy>(&self, values: &[T]) -> Result<Buffer, EngineError> {
        let buffer = Buffer::new(&self.context, size_of_val(values))?;
        self.upload(&buffer, values)?;
        Ok(buffer)
    }
}

/// What the driver said, after what was tried.
pub fn failed(what: &str) -> impl Fn(DriverError) -> EngineError + '_ {
    move |error| EngineError::Run(format!("{what}: {error}"))
}

fn is_stand_in() -> bool {
    // SAFETY: it is loaded already, and its initialisers have run.
    let Ok(driver) = (unsafe { libloading::Library::new(DRIVER) }) else {
        return false;
    };
    // SAFETY: the symbol is only asked for, never called.
    unsafe { driver.get::<*const ()>(b"winspect_stand_in\0") }.is_ok()
}
