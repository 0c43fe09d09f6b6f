//! Messages to systemd (sd_notify(3)): ready, status, stopping, and the watchdog's food.
//!
//! A stage beats its [`Heartbeat`] each time it goes round its loop, and waits for its input at most
//! [`HEARTBEAT`] before the next beat. So an idle stage beats and a stuck stage does not. The watchdog
//! is fed when half its limit has passed and every stage has beaten since the last feeding: a call may
//! take as long as the limit, and a stuck stage is found within one and a half limits. Without systemd
//! every message is dropped.

use sd_notify::NotifyState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest wait of a stage for its input before it beats again.
pub const HEARTBEAT: Duration = Duration::from_millis(500);
/// Shortest time between two messages of the status, which is sent only when it changed.
const STATUS_EVERY: Duration = Duration::from_secs(2);

/// A stage's sign of life. Clones belong to the same stage.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<Beats>);

#[derive(Debug, Default)]
struct Beats {
    /// True if the stage has beaten since the watchdog was fed.
    is_fresh: AtomicBool,
    /// Beats so far.
    count: AtomicU64,
    /// True when the stage has ended, and will never beat again.
    has_ended: AtomicBool,
}

impl Heartbeat {
    /// Says that the stage went round its loop.
    pub fn beat(&self) {
        self.0.is_fresh.store(true, Ordering::Relaxed);
        self.0.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that the stage has ended.
    pub fn end(&self) {
        self.0.has_ended.store(true, Ordering::Relaxed);
    }

    /// Number of beats so far. `None` when the stage has ended.
    pub fn count(&self) -> Option<u64> {
        let has_ended = self.0.has_ended.load(Ordering::Relaxed);
        (!has_ended).then(|| self.0.count.load(Ordering::Relaxed))
    }

    fn has_beaten(&self) -> bool {
        self.0.is_fresh.load(Ordering::Relaxed)
    }

    fn clear(&self) {
        self.0.is_fresh.store(false, Ordering::Relaxed);
    }
}

/// Sends the status of a start.
pub fn starting(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// Sends the status of a start that takes longer: systemd waits for `more` from now on.
pub fn starting_slowly(status: &str, more: Duration) {
    let micros = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
    notify(&[
        NotifyState::ExtendTimeoutUsec(micros),
        NotifyState::Status(status),
    ]);
}

/// Says that the process stops, with the reason.
pub fn stopping(status: &str) {
    notify(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}

/// systemd, from the moment it was told that the line is ready.
#[derive(Debug)]
pub struct Systemd {
    /// `None` if the unit has no watchdog.
    watchdog: Option<Watchdog>,
    /// The status that was sent last, and when.
    status: String,
    sent_at: Instant,
}

impl Systemd {
    /// Says that the line is ready.
    pub fn ready(status: String, now: Instant) -> Self {
        notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
        let watchdog = sd_notify::watchdog_enabled().map(|limit| Watchdog {
            limit,
            fed_at: now,
            is_logged: false,
        });

        Systemd {
            watchdog,
            status,
            sent_at: now,
        }
    }

    /// Feeds the watchdog and sends the status where it is time. `stages` are the names and heartbeats
    /// of the stages that still run.
    pub fn update(
        &mut self,
        now: Instant,
        stages: &[(&str, &Heartbeat)],
        status: impl FnOnce() -> String,
    ) {
        if let Some(watchdog) = &mut self.watchdog
            && watchdog.is_due_for_food(now, stages)
        {
            notify(&[NotifyState::Watchdog]);
        }

        if now - self.sent_at < STATUS_EVERY {
            return;
        }

        self.sent_at = now;
        let status = status();
        if status != self.status {
            notify(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

#[derive(Debug)]
struct Watchdog {
    /// systemd ends the process after this time without food.
    limit: Duration,
    fed_at: Instant,
    /// True once a stuck stage was logged; false again after the next feeding.
    is_logged: bool,
}

impl Watchdog {
    /// True if half the limit has passed and every stage has beaten; the heartbeats then start again.
    fn is_due_for_food(&mut self, now: Instant, stages: &[(&str, &Heartbeat)]) -> bool {
        let since = now - self.fed_at;
        if since < self.limit / 2 {
            return false;
        }

        let silent: Vec<&str> = stages
            .iter()
            .filter(|(_, heartbeat)| !heartbeat.has_beaten())
            .map(|(name, _)| *name)
            .collect();

        if silent.is_empty() {
            for (_, heartbeat) in stages {
                heartbeat.clear();
            }

            self.fed_at = now;
            self.is_logged = false;
            return true;
        }

        if since > self.limit.mul_f64(0.9) && !self.is_logged {
            self.is_logged = true;
            tracing::error!(
                "no sign of life from {} for {} s: systemd is about to end this",
                silent.join(", "),
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
            fed_at: start,
            is_logged: false,
        };

        let (camera, inspector) = (Heartbeat::default(), Heartbeat::default());
        let stages = [("camera-top", &camera), ("inspector", &inspector)];
        let mut fed = |at: u32| watchdog.is_due_for_food(start + at * second, &stages);
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
