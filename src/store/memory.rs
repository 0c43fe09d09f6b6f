//! Results in memory, bounded. Beyond the bound the oldest result is given up, counted, and reported with the next.

use super::{Store, StoreCount, Waiting};
use crate::report::Report;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

pub struct MemoryStore {
    bound: usize,
    state: Mutex<State>,
    bell: Notify,
}

/// `waiting[..handed_out]` were given to the publisher and not acknowledged yet.
#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    handed_out: usize,
    next_key: u64,
    /// Given up since a result last left with this number.
    unreported: u64,
    count: StoreCount,
}

impl MemoryStore {
    /// Keeps at most `bound` results.
    pub fn new(bound: usize) -> Self {
        MemoryStore { bound, state: Mutex::default(), bell: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the store")
    }
}

impl State {
    fn take_out(&mut self, key: u64) -> Option<Waiting> {
        let at = self.waiting.iter().position(|waiting| waiting.key == key)?;
        if at < self.handed_out {
            self.handed_out -= 1;
        }
        self.waiting.remove(at)
    }
}

impl Store for MemoryStore {
    fn put(&self, report: Report) {
        let mut state = self.state();
        state.count.put += 1;
        if state.waiting.len() == self.bound
            && let Some(oldest) = state.waiting.pop_front()
        {
            state.handed_out = state.handed_out.saturating_sub(1);
            state.count.given_up += 1;
            state.unreported += 1 + oldest.dropped_before;
        }
        let key = state.next_key;
        state.next_key += 1;
        let dropped_before = std::mem::take(&mut state.unreported);
        state.waiting.push_back(Waiting { key, report: Arc::new(report), dropped_before });
        drop(state);
        self.bell.notify_one();
    }

    fn next(&self) -> Option<Waiting> {
        let mut state = self.state();
        let next = state.waiting.get(state.handed_out).cloned()?;
        state.handed_out += 1;
        Some(next)
    }

    fn acked(&self, key: u64) {
        let mut state = self.state();
        if state.take_out(key).is_some() {
            state.count.acked += 1;
        }
    }

    fn refused(&self, key: u64) {
        let mut state = self.state();
        if let Some(waiting) = state.take_out(key) {
            state.count.given_up += 1;
            state.unreported += 1 + waiting.dropped_before;
        }
    }

    fn rewind(&self) {
        self.state().handed_out = 0;
    }

    fn count(&self) -> StoreCount {
        let state = self.state();
        StoreCount { waiting: state.waiting.len() as u64, ..state.count }
    }

    fn notified(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.bell.notified())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;
    use proptest::prelude::*;

    #[test]
    fn what_is_given_up_is_reported_with_the_next_result() {
        let store = MemoryStore::new(2);
        (1..=5).for_each(|seq| store.put(report(seq)));
        let first = store.next().expect("waiting");
        let second = store.next().expect("waiting");
        assert_eq!([first.report.seq, second.report.seq], [4, 5]);
        assert_eq!(first.dropped_before + second.dropped_before, 3);
        let count = store.count();
        assert_eq!((count.put, count.given_up, count.waiting), (5, 3, 2));
    }

    proptest! {
        /// Against the naive model: a list of unacknowledged numbers and a cursor.
        #[test]
        fn the_store_is_a_bounded_list_with_a_cursor(steps in proptest::collection::vec(0u8..5, 0..80)) {
            let (store, bound) = (MemoryStore::new(4), 4);
            let (mut model, mut cursor, mut seq) = (Vec::<u64>::new(), 0usize, 0u64);
            let mut out: Vec<Waiting> = vec![];
            for step in steps {
                match step {
                    0 | 1 => {
                        seq += 1;
                        store.put(report(seq));
                        if model.len() == bound {
                            model.remove(0);
                            cursor = cursor.saturating_sub(1);
                        }
                        model.push(seq);
                    }
                    2 => {
                        let next = store.next();
                        prop_assert_eq!(next.as_ref().map(|w| w.report.seq), model.get(cursor).copied());
                        cursor = (cursor + 1).min(model.len());
                        out.extend(next);
                    }
                    3 => if let Some(waiting) = out.pop() {
                        store.acked(waiting.key);
                        if let Some(at) = model.iter().position(|s| *s == waiting.report.seq) {
                            model.remove(at);
                            if at < cursor { cursor -= 1; }
                        }
                    },
                    _ => { store.rewind(); cursor = 0; }
                }
                let count = store.count();
                prop_assert_eq!(count.waiting as usize, model.len());
                prop_assert_eq!(count.put, count.acked + count.given_up + count.waiting);
            }
        }
    }

    #[test]
    fn what_the_broker_refuses_is_given_up_and_told_with_the_next() {
        let store = MemoryStore::new(9);
        store.put(report(1));
        let refused = store.next().expect("just put");
        store.refused(refused.key);
        store.put(report(2));
        assert_eq!(store.next().expect("just put").dropped_before, 1);
        assert_eq!(store.count(), StoreCount { put: 2, acked: 0, given_up: 1, waiting: 1 });
    }
}
