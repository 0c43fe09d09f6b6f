//! Results that the broker refuses alone, or that end its connections: they wait apart, are tried again
//! ever more rarely, and those for which memory has no room rest in the file.

use super::entry::OutboxEntry;
use crate::store::bounds::{ASIDE_DOUBLED, ASIDE_FIRST, ASIDE_LONGEST, ASIDE_PATIENCE};
use std::time::{Duration, Instant};

/// Load of the link on which a result that was put aside would be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkLoad {
    /// Other messages are on their way: only what has waited for a quiet moment long enough is tried.
    Busy,
    /// Nothing is on its way.
    Quiet,
    /// The run ends: each of them is tried once more.
    Ending,
}

/// A result that was put aside.
pub(super) struct Aside {
    pub(super) entry: OutboxEntry,
    /// Moment of its next try; `None`: with the others, once the broker takes those again.
    pub(super) again: Option<Instant>,
}

/// Results that were put aside and wait in the file, behind the cursor that reads it.
#[derive(Default)]
pub(super) struct Resting {
    pub(super) count: u64,
    /// The lowest key of them.
    pub(super) from: u64,
    /// Moment at which the file is read again from there; `None` without any.
    pub(super) until: Option<Instant>,
}

impl Aside {
    pub(super) fn is_due(&self, link: LinkLoad, now: Instant) -> bool {
        match link {
            LinkLoad::Busy => self
                .again
                .is_some_and(|again| again + ASIDE_PATIENCE <= now),
            LinkLoad::Quiet => self.again.is_none_or(|again| again <= now),
            LinkLoad::Ending => true,
        }
    }
}

/// Time until a result that was put aside so often is tried again: 30 s, twice as long each time, at
/// most an hour.
pub(super) fn aside_for(asides: u32) -> Duration {
    let doubled = asides.saturating_sub(1).min(ASIDE_DOUBLED);
    (ASIDE_FIRST * (1 << doubled)).min(ASIDE_LONGEST)
}
