//! A picture from a camera and when it was taken.

use super::picture::Picture;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whose clock stamped `captured_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CapturedBy {
    /// The sender's (RTCP sender report, driver).
    Sender,
    /// Ours, when the frame arrived.
    Arrival,
    /// There is no frame: when the part was accepted.
    Trigger,
}

/// One picture of one camera on its way through the line.
#[derive(Debug, Clone)]
pub struct Frame {
    pub camera: Arc<str>,
    pub picture: Arc<Picture>,
    pub captured_at: Timestamp,
    pub captured_by: CapturedBy,
    /// Our monotonic clock when the frame arrived: latencies and deadlines count from here.
    pub arrived: Instant,
    /// The decoder lacked data for it.
    pub corrupt: bool,
    /// What the camera spent on decoding and colour conversion, where it can tell.
    pub decode: Option<Duration>,
    /// The file's name for a folder camera; nothing for live cameras.
    pub part_id: Option<String>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A frame of one black pixel, for tests of what handles frames.
    pub(crate) fn frame(camera: &str) -> Frame {
        Frame {
            camera: camera.into(),
            picture: Arc::new(Picture::new(1, 1, vec![0; 3]).expect("three bytes")),
            captured_at: Timestamp::UNIX_EPOCH,
            captured_by: CapturedBy::Arrival,
            arrived: Instant::now(),
            corrupt: false,
            decode: None,
            part_id: None,
        }
    }
}
