//! Layer 3: what counts as a part: each frame, every n-th, one in front of the camera, or the one that a command means.

mod presence;
mod ring;

pub use presence::{Presence, Settings as PresenceSettings};
pub use ring::{Found, Ring};

use crate::frame::Area;
use std::time::Duration;

/// How a camera's parts come about.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Trigger {
    /// Whenever the inspector is free, the newest frame.
    #[default]
    Continuous,
    /// The camera is triggered itself: each of its frames is a part.
    Frame,
    /// Every n-th frame, from the first.
    EveryN(u64),
    /// `cmd/trigger`: the frame nearest to the part's time.
    Command(RingSettings),
    /// Something that was not there crosses the middle of an area.
    Presence(PresenceSettings),
}

/// The recent frames of a camera.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RingSettings {
    /// Pictures kept, in bytes; one is always kept.
    pub bytes: usize,
    /// A frame farther from the part's time is not its frame.
    pub window: Duration,
}

/// An area, or all of the picture where nothing was said.
fn within(area: Option<Area>, width: usize, height: usize) -> Option<Area> {
    let area = area.unwrap_or(Area::whole(width, height));
    area.is_inside(width, height).then_some(area)
}
