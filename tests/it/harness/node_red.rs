//! Node-RED without its editor, which runs the flow of docs/plc.md. `tools/fetch-node-red` brings it.

use super::program::Running;
use super::{PATIENCE, required, wait_until};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Neither editor nor pages; the flow lies beside it.
const SETTINGS: &str = "module.exports = { httpAdminRoot: false, httpNodeRoot: false, uiPort: 0, \
                        uiHost: '127.0.0.1', credentialSecret: false, telemetry: { enabled: false } };";

/// Node-RED with a flow at a broker. It is killed when it is dropped.
pub struct NodeRed {
    _process: Running,
}

/// Program of Node-RED. `None`: the test leaves it out.
#[track_caller]
fn program() -> Option<PathBuf> {
    let file = Path::new(ROOT).join("target/tools/node-red/node_modules/node-red/red.js");
    let found = if file.exists() {
        Ok(file)
    } else {
        Err(format!("{} is not there", file.display()))
    };

    required("node-red", found)
}

impl NodeRed {
    /// The documented flow, at the broker of this port; its files lie in `folder`. Returns when it is connected.
    #[track_caller]
    pub fn start(folder: &Path, port: u16) -> Option<Self> {
        let program = program()?;
        let flow = Path::new(ROOT).join("docs/plc/node-red-flow.json");
        std::fs::copy(flow, folder.join("flow.json")).expect("it is documented");
        let settings = folder.join("settings.js");
        std::fs::write(&settings, SETTINGS).expect("written");
        let mut command = Command::new("node");
        command
            .arg(program)
            .arg("--userDir")
            .arg(folder)
            .arg("--settings")
            .arg(&settings)
            .arg("flow.json")
            .env("BROKER_HOST", "127.0.0.1")
            .env("BROKER_PORT", port.to_string());

        let process = Running::start(&mut command);
        wait_until("Node-RED is connected", 2 * PATIENCE, || {
            process.output().contains("Connected to broker")
        });

        Some(NodeRed { _process: process })
    }
}
