//! Results on their way to the broker: the live ones in memory, those of the file in pages. Bounded.
//!
//! Live results go first: what is late has time. Both keep their order; a live one whose time is over in here takes its
//! place among the late ones, behind what the file still holds from before it.

use super::StoreCount;
use super::rejects::{Reject, Rejects};
use crate::data::part::{PartStage, StageTimes};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use tokio::sync::Notify;

/// A result handed to the publisher.
#[derive(Debug, Clone)]
pub struct OutboxEntry {
    /// The store's own number for it; what [`super::Store::landed`] takes.
    pub key: u64,
    /// The camera, and of several parts in its view the region: `top`, `tray/left`.
    pub place: Arc<str>,
    /// The message without its last two keys; see `publish::message::finished`.
    pub body: Arc<str>,
    /// Until when it is of use to the gate; nothing when it never was.
    pub until: Option<Instant>,
    /// Results given up before this one and not reported yet.
    pub dropped_before: u64,
    /// Its part's; nothing for what was read from the file.
    pub marks: Option<Arc<StageTimes>>,
}

impl OutboxEntry {
    pub(super) fn reach(&self, stage: PartStage, at: Instant) {
        if let Some(marks) = &self.marks {
            marks.reach_at(stage, at);
        }
    }
}

/// Shared by the clerk (puts) and the publisher (takes).
#[derive(Default)]
pub struct Outbox {
    state: Mutex<Queues>,
    pub(super) bell: Notify,
}

#[derive(Default)]
pub(super) struct Queues {
    live: VecDeque<OutboxEntry>,
    /// Live once, and their time is over: late, but not in the file as such.
    overdue: BTreeMap<u64, OutboxEntry>,
    /// Read from the file.
    late: BTreeMap<u64, OutboxEntry>,
    /// Handed out and not answered.
    flying: BTreeMap<u64, OutboxEntry>,
    /// Answered by the broker, which the file does not say yet.
    pub(super) landed: BTreeSet<u64>,
    /// Results that wait in the file and are not in `late`.
    pub(super) in_file: u64,
    /// On their way from memory to the file.
    pub(super) spilling: u64,
    /// The last key that was read from the file.
    pub(super) read_to: u64,
    /// Given up since a result last left with this number.
    unreported: u64,
    rejects: Rejects,
    pub(super) count: StoreCount,
}

impl Queues {
    /// Handed out or not, the broker does not have it yet.
    pub(super) fn waiting(&self) -> u64 {
        (self.live() + self.late.len() + self.flying.len()) as u64 + self.in_file + self.spilling
    }

    /// Results in memory that the file does not hold as late ones.
    pub(super) fn live(&self) -> usize {
        self.live.len() + self.overdue.len()
    }

    /// Results of earlier runs wait in the file.
    pub(super) fn waits_from_before(&mut self, count: u64) {
        self.in_file += count;
        self.count.earlier += count;
    }

    pub(super) fn put_live(&mut self, mut waiting: OutboxEntry) {
        waiting.dropped_before += std::mem::take(&mut self.unreported);
        self.live.push_back(waiting);
    }

    /// What was read from the file; what is here already is not taken twice.
    pub(super) fn put_late(&mut self, waiting: OutboxEntry) {
        self.read_to = self.read_to.max(waiting.key);
        let key = waiting.key;
        if self.flying.contains_key(&key)
            || self.late.contains_key(&key)
            || self.landed.contains(&key)
        {
            return;
        }
        self.in_file = self.in_file.saturating_sub(1);
        self.late.insert(waiting.key, waiting);
    }

    pub(super) fn put_reject(&mut self, reject: Reject) {
        self.rejects.put(reject, &mut self.count);
    }

    fn next(&mut self, now: Instant) -> Option<OutboxEntry> {
        while let Some(first) = self.live.front()
            && first.until.is_some_and(|until| until <= now)
            && let Some(first) = self.live.pop_front()
        {
            self.overdue.insert(first.key, first);
        }
        self.live.pop_front().or_else(|| self.next_late())
    }

    /// The lowest key, unless the file may hold a lower one: then the clerk reads it first, and rings.
    fn next_late(&mut self) -> Option<OutboxEntry> {
        let (late, overdue) = (
            self.late.keys().next().copied(),
            self.overdue.keys().next().copied(),
        );
        let lowest = late.into_iter().chain(overdue).min()?;
        if self.in_file > 0 && lowest > self.read_to {
            return None;
        }
        let queue = if Some(lowest) == late {
            &mut self.late
        } else {
            &mut self.overdue
        };
        queue.remove(&lowest)
    }

