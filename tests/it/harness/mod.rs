//! What the integration tests stand on: a line and its configuration, a broker, a PLC, golden
//! files, disks and networks that fail, and waits for what can be observed.

pub mod axe;
pub mod broker;
pub mod browser;
pub mod contrary;
pub mod disk;
pub mod golden;
pub mod line;
pub mod network;
pub mod node_red;
pub mod page;
pub mod plc;
pub mod program;
mod requirement;
#[cfg(feature = "gstreamer")]
pub mod rtsp;
pub mod sign_in;
pub mod station;
#[cfg(feature = "gstreamer")]
pub mod stream;
pub mod strict;

pub use requirement::{required, skip};

use serde_json::Value;
use std::time::{Duration, Instant};
use winspect::engine::cuda::device::Device;

/// Limit of every wait for something that is to come. Generous, because a machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Returns once `condition` holds.
///
/// # Panics
/// If `what` has not come after `limit`.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < end, "after {limit:?} not yet: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// True if the machine has `"mount"`, `"network"`, `"cc"`, `"rumqttd"`, `"browser"` or `"gpu"`. False: the test is skipped.
///
/// # Panics
/// If it is missing and `WINSPECT_REQUIRE` names it.
#[track_caller]
pub fn require(name: &str) -> bool {
    match name {
        "mount" => required(name, disk::mounts()).is_some(),
        "network" => required(name, network::can_be_made()).is_some(),
        "browser" => required(name, browser::is_installed()).is_some(),
        "rumqttd" => required(name, broker::rumqttd_file()).is_some(),
        "cc" => required(name, disk::can_be_slowed()).is_some(),
        "gpu" => device().is_some(),
        other => panic!("nothing is called {other}"),
    }
}

/// A GPU or its stand-in. `None`: the test is skipped.
#[track_caller]
pub fn device() -> Option<Device> {
    required("gpu", Device::open())
}

/// The stand-in of a GPU. `None`: the test is skipped.
#[track_caller]
pub fn stand_in() -> Option<Device> {
    let device = device()?;
    if !device.is_stand_in {
        skip("a GPU neither counts its calls nor fails on demand, as its stand-in does");
        return None;
    }

    Some(device)
}

/// A message in JSON.
#[track_caller]
pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Asserts that a text holds all these words.
#[track_caller]
pub fn assert_said(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in\n{said}");
    }
}
