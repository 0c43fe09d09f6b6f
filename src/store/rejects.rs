//! Rejected parts on their way to the gate: each is told when it is there, or not at all. In memory
//! alone, because a message that comes late would push another part off the belt.

use super::bounds::REJECTS_MAX;
use super::count::StoreCount;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// A part that the gate takes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Moment when the part is at the gate.
    pub at: Instant,
    /// Time after which the message would meet another part, so that none is sent.
    pub late_after: Duration,
    /// The message, as it is sent.
    pub body: Vec<u8>,
}

/// Rejected parts by time. One that comes too late, finds no room, or cannot be sent is counted as missed.
#[derive(Debug, Default)]
pub(super) struct Rejects {
    waiting: BTreeMap<(Instant, u64), Reject>,
    /// Number of the next one, to tell those of one moment apart.
    next: u64,
    /// Messages of parts that went by untold, for the record; the oldest leave beyond the bound.
    missed: VecDeque<Vec<u8>>,
}

impl Rejects {
    pub(super) fn put(&mut self, reject: Reject, count: &mut StoreCount) {
        // Two parts may be at their gates in the same moment; the number keeps both.
        self.waiting.insert((reject.at, self.next), reject);
        self.next += 1;
        if self.waiting.len() <= REJECTS_MAX {
            return;
        }

        // The farthest one goes: it has the most time to be told in another way, and the nearest ones
        // are about to be needed.
        if let Some((_, farthest)) = self.waiting.pop_last() {
            self.miss(farthest, count);
        }
    }

    /// Counts a part that its gate is not told of, and keeps its message for the record.
    pub(super) fn miss(&mut self, reject: Reject, count: &mut StoreCount) {
        count.rejects_missed += 1;
        if self.missed.len() == REJECTS_MAX {
            self.missed.pop_front();
        }

        self.missed.push_back(reject.body);
    }

    /// Counts the parts that have gone by for good.
    pub(super) fn miss_gone(&mut self, now: Instant, count: &mut StoreCount) {
        let is_gone = |reject: &Reject| now > reject.at + reject.late_after;
        let gone = self.waiting.extract_if(.., |_, reject| is_gone(reject));
        for (_, reject) in gone.collect::<Vec<_>>() {
            self.miss(reject, count);
        }
    }

    /// The message of a part that went by untold, once.
    pub(super) fn next_missed(&mut self) -> Option<Vec<u8>> {
        self.missed.pop_front()
    }

    /// A message that could not be sent after all: the next one again.
    pub(super) fn miss_again(&mut self, body: Vec<u8>) {
        self.missed.push_front(body);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }

    /// Drops and counts those that wait: they are not told any more.
    pub(super) fn forget(&mut self, count: &mut StoreCount) -> u64 {
        let forgotten = std::mem::take(&mut self.waiting).len() as u64;
        count.rejects_missed += forgotten;
        forgotten
    }

    /// Returns a part that is at the gate now; those that have gone by are counted.
    pub(super) fn next(&mut self, now: Instant, count: &mut StoreCount) -> Option<Reject> {
        // The map is sorted by time, so that the first entry that is not due ends the search.
        while self.due().is_some_and(|due| due <= now)
            && let Some((_, reject)) = self.waiting.pop_first()
        {
            // A later message would meet the next part: counted, and not told.
            if now.duration_since(reject.at) <= reject.late_after {
                return Some(reject);
            }

            self.miss(reject, count);
        }

        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(at: Instant, name: &str) -> Reject {
        Reject {
            at,
            late_after: Duration::from_millis(10),
            body: name.into(),
        }
    }

    #[test]
    fn each_is_told_when_it_is_at_the_gate_and_not_when_it_has_gone_by() {
        let (start, mut rejects, mut count) =
            (Instant::now(), Rejects::default(), StoreCount::default());

        let after = |ms| start + Duration::from_millis(ms);
        for (at, name) in [(300, "c"), (100, "a"), (100, "b"), (200, "gone")] {
            rejects.put(reject(after(at), name), &mut count);
        }

        let mut next = |ms| {
            rejects
                .next(after(ms), &mut count)
                .map(|reject| reject.body)
        };

        assert_eq!(
            [next(99), next(100), next(110), next(110)],
            [None, Some("a".into()), Some("b".into()), None]
        );

        assert_eq!(
            [next(211), next(299), next(300), next(300)],
            [None, None, Some("c".into()), None]
        );

        assert_eq!((count.rejects_missed, rejects.due()), (1, None));
        assert_eq!(rejects.next_missed(), Some("gone".into()));
        assert_eq!(rejects.next_missed(), None, "once");
    }

    #[test]
    fn without_room_the_last_to_arrive_is_not_told() {
        let (start, mut rejects, mut count) =
            (Instant::now(), Rejects::default(), StoreCount::default());

        for i in (0..=REJECTS_MAX as u64).rev() {
            rejects.put(
                reject(start + Duration::from_millis(i), &i.to_string()),
                &mut count,
            );
        }

        assert_eq!(
            (count.rejects_missed, rejects.waiting.len(), rejects.due()),
            (1, REJECTS_MAX, Some(start))
        );
    }
}
