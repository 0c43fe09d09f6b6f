//! A device without a network: random values stand where a network's would be. Copies, kernels and
//! the graph are measured with it on a GPU whose TensorRT cannot run the model; its scores mean
//! nothing.

use super::device::Device;
use super::error::failed;
use super::memory::Buffer;
use crate::engine::EngineError;
use crate::engine::network::{Binding, Facts, Network, Networks, Precision, TowerPart};
use cudarc::driver::{result, sys::CUstream};
use half::f16;
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Networks that copy random values to their outputs.
pub struct NoNetwork {
    device: Device,
    facts: Facts,
}

impl NoNetwork {
    /// Networks for `looks_max` crops at once at most.
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

    /// Random values of a unit's size for an output: kernels take as long as with a network's, and
    /// zeros have no direction.
    fn drawn(&self, tensor: &Binding) -> Result<Buffer, EngineError> {
        let count: usize = tensor.dims.iter().product();

        // The seed is the number of values: the same tensor holds the same values in every run, so
        // that times can be compared.
        let mut random = StdRng::seed_from_u64(count as u64);
        let mut values = Vec::with_capacity(count);

        for _ in 0..count {
            values.push(random.random_range(-1.0..1.0f32));
        }

        // Values are stored as the kernels read them: two bytes each in fp16, four in fp32.
        match self.facts.precision {
            Precision::Fp32 => self.device.buffer_of(&values),
            Precision::Fp16 => {
                let halves: Vec<f16> = values.into_iter().map(f16::from_f32).collect();

                self.device.buffer_of(&halves)
            }
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

        // The input is filled by the stage before and stays as it is; all other tensors are
        // outputs.
        let input = match part {
            TowerPart::Trunk => "pixels",
            TowerPart::Windows => "tokens",
        };

        // Each output has its own source buffer, made once: a launch then costs one copy a tensor
        // and allocates nothing.
        let mut outputs = vec![];

        for tensor in tensors.iter().filter(|tensor| tensor.name != input) {
            outputs.push(DrawnOutput {
                values: self.drawn(tensor)?,
                to: tensor.address,
            });
        }

        Ok(Box::new(CopyNetwork(outputs)))
    }
}

/// Random values, and the address of the output that they are copied to.
struct DrawnOutput {
    values: Buffer,
    to: u64,
}

struct CopyNetwork(Vec<DrawnOutput>);

impl Network for CopyNetwork {
    unsafe fn enqueue(&mut self, stream: CUstream) -> Result<(), EngineError> {
        for output in &self.0 {
            let from = output.values.address();
            let bytes = output.values.bytes();

            // SAFETY: `bind` was promised room for as many values at the address as were drawn.
            unsafe { result::memcpy_dtod_async(output.to, from, bytes, stream) }
                .map_err(failed("cannot copy what was drawn"))?;
        }

        Ok(())
    }
}
