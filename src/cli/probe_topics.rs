//! The topics that `winspect check` tries at the broker.

use crate::config::LineConfig;
use crate::control::socket_path;
use crate::mqtt::probe::ProbeTopics;
use std::os::unix::net::UnixStream;

/// Topics that the line will write. Beside a line that runs with this file none of its own is tried:
/// its gate and its subscribers must hear no trial.
pub fn of(config: &LineConfig) -> ProbeTopics {
    let station = format!("{}/{}", config.prefix, config.station);
    let socket = socket_path(&config.store.file);

    if UnixStream::connect(socket).is_ok() {
        return ProbeTopics {
            station,
            written: vec![],
        };
    }

    let mut cameras: Vec<&str> = vec![];
    let mut parts: Vec<&str> = vec![];

    for camera in &config.cameras {
        cameras.push(&camera.camera.name);
        parts.push(camera.join.as_deref().unwrap_or(&camera.camera.name));
    }

    parts.dedup();
    ProbeTopics::of_line(&station, &cameras, &parts, &config.mqtt)
}
