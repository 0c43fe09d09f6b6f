//! Writes that a failing disk leaves in memory, compacted: a disk that fails for weeks must cost neither
//! memory nor a result.
//!
//! A result that the broker has acknowledged since is history that is of no use now, and where nothing of
//! its part is in the file yet, nothing needs to be. What is still owed stays, whatever its number: the
//! outbox bounds it.

use super::bounds::PendingMax;
use super::row::{RowState, Write};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Writes that left the memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// Keys of parts whose results the broker has, or never gets.
    pub done: BTreeSet<u64>,
    /// Number of commands' answers.
    pub answers: usize,
    /// Number of lines of the audit log.
    pub notes: usize,
    /// Number of late verdicts.
    pub late: usize,
}

/// Takes away what is of no use, then what is above the bounds, the oldest first.
pub(super) fn compact(writes: &mut VecDeque<Write>, most: &PendingMax) -> Gone {
    // What is done is found first, over all writes: a part's first write is needed only if its last
    // is not here.
    let mut sieve = Sieve {
        done: done(writes),
        answers: Quota::of(most.answers),
        notes: Quota::of(most.notes),
        late: Quota::of(most.late),
        newest: BTreeSet::new(),
    };

    let mut kept = VecDeque::with_capacity(writes.len() / 2);
    // From the newest to the oldest.
    for write in writes.drain(..).rev() {
        if sieve.keeps(&write) {
            kept.push_front(write);
        }
    }

    *writes = kept;
    Gone {
        done: sieve.done,
        answers: sieve.answers.refused,
        notes: sieve.notes.refused,
        late: sieve.late.refused,
    }
}

/// Room for so many of a kind.
struct Quota {
    free: usize,
    refused: usize,
}

impl Quota {
    fn of(free: usize) -> Self {
        Quota { free, refused: 0 }
    }

    fn takes_one(&mut self) -> bool {
        if self.free == 0 {
            self.refused += 1;
            return false;
        }

        self.free -= 1;
        true
    }
}

/// Decides which writes stay, the newest first.
struct Sieve {
    done: BTreeSet<u64>,
    answers: Quota,
    notes: Quota,
    late: Quota,
    /// Names of values that a newer write has set.
    newest: BTreeSet<String>,
}

impl Sieve {
    fn keeps(&mut self, write: &Write) -> bool {
        match write {
            Write::Part { key, state, .. } => {
                if self.done.contains(key) {
                    return false;
                }

                if *state != RowState::Backlog {
                    return true;
                }

                self.late.takes_one()
            }
            Write::State { key, .. } => !self.done.contains(key),
            Write::Spill { .. } => true,
            Write::Answer { .. } => self.answers.takes_one(),
            Write::Note { .. } | Write::Label { .. } => self.notes.takes_one(),
            Write::Set { key, .. } => self.newest.insert(key.clone()),
            Write::SetIfAbsent { key, .. } => !self.newest.contains(key),
        }
    }
}

/// The keys of parts that are done and of which the file has nothing; the last of each camera stays, so
/// that the file knows where the run was.
fn done(writes: &VecDeque<Write>) -> BTreeSet<u64> {
    let mut begun = BTreeSet::new();
    let mut last = BTreeMap::<(&str, &str), u64>::new();
    let mut done = BTreeSet::new();
    for write in writes {
        match write {
            Write::Part { key, state, row } => {
                if *state == RowState::Open {
                    begun.insert(*key);
                }

                if matches!(state, RowState::Open | RowState::Live) {
                    let last = last.entry((&row.run_id, &row.camera)).or_default();
                    *last = (*last).max(*key);
                }
            }
            Write::State { key, .. } if begun.contains(key) => {
                done.insert(*key);
            }
            _ => {}
        }
    }

    done.retain(|key| last.values().all(|last| last != key));
    done
}

#[cfg(test)]
mod tests {
    use super::super::database::Database;
    use super::super::row::{Recovered, StoredResult};
    use super::super::settings::Sync;
    use super::*;
    use crate::data::result::tests::row;
    use proptest::prelude::*;

