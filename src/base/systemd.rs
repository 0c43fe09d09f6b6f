//! What systemd is told (sd_notify(3)): ready, how it goes, stopping, and a sign of life while all stages give theirs.
//!
//! A stage gives a sign ([`Heartbeat::beat`]) each time it goes round its loop, and waits for its input at most [`HEARTBEAT`]
//! before the next; so a standing line gives signs and a stuck stage does not. The watchdog is fed when half its limit
//! has passed and every stage gave a sign since it was fed last: a call may take as long as the limit, and a stuck stage
//! is found within one and a half limits. Without systemd nothing is told.

use sd_notify::NotifyState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a stage waits for its input before it gives another sign.
pub const HEARTBEAT: Duration = Duration::from_millis(500);
/// The status is told at most this often, and only when it changed.
const STATUS_EVERY: Duration = Duration::from_secs(2);

/// A stage's sign of life; the clone is the same stage's.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<AtomicBool>);

impl Heartbeat {
    pub fn beat(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_beaten(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Before a line is ready.
pub fn starting(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Before a line is ready, when that takes longer: systemd waits for `more` from now on.
pub fn starting_slowly(status: &str, more: Duration) {
    let micros = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::ExtendTimeoutUsec(micros),
        NotifyState::Status(status),
    ]);
}

pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}

/// systemd, from the moment it was told that the line is ready.
#[derive(Debug)]
pub struct Systemd {
    watchdog: Option<Watchdog>,
    status: String,
    told: Instant,
}

impl Systemd {
    pub fn ready(status: String, now: Instant) -> Self {
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        let watchdog = sd_notify::watchdog_enabled().map(|limit| Watchdog {
            limit,
            fed: now,
            is_told: false,
        });
        Systemd {
            watchdog,
            status,
            told: now,
        }
    }

    /// Feeds the watchdog and tells the status where it is time; `stages` are those that still run, by their names.
    pub fn look(
        &mut self,
        now: Instant,
        stages: &[(&str, &Heartbeat)],
        status: impl FnOnce() -> String,
    ) {
        if self
            .watchdog
            .as_mut()
            .is_some_and(|watchdog| watchdog.is_fed(now, stages))
        {
            tell(&[NotifyState::Watchdog]);
        }
        if now - self.told < STATUS_EVERY {
            return;
        }
        self.told = now;
        let status = status();
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

#[derive(Debug)]
struct Watchdog {
    limit: Duration,
    fed: Instant,
    /// That a stage is stuck was logged.
    is_told: bool,
}

impl Watchdog {
    fn is_fed(&mut self, now: Instant, stages: &[(&str, &Heartbeat)]) -> bool {
        let since = now - self.fed;
        if since < self.limit / 2 {
            return false;
        }
        let silent: Vec<&str> = stages
            .iter()
            .filter(|(_, pulse)| !pulse.has_beaten())
            .map(|(name, _)| *name)
            .collect();
        if silent.is_empty() {
            stages.iter().for_each(|(_, pulse)| pulse.clear());
            (self.fed, self.is_told) = (now, false);
            return true;
        }
        if since > self.limit.mul_f64(0.9) && !std::mem::replace(&mut self.is_told, true) {
            let names = silent.join(", ");
            tracing::error!(
                "no sign of life from {names} for {} s: systemd is about to end this",
                since.as_secs()
            );
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_that_stops_giving_signs_stops_the_feeding() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut watchdog = Watchdog {
            limit: 60 * second,
            fed: start,
            is_told: false,
        };
        let (camera, inspector) = (Heartbeat::default(), Heartbeat::default());
        let stages = [("camera-top", &camera), ("inspector", &inspector)];
        let mut fed = |at: u32| watchdog.is_fed(start + at * second, &stages);
        camera.beat();
        inspector.beat();
        assert!(!fed(29), "not before half its limit");
        assert!(fed(30));
        camera.beat();
        assert!(!fed(60) && !fed(88), "the inspector gave no sign");
        inspector.beat();
        assert!(fed(89), "a call of 59 s is no fault");
        inspector.beat();
        assert!(
            (119..300).all(|at| !fed(at)),
            "a camera that is stuck is never covered by the others"
        );
    }
}
