//! The line as the page reads it, and the page's settings.

use crate::base::health::LineCondition;
use crate::camera::CameraStatus;
use crate::data::part_counts::PartTotals;
use crate::protocol::birth::Identity;
use crate::protocol::broker::BrokerState;
use crate::protocol::metrics::Metrics;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Settings of the page, out of `[page]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PageSettings {
    /// Address of this machine alone: without users and TLS nobody else may look.
    pub listen: SocketAddr,
}

/// A line at one moment.
#[derive(Debug, Clone)]
pub struct LineNow {
    /// Line, run, recipe and model.
    pub identity: Identity,
    /// State and health, with causes.
    pub condition: LineCondition,
    /// Status of each camera; `None` while it starts.
    pub cameras: BTreeMap<String, Option<CameraStatus>>,
    /// Whether the broker is there.
    pub broker: BrokerState,
    /// The counters that balance.
    pub metrics: Metrics,
    /// Verdicts, and times of the stages.
    pub parts: PartTotals,
}
