//! Searches in the history on their way to the disk: one step of one of them after each round of the
//! writer.

use super::bounds::SEARCHES_MAX;
use super::commit::CommitQueue;
use super::search::{ASK_AGAIN, Search, SearchReply};
use std::collections::VecDeque;

/// Searches that wait for the disk, one step each.
#[derive(Default)]
pub(super) struct WaitingSearches(VecDeque<(Search, SearchReply)>);

impl WaitingSearches {
    /// Takes one more, unless too many wait: the asker is told.
    pub(super) fn push(&mut self, (search, reply): (Search, SearchReply)) {
        if self.0.len() >= SEARCHES_MAX {
            return reply(Err(format!("{SEARCHES_MAX} searches wait; {ASK_AGAIN}")));
        }

        self.0.push_back((search, reply));
    }

    pub(super) fn are_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One step of one search, which is not tried on a disk that fails: the others come after what came
    /// meanwhile.
    pub(super) fn step(&mut self, file: &mut CommitQueue) {
        match self.0.pop_front() {
            Some((_, reply)) if file.is_failing() => {
                reply(Err(format!(
                    "the disk of the store fails or hangs; {ASK_AGAIN}"
                )));
            }
            Some((search, reply)) => file.search(search, reply),
            None => {}
        }
    }
}
