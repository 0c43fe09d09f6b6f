//! Results on their way to the broker: the live ones in memory, those of the file in pages. Bounded.
//!
//! Live results go first: what is late has time. Both keep their order; a live one whose time is over in
//! here takes its place among the late ones, behind what the file still holds from before it.

mod aside;
mod entry;
mod putting_aside;

pub use self::aside::LinkLoad;
pub use self::entry::{OutboxEntry, TakenMessages};

use self::aside::{Aside, Resting, aside_for};
use super::bounds::{PAGE_ROWS, SLOW_COMMIT};
use super::count::StoreCount;
use super::rejects::{Reject, Rejects};
use crate::data::part::PartStage;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Results between the writer (puts) and the publisher (takes).
#[derive(Default)]
pub struct Outbox {
    state: Mutex<Queues>,
    pub(super) notify: Notify,
}

#[derive(Default)]
pub(super) struct Queues {
    live: VecDeque<OutboxEntry>,
    /// Results that were live and whose time is over: late, but not in the file as such.
    overdue: BTreeMap<u64, OutboxEntry>,
    /// Results that were read from the file.
    late: BTreeMap<u64, OutboxEntry>,
    /// Results that were handed out and not answered.
    in_flight: BTreeMap<u64, OutboxEntry>,
    /// Keys among those that the broker has answered; the writer takes them out of there.
    answered: BTreeSet<u64>,
    /// Results that were put aside, so that the others go on.
    aside: BTreeMap<u64, Aside>,
    /// Results that were aside and made room for others, on their way to the file.
    leaving: BTreeMap<u64, OutboxEntry>,
    resting: Resting,
    /// Keys that the broker has answered, which the file does not say yet.
    pub(super) acked: BTreeSet<u64>,
    /// Results that wait in the file and are not in `late`.
    pub(super) in_file: u64,
    /// Results on their way from memory to the file.
    pub(super) spilling: u64,
    /// Last key that was read from the file.
    pub(super) read_to: u64,
    /// Results that were given up since one last left with their number.
    unreported: u64,
    rejects: Rejects,
    /// Beginning of the commit that the writer waits for; `None` without one.
    commit_since: Option<Instant>,
    pub(super) count: StoreCount,
}

impl Queues {
    /// Results that the broker does not have yet, handed out or not.
    pub(super) fn waiting(&self) -> u64 {
        // Each result is in exactly one of these places, so that the sum counts none twice.
        let in_memory = self.live() + self.late.len() + self.in_flight.len();

        in_memory as u64 + self.in_file + self.spilling + self.aside()
    }

