//! The counters of a line (`metrics`).

use super::encoding::encode;
use crate::data::counters::TallyCount;
use crate::data::result::rfc3339;
use crate::protocol::shadow::ShadowCounts;
use crate::store::StoreCount;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The counters of a line at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Metrics {
    /// Frames and clock of each camera.
    pub cameras: BTreeMap<String, CameraMetrics>,
    /// Parts and results.
    pub store: StoreCount,
    /// Heat maps for which there was no room.
    pub heatmaps_dropped: u64,
    /// Counters of the shadow; `None` without one.
    pub shadow: Option<ShadowCounts>,
}

/// One camera's counters.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CameraMetrics {
    /// Frames by their outcome.
    #[serde(flatten)]
    pub frames: TallyCount,
    /// Distance of the camera's clock from ours, positive where it is ahead. `None` where the camera
    /// has no clock of its own.
    pub clock_offset_ms: Option<i64>,
    /// Length of a web (`trigger = "distance"`) that no frame showed, in millimetres.
    pub unseen_mm: u64,
}

#[derive(Serialize)]
struct MetricsMessage<'a> {
    at: String,
    #[serde(flatten)]
    metrics: &'a Metrics,
}

impl Metrics {
    /// The message `metrics`, as of now.
    pub fn encode(&self) -> Vec<u8> {
        encode(MetricsMessage {
            at: rfc3339(Timestamp::now()),
            metrics: self,
        })
    }
}