    fn put_back(&mut self, waiting: OutboxEntry) {
        match waiting.until {
            Some(until) if until <= Instant::now() => {
                drop(self.overdue.insert(waiting.key, waiting))
            }
            Some(_) => self.live.push_front(waiting),
            None => drop(self.late.insert(waiting.key, waiting)),
        }
    }

    /// True when the publisher will soon ask for more of the file than there is in memory.
    pub(super) fn wants_a_page(&self) -> bool {
        let is_behind = self
            .late
            .keys()
            .next()
            .is_some_and(|lowest| *lowest > self.read_to);
        self.in_file > 0 && (self.late.len() < super::PAGE / 2 || is_behind)
    }

    /// The oldest live results, at most `count` of them, leave memory; the file is read again from there.
    pub(super) fn spill(&mut self, count: usize) -> Vec<OutboxEntry> {
        let mut spilled: Vec<OutboxEntry> = std::iter::from_fn(|| self.overdue.pop_first())
            .take(count)
            .map(|(_, waiting)| waiting)
            .collect();
        let more = (count - spilled.len()).min(self.live.len());
        spilled.extend(self.live.drain(..more));
        let lowest = spilled.iter().map(|waiting| waiting.key).min();
        self.read_to = self
            .read_to
            .min(lowest.map_or(u64::MAX, |key| key.saturating_sub(1)));
        spilled
    }

    pub(super) fn gave_up(&mut self, count: u64) {
        self.count.given_up += count;
        self.unreported += count;
    }

    /// Reported with a result that itself was given up: to be said again.
    pub(super) fn say_again(&mut self, dropped: u64) {
        self.unreported += dropped;
    }

    /// Late results that nobody was handed wait in the file alone again, which is read from there; the keys of those
    /// that somebody was, answered or not.
    pub(super) fn forget_late(&mut self) -> Vec<u64> {
        let late = std::mem::take(&mut self.late);
        self.in_file += late.len() as u64;
        let lowest = late.keys().next().copied().unwrap_or(u64::MAX);
        self.read_to = self.read_to.min(lowest.saturating_sub(1));
        self.flying.keys().chain(&self.landed).copied().collect()
    }
}