    /// Results that were put aside, in memory or in the file.
    fn aside(&self) -> u64 {
        let in_memory = self.aside.len() + self.leaving.len();

        in_memory as u64 + self.resting.count
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

    /// Results of earlier runs that cannot be sent: given up, and told with the next result.
    pub(super) fn lost_from_before(&mut self, count: u64) {
        self.count.earlier += count;
        self.gave_up(count);
    }

    pub(super) fn put_live(&mut self, mut entry: OutboxEntry) {
        // The number travels with the next result that leaves, and is taken back if that one is
        // given up, too.
        entry.given_up_before += std::mem::take(&mut self.unreported);
        self.live.push_back(entry);
    }

    /// Takes what was read from the file; what is here already is not taken twice.
    pub(super) fn put_late(&mut self, entry: OutboxEntry) {
        // The cursor moves also over rows that are here already, or the same page would be read for
        // ever.
        self.read_to = self.read_to.max(entry.key);
        let key = entry.key;

        if self.in_flight.contains_key(&key)
            || self.late.contains_key(&key)
            || self.aside.contains_key(&key)
            || self.leaving.contains_key(&key)
            || self.acked.contains(&key)
        {
            return;
        }

        self.in_file = self.in_file.saturating_sub(1);
        self.late.insert(entry.key, entry);
    }

    pub(super) fn put_reject(&mut self, reject: Reject) {
        self.rejects.put(reject, &mut self.count);
    }

    fn next(&mut self, now: Instant) -> Option<OutboxEntry> {
        // Live results are in the order of their deadlines, near enough: those whose time is over
        // stand in front.
        while let Some(first) = self.live.front()
            && first.until.is_some_and(|until| until <= now)
            && let Some(first) = self.live.pop_front()
        {
            self.overdue.insert(first.key, first);
        }

        self.live.pop_front().or_else(|| self.next_late())
    }

    /// The lowest key, unless the file may hold a lower one: then it is read first.
    fn next_late(&mut self) -> Option<OutboxEntry> {
        // Late ones come from two places, and leave in the order of their keys.
        let late = lowest_key(&self.late);
        let overdue = lowest_key(&self.overdue);
        let lowest = late.into_iter().chain(overdue).min()?;
        let is_behind = lowest > self.read_to;

        // Those on their way to the file are older too.
        let has_older = self.in_file > 0 || self.spilling > 0;

        if has_older && is_behind {
            return None;
        }

        if Some(lowest) == late {
            self.late.remove(&lowest)
        } else {
            self.overdue.remove(&lowest)
        }
    }

    fn put_back(&mut self, entry: OutboxEntry) {
        // A result that was aside does not come before the others again: its tries are apart.
        if entry.asides > 0 {
            let again = Some(Instant::now() + aside_for(entry.asides));
            self.aside.insert(entry.key, Aside { entry, again });
            return;
        }

        // An entry goes back to where it came from, unless its time ran out meanwhile: before those
        // that were accepted after it.
        match entry.until {
            Some(until) if until <= Instant::now() => {
                self.overdue.insert(entry.key, entry);
            }

            Some(_) => {
                let keys = self.live.iter().map(|waiting| waiting.key);
                let before = keys.take_while(|key| *key < entry.key).count();
                self.live.insert(before, entry);
            }

            None => {
                self.late.insert(entry.key, entry);
            }
        }
    }

    /// Key after which the file is to be read, when the publisher will soon ask for more of it than there
    /// is in memory.
    pub(super) fn wanted_page(&self) -> Option<u64> {
        if self.in_file == 0 {
            return None;
        }

        // Half a page is the reserve: the disk is read while the publisher still has something to
        // send.
        let is_short = self.late.len() < PAGE_ROWS / 2;
        let is_behind = match lowest_key(&self.late) {
            Some(lowest) => lowest > self.read_to,
            None => false,
        };

        (is_short || is_behind).then_some(self.read_to)
    }

    /// Results that waited in the file, and are not there any more.
    pub(super) fn lost_in_file(&mut self, count: u64) {
        self.in_file = self.in_file.saturating_sub(count);
        self.gave_up(count);
    }

    /// The oldest live results, at most `count` of them, leave memory; the file is read again from there.
    pub(super) fn spill(&mut self, count: usize) -> Vec<OutboxEntry> {
        // The overdue go first. They are the oldest, and no gate waits for them.
        let mut spilled = vec![];

        while spilled.len() < count
            && let Some((_, entry)) = self.overdue.pop_first()
        {
            spilled.push(entry);
        }

        let more = count - spilled.len();
        let more = more.min(self.live.len());
        spilled.extend(self.live.drain(..more));

        // A page beyond them may have been read already; the file is read again from the lowest of
        // them.
        for entry in &spilled {
            self.read_again_from(entry.key);
        }

        spilled
    }

    /// The page that begins with that key is to be read again.
    fn read_again_from(&mut self, key: u64) {
        let before = key.saturating_sub(1);

        if before < self.read_to {
            self.read_to = before;

            self.end_rest(); // they are among what is read now
        }
    }

    /// Results that do not reach the broker, to be reported with the next one.
    pub(super) fn gave_up(&mut self, count: u64) {
        self.count.given_up += count;
        self.unreported += count;
    }

    /// Reported with a result that itself was given up: to be said again.
    pub(super) fn report_again(&mut self, dropped: u64) {
        self.unreported += dropped;
    }

    /// Late results that nobody was handed wait in the file alone again, which is read from there; the keys of those
    /// that somebody was, answered or not.
    pub(super) fn forget_late(&mut self) -> Vec<u64> {
        self.end_rest();

        // What was read from the file is still there: forgetting it costs one more read.
        if let Some(lowest) = lowest_key(&self.late) {
            self.read_again_from(lowest);
        }

        self.in_file += self.late.len() as u64;
        self.late.clear();
        let aside = self.aside.keys().chain(self.leaving.keys());
        let handed_out = self.in_flight.keys().chain(aside);

        handed_out.chain(&self.acked).copied().collect()
    }
}

/// The lowest key that waits in there.
fn lowest_key(queue: &BTreeMap<u64, OutboxEntry>) -> Option<u64> {
    queue.keys().next().copied()
}

impl Outbox {
    pub(super) fn queues(&self) -> MutexGuard<'_, Queues> {
        self.state
            .lock()
            .expect("nobody panics while holding the outbox")
    }

    /// Puts a live result in, as a store's writer does.
    #[cfg(test)]
    pub(crate) fn put(&self, entry: OutboxEntry) {
        self.queues().put_live(entry);
    }

    /// Takes a result that was handed out, as a store's writer does for the broker.
    #[cfg(test)]
    pub(crate) fn accept(&self, key: u64) {
        self.ack(key, true).expect("handed out");
    }

    /// The next result that was not handed out since the last [`Outbox::rewind`], live ones first. A late
    /// one is handed out without `until`. A live one whose time ends before it is sent must be given
    /// back: among the late ones it has another place.
    pub fn next(&self) -> Option<OutboxEntry> {
        let now = Instant::now();
        let mut queues = self.queues();

        // It stands as in flight before anyone can acknowledge it: the lock is held over both.
        let mut next = queues.next(now)?;
        next.reach(PartStage::Sent, now);
        queues.in_flight.insert(next.key, next.clone());
        next.until = next.until.filter(|until| *until > now);

        Some(next)
    }

