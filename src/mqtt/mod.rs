//! The line on MQTT 5: results out, commands in, and a broker's examination.
//!
//! ```text
//!  store's outbox --results--> +-----------+ --QoS 1--> result, result/late --PUBACK--> store
//!  line::events   --events---> | publisher | --QoS 0/1-> birth, camera, heatmap, ack/<name>
//!  command        <-requests-- |  session  | <--------- cmd/<name>
//!  handler        --replies--> +-----------+ --QoS 1--> ack/<name>, then the PUBACK of the command
//! ```
//! The good path: [`publisher::run`] owns the client on a thread of its own. It connects, says who
//! and how the line is (`birth`, `availability`, `state`, `camera/<name>/status`), publishes what
//! waits in the outbox, and takes a result out of the store with its PUBACK. A command is parsed,
//! handed to the command handler as a [`Request`](crate::protocol::request::Request), answered on
//! `ack/<name>`, and acknowledged to the broker after its answer.
//!
//! The failure paths:
//! - The connection ends, or owes a PUBACK for 10 s: the outbox is rewound, the next connection
//!   comes after a backoff (0.2 to 10 s), and unacknowledged results come again from the store,
//!   unacknowledged commands from the broker.
//! - Another client takes our name: 30 s of wait, so that two daemons do not throw each other out.
//! - The broker refuses a result: it waits and is tried again (`publisher/delivery.rs`); one that is
//!   refused alone, or that ends connections, is put aside, and the rest flows.
//! - The command handler is busy: commands wait here, then at the broker.
//! - The link is slow: counters are dropped, results and answers wait. Pictures have a connection of
//!   their own (`pictures.rs`), one at a time, and are dropped where there is no room.
//!
//! Every bound (results in flight, commands held, refusals, outcomes, requests of the client) is
//! declared in `session.rs`.

mod link_age;
mod owed_acks;
mod owed_parts;
mod pictures;
mod plc_state;
pub mod probe;
pub mod publisher;
mod reason;
pub mod session;
pub mod tls;

use crate::base::secret::Secret;
use std::net::IpAddr;
use std::time::Duration;

/// Address of the broker, our name there, and the messages that it gets.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// Name or address of the broker.
    pub host: String,
    /// TCP port of the broker.
    pub port: u16,
    /// Name of this client; the broker knows only one of a name.
    pub client_id: String,
    /// User name, if the broker asks for one.
    pub user: Option<String>,
    /// Password of the user.
    pub password: Option<Secret>,
    /// TLS settings; plain TCP if `None`.
    pub tls: Option<tls::Tls>,
    /// Parts of which a heat map is published.
    pub heatmaps: Heatmaps,
    /// True if each rejected part is told once more in the moment when it is at the gate.
    pub timed_reject: bool,
    /// True if each result is told once more in a form for PLCs, and the line's state beside it.
    pub plc: bool,
}

/// Longest wait for a broker of this machine that does not listen: it is there again in a moment, and asking it costs nothing.
const LOCAL_WAIT: Duration = Duration::from_millis(500);

/// True for the name or an address of this machine.
pub fn is_this_machine(host: &str) -> bool {
    // Other names may lead to loopback too, and may lead elsewhere tomorrow.
    let address = host.parse::<IpAddr>();

    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Parts of which a heat map is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Heatmaps {
    /// `fail` and `undecided` parts.
    #[default]
    Fail,
    /// Every part.
    All,
    /// No part.
    None,
}
