//! Parts of a continuous web, such as paper or sheet metal, by the distance that it has moved.

use jiff::Timestamp;

/// Overlapping stretches of a web.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretches {
    /// Speed of the web in millimetres a second.
    pub mm_per_s: f64,
    /// Millimetres from the beginning of one stretch to that of the next: the length that a picture
    /// shows, less the overlap.
    pub step_mm: f64,
}

/// Distance that a web has moved since the first frame.
#[derive(Debug, Default)]
pub struct Odometer {
    /// Frames so far. `None` before the first.
    seen: Option<SeenFrames>,
    /// Stretches begun.
    steps: u64,
}

/// Times of the frames so far.
#[derive(Debug, Clone, Copy)]
struct SeenFrames {
    /// Time of the first frame, moved with the clock where that was set back.
    first: Timestamp,
    last: Timestamp,
}

impl Odometer {
    /// The web's position in millimetres in a frame that was captured `at`, if the web has reached the
    /// next stretch; else `None`. Stretches that no frame shows are counted, and missing. A clock that
    /// goes back finds the web where it was.
    pub fn next(&mut self, at: Timestamp, stretches: Stretches) -> Option<f64> {
        // A clock that was set back moves the first frame's time along, so that the distance stays.
        let first = self.first_by_clock_of(at);
        self.seen = Some(SeenFrames { first, last: at });
        // The distance is in millimetres since the first frame, which begins the first stretch.
        let mm = at.duration_since(first).as_secs_f64() * stretches.mm_per_s;
        let reached = (mm / stretches.step_mm).floor().max(0.0) as u64 + 1;
        let is_new = reached > self.steps;
        // Stretches that were passed between two frames are passed for good.
        self.steps = self.steps.max(reached);
        is_new.then_some(mm)
    }

    /// Time of the first frame, by the clock that shows `at`: set back where that clock was.
    fn first_by_clock_of(&self, at: Timestamp) -> Timestamp {
        let Some(seen) = self.seen else {
            return at;
        };

        // The first frame's time is set back by the same step as the clock.
        let back = seen.last.duration_since(at);
        if back.is_positive() {
            seen.first.checked_sub(back).unwrap_or(at)
        } else {
            seen.first
        }
    }
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
