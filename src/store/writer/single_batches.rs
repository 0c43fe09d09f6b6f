//! Single batches of the writer, and faults of its disk, for tests.

use super::StoreWriter;
use crate::store::op::Op;
use std::time::Duration;

impl StoreWriter {
    /// One batch, of requests that are waited for.
    pub(in crate::store) fn once(&mut self) {
        let arrived = self.wait();
        self.run_once(arrived.ops, true);
    }

    /// One batch of the requests that are there, maybe none.
    pub(in crate::store) fn once_with_nothing(&mut self) {
        let mut ops: Vec<Op> = self.came.drain(..).collect();
        ops.extend(self.ops.try_iter());
        self.run_once(ops, false);
    }

    /// Waits for the disk, however long it takes: a busy machine's disk lags behind.
    pub(in crate::store) fn land(&mut self) {
        self.run_once(vec![], true);
    }

    pub(in crate::store) fn take_the_log_over(&mut self) {
        self.file.database().checkpoint().expect("works");
    }

    /// The disk is busy for so long.
    pub(in crate::store) fn hang(&mut self, time: Duration) {
        self.file.hang(time);
    }

    /// The thread that sits in the disk panics.
    pub(in crate::store) fn panic_in_the_disk(&mut self, words: &'static str) {
        self.file.panic(words);
    }

    /// Each work of the disk takes so much longer.
    pub(in crate::store) fn delay(&mut self, time: Duration) {
        self.file.database().delay = time;
    }

    pub(in crate::store) fn pending(&self) -> usize {
        self.file.pending()
    }

    pub(in crate::store) fn foresee(&mut self, waiting: u64) {
        self.retention.foresee(waiting);
    }

    /// Fills the disk up, or makes room and tries it at once.
    pub(in crate::store) fn disk(&mut self, full: bool) {
        // A busy machine's disk may still be at its last job.
        if self.file.is_hanging() {
            self.land();
        }

        self.file.database().fill_up(full);
        self.file.retry_after_a_pause();
    }
}