    /// The broker has answered a result that was handed out. The writer hears of it later, and until then it stays in
    /// flight, whatever becomes of the link.
    pub(super) fn note_answered(&self, key: u64) {
        let mut queues = self.queues();

        if queues.in_flight.contains_key(&key) {
            queues.answered.insert(key);
        }
    }

    /// The link was lost: everything that was handed out and not answered is handed out again, in order.
    pub fn rewind(&self) {
        let mut queues = self.queues();

        // The entries go from the newest to the oldest, each to the front: the oldest ends up
        // first.
        for (key, entry) in std::mem::take(&mut queues.in_flight).into_iter().rev() {
            if queues.answered.contains(&key) {
                queues.in_flight.insert(key, entry);
            } else {
                queues.put_back(entry);
            }
        }
    }

    /// What was handed out has not reached the broker: it is handed out again.
    pub fn give_back(&self, key: u64) {
        let mut queues = self.queues();

        if let Some(entry) = queues.in_flight.remove(&key) {
            queues.put_back(entry);
        }
    }

    /// Notes that the broker has some messages of a result that was handed out; it stays in flight until it is
    /// acknowledged as a whole.
    pub fn note_taken(&self, key: u64, note: impl FnOnce(&mut TakenMessages)) {
        if let Some(entry) = self.queues().in_flight.get_mut(&key) {
            note(&mut entry.taken);
        }
    }

    /// Takes what was handed out; nothing when it was taken before.
    pub(super) fn ack(&self, key: u64, accepted: bool) -> Option<OutboxEntry> {
        let mut queues = self.queues();

        // A second acknowledgement of one key finds nothing, so that no result is counted twice.
        let acked = queues.in_flight.remove(&key)?;
        queues.answered.remove(&key);
        queues.acked.insert(key);

        // A result that was not taken is reported with the next one, with all that it would have
        // reported.
        if accepted {
            queues.count.acked += 1;
        } else {
            queues.gave_up(1);
            queues.report_again(acked.given_up_before);
        }

        Some(acked)
    }

    /// Time at which the next rejected part is at its gate.
    pub fn reject_due(&self) -> Option<Instant> {
        self.queues().rejects.due()
    }

    /// The next rejected part that is at its gate now.
    pub fn next_reject(&self) -> Option<Reject> {
        let now = Instant::now();
        let mut queues = self.queues();
        let Queues { rejects, count, .. } = &mut *queues;

        rejects.next(now, count)
    }

    /// Drops the rejected parts that are not at their gates when the line stops; returns how many.
    pub fn forget_rejects(&self) -> u64 {
        let mut queues = self.queues();
        let Queues { rejects, count, .. } = &mut *queues;

        rejects.forget(count)
    }

    /// Takes a rejected part back whose message may not have arrived.
    pub fn give_back_reject(&self, reject: Reject) {
        self.queues().put_reject(reject);
    }

    /// Counts the rejected parts that have gone by for good.
    pub fn miss_rejects(&self) {
        let now = Instant::now();
        let mut queues = self.queues();
        let Queues { rejects, count, .. } = &mut *queues;
        rejects.miss_gone(now, count);
    }

    /// Counts a rejected part whose message the broker took.
    pub fn reject_told(&self) {
        self.queues().count.rejects_told += 1;
    }

    /// Counts a rejected part whose message could not be sent in time, and keeps it for the record.
    pub fn reject_missed(&self, reject: Reject) {
        let mut queues = self.queues();
        let Queues { rejects, count, .. } = &mut *queues;
        rejects.miss(reject, count);
    }

    /// The message of a rejected part that went by untold, once.
    pub fn next_missed_reject(&self) -> Option<Vec<u8>> {
        self.queues().rejects.next_missed()
    }

    /// Keeps such a message for which there was no room.
    pub fn keep_missed_reject(&self, body: Vec<u8>) {
        self.queues().rejects.miss_again(body);
    }

    /// The counters at this moment.
    pub fn count(&self) -> StoreCount {
        let queues = self.queues();
        StoreCount {
            waiting: queues.waiting(),
            aside: queues.aside(),
            ..queues.count
        }
    }

    /// True while the disk has not taken a commit for longer than it may.
    pub fn is_commit_hanging(&self) -> bool {
        let since = self.queues().commit_since;

        since.is_some_and(|since| since.elapsed() > SLOW_COMMIT)
    }

    /// Notes that a commit begins.
    pub(super) fn commit_begins(&self) {
        self.queues().commit_since = Some(Instant::now());
    }

    /// Notes that the commit is over, or other work on the disk; returns the time that it took.
    pub(super) fn commit_ends(&self, is_commit: bool) -> Duration {
        let mut queues = self.queues();
        let began = queues.commit_since.take();
        let took = began.map_or(Duration::ZERO, |began| began.elapsed());
        let took_ms = took.as_millis() as u64;

        if is_commit {
            queues.count.commit_ms = took_ms;
        }

        queues.count.longest_commit_ms = queues.count.longest_commit_ms.max(took_ms);
        took
    }

    /// Resolves when something may be waiting, for the publisher's loop.
    pub async fn notified(&self) {
        self.notify.notified().await;
    }
}

#[cfg(test)]
mod tests;
