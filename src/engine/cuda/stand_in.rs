//! ONNX Runtime as the networks of the tests' stand-in device, whose memory is the host's. It goes through the same
//! enqueueing and capturing as TensorRT, as a host function of the stream.

use crate::engine::graphs::{ModelGraph, typed_graph};
use crate::engine::network::{Binding, Facts, Network, Networks, Precision, TowerPart};
use crate::engine::onnx::{Runtime, run_error};
use crate::engine::{EncodePlan, EngineError};
use crate::model::ModelFolder;
use cudarc::driver::{result, sys};
use half::f16;
use ort::session::{Session, SessionInputValue};
use ort::value::TensorRef;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

/// The graphs of one model. Only for a device whose memory is the host's.
pub struct StandIn {
    trunk: Arc<Mutex<Session>>,
    windows: Option<Arc<Mutex<Session>>>,
    /// What the trunk was cut to.
    outputs: Vec<String>,
    facts: Facts,
}

impl StandIn {
    /// # Errors
    /// [`EngineError::Model`] when the folder does not hold what it says.
    pub fn open(
        runtime: &Runtime,
        model: &ModelFolder,
        plan: &EncodePlan,
        precision: Precision,
        looks_max: usize,
    ) -> Result<Self, EngineError> {
        let session = |part: TowerPart| -> Result<Arc<Mutex<Session>>, EngineError> {
            let graph = typed_graph(model, plan, part, precision)?.bytes()?;
            let session = runtime
                .builder()
                .and_then(|mut builder| builder.commit_from_memory(&graph));
            Ok(Arc::new(Mutex::new(
                session.map_err(|error| EngineError::Model(error.to_string()))?,
            )))
        };
        let graph = ModelGraph::of(model, plan, TowerPart::Trunk)?;
        Ok(StandIn {
            trunk: session(TowerPart::Trunk)?,
            windows: (!plan.scales.is_empty())
                .then(|| session(TowerPart::Windows))
                .transpose()?,
            outputs: graph
                .inner()
                .output
                .iter()
                .map(|output| output.name.clone())
                .collect(),
            facts: Facts {
                name: format!("stand-in-{}", precision.name()),
                precision,
                looks_max,
            },
        })
    }
}

impl Networks for StandIn {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    unsafe fn bind(
        &self,
        part: TowerPart,
        tensors: &[Binding],
    ) -> Result<Box<dyn Network>, EngineError> {
        let session = match part {
            TowerPart::Trunk => Some(&self.trunk),
            TowerPart::Windows => self.windows.as_ref(),
        };
        let session =
            session.ok_or_else(|| EngineError::Plan("the plan has no windows".to_owned()))?;
        let is_output = |name: &str| match part {
            TowerPart::Trunk => self.outputs.iter().any(|output| output == name),
            TowerPart::Windows => name == "embedding",
        };
        let (outputs, inputs) = tensors
            .iter()
            .cloned()
            .partition(|tensor| is_output(&tensor.name));
        let bound = Bound {
            session: Arc::clone(session),
            inputs,
            outputs,
            precision: self.facts.precision,
        };
        Ok(Box::new(Enqueued(Box::new(bound))))
    }
}

struct Bound {
    session: Arc<Mutex<Session>>,
    inputs: Vec<Binding>,
    outputs: Vec<Binding>,
    precision: Precision,
}

/// In a place of its own: the stream and what was captured of it hold its address.
struct Enqueued(Box<Bound>);

impl Network for Enqueued {
    unsafe fn enqueue(&mut self, stream: sys::CUstream) -> Result<(), EngineError> {
        let bound = (&raw const *self.0).cast_mut().cast::<c_void>();
        // SAFETY: `bound` lives as long as this network, which who enqueues it keeps until the work and the graphs that
        // were captured of it are gone.
        unsafe { result::stream::launch_host_function(stream, run, bound) }.map_err(run_error)
    }
}

/// What the stream calls.
unsafe extern "C" fn run(bound: *mut c_void) {
    // SAFETY: the address that `enqueue` gave.
    let bound = unsafe { &*bound.cast::<Bound>() };
    if let Err(error) = bound.run() {
        // A host function cannot fail: what it leaves must not pass for features.
        tracing::error!("the stand-in network failed: {error}");
        bound.outputs.iter().for_each(|output| bound.spoil(output));
    }
}

fn values(tensor: &Binding) -> usize {
    tensor.dims.iter().product()
}

impl Bound {
    fn run(&self) -> ort::Result<()> {
        let inputs: Vec<(String, SessionInputValue)> = self
            .inputs
            .iter()
            .map(|tensor| Ok((tensor.name.clone(), self.input(tensor)?)))
            .collect::<ort::Result<_>>()?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(inputs)?;
        for tensor in &self.outputs {
            let value = &outputs[tensor.name.as_str()];
            match self.precision {
                Precision::Fp32 => self
                    .written(tensor)
                    .copy_from_slice(value.try_extract_tensor::<f32>()?.1),
                Precision::Fp16 => self
                    .written(tensor)
                    .copy_from_slice(value.try_extract_tensor::<f16>()?.1),
            }
        }
        Ok(())
    }

    fn input(&self, tensor: &Binding) -> ort::Result<SessionInputValue<'_>> {
        Ok(match self.precision {
            Precision::Fp32 => {
                TensorRef::from_array_view((tensor.dims.clone(), self.read::<f32>(tensor)))?.into()
            }
            Precision::Fp16 => {
                TensorRef::from_array_view((tensor.dims.clone(), self.read::<f16>(tensor)))?.into()
            }
        })
    }

    fn read<T>(&self, tensor: &Binding) -> &[T] {
        // SAFETY: `bind` was promised as many values at this address, which is the host's on this device; the stream
        // runs one thing at a time.
        unsafe { std::slice::from_raw_parts(tensor.address as *const T, values(tensor)) }
    }

    #[expect(clippy::mut_from_ref, reason = "the memory is the device's, not ours")]
    fn written<T>(&self, tensor: &Binding) -> &mut [T] {
        // SAFETY: as in `read`.
        unsafe { std::slice::from_raw_parts_mut(tensor.address as *mut T, values(tensor)) }
    }

    fn spoil(&self, tensor: &Binding) {
        match self.precision {
            Precision::Fp32 => self.written(tensor).fill(f32::NAN),
            Precision::Fp16 => self.written(tensor).fill(f16::NAN),
        }
    }
}
