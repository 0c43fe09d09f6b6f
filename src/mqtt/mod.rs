//! Layer 3: the line on MQTT: messages ([`message`]), commands ([`command`]), the loop that owns the client ([`mqtt`]),
//! its security ([`tls`]), drawing ([`heatmap`]), a broker's examination ([`probe`]).

pub mod probe;
pub mod publisher;
mod session;
pub mod tls;

use crate::base::secret::Secret;

/// Where the broker is and what it gets.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    pub host: String,
    pub port: u16,
    pub client_id: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// Plain TCP without it.
    pub tls: Option<tls::Tls>,
    pub heatmaps: Heatmaps,
    /// Rejected parts are told once more when they are at the gate.
    pub timed_reject: bool,
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
