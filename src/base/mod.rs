//! Layer 0: what every other module may use and what knows nothing of inspection.

pub mod backoff;
pub mod clock;
pub mod cpu;
pub mod exit;
pub mod hex;
pub mod memory;
pub mod notify;
pub mod problems;
pub mod secret;
pub mod stop;
pub mod telemetry;
