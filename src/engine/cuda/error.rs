//! The driver's refusals as errors of the engine.

use crate::engine::EngineError;
use cudarc::driver::DriverError;

/// Puts `what` failed before the driver's words, as [`EngineError::Run`].
pub fn failed(what: &str) -> impl Fn(DriverError) -> EngineError + '_ {
    move |error| EngineError::Run(format!("{what}: {error}"))
}
