//! One GPU: its context, the one stream that all work of an encoder goes through, and copies that
//! have ended when they return.

use super::error::failed;
use super::memory::Buffer;
use crate::engine::EngineError;
use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};
use std::sync::Arc;

/// A GPU that works. Holding one proves that libcuda is there.
#[derive(Debug, Clone)]
pub struct Device {
    /// The driver's context.
    pub context: Arc<CudaContext>,
    /// The stream of all work, of the highest priority.
    pub stream: Arc<CudaStream>,
    /// Name for people: `NVIDIA H200`.
    pub name: String,
    /// Compute capability without the dot: 87, 90.
    pub sm: u32,
    /// True for the tests' libcuda, which is no GPU: its device memory is the host's.
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
        // A machine without a driver is told apart from a GPU that fails: the ways out differ.
        if !Device::has_driver() {
            return Err(EngineError::Unavailable(format!(
                "no {DRIVER}: there is no NVIDIA driver on this machine; install it (Jetson: it comes with JetPack), or use backend = \"onnx\""
            )));
        }

        Device::first().map_err(|error| {
            EngineError::Unavailable(format!(
                "the NVIDIA driver has no device that works: {error}; nvidia-smi tells more; backend = \"onnx\" needs none"
            ))
        })
    }

    fn first() -> Result<Self, DriverError> {
        let context = CudaContext::new(0)?;

        // SAFETY: all memory is ours (`memory.rs`), on one stream: there is nothing for events to
        // keep in order.
        unsafe { context.disable_event_tracking() };

        // A part goes before overlays and before the preparation of another recipe.
        // Lower numbers are higher priorities, and the pair is (lowest, highest).
        let (_, highest) = result::stream::get_priority_range()?;
        let stream = context.new_stream_with_priority(highest)?;
        let (major, minor) = context.compute_capability()?;
        let name = context.name()?;
        Ok(Device {
            context,
            stream,
            name,
            sm: (10 * major + minor) as u32,
            is_stand_in: is_stand_in(),
        })
    }

    /// True when libcuda can be loaded.
    pub fn has_driver() -> bool {
        // SAFETY: asks the loader only.
        unsafe { sys::is_culib_present() }
    }

    /// Makes the calling thread one that may use the device.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the driver refuses.
    pub fn bind(&self) -> Result<(), EngineError> {
        self.context
            .bind_to_thread()
            .map_err(failed("the GPU cannot be used"))
    }

    /// Waits for all enqueued work.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the work failed.
    pub fn wait(&self) -> Result<(), EngineError> {
        self.stream.synchronize().map_err(failed("the GPU failed"))
    }

    /// Copies `values` to the beginning of `to`.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the copy failed.
    pub fn upload<T: Copy>(&self, to: &Buffer, values: &[T]) -> Result<(), EngineError> {
        assert!(
            size_of_val(values) <= to.bytes(),
            "a buffer is made as large as what it holds"
        );

        let stream = self.stream.cu_stream();

        // SAFETY: `to` is large enough, and `values` lives until the wait below.
        unsafe { result::memcpy_htod_async(to.address(), values, stream) }
            .map_err(failed("cannot copy to the GPU"))?;

        self.wait()
    }

    /// The `count` values that lie `at` values after the beginning of `from`.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the copy failed.
    pub fn download<T: Copy + Default>(
        &self,
        from: &Buffer,
        at: usize,
        count: usize,
    ) -> Result<Vec<T>, EngineError> {
        let begin = at * size_of::<T>();
        let end = begin + count * size_of::<T>();
        assert!(
            end <= from.bytes(),
            "a buffer is read where it holds something"
        );

        let mut values = vec![T::default(); count];
        let address = from.address() + begin as u64;
        let stream = self.stream.cu_stream();

        // SAFETY: the range is inside of `from`, and `values` lives until the wait below.
        unsafe { result::memcpy_dtoh_async(&mut values, address, stream) }
            .map_err(failed("cannot copy from the GPU"))?;

        self.wait()?;
        Ok(values)
    }

    /// Enqueues 0xff for the bytes from `at` on, which is no number in any precision: values that a
    /// stage does not write after this cannot pass for those of the frame before.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the driver refuses.
    pub fn spoil(&self, buffer: &Buffer, at: usize, bytes: usize) -> Result<(), EngineError> {
        assert!(
            at + bytes <= buffer.bytes(),
            "a buffer is spoiled where it holds something"
        );

        let address = buffer.address() + at as u64;
        let stream = self.stream.cu_stream();

        // SAFETY: the range is inside of the buffer.
        unsafe { result::memset_d8_async(address, 0xff, bytes, stream) }
            .map_err(failed("cannot clear what the GPU writes"))
    }

    /// A buffer that holds `values`.
    ///
    /// # Errors
    /// [`EngineError::Run`] when the device has no room.
    pub fn buffer_of<T: Copy>(&self, values: &[T]) -> Result<Buffer, EngineError> {
        let buffer = Buffer::new(&self.context, size_of_val(values))?;
        self.upload(&buffer, values)?;

        Ok(buffer)
    }
}

fn is_stand_in() -> bool {
    // SAFETY: the driver is loaded already, and its initialisers have run.
    let loaded = unsafe { libloading::Library::new(DRIVER) };
    let Ok(driver) = loaded else {
        return false;
    };

    // SAFETY: the symbol is only asked for, never called.
    unsafe { driver.get::<*const ()>(b"winspect_stand_in\0") }.is_ok()
}
