//! The NVIDIA path: on a GPU where there is one, and everywhere through `tools/with-stand-ins`. Without either a test says
//! that it was skipped; `WINSPECT_REQUIRE_GPU=1` makes that a failure.

use crate::inspect::{self, Engine};
use winspect::engine::cuda::device::Device;

const FP32: Engine = Engine { flags: &["--backend", "tensorrt", "--precision", "fp32"], tolerances: [3e-2, 1e-3] };
/// Tolerances of the engine's own parity check.
const FP16: Engine = Engine { flags: &["--backend", "tensorrt", "--precision", "fp16"], tolerances: [1e-1, 1e-2] };

/// Whether there is something to test.
fn device() -> Option<Device> {
    match Device::open() {
        Ok(device) => Some(device),
        Err(why) => {
            assert!(std::env::var_os("WINSPECT_REQUIRE_GPU").is_none(), "a GPU is required: {why}");
            eprintln!("skipped: {why}");
            None
        }
    }
}

#[test]
fn the_golden_tensors_scores_and_maps_come_from_the_device_too() {
    if device().is_none() {
        return;
    }
    for engine in [&FP32, &FP16] {
        inspect::check_open_clip(engine);
        inspect::check_crop(engine);
        inspect::check_transformers_clip(engine);
        inspect::check_dinov2(engine);
    }
}
