//! ONNX Runtime as the networks of the tests' stand-in device, whose memory is the host's. It goes
//! through the same enqueueing and capturing as TensorRT, as a host function of the stream.

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
    /// Names of the outputs that the trunk was cut to.
    outputs: Vec<String>,
    facts: Facts,
}

impl StandIn {
    /// Opens the graphs of `plan`, for `looks_max` crops at once at most.
    ///
    /// # Errors
    /// [`EngineError::Model`] when the folder does not hold what it says.
    pub fn open(
        runtime: &Runtime,
        model: &ModelFolder,
        plan: &EncodePlan,
        precision: Precision,
        looks_max: usize,
    ) -> Result<Self, EngineError> {
        // A graph is converted to the precision of the device's tensors, so that the kernels under
        // test read the same bytes as on a GPU.
        let session = |part: TowerPart| -> Result<Arc<Mutex<Session>>, EngineError> {
            let graph = typed_graph(model, plan, part, precision)?.bytes()?;
            let session = runtime
                .builder()
                .and_then(|mut builder| builder.commit_from_memory(&graph))
                .map_err(|error| EngineError::Model(error.to_string()))?;

            Ok(Arc::new(Mutex::new(session)))
        };

        // The trunk is always there, the windows' graph only where the plan has scales: a model
        // folder need not hold it.
        let trunk = session(TowerPart::Trunk)?;
        let windows = if plan.scales.is_empty() {
            None
        } else {
            Some(session(TowerPart::Windows)?)
        };

        // The names of the outputs tell `bind` which tensors are written; the rest are inputs.
        let graph = ModelGraph::of(model, plan, TowerPart::Trunk)?;
        let outputs = &graph.inner().output;
        Ok(StandIn {
            trunk,
            windows,
            outputs: outputs.iter().map(|output| output.name.clone()).collect(),
            facts: Facts {
                name: format!("stand-in-{}", precision.name()),
                precision,
                looks_max,
            },
        })
    }

    fn session(&self, part: TowerPart) -> Result<&Arc<Mutex<Session>>, EngineError> {
        match part {
            TowerPart::Trunk => Ok(&self.trunk),
            TowerPart::Windows => self
                .windows
                .as_ref()
                .ok_or_else(|| EngineError::Plan("the plan has no windows".to_owned())),
        }
    }

    fn is_output(&self, part: TowerPart, name: &str) -> bool {
        match part {
            TowerPart::Trunk => self.outputs.iter().any(|output| output == name),
            TowerPart::Windows => name == "embedding",
        }
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
        // The bindings are copied: their addresses stay valid as long as the network, by the
        // promise of `bind`.
        let session = self.session(part)?;
        let (outputs, inputs) = tensors
            .iter()
            .cloned()
            .partition(|tensor| self.is_output(part, &tensor.name));

        Ok(Box::new(HostNetwork(Box::new(BoundSession {
            session: Arc::clone(session),
            inputs,
            outputs,
            precision: self.facts.precision,
        }))))
    }
}

struct BoundSession {
    session: Arc<Mutex<Session>>,
    inputs: Vec<Binding>,
    outputs: Vec<Binding>,
    precision: Precision,
}

/// A session as a host function of a stream. Boxed, because the stream and the graphs captured from
/// it hold its address.
struct HostNetwork(Box<BoundSession>);

impl Network for HostNetwork {
    unsafe fn enqueue(&mut self, stream: sys::CUstream) -> Result<(), EngineError> {
        // The stream gets a bare pointer. Nothing is written through it: `run` takes it as a shared
        // reference.
        let bound = (&raw const *self.0).cast_mut().cast::<c_void>();

        // SAFETY: `bound` lives as long as this network, which the caller keeps until the work and
        // the graphs that were captured of it are gone.
        unsafe { result::stream::launch_host_function(stream, run, bound) }.map_err(run_error)
    }
}

/// The host function that the stream calls.
unsafe extern "C" fn run(bound: *mut c_void) {
    // SAFETY: the address that `enqueue` gave.
    let bound = unsafe { &*bound.cast::<BoundSession>() };

    if let Err(error) = bound.run() {
        tracing::error!("the stand-in network failed: {error}");

        // A host function cannot fail: what it leaves must not pass for features.
        for output in &bound.outputs {
            bound.spoil(output);
        }
    }
}

fn values(tensor: &Binding) -> usize {
    tensor.dims.iter().product()
}

impl BoundSession {
    fn run(&self) -> ort::Result<()> {
        // Inputs are views of the device's memory, which is the host's here; nothing is copied
        // before the run.
        let mut inputs = vec![];

        for tensor in &self.inputs {
            inputs.push((tensor.name.clone(), self.input(tensor)?));
        }

        // A poisoned lock is taken over: a session keeps no state between calls that a panic could
        // have broken.
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(inputs)?;

        // Outputs are copied back to the bound addresses, in the element type that the kernels
        // expect there.
        for tensor in &self.outputs {
            let value = &outputs[tensor.name.as_str()];

            match self.precision {
                Precision::Fp32 => {
                    let (_, values) = value.try_extract_tensor::<f32>()?;
                    self.written(tensor).copy_from_slice(values);
                }

                Precision::Fp16 => {
                    let (_, values) = value.try_extract_tensor::<f16>()?;
                    self.written(tensor).copy_from_slice(values);
                }
            }
        }

        Ok(())
    }

    fn input(&self, tensor: &Binding) -> ort::Result<SessionInputValue<'_>> {
        let dims = tensor.dims.clone();

        match self.precision {
            Precision::Fp32 => {
                let values = self.read::<f32>(tensor);

                Ok(TensorRef::from_array_view((dims, values))?.into())
            }

            Precision::Fp16 => {
                let values = self.read::<f16>(tensor);

                Ok(TensorRef::from_array_view((dims, values))?.into())
            }
        }
    }

    fn read<T>(&self, tensor: &Binding) -> &[T] {
        let start = tensor.address as *const T;

        // SAFETY: `bind` was promised as many values at this address, which is the host's on this
        // device; the stream runs one thing at a time.
        unsafe { std::slice::from_raw_parts(start, values(tensor)) }
    }

    #[expect(clippy::mut_from_ref, reason = "the memory is the device's, not ours")]
    fn written<T>(&self, tensor: &Binding) -> &mut [T] {
        let start = tensor.address as *mut T;

        // SAFETY: `bind` was promised as many values at this address, which is the host's on this
        // device; the stream runs one thing at a time.
        unsafe { std::slice::from_raw_parts_mut(start, values(tensor)) }
    }

    fn spoil(&self, tensor: &Binding) {
        // No value may pass for a feature: NaN is found by the kernels' own check.
        match self.precision {
            Precision::Fp32 => self.written(tensor).fill(f32::NAN),
            Precision::Fp16 => self.written(tensor).fill(f16::NAN),
        }
    }
}
