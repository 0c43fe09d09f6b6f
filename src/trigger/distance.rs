//! Parts of a continuous web, such as paper or sheet metal, by the distance that it has moved.

use std::time::Instant;

/// Overlapping stretches of a web.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretches {
    /// Speed of the web in millimetres a second.
    pub mm_per_s: f64,
    /// Millimetres from the beginning of one stretch to that of the next: the length that a picture
    /// shows, less the overlap.
    pub step_mm: f64,
}

/// Distance that a web has moved since the first frame, by moments of the monotonic clock: a wall clock
/// that is set moves no web.
#[derive(Debug, Default)]
pub struct Odometer {
    /// Moment of the first frame. `None` before it.
    first: Option<Instant>,
    /// Stretches begun.
    steps: u64,
    /// Stretches that no frame showed.
    unseen: u64,
}

/// A stretch that a frame shows first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// Position of the web in the frame, in millimetres.
    pub position_mm: f64,
    /// Length just before it that no frame showed, in millimetres.
    pub unseen_mm: f64,
}

impl Odometer {
    /// The next stretch, if the web has reached it in a frame that was captured `at`; else `None`.
    /// Stretches that were passed between two frames are passed for good, and counted as unseen.
    pub fn next(&mut self, at: Instant, stretches: Stretches) -> Option<Stretch> {
        // The distance is in millimetres since the first frame, which begins the first stretch.
        let first = *self.first.get_or_insert(at);
        let seconds = at.saturating_duration_since(first).as_secs_f64();
        let position_mm = seconds * stretches.mm_per_s;
        let reached = (position_mm / stretches.step_mm).floor() as u64 + 1;

        if reached <= self.steps {
            return None;
        }

        let unseen = reached - self.steps - 1;
        self.steps = reached;
        self.unseen += unseen;
        Some(Stretch {
            position_mm,
            unseen_mm: unseen as f64 * stretches.step_mm,
        })
    }

    /// Lets the web move on to a frame that nobody wants to be judged: what passes is not unseen.
    pub fn pass(&mut self, at: Instant, stretches: Stretches) {
        let unseen = self.unseen;
        self.next(at, stretches);
        self.unseen = unseen;
    }

    /// Length of all that no frame showed, in millimetres.
    pub fn unseen_mm(&self, stretches: Stretches) -> f64 {
        self.unseen as f64 * stretches.step_mm
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const STRETCHES: Stretches = Stretches {
        mm_per_s: 100.0,
        step_mm: 8.0,
    };

    #[test]
    fn a_web_is_looked_at_whenever_it_has_moved_on_by_a_step() {
        let mut odometer = Odometer::default();
        // 30 frames a second: 3.33 mm from one to the next.
        let start = Instant::now();
        let at = |frame: u64| start + Duration::from_micros(frame * 33_333);
        let taken: Vec<Stretch> = (0..31)
            .filter_map(|frame| odometer.next(at(frame), STRETCHES))
            .collect();

        assert_eq!(taken.len(), 13); // 100 mm in steps of 8
        assert!(taken.iter().all(|stretch| stretch.unseen_mm == 0.0));
        for pair in taken.windows(2) {
            let moved = pair[1].position_mm - pair[0].position_mm;
            assert!(moved < 8.0 + 3.34, "{taken:?}");
        }

        assert_eq!(odometer.unseen_mm(STRETCHES), 0.0);
    }

    #[test]
    fn what_no_frame_shows_is_counted() {
        let mut odometer = Odometer::default();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        odometer.next(at(0), STRETCHES);
        // The camera is away for 10 s: the web goes on by 1000 mm, 125 stretches, of which the last is
        // seen.
        let stretch = odometer.next(at(10_000), STRETCHES).expect("a new one");
        assert!((stretch.position_mm - 1000.0).abs() < 0.1);
        assert_eq!(stretch.unseen_mm, 124.0 * 8.0);
        assert_eq!(odometer.next(at(10_000), STRETCHES), None);
        // What passes while the line is paused is not meant to be seen.
        (0..200).for_each(|number| odometer.pass(at(10_000 + 100 * number), STRETCHES));
        let stretch = odometer.next(at(29_950), STRETCHES).expect("a new one");
        assert_eq!(stretch.unseen_mm, 0.0);
        assert_eq!(odometer.unseen_mm(STRETCHES), 124.0 * 8.0);
        // A frame that comes out of order begins nothing.
        assert_eq!(odometer.next(at(29_000), STRETCHES), None);
    }
}
