//! Stopping flows like data: whoever holds the [`Stopper`] drops it, and every wait on a [`Stop`] ends.
//!
//! Sources listen to a `Stop`; every other stage ends because its input has ended.

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::time::Duration;

/// Dropping this tells every [`Stop`] of the pair to stop.
#[derive(Debug)]
pub struct Stopper(#[expect(dead_code, reason = "held for its drop")] Sender<std::convert::Infallible>);

/// Hears the stop; cheap to clone, one for each source.
#[derive(Debug, Clone)]
pub struct Stop(Receiver<std::convert::Infallible>);

pub fn stop_pair() -> (Stopper, Stop) {
    let (sender, receiver) = bounded(0);
    (Stopper(sender), Stop(receiver))
}

impl Stop {
    pub fn is_stopped(&self) -> bool {
        self.stopped_within(Duration::ZERO)
    }

    /// Waits at most `wait`; true as soon as the stop is heard. The interruptible sleep of every retry.
    pub fn stopped_within(&self, wait: Duration) -> bool {
        match self.0.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
            Ok(never) => match never {},
        }
    }

    /// For `select!`: becomes ready (disconnected) at the stop.
    pub fn channel(&self) -> &Receiver<std::convert::Infallible> {
        &self.0
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
