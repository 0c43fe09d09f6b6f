//! Triggers: which frames are parts. Each frame, every n-th, one in front of the camera, or the one that
//! a command means.

mod distance;
mod own_clock;
mod presence;
mod ring;

pub use distance::{Odometer, Stretch, Stretches};
pub use own_clock::{ClockLook, ClockStep, OwnClock};
pub use presence::{HeldFrame, LineChange, Presence, PresenceSettings};
pub use ring::{MissedParts, Ring, RingMatches, RingSettings, offset_words};

/// Trigger of a camera's parts.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Trigger {
    /// The newest frame, whenever the inspector is free.
    #[default]
    Continuous,
    /// The camera is triggered itself: each of its frames is a part.
    Frame,
    /// Every n-th frame, from the first.
    EveryN(u64),
    /// `cmd/trigger`: the frame nearest to the part's time.
    Command(RingSettings),
    /// A web that runs: a frame whenever it has moved on by a step.
    Distance(Stretches),
    /// An object crosses the middle of an area.
    Presence(PresenceSettings),
}

impl Trigger {
    /// True if the time of a frame decides of which part it is, or whether there is one. Else a frame is a
    /// part whatever its time.
    pub fn needs_times(&self) -> bool {
        match self {
            Trigger::Continuous | Trigger::Frame | Trigger::EveryN(_) => false,
            Trigger::Command(_) | Trigger::Distance(_) | Trigger::Presence(_) => true,
        }
    }
}
