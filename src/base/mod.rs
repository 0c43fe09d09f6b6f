//! Foundations that every other module may use and that know nothing of inspection.

pub mod allocator;
pub mod backoff;
pub mod clock;
pub mod cpu;
pub mod disk;
pub mod exit;
pub mod health;
pub mod hex;
pub mod live;
pub mod memory;
pub mod pem;
pub mod priority;
pub mod problems;
pub mod secret;
pub mod standstill;
pub mod stop;
pub mod systemd;
pub mod telemetry;
pub mod text;
pub mod times;
