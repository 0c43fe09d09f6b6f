//! The connection to the broker as others see it: the publisher writes it, doors read it.

use jiff::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The broker at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct BrokerState {
    /// True while the broker has us as a client.
    pub is_connected: bool,
    /// Time at which that began.
    pub since: Timestamp,
    /// True once the line stops: what waits still goes, and no part comes any more.
    pub is_line_ending: bool,
    /// Reason why the broker is away, or was away last. `None` if it never was.
    pub reason: Option<String>,
}

/// Shared [`BrokerState`]; clones are of one broker. It begins as not connected.
#[derive(Debug, Clone)]
pub struct BrokerLink(Arc<Mutex<BrokerState>>);

impl Default for BrokerLink {
    fn default() -> Self {
        BrokerLink(Arc::new(Mutex::new(BrokerState {
            is_connected: false,
            since: Timestamp::now(),
            is_line_ending: false,
            reason: None,
        })))
    }
}

impl BrokerLink {
    /// Notes that the broker has us.
    pub fn connected(&self) {
        let mut state = self.lock();

        if !state.is_connected {
            state.is_connected = true;
            state.since = Timestamp::now();
        }
    }

    /// Notes that it has not; an absence begins once, and its reason may change.
    pub fn lost(&self, reason: &str) {
        let mut state = self.lock();

        if state.is_connected {
            state.is_connected = false;
            state.since = Timestamp::now();
        }

        state.reason = Some(reason.to_owned());
    }

    /// Notes that the line stops.
    pub fn line_ends(&self) {
        self.lock().is_line_ending = true;
    }

    /// The state now.
    pub fn state(&self) -> BrokerState {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BrokerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
