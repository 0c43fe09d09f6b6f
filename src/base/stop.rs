//! Stopping flows like data: the owner of the [`Stopper`] drops it, and every wait on a [`Stop`] ends.
//!
//! Sources listen to a `Stop`; every other stage ends because its input has ended. Listening is also a
//! source's heartbeat: a source that does not listen could not be stopped either.

use crate::base::systemd::Heartbeat;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::convert::Infallible;
use std::time::Duration;

/// Owner's end of a stop: dropping it tells every [`Stop`] of the pair.
#[derive(Debug)]
pub struct Stopper(#[expect(dead_code, reason = "held for its drop")] Sender<Infallible>);

/// Listener's end of a stop. Cheap to clone, one for each source.
#[derive(Debug, Clone)]
pub struct Stop {
    stopped: Receiver<Infallible>,
    heartbeat: Heartbeat,
}

/// A new stop and its listener, which may be cloned.
pub fn stop_pair() -> (Stopper, Stop) {
    let (sender, receiver) = bounded(0);
    let stop = Stop {
        stopped: receiver,
        heartbeat: Heartbeat::default(),
    };

    (Stopper(sender), stop)
}

impl Stop {
    /// The same stop; each time it is listened to counts as a beat of `heartbeat`.
    pub fn with_heartbeat(self, heartbeat: Heartbeat) -> Self {
        Stop { heartbeat, ..self }
    }

    /// True if the stop was given.
    pub fn is_stopped(&self) -> bool {
        self.stopped_within(Duration::ZERO)
    }

    /// Waits at most `wait`, and returns true as soon as the stop is given. The interruptible sleep of
    /// every retry.
    pub fn stopped_within(&self, wait: Duration) -> bool {
        self.heartbeat.beat();
        match self.stopped.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
            Ok(never) => match never {},
        }
    }

    /// The channel for `select!`. It becomes ready (disconnected) at the stop.
    pub fn channel(&self) -> &Receiver<Infallible> {
        &self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_stopper_ends_every_wait() {
        let (stopper, stop) = stop_pair();
        let other = stop.clone();
        assert!(!stop.is_stopped());
        drop(stopper);
        assert!(stop.is_stopped());
        assert!(other.stopped_within(Duration::from_secs(3600)));
    }
}
