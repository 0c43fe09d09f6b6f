//! Tickets: each captured frame has exactly one outcome.
//!
//! Invariant: a [`Ticket`] is made when a frame is captured (`captured += 1`) and consumed by
//! [`Ticket::settle`]. A ticket that is dropped unsettled is a bug: it counts as `failed` and logs an
//! error, so that the counters balance even then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Outcome of a captured frame. Each frame has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A verdict was given (pass, fail, or undecided with its reason).
    Judged,
    /// A newer frame of the same camera took its place before the inspector was free.
    Replaced,
    /// The frame belongs to no part, by the trigger.
    Skipped,
    /// The engine failed on it.
    Failed,
    /// The line stopped first.
    Stopped,
}

/// Counters of one camera. `captured` equals the sum of the outcomes plus the frames still on their way.
#[derive(Debug, Default)]
pub struct Tally {
    captured: AtomicU64,
    outcomes: [AtomicU64; 5],
    /// Length of a web that no frame showed, in millimetres.
    unseen_mm: AtomicU64,
}

/// [`Tally`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TallyCount {
    /// Frames captured, whatever became of them.
    pub captured: u64,
    /// Frames with [`Outcome::Judged`].
    pub judged: u64,
    /// Frames with [`Outcome::Replaced`].
    pub replaced: u64,
    /// Frames with [`Outcome::Skipped`].
    pub skipped: u64,
    /// Frames with [`Outcome::Failed`].
    pub failed: u64,
    /// Frames with [`Outcome::Stopped`].
    pub stopped: u64,
}

impl Tally {
    /// Counts a captured frame and returns the ticket that must be settled for it.
    pub fn captured(self: &Arc<Self>) -> Ticket {
        // The frame is counted before its ticket exists, so that no outcome is ever ahead of the
        // captures.
        self.captured.fetch_add(1, Ordering::Relaxed);
        Ticket {
            tally: Some(self.clone()),
        }
    }

    /// Enters the whole length of a web that no frame showed so far, in millimetres.
    pub fn set_unseen_mm(&self, length: u64) {
        self.unseen_mm.store(length, Ordering::Relaxed);
    }

    /// Length of a web that no frame showed so far, in millimetres.
    pub fn unseen_mm(&self) -> u64 {
        self.unseen_mm.load(Ordering::Relaxed)
    }

    /// The counters now.
    pub fn count(&self) -> TallyCount {
        // Outcomes first: a frame captured meanwhile is then still on its way, never settled before it
        // was captured.
        let [judged, replaced, skipped, failed, stopped] =
            std::array::from_fn(|i| self.outcomes[i].load(Ordering::SeqCst));

        let captured = self.captured.load(Ordering::SeqCst);
        // The difference of captures and outcomes is the number of frames on their way.
        TallyCount {
            captured,
            judged,
            replaced,
            skipped,
            failed,
            stopped,
        }
    }
}

impl TallyCount {
    /// Frames captured and not yet settled.
    pub fn on_their_way(&self) -> u64 {
        let settled = self.judged + self.replaced + self.skipped + self.failed + self.stopped;
        self.captured - settled
    }

    /// True if every captured frame has had its outcome.
    pub fn balances(&self) -> bool {
        self.on_their_way() == 0
    }
}

/// The right and the duty to enter a frame's outcome once.
#[derive(Debug)]
#[must_use = "a ticket must be settled"]
pub struct Ticket {
    tally: Option<Arc<Tally>>,
}

impl Ticket {
    /// Counts the frame's outcome.
    pub fn settle(mut self, outcome: Outcome) {
        if let Some(tally) = self.tally.take() {
            tally.outcomes[outcome as usize].fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Ticket {
    // A settled ticket has no tally left and ends here.
    fn drop(&mut self) {
        if let Some(tally) = self.tally.take() {
            tally.outcomes[Outcome::Failed as usize].fetch_add(1, Ordering::SeqCst);
            // A stage that panics drops its tickets on the way, and its panic is the error to be
            // told.
            if !std::thread::panicking() {
                tracing::error!(
                    "a frame was dropped without an outcome; counted as failed (please report this)"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ticket_counts_once_even_when_it_is_dropped() {
        let tally = Arc::new(Tally::default());
        let outcomes = [
            Outcome::Judged,
            Outcome::Replaced,
            Outcome::Skipped,
            Outcome::Failed,
            Outcome::Stopped,
        ];

        for outcome in outcomes {
            tally.captured().settle(outcome);
        }

        let waiting = tally.captured();
        assert_eq!(tally.count().on_their_way(), 1);
        drop(waiting);
        let count = tally.count();
        assert!(count.balances());
        assert_eq!((count.captured, count.judged, count.failed), (6, 1, 2));
    }
}
