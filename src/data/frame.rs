//! A picture from a camera and when it was taken.

use crate::data::picture::Picture;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Clock that stamped `captured_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CapturedBy {
    /// The sender's intervals (RTCP sender report), or the driver's time.
    Sender,
    /// The clock of this machine, when the frame arrived.
    Arrival,
    /// No frame exists: the clock of this machine, when the part was accepted.
    Trigger,
}

/// One picture of one camera on its way through the line.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The camera's name.
    pub camera: Arc<str>,
    /// The picture, shared by the frame's clones.
    pub picture: Arc<Picture>,
    /// Time of capture.
    pub captured_at: Timestamp,
    /// Clock of `captured_at`.
    pub captured_by: CapturedBy,
    /// Monotonic clock at the capture: a trigger finds its frame by it, because nothing sets that clock.
    pub captured: Instant,
    /// Monotonic clock when the frame arrived: latencies and deadlines count from here.
    pub arrived: Instant,
    /// Cause why the picture lacks data, in words. `None` for a whole picture.
    pub damage: Option<Arc<str>>,
    /// Time spent on decoding and colour conversion. `None` if the camera cannot tell.
    pub decode: Option<Duration>,
    /// Distance of the sender's clock from ours, positive where it is ahead, as far as arrivals tell.
    /// `None` where the camera has no clock of its own.
    pub clock_offset: Option<SignedDuration>,
    /// File name of a folder camera's picture. `None` for all other cameras.
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
            captured: Instant::now(),
            arrived: Instant::now(),
            damage: None,
            decode: None,
            clock_offset: None,
            part_id: None,
        }
    }
}
