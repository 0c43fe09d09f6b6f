//! Settings of one camera.

use crate::base::secret::Secret;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One camera of a configuration.
#[derive(Debug, Clone)]
pub struct CameraSettings {
    /// The camera's name in topics and messages.
    pub name: Arc<str>,
    /// Camera kind: a file of `pipelines/` without its `.toml`, or the path of a file of the plant's own.
    pub kind: String,
    /// Values of the kind's parameters, checked by [`check`](crate::camera::pipelines::check).
    pub values: BTreeMap<String, String>,
    /// Longest time without a frame; the camera is opened again then.
    pub stall: Duration,
    /// True if frames come when the line triggers them: without a trigger the camera is idle, not
    /// stalled.
    pub triggered: bool,
    /// True if any frame may be a part's: frames wait while their reader is held up. Else the newest one
    /// replaces them.
    pub keeps_frames: bool,
    /// True if a frame whose time of capture is not known yet is left out. Else the time of its arrival
    /// counts.
    pub needs_times: bool,
    /// Time from capture to arrival. A frame without a time of its own was captured this long before it
    /// arrived.
    pub delay: Duration,
    /// User and password of a network camera, where they do not stand in its address.
    pub credentials: Option<Credentials>,
}

/// User and password of a network camera.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password of the user.
    pub password: Secret,
}
