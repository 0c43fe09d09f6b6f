//! Helpers of all kernels' tests: a device, real or the stand-in, its memory, and tensors in
//! either precision.

#[path = "../../../../tests/it/harness/requirement.rs"]
mod requirement;

pub use requirement::required;

use super::Kernels;
use crate::engine::cuda::device::Device;
use crate::engine::network::Precision;
use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DeviceRepr};
use half::f16;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::any::Any;
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

/// The device. `None`: the test is skipped.
pub fn device() -> Option<Device> {
    required("gpu", Device::open())
}

/// Runs a test for both precisions.
pub fn on_device(test: impl Fn(&Bench)) {
    let Some(device) = device() else { return };
    let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/kernels");

    for precision in [Precision::Fp16, Precision::Fp32] {
        let kernels =
            Kernels::load(&device.context, precision, Some(&kept)).expect("kernels that compile");

        test(&Bench {
            kernels,
            stream: Arc::clone(&device.stream),
            held: RefCell::default(),
        });
    }
}

/// Kernels, a stream, and the device memory of one test.
pub struct Bench {
    pub kernels: Kernels,
    pub stream: Arc<CudaStream>,
    held: RefCell<Vec<Box<dyn Any>>>,
}

/// Device memory that a kernel writes, by its address.
pub struct Out<T> {
    pub address: u64,
    slice: CudaSlice<T>,
}

impl Bench {
    pub fn is_half(&self) -> bool {
        self.kernels.precision() == Precision::Fp16
    }

    /// The address of a copy of `values`, which lives as long as the bench.
    pub fn up<T: DeviceRepr + 'static>(&self, values: &[T]) -> u64 {
        let slice = self.stream.clone_htod(values).expect("room on the device");
        let address = slice.device_ptr(&self.stream).0;
        self.held.borrow_mut().push(Box::new(slice));

        address
    }

    /// The same of a tensor of the network.
    pub fn up_real(&self, values: &[f32]) -> u64 {
        match self.is_half() {
            true => self.up(&values
                .iter()
                .map(|value| f16::from_f32(*value))
                .collect::<Vec<_>>()),
            false => self.up(values),
        }
    }

    /// `values` as the network's tensors hold them.
    pub fn stored(&self, values: &[f32]) -> Vec<f32> {
        let stored = |value: &f32| {
            if self.is_half() {
                f16::from_f32(*value).to_f32()
            } else {
                *value
            }
        };

        values.iter().map(stored).collect()
    }

    /// Memory that holds anything but an answer.
    pub fn out<T: DeviceRepr + Clone>(&self, count: usize, filler: T) -> Out<T> {
        let slice = self
            .stream
            .clone_htod(&vec![filler; count])
            .expect("room on the device");

        let address = slice.device_ptr(&self.stream).0;
        Out { address, slice }
    }

    /// The same, when only kernels read it: its address.
    pub fn out_kept<T: DeviceRepr + Clone + 'static>(&self, count: usize, filler: T) -> u64 {
        self.up(&vec![filler; count])
    }

    /// The same for a tensor of the network.
    pub fn out_real(&self, count: usize) -> Out<u8> {
        self.out(count * self.kernels.precision().bytes(), 0xff)
    }

    pub fn down<T: DeviceRepr + Clone>(&self, out: &Out<T>) -> Vec<T> {
        self.stream
            .clone_dtoh(&out.slice)
            .expect("a device that has not failed")
    }

    pub fn down_real(&self, out: &Out<u8>) -> Vec<f32> {
        let bytes = self.down(out);
        let half = |bytes: &[u8; 2]| f16::from_le_bytes(*bytes).to_f32();

        match self.is_half() {
            true => bytes.as_chunks().0.iter().map(half).collect(),
            false => bytes
                .as_chunks()
                .0
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
        }
    }
}

/// Values between -1 and 1, the same ones each time.
pub fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(seed);

    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}
