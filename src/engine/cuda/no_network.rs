//! No network at all: what it would compute is drawn once. Copies, kernels and the graph are measured with it on a GPU
//! whose TensorRT cannot run the model; what they judge means nothing.

use super::device::{Device, failed};
use crate::engine::EngineError;
use crate::engine::network::{Binding, Network, Networks, Part, Precision};
use cudarc::driver::{result, sys::CUstream};
use half::f16;
use rand::{Rng, SeedableRng, rngs::StdRng};

pub struct NoNetwork {
    device: Device,
    precision: Precision,
    looks_max: usize,
    name: String,
}

impl NoNetwork {
    pub fn new(device: &Device, precision: Precision, looks_max: usize) -> Self {
        NoNetwork { device: device.clone(), precision, looks_max, name: format!("no-network-{}", precision.name()) }
    }

    /// Values of a unit's size where a network's would be: kernels take as long as with a network's, and zeros have no
    /// direction.
    ///
    /// # Safety
    /// As [`Networks::bind`].
    unsafe fn draw(&self, tensor: &Binding) -> Result<(), EngineError> {
        let mut random = StdRng::seed_from_u64(tensor.dims.iter().product::<usize>() as u64);
        let drawn = (0..tensor.dims.iter().product()).map(|_| random.random_range(-1.0..1.0f32));
        let copied = match self.precision {
            Precision::Fp32 => {
                let values: Vec<f32> = drawn.collect();
                // SAFETY: the caller's promise: as many values as the dims say.
                unsafe { result::memcpy_htod_sync(tensor.address, &values) }
            }
            Precision::Fp16 => {
                let values: Vec<f16> = drawn.map(f16::from_f32).collect();
                // SAFETY: as above.
                unsafe { result::memcpy_htod_sync(tensor.address, &values) }
            }
        };
        copied.map_err(failed("cannot copy to the GPU"))
    }
}

impl Networks for NoNetwork {
    fn name(&self) -> &str {
        &self.name
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn looks_max(&self) -> usize {
        self.looks_max
    }

    unsafe fn bind(&self, _part: Part, tensors: &[Binding]) -> Result<Box<dyn Network>, EngineError> {
        self.device.bind()?;
        for tensor in tensors {
            // SAFETY: the caller's promise.
            unsafe { self.draw(tensor) }?;
        }
        self.device.wait()?;
        Ok(Box::new(Nothing))
    }
}

struct Nothing;

impl Network for Nothing {
    unsafe fn enqueue(&mut self, _stream: CUstream) -> Result<(), EngineError> {
        Ok(())
    }
}
