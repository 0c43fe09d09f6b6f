//! No network at all: what it would compute is drawn once, and copied to where it belongs. Copies, kernels and the graph are measured with it on a GPU
//! whose TensorRT cannot run the model; what they judge means nothing.

use super::device::{Device, failed};
use super::memory::Buffer;
use crate::engine::EngineError;
use crate::engine::network::{Binding, Facts, Network, Networks, Precision, TowerPart};
use cudarc::driver::{result, sys::CUstream};
use half::f16;
use rand::{Rng, SeedableRng, rngs::StdRng};

pub struct NoNetwork {
    device: Device,
    facts: Facts,
}

impl NoNetwork {
    pub fn new(device: &Device, precision: Precision, looks_max: usize) -> Self {
        let name = format!("no-network-{}", precision.name());
        NoNetwork {
            device: device.clone(),
            facts: Facts {
                name,
                precision,
                looks_max,
            },
        }
    }

    /// Values of a unit's size where a network's would be: kernels take as long as with a network's, and zeros have no
    /// direction.
    fn drawn(&self, tensor: &Binding) -> Result<Buffer, EngineError> {
        let mut random = StdRng::seed_from_u64(tensor.dims.iter().product::<usize>() as u64);
        let drawn = (0..tensor.dims.iter().product()).map(|_| random.random_range(-1.0..1.0f32));
        match self.facts.precision {
            Precision::Fp32 => self.device.buffer_of(&drawn.collect::<Vec<f32>>()),
            Precision::Fp16 => self
                .device
                .buffer_of(&drawn.map(f16::from_f32).collect::<Vec<f16>>()),
        }
    }
}

impl Networks for NoNetwork {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    unsafe fn bind(
        &self,
        part: TowerPart,
        tensors: &[Binding],
    ) -> Result<Box<dyn Network>, EngineError> {
        self.device.bind()?;
        let input = match part {
            TowerPart::Trunk => "pixels",
            TowerPart::Windows => "tokens",
        };
        let outputs = tensors.iter().filter(|tensor| tensor.name != input);
        let drawn = outputs.map(|tensor| Ok((self.drawn(tensor)?, tensor.address)));
        Ok(Box::new(Copied(drawn.collect::<Result<_, EngineError>>()?)))
    }
}

/// What was drawn, and the address that it goes to.
struct Copied(Vec<(Buffer, u64)>);

impl Network for Copied {
    unsafe fn enqueue(&mut self, stream: CUstream) -> Result<(), EngineError> {
        for (drawn, to) in &self.0 {
            // SAFETY: `bind` was promised as many values at the address as were drawn.
            unsafe { result::memcpy_dtod_async(*to, drawn.address(), drawn.bytes(), stream) }
                .map_err(failed("cannot copy what was drawn"))?;
        }
        Ok(())
    }
}
