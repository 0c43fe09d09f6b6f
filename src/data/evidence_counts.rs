//! Counters of the parts that are kept as evidence: the stage that keeps them writes, the page reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters. They begin with the run, but for the bytes, which are the folder's.
#[derive(Debug, Default)]
pub struct EvidenceCounts {
    /// Parts that were kept.
    pub kept: AtomicU64,
    /// Parts that were to be kept and were not: no room on the way to the folder, or the disk refused.
    pub missed: AtomicU64,
    /// Bytes of what the folder keeps.
    pub bytes: AtomicU64,
    /// Bytes of pictures on their way.
    pub waiting_bytes: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EvidenceFigures {
    /// Parts that were kept.
    pub kept: u64,
    /// Parts that were to be kept and were not.
    pub missed: u64,
    /// Bytes of what the folder keeps.
    pub bytes: u64,
    /// Bytes of pictures on their way.
    pub waiting_bytes: u64,
}

impl EvidenceCounts {
    /// The counters now.
    pub fn figures(&self) -> EvidenceFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EvidenceFigures {
            kept: read(&self.kept),
            missed: read(&self.missed),
            bytes: read(&self.bytes),
            waiting_bytes: read(&self.waiting_bytes),
        }
    }
}
