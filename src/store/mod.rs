//! Layer 3: results waiting for the broker's PUBACK. In memory for now ([`MemoryStore`]); a durable store will stand
//! behind the same seam.

mod memory;

pub use memory::MemoryStore;

use crate::report::Report;
use std::sync::Arc;

/// Where results wait until the broker has acknowledged them. Shared by the inspector (puts) and the publisher (takes).
pub trait Store: Send + Sync {
    /// Keeps a result. Never waits: beyond the bound the oldest unacknowledged result is given up, and counted.
    fn put(&self, report: Report);

    /// The oldest result that was neither acknowledged nor handed out since the last [`Store::rewind`]; nothing when
    /// all are handed out.
    fn next(&self) -> Option<Waiting>;

    /// The broker has it: forgotten.
    fn acked(&self, key: u64);

    /// The broker will never have it: given up, and counted.
    fn refused(&self, key: u64);

    /// The link was lost: everything unacknowledged is handed out again, in order.
    fn rewind(&self);

    fn count(&self) -> StoreCount;

    /// Resolves when something may be waiting, for the publisher's loop.
    fn notified(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A result handed to the publisher.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The store's own number for it; what [`Store::acked`] takes.
    pub key: u64,
    pub report: Arc<Report>,
    /// Results given up before this one and not reported yet.
    pub dropped_before: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreCount {
    pub put: u64,
    pub acked: u64,
    pub given_up: u64,
    pub waiting: u64,
}