impl Outbox {
    pub(super) fn queues(&self) -> MutexGuard<'_, Queues> {
        self.state
            .lock()
            .expect("nobody panics while holding the outbox")
    }

    /// The next result that was not handed out since the last [`Outbox::rewind`], live ones first.
    pub fn next(&self) -> Option<OutboxEntry> {
        let (now, mut queues) = (Instant::now(), self.queues());
        let next = queues.next(now)?;
        next.reach(PartStage::Sent, now);
        queues.flying.insert(next.key, next.clone());
        Some(next)
    }

    /// The link was lost: everything that was handed out is handed out again, in order.
    pub fn rewind(&self) {
        let mut queues = self.queues();
        for (_, waiting) in std::mem::take(&mut queues.flying).into_iter().rev() {
            queues.put_back(waiting);
        }
    }

    /// The client has no room for what was handed out last: it is handed out again.
    pub fn give_back(&self, waiting: OutboxEntry) {
        let mut queues = self.queues();
        if queues.flying.remove(&waiting.key).is_some() {
            queues.put_back(waiting);
        }
    }

    /// Takes what was handed out; nothing when it was taken before.
    pub(super) fn land(&self, key: u64, accepted: bool) -> Option<OutboxEntry> {
        let mut queues = self.queues();
        let landed = queues.flying.remove(&key)?;
        queues.landed.insert(key);
        if accepted {
            queues.count.acked += 1;
        } else {
            queues.gave_up(1);
            queues.say_again(landed.dropped_before);
        }
        Some(landed)
    }

    /// When the next rejected part is at its gate.
    pub fn reject_due(&self) -> Option<Instant> {
        self.queues().rejects.due()
    }

    /// The next rejected part that is at its gate now.
    pub fn next_reject(&self) -> Option<Reject> {
        let mut queues = self.queues();
        let Queues { rejects, count, .. } = &mut *queues;
        rejects.next(Instant::now(), count)
    }

    /// The line stops before they are at their gates; how many.
    pub fn forget_rejects(&self) -> u64 {
        let mut queues = self.queues();
        let Queues { rejects, count, .. } = &mut *queues;
        rejects.forget(count)
    }

    /// It was sent, or could not be.
    pub fn reject_told(&self, was_sent: bool) {
        let count = &mut self.queues().count;
        *if was_sent {
            &mut count.rejects_told
        } else {
            &mut count.rejects_missed
        } += 1;
    }

    pub fn count(&self) -> StoreCount {
        let queues = self.queues();
        StoreCount {
            waiting: queues.waiting(),
            ..queues.count
        }
    }

    /// Resolves when something may be waiting, for the publisher's loop.
    pub async fn notified(&self) {
        self.bell.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn waiting(key: u64, live: bool) -> OutboxEntry {
        let until = live.then(|| Instant::now() + Duration::from_secs(1));
        OutboxEntry {
            key,
            place: "top".into(),
            body: "{".into(),
            until,
            dropped_before: 0,
            marks: None,
        }
    }

    #[test]
    fn live_results_go_before_late_ones() {
        let outbox = Outbox::default();
        outbox.queues().in_file = 1;
        outbox.queues().put_late(waiting(1, false));
        outbox.queues().put_live(waiting(2, true));
        assert_eq!(
            [outbox.next().map(|w| w.key), outbox.next().map(|w| w.key)],
            [Some(2), Some(1)]
        );
    }

    #[test]
    fn what_is_given_up_or_refused_is_told_with_the_next() {
        let outbox = Outbox::default();
        outbox.queues().gave_up(3);
        outbox.queues().put_live(waiting(4, true));
        let first = outbox.next().expect("put");
        assert_eq!(first.dropped_before, 3);
        outbox.land(first.key, false);
        outbox.queues().put_live(waiting(5, true));
        assert_eq!(outbox.next().expect("put").dropped_before, 4);
    }

    #[test]
    fn late_results_keep_their_order_when_some_are_in_the_file_and_some_in_memory() {
        let outbox = Outbox::default();
        let over = Instant::now();
        for key in 1..=6 {
            outbox.queues().put_live(OutboxEntry {
                until: Some(over),
                ..waiting(key, true)
            });
        }
        // Its time is over, and it was on its way when the oldest went to the file.
        assert_eq!(outbox.next().map(|w| w.key), Some(1));
        outbox.rewind();
        let spilled = outbox.queues().spill(3);
        assert_eq!(spilled.iter().map(|w| w.key).collect::<Vec<_>>(), [1, 2, 3]);
        outbox.queues().in_file = 3;
        assert!(outbox.next().is_none(), "the file holds older ones");
        spilled
            .into_iter()
            .for_each(|w| outbox.queues().put_late(OutboxEntry { until: None, ..w }));
        outbox.queues().put_live(waiting(7, true));
        let keys: Vec<u64> = std::iter::from_fn(|| outbox.next())
            .map(|w| w.key)
            .collect();
        assert_eq!(keys, [7, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn what_went_to_the_file_goes_before_a_page_that_was_read_already_and_giving_up_forgets_none() {
        let outbox = Outbox::default();
        outbox.queues().put_live(OutboxEntry {
            until: Some(Instant::now()),
            ..waiting(1, true)
        });
        // Another camera's: a page full.
        outbox.queues().in_file = super::super::PAGE as u64;
        (2..)
            .take(super::super::PAGE)
            .for_each(|key| outbox.queues().put_late(waiting(key, false)));
        assert_eq!(outbox.next().map(|w| w.key), Some(1));
        outbox.rewind();
        assert_eq!(outbox.queues().spill(1)[0].key, 1);
        outbox.queues().in_file = 1;
        assert!(outbox.queues().wants_a_page());
        assert!(outbox.next().is_none());
        outbox.queues().put_late(waiting(1, false));
        outbox.queues().in_file = 0;
        assert_eq!(outbox.next().map(|w| w.key), Some(1));
        assert_eq!(outbox.queues().forget_late(), [1]);
        let queues = outbox.queues();
        assert_eq!(
            (queues.read_to, queues.in_file, queues.waiting()),
            (1, 512, 513)
        );
    }

    proptest! {
        /// Against the naive model: a list of unanswered numbers and a cursor.
        #[test]
        fn the_outbox_is_a_list_with_a_cursor(steps in proptest::collection::vec(0u8..5, 0..80)) {
            let outbox = Outbox::default();
            let (mut model, mut cursor, mut key) = (Vec::<u64>::new(), 0usize, 0u64);
            let mut out: Vec<u64> = vec![];
            for step in steps {
                match step {
                    0 | 1 => {
                        key += 1;
                        outbox.queues().put_live(waiting(key, true));
                        model.push(key);
                    }
                    2 => {
                        let next = outbox.next().map(|w| w.key);
                        prop_assert_eq!(next, model.get(cursor).copied());
                        cursor = (cursor + 1).min(model.len());
                        out.extend(next);
                    }
                    3 => if let Some(key) = out.pop() {
                        outbox.land(key, true);
                        if let Some(at) = model[..cursor].iter().position(|k| *k == key) {
                            model.remove(at);
                            cursor -= 1;
                        }
                    },
                    _ => { outbox.rewind(); cursor = 0; out.clear(); }
                }
                prop_assert_eq!(outbox.count().waiting as usize, model.len());
            }
        }
    }
}
