//! State of a camera, as `camera/<name>/status` tells it.

use jiff::{SignedDuration, Timestamp};

/// A camera's state, since when and why.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraStatus {
    /// The state.
    pub state: CameraState,
    /// Time at which the state began.
    pub since: Timestamp,
    /// Tries to get the camera back since it was last online.
    pub retries: u64,
    /// Reason of its last loss, kept when it is back. `None` if it was never lost.
    pub last_reason: Option<String>,
    /// Distance of the camera's clock from ours, positive where it is ahead, as it was when this was
    /// told. `None` where the camera has no clock, or has told nothing of it yet.
    pub clock_offset: Option<SignedDuration>,
}

/// States of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CameraState {
    /// Frames come.
    Online,
    /// A triggered camera waits: the line stands.
    Idle,
    /// The camera runs, and no frame came for too long.
    Stalled,
    /// The camera cannot be read.
    Offline,
    /// A finite source came to its end, or the line stopped.
    Disabled,
}

impl CameraState {
    /// The state's name in messages.
    pub fn word(self) -> &'static str {
        match self {
            CameraState::Online => "online",
            CameraState::Idle => "idle",
            CameraState::Stalled => "stalled",
            CameraState::Offline => "offline",
            CameraState::Disabled => "disabled",
        }
    }
}
