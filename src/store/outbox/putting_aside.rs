//! The way aside and back: out of the others' way, into the file where memory has no room, and to the
//! publisher for another try.

use super::aside::{Aside, LinkLoad, aside_for};
use super::{Outbox, OutboxEntry, Queues};
use crate::store::bounds::{ASIDE_LONGEST, ASIDE_MAX, LEAVING_MAX};
use std::time::Instant;

impl Queues {
    /// Makes room for one more result that is put aside: the one of them whose next try is farthest
    /// waits in the file. False where there is none, or no room on the way.
    fn make_room_aside(&mut self) -> bool {
        if self.aside.len() < ASIDE_MAX {
            return true;
        }

        let later = |(_, aside): &(&u64, &Aside)| aside.again;
        let Some((key, Aside { again: Some(_), .. })) = self.aside.iter().max_by_key(later) else {
            return false; // all of them may be no fault of their own
        };

        let key = *key;
        if self.leaving.len() >= LEAVING_MAX {
            return false;
        }

        if let Some(aside) = self.aside.remove(&key) {
            self.leaving.insert(key, aside.entry);
        }

        true
    }

    /// The results on their way from those that are aside to the file.
    pub(in crate::store) fn take_leaving(&mut self) -> Vec<OutboxEntry> {
        std::mem::take(&mut self.leaving).into_values().collect()
    }

    /// A result that was aside is in the file: it comes again after a while, or with those that the
    /// cursor has not reached.
    pub(in crate::store) fn rest(&mut self, key: u64) {
        if key > self.read_to && self.in_file > 0 {
            self.in_file += 1;
            return;
        }

        self.read_to = self.read_to.max(key); // nothing else is to be read up to there
        let resting = &mut self.resting;
        if resting.until.is_none() {
            resting.from = key;
            resting.until = Some(Instant::now() + ASIDE_LONGEST);
        }

        resting.from = resting.from.min(key);
        resting.count += 1;
    }

    /// Reads those again that have rested long enough.
    pub(in crate::store) fn look_at_rest(&mut self, now: Instant) {
        if self.resting.until.is_some_and(|until| until <= now) {
            self.end_rest();
        }
    }

    /// What rests in the file waits there like the others.
    pub(in crate::store) fn end_rest(&mut self) {
        let resting = std::mem::take(&mut self.resting);
        if resting.until.is_some() {
            self.in_file += resting.count;
            self.read_to = self.read_to.min(resting.from.saturating_sub(1));
        }
    }
}

impl Outbox {
    /// Puts a result aside that was handed out, so that the others go on; it still waits, and is
    /// handed out by [`Outbox::next_aside`], the later the more often it was put aside. `is_alone` is
    /// false where it may be no fault of its own: [`Outbox::take_back`] lets it join the others.
    /// Beyond `ASIDE_MAX` others wait in the file for it. False if there is no room for one more.
    pub fn put_aside(&self, key: u64, is_alone: bool) -> bool {
        let mut queues = self.queues();
        if !queues.make_room_aside() {
            return false;
        }

        let Some(mut entry) = queues.in_flight.remove(&key) else {
            return true; // answered meanwhile
        };

        let mut again = None;
        if is_alone {
            entry.asides += 1;
            again = Some(Instant::now() + aside_for(entry.asides));
        }

        queues.aside.insert(key, Aside { entry, again });
        true
    }

    /// The broker takes results again: those that were put aside with others join them.
    pub fn take_back(&self) {
        let mut queues = self.queues();
        let mut back = vec![];
        for (key, aside) in &queues.aside {
            if aside.again.is_none() {
                back.push(*key);
            }
        }

        // The oldest last, so that it stands in front.
        for key in back.into_iter().rev() {
            if let Some(aside) = queues.aside.remove(&key) {
                queues.put_back(aside.entry);
            }
        }
    }

    /// The next result that was put aside and may be tried now.
    pub fn next_aside(&self, link: LinkLoad) -> Option<OutboxEntry> {
        let now = Instant::now();
        let mut queues = self.queues();
        let mut all = queues.aside.iter();
        let key = *all.find(|(_, aside)| aside.is_due(link, now))?.0;
        let entry = queues.aside.remove(&key)?.entry;
        queues.in_flight.insert(key, entry.clone());
        Some(entry)
    }

    /// True for a result on its way that was put aside before.
    pub fn was_aside(&self, key: u64) -> bool {
        let queues = self.queues();
        let entry = queues.in_flight.get(&key);
        entry.is_some_and(|entry| entry.asides > 0)
    }
}
