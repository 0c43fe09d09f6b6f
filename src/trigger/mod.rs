//! Layer 3: what counts as a part: each frame, every n-th, one in front of the camera, or the one that a command means.

mod presence;
mod ring;

pub use presence::{Presence, PresenceSettings};
pub use ring::{Found, Ring};

use crate::data::picture::Area;
use jiff::Timestamp;
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
    /// A web that runs: whenever it has moved on by a step.
    Distance(Stretches),
    /// Something that was not there crosses the middle of an area.
    Presence(PresenceSettings),
}

/// A continuous web in overlapping stretches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretches {
    pub mm_per_s: f64,
    /// From the beginning of one stretch to that of the next: what a picture shows, less the overlap.
    pub step_mm: f64,
}

/// How far a web has come, from the first frame on.
#[derive(Debug, Default)]
pub struct Odometer {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// Stretches begun.
    steps: u64,
}

impl Odometer {
    /// Where the web is in millimetres, when it has reached the next stretch. Stretches that no frame shows are
    /// counted, and missing. A clock that goes back finds the web where it was.
    pub fn next(&mut self, at: Timestamp, stretches: Stretches) -> Option<f64> {
        let mut first = self.first.unwrap_or(at);
        if let Some(back) = self
            .last
            .map(|last| last.duration_since(at))
            .filter(|back| back.is_positive())
        {
            first = first.checked_sub(back).unwrap_or(at);
        }
        (self.first, self.last) = (Some(first), Some(at));
        let mm = at.duration_since(first).as_secs_f64() * stretches.mm_per_s;
        let reached = (mm / stretches.step_mm).floor().max(0.0) as u64 + 1;
        let is_new = reached > self.steps;
        self.steps = self.steps.max(reached);
        is_new.then_some(mm)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn a_web_is_looked_at_whenever_it_has_moved_on_by_a_step() {
        let stretches = Stretches {
            mm_per_s: 100.0,
            step_mm: 8.0,
        };
        let mut odometer = Odometer::default();
        // 30 frames a second: 3.33 mm from one to the next.
        let at = |frame: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_micros(frame * 33_333);
        let taken: Vec<f64> = (0..31)
            .filter_map(|frame| odometer.next(at(frame), stretches))
            .collect();
        assert_eq!(taken.len(), 13); // 100 mm in steps of 8
        assert!(
            taken.windows(2).all(|pair| pair[1] - pair[0] < 8.0 + 3.34),
            "{taken:?}"
        );
        // A camera that is away for a while goes on where the web is.
        assert!(
            odometer
                .next(at(3000), stretches)
                .is_some_and(|mm| (mm - 9999.9).abs() < 0.1)
        );
        assert_eq!(odometer.next(at(3000), stretches), None);
        // A clock that was set back an hour.
        let set = |frame: i64| at(frame) - SignedDuration::from_hours(1);
        let taken = (3000..3031)
            .filter_map(|frame| odometer.next(set(frame), stretches))
            .count();
        assert!((12..=13).contains(&taken), "{taken}");
    }
}