    /// A write of this kind, about that key.
    fn write(kind: u8, key: u64) -> Vec<Write> {
        let part = |key: u64, state: RowState| {
            let camera = if key.is_multiple_of(2) { "top" } else { "side" };
            let mut row = row(camera, key);
            row.detail = Some(format!("state {}", state as u8));
            Write::Part {
                key,
                state,
                row: row.into(),
            }
        };

        match kind {
            0 => vec![part(key, RowState::Open)],
            1 => vec![part(key, RowState::Live)],
            2 => vec![Write::State {
                key,
                state: RowState::Acked,
            }],
            3 => vec![Write::State {
                key,
                state: RowState::GivenUp,
            }],
            4 => vec![part(1000 + key, RowState::Backlog)],
            5 => vec![Write::Answer {
                id: format!("t{key}"),
                answer: "{}".into(),
            }],
            6 => vec![Write::Note {
                what: key.to_string(),
            }],
            7 => vec![Write::Set {
                key: format!("k{}", key % 3),
                value: if key.is_multiple_of(4) {
                    String::new()
                } else {
                    key.to_string()
                },
            }],
            _ => vec![Write::SetIfAbsent {
                key: format!("k{}", key % 3),
                value: key.to_string(),
            }],
        }
    }

    /// What a run after that one finds, and what waits for the broker then.
    fn left(before: &[Write], writes: &[Write]) -> (Recovered, Vec<StoredResult>) {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut database, _) =
            Database::open(&folder.path().join("box.db"), Sync::Normal).expect("opens");

        database.write("01A", before).expect("written");
        database.write("01A", writes).expect("written");
        let found = database.found().expect("found");
        database.begin_run(10_000).expect("begun");
        let page = database.page(0, 10_000).expect("read");
        (found, page.results)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Against a file that everything is written to.
        #[test]
        fn a_later_run_finds_what_it_would_have_found(
            before in proptest::collection::vec((0u8..2, 0u64..20), 0..10),
            writes in proptest::collection::vec((0u8..9, 0u64..40), 0..120),
        ) {
            let all = |steps: &[(u8, u64)]| steps.iter().flat_map(|(kind, key)| write(*kind, *key)).collect::<Vec<_>>();
            // A part is accepted once, by its first write.
            let before: Vec<Write> = all(&before);
            let is_known = |key: u64| before.iter().any(|w| matches!(w, Write::Part { key: k, .. } if *k == key));
            let mut seen = BTreeSet::new();
            let steps: Vec<(u8, u64)> = writes.into_iter().filter_map(|(kind, key)| match kind {
                0 => (!is_known(key) && seen.insert(key)).then_some((0, key)),
                // The result of a part comes once, before it is done.
                1..=3 => (is_known(key) || seen.contains(&key)).then_some((kind, key)),
                _ => Some((kind, key)),
            }).collect();
            let mut done = BTreeSet::new();
            let steps: Vec<(u8, u64)> = steps.into_iter().filter(|(kind, key)| match kind {
                1 => !done.contains(key),
                2 | 3 => done.insert(*key),
                _ => true,
            }).collect();
            let writes = all(&steps);
            let mut small: VecDeque<Write> = writes.iter().cloned().collect();
            let gone = compact(&mut small, &PendingMax { answers: 1000, notes: 1000, late: 1000 });
            prop_assert_eq!((gone.answers, gone.notes, gone.late), (0, 0, 0));
            let ((full, rows), (short, short_rows)) = (left(&before, &writes), left(&before, small.make_contiguous()));
            let told = |rows: &[StoredResult]| rows.iter().map(|row| (row.key, row.row.to_stored())).collect::<Vec<_>>();
            prop_assert_eq!(told(&rows), told(&short_rows));
            prop_assert_eq!((full.previous, full.kept, full.answers), (short.previous, short.kept, short.answers));
            prop_assert!(short_rows.iter().all(|row| row.key < short.next_key));
        }
    }

    #[test]
    fn what_is_done_goes_and_of_the_others_the_newest_stay() {
        let mut writes = VecDeque::new();
        for key in 0..1000 {
            for kind in [0, 1, 2, 4, 5, 6, 7] {
                writes.extend(write(kind, key));
            }
        }

        let gone = compact(
            &mut writes,
            &PendingMax {
                answers: 5,
                notes: 4,
                late: 3,
            },
        );

        assert_eq!(
            (gone.done.len(), gone.answers, gone.notes, gone.late),
            (998, 995, 996, 997)
        );

        // Of each camera its last part.
        assert_eq!(writes.len(), 2 * 3 + 5 + 4 + 3 + 3);
        let newest = |write: &Write| matches!(write, Write::Note { what } if what == "999");
        assert!(writes.iter().any(newest));
    }
}
