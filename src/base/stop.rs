//! Stopping flows like data: whoever holds the [`Stopper`] drops it, and every wait on a [`Stop`] ends.
//!
//! Sources listen to a `Stop`; every other stage ends because its input has ended. Listening is a source's sign of life:
//! one that does not could not be stopped either.

use crate::base::systemd::Heartbeat;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::time::Duration;

/// Dropping this tells every [`Stop`] of the pair to stop.
#[derive(Debug)]
pub struct Stopper(
    #[expect(dead_code, reason = "held for its drop")] Sender<std::convert::Infallible>,
);

/// Hears the stop; cheap to clone, one for each source.
#[derive(Debug, Clone)]
pub struct Stop {
    stopped: Receiver<std::convert::Infallible>,
    pulse: Heartbeat,
}

pub fn stop_pair() -> (Stopper, Stop) {
    let (sender, receiver) = bounded(0);
    (
        Stopper(sender),
        Stop {
            stopped: receiver,
            pulse: Heartbeat::default(),
        },
    )
}

impl Stop {
    /// Listening to it is `pulse`'s sign of life from now on.
    pub fn with_pulse(self, pulse: Heartbeat) -> Self {
        Stop { pulse, ..self }
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped_within(Duration::ZERO)
    }

    /// Waits at most `wait`; true as soon as the stop is heard. The interruptible sleep of every retry.
    pub fn stopped_within(&self, wait: Duration) -> bool {
        self.pulse.beat();
        match self.stopped.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
            Ok(never) => match never {},
        }
    }

    /// For `select!`: becomes ready (disconnected) at the stop.
    pub fn channel(&self) -> &Receiver<std::convert::Infallible> {
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
