//! rumqttd, listening for MQTT 5 on a port of 127.0.0.1 that is the one argument, until it is killed.

use rumqttd::{Broker, Config};
use serde_json::json;
use std::process::ExitCode;

fn main() -> ExitCode {
    let port = std::env::args().nth(1).and_then(|port| port.parse::<u16>().ok());
    let Some(port) = port else {
        eprintln!("winspect-rumqttd PORT");
        return ExitCode::from(64);
    };

    let connections = json!({
        "connection_timeout_ms": 60_000,
        "max_payload_size": 4 << 20,
        "max_inflight_count": 100,
    });

    let server = json!({
        "name": "v5",
        "listen": format!("127.0.0.1:{port}"),
        "next_connection_delay_ms": 1,
        "connections": connections,
    });

    let router = json!({
        "max_connections": 100,
        "max_outgoing_packet_count": 200,
        "max_segment_size": 100 << 20,
        "max_segment_count": 10,
    });

    let config: Config = serde_json::from_value(json!({"id": 0, "router": router, "v5": {"1": server}}))
        .expect("the keys of this version");

    match Broker::new(config).start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("winspect-rumqttd: {error}");
            ExitCode::FAILURE
        }
    }
}
