//! Layer 3: the line on MQTT: messages ([`message`]), the loop that owns the client ([`mqtt`]), its security ([`tls`]),
//! drawing ([`heatmap`]).

pub mod heatmap;
pub mod message;
pub mod mqtt;
pub mod tls;

use crate::base::secret::Secret;
use std::time::Duration;

/// Where the broker is and what it gets.
#[derive(Debug, Clone)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    pub client_id: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// Plain TCP without it.
    pub tls: Option<tls::Tls>,
    /// Results that may wait while the broker is away; the oldest are given up beyond it, counted and reported.
    pub waiting_max: usize,
    pub heatmaps: Heatmaps,
    /// How long after its deadline a verdict is still of use to the gate.
    pub reject_window: Duration,
}

/// Of which parts a heat map is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Heatmaps {
    /// `fail` and `undecided` parts.
    #[default]
    Fail,
    All,
    None,
}
