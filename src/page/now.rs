//! The line as the page reads it, and the page's settings.

use super::numbers::NumberForm;
use super::tls::TlsFiles;
use crate::base::health::LineCondition;
use crate::camera::CameraStatus;
use crate::data::evidence_counts::EvidenceFigures;
use crate::data::part_counts::PartTotals;
use crate::protocol::birth::Identity;
use crate::protocol::broker::BrokerState;
use crate::protocol::check_due::CheckFigures;
use crate::protocol::condition::Holder;
use crate::protocol::metrics::Metrics;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Settings of the page, out of `[page]`.
#[derive(Debug, Clone, PartialEq)]
pub struct PageSettings {
    /// Address; one that other machines reach needs TLS and a user.
    pub listen: SocketAddr,
    /// The users' file.
    pub users: PathBuf,
    /// Certificate and key, if the page has them.
    pub tls: Option<TlsFiles>,
    /// Form of numbers and days on its screens.
    pub numbers: NumberForm,
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
    /// Who has control of the set-up.
    pub holder: Option<Holder>,
    /// Whether the broker is there.
    pub broker: BrokerState,
    /// The counters that balance.
    pub metrics: Metrics,
    /// Parts that are kept as evidence; `None` where none are.
    pub evidence: Option<EvidenceFigures>,
    /// How the shift checks are.
    pub checks: CheckFigures,
    /// Verdicts, and times of the stages.
    pub parts: PartTotals,
}
