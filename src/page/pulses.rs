//! Signs of life of the line's stages, for `/health/live`.

use crate::base::systemd::Heartbeat;
use std::time::{Duration, Instant};

/// Time without a sign of life after which a stage is stuck: the watchdog of the systemd unit has the
/// same (`WatchdogSec`).
const STUCK: Duration = Duration::from_secs(60);

/// The stages that must give signs of life.
pub struct Pulses(Vec<StagePulse>);

struct StagePulse {
    name: String,
    heartbeat: Heartbeat,
    /// Its beats when they were last seen to change; `None` when it had ended.
    count: Option<u64>,
    /// Moment at which that was seen.
    seen: Instant,
}

impl Pulses {
    /// `stages` are names and heartbeats of running stages.
    pub fn new<'a>(stages: impl IntoIterator<Item = (&'a str, &'a Heartbeat)>) -> Self {
        let now = Instant::now();
        let pulses = stages.into_iter().map(|(name, heartbeat)| StagePulse {
            name: name.to_owned(),
            heartbeat: heartbeat.clone(),
            count: heartbeat.count(),
            seen: now,
        });

        Pulses(pulses.collect())
    }

    /// Looks at all stages; returns those that gave no sign for [`STUCK`]. A stage that has ended is
    /// not stuck.
    pub(super) fn stuck(&mut self, now: Instant) -> Vec<String> {
        let mut stuck = vec![];
        for pulse in &mut self.0 {
            let count = pulse.heartbeat.count();
            if count.is_none() || count != pulse.count {
                pulse.count = count;
                pulse.seen = now;
            } else if now.saturating_duration_since(pulse.seen) > STUCK {
                stuck.push(pulse.name.clone());
            }
        }

        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_without_signs_is_stuck_and_one_that_ended_is_not() {
        let (store, camera) = (Heartbeat::default(), Heartbeat::default());
        let mut pulses = Pulses::new([("store", &store), ("camera-top", &camera)]);
        let start = Instant::now();
        let minute = Duration::from_secs(61);
        store.beat();
        assert!(pulses.stuck(start).is_empty());
        store.beat();
        camera.end();
        assert!(pulses.stuck(start + minute).is_empty());
        assert_eq!(pulses.stuck(start + 2 * minute), ["store"]);
        store.beat();
        assert!(pulses.stuck(start + 2 * minute).is_empty());
    }
}
