//! The CUDA kernels: everything of WinCLIP that is not the network, on the device's memory.
//!
//! `x.rs` holds a kernel's contract, its launch and its plain reference; `x.cu` the same maths
//! under the same names. All are compiled in one go, for one precision of the network's tensors and
//! one device ([`compile`]); holding [`Kernels`] proves that each of them is there.
//!
//! Each `enqueue` only enqueues: it allocates nothing and waits for nothing, so that it can be
//! captured in a CUDA graph. Its arguments are device addresses that the caller owns, in one
//! `#[repr(C)]` struct, which the kernel takes as it is. REAL is the element of the network's
//! tensors: f16 or f32.
//!
//! Floor of all of them for ViT-B-16-plus-240 with four references, fp16, on an H200 (4.8 TB/s, 67
//! TFLOP/s): 12.5 us a picture, 10.5 us of them the products of `nearest`.

pub mod compile;
pub mod gather;
pub mod language;
pub mod nearest;
pub mod nvrtc;
pub mod paint;
pub mod pixels;
pub mod scatter;
#[cfg(test)]
mod testing;

use crate::engine::EngineError;
use crate::engine::network::Precision;
use compile::CompileTarget;
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaStream, DeviceRepr, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::Ptx;
use std::path::Path;
use std::sync::Arc;

/// All kernels, loaded on one device.
#[derive(Debug, Clone)]
pub struct Kernels {
    precision: Precision,
    pixels_across: CudaFunction,
    pixels_down: CudaFunction,
    gather: CudaFunction,
    gather_wide: CudaFunction,
    language: CudaFunction,
    nearest: CudaFunction,
    distances: CudaFunction,
    language_map: CudaFunction,
    visual_map: CudaFunction,
    paint: CudaFunction,
}

impl Kernels {
    /// Loads the kernels for network tensors of `precision`. Compiled code is kept in the folder
    /// `cache`, one file for each version of the source, precision, device and compiler; a file
    /// that is broken or foreign is made anew.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when there is no NVRTC and nothing kept, when NVRTC refuses the
    /// source or the device (with its words), or when the driver refuses the compiled code.
    pub fn load(
        context: &Arc<CudaContext>,
        precision: Precision,
        cache: Option<&Path>,
    ) -> Result<Self, EngineError> {
        let (major, minor) = context.compute_capability().map_err(|error| {
            EngineError::Unavailable(format!(
                "the GPU does not tell its compute capability: {error}"
            ))
        })?;

        let target = CompileTarget {
            precision,
            sm: (10 * major + minor) as u32,
        };

        compile::loaded(&target, cache, |cubin| {
            Kernels::from_cubin(context, precision, cubin)
        })
    }

    fn from_cubin(
        context: &Arc<CudaContext>,
        precision: Precision,
        cubin: &[u8],
    ) -> Result<Self, EngineError> {
        let module = context
            .load_module(Ptx::from_binary(cubin.to_vec()))
            .map_err(|error| {
                EngineError::Unavailable(format!(
                    "the GPU's driver refuses our kernels: {error}; is it older than NVRTC?"
                ))
            })?;

        Ok(Kernels {
            precision,
            pixels_across: function(&module, "pixels_across")?,
            pixels_down: function(&module, "pixels_down")?,
            gather: function(&module, "gather")?,
            gather_wide: function(&module, "gather_wide")?,
            language: function(&module, "language")?,
            nearest: function(&module, "nearest")?,
            distances: function(&module, "distances")?,
            language_map: function(&module, "language_map")?,
            visual_map: function(&module, "visual_map")?,
            paint: function(&module, "paint")?,
        })
    }

    /// The precision of the network's tensors.
    pub fn precision(&self) -> Precision {
        self.precision
    }
}

fn function(module: &Arc<CudaModule>, name: &str) -> Result<CudaFunction, EngineError> {
    module.load_function(name).map_err(|error| {
        EngineError::Unavailable(format!(
            "our kernel {name} is not in what was compiled: {error}"
        ))
    })
}

/// Blocks and threads of a launch, each `x`, `y`, `z`.
#[derive(Debug, Clone, Copy)]
struct LaunchShape {
    blocks: (u32, u32, u32),
    threads: (u32, u32, u32),
}

/// Enqueues a kernel that takes `args` as its only argument.
///
/// # Safety
/// `args` has the layout of the kernel's struct, and the memory at its addresses is as the kernel's
/// contract says.
unsafe fn launch<A: DeviceRepr>(
    stream: &CudaStream,
    function: &CudaFunction,
    shape: LaunchShape,
    args: &A,
) -> Result<(), EngineError> {
    let config = LaunchConfig {
        grid_dim: shape.blocks,
        block_dim: shape.threads,
        shared_mem_bytes: 0,
    };

    let mut launch = stream.launch_builder(function);
    launch.arg(args);
    // SAFETY: the caller's promise; blocks and threads are within every device's limits.
    let launched = unsafe { launch.launch(config) };
    launched
        .map(drop)
        .map_err(|error| EngineError::Run(format!("a kernel cannot be enqueued: {error}")))
}
