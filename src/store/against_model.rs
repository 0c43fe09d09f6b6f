//! The whole store beside a naive model of it: parts in a list, and who of them has had a result. Whatever comes in which
//! order, disks that fill up and crashes included, each part has exactly one result, in order, delivered or
//! given up and counted, and the counters balance.

use super::test_run::{FakePolicy, as_killed, passed, settings};
use super::*;
use crate::base::health::Diagnostics;
use crate::data::part::tests::ask;
use crate::data::part::{Part, PartRequest};
use crate::data::verdict::Verdict;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Clone)]
enum Step {
    /// A command's parts, or a free-running camera's; some are late at once.
    Accept {
        side: bool,
        count: usize,
        late: bool,
    },
    Number {
        side: bool,
        count: usize,
    },
    /// A verdict for one of those that have none, in time or not.
    Settle(usize),
    /// Parts and their verdicts, more than memory holds when it comes again.
    Flood {
        side: bool,
    },
    Take(usize),
    /// The broker takes one of those that were taken, or refuses it.
    Land {
        which: usize,
        accepted: bool,
    },
    LinkLost,
    Disk {
        full: bool,
    },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<bool>(), 1..4usize, prop::bool::weighted(0.2))
            .prop_map(|(side, count, late)| Step::Accept { side, count, late }),
        2 => (any::<bool>(), 1..4usize).prop_map(|(side, count)| Step::Number { side, count }),
        6 => any::<usize>().prop_map(Step::Settle),
        1 => any::<bool>().prop_map(|side| Step::Flood { side }),
        4 => (1..4usize).prop_map(Step::Take),
        4 => (any::<usize>(), prop::bool::weighted(0.9)).prop_map(|(which, accepted)| Step::Land { which, accepted }),
        1 => Just(Step::LinkLost),
        2 => any::<bool>().prop_map(|full| Step::Disk { full }),
        1 => Just(Step::Crash),
    ]
}

/// A part to the world: run, camera, number.
type Name = (String, String, u64);

struct Line {
    folder: tempfile::TempDir,
    runs: u32,
    store: Store,
    writer: StoreWriter,
    full: bool,
    /// What this run found waiting.
    left: u64,
    /// In this run.
    refused: u64,
    /// In earlier runs: verdicts for the record, and results that were given up without asking the broker.
    late: u64,
    given_up: u64,
    /// Of all runs, with the verdicts that the broker had of each, taken or refused.
    parts: BTreeMap<Name, Vec<Verdict>>,
    /// Of this run, without a verdict yet.
    open: Vec<Part>,
    flying: Vec<OutboxEntry>,
    /// The last number that was handed out live since the link was last lost, by camera.
    live_to: BTreeMap<String, u64>,
}

fn name(part: &Part) -> Name {
    (part.run_id.to_string(), part.camera().to_string(), part.seq)
}

fn said(waiting: &OutboxEntry) -> (Name, Verdict) {
    let row = &waiting.row;
    let name = (row.run_id.clone(), row.camera.clone(), row.seq);
    (name, row.verdict)
}

fn open(folder: &Path, run: u32) -> (Store, StoreWriter, Recovered) {
    // What is live stays so, however slow this test is.
    let settings = StoreSettings {
        reject_window: Duration::from_secs(3600),
        ..settings(folder)
    };

    let (store, opened, found) =
        Store::open(settings, &format!("run-{run}"), Diagnostics::default()).expect("opens");

    let writer = StoreWriter::new(opened, FakePolicy::default());
    (store, writer, found)
}

impl Line {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, writer, found) = open(folder.path(), 1);
        assert_eq!(found.backlog, 0);
        Line {
            folder,
            runs: 1,
            store,
            writer,
            full: false,
            left: 0,
            refused: 0,
            late: 0,
            given_up: 0,
            parts: BTreeMap::new(),
            open: vec![],
            flying: vec![],
            live_to: BTreeMap::new(),
        }
    }

    fn asks(side: bool, count: usize, late: bool) -> Vec<PartRequest> {
        let (camera, deadline) = (
            if side { "side" } else { "top" },
            Duration::from_secs(if late { 0 } else { 3600 }),
        );

        (0..count).map(|_| ask(camera, deadline)).collect()
    }

    fn accepted(&mut self, parts: Vec<Part>) {
        self.parts
            .extend(parts.iter().map(|part| (name(part), vec![])));

        self.open.extend(parts);
    }

    fn does(&mut self, step: Step) {
        match step {
            Step::Accept { side, count, late } => {
                let accepting =
                    self.store
                        .accept_durable_async(Self::asks(side, count, late), None, |_| {
                            String::new()
                        });

                self.writer.once();
                let (parts, _) = accepting.wait().expect("open");
                self.accepted(parts);
            }
            Step::Number { side, count } => {
                let parts = self
                    .store
                    .accept(Self::asks(side, count, false))
                    .expect("open");

                self.accepted(parts);
                self.writer.once();
            }
            Step::Settle(which) if !self.open.is_empty() => {
                let part = self.open.swap_remove(which % self.open.len());
                self.store.submit(vec![passed(&part)]);
                self.writer.once();
            }
            Step::Flood { side } => {
                let parts = self
                    .store
                    .accept(Self::asks(side, 1100, false))
                    .expect("open");

                self.parts
                    .extend(parts.iter().map(|part| (name(part), vec![])));

                self.store.submit(parts.iter().map(passed).collect());
                self.writer.once();
            }
            Step::Take(count) => {
                let _ = (0..count).take_while(|_| self.take()).count();
            }
            Step::Land { which, accepted } if !self.flying.is_empty() => {
                let waiting = self.flying.swap_remove(which % self.flying.len());
                self.land(&waiting, accepted);
                self.writer.once();
            }
            Step::Settle(_) | Step::Land { .. } => {}
            Step::LinkLost => {
                self.store.outbox().rewind();
                self.flying.clear();
                self.live_to.clear();
            }
            Step::Disk { full } => {
                self.full = full;
                self.writer.disk(full);
                self.writer.once_with_nothing();
            }
            // What only memory holds is lost with it: told, and not a promise.
            Step::Crash if self.full => {}
            Step::Crash => self.crash(),
        }
    }

    /// The next run finds what a kill leaves of the files.
    fn crash(&mut self) {
        // A batch that the disk had no time for is in memory alone.
        self.writer.land();
        self.close_the_books();
        self.runs += 1;
        let folder = tempfile::tempdir().expect("a folder");
        as_killed(
            &self.folder.path().join("box.db"),
            &folder.path().join("box.db"),
        );

        let (store, writer, found) = open(folder.path(), self.runs);
        (self.store, self.writer, self.left, self.folder) = (store, writer, found.backlog, folder);
        self.open.clear();
        self.flying.clear();
        self.live_to.clear();
        for previous in found.previous {
            let of =
                |(run, camera, _): &&Name| *run == previous.run_id && *camera == previous.camera;

            let last = self.parts.keys().filter(of).map(|(_, _, seq)| *seq).max();
            assert_eq!(last, Some(previous.last_seq), "{previous:?}");
        }
    }

    /// Of this run.
    fn close_the_books(&mut self) {
        let count = self.store.count();
        self.late += count.late;
        self.given_up += count.given_up - std::mem::take(&mut self.refused);
    }

    fn take(&mut self) -> bool {
        let next = self.store.outbox().next().or_else(|| {
            self.writer.once_with_nothing(); // a page
            self.store.outbox().next()
        });

        let Some(waiting) = next else { return false };
        if waiting.until.is_some() {
            let ((_, camera, seq), _) = said(&waiting);
            let before = self.live_to.insert(camera.clone(), seq);
            assert!(
                before.is_none_or(|before| before < seq),
                "{camera}: {seq} after {before:?}"
            );
        }

        self.flying.push(waiting);
        true
    }

    fn land(&mut self, waiting: &OutboxEntry, accepted: bool) {
        let (name, verdict) = said(waiting);
        self.parts
            .get_mut(&name)
            .unwrap_or_else(|| panic!("nobody asked for {name:?}"))
            .push(verdict);

        self.store.acked(waiting.key, accepted);
        self.refused += u64::from(!accepted);
    }

    fn balances(&self) {
        let count = self.store.count();
        assert!(count.balances(), "{count:?}");
    }

    /// The line stops in order, and the broker takes all that there is.
    fn ends(mut self) {
        self.does(Step::Disk { full: false });
        self.does(Step::LinkLost);
        let (store, closed) = (self.store.clone(), std::sync::mpsc::channel());
        let closing = std::thread::spawn(move || {
            store.close();
            closed.0.send(()).expect("awaited");
        });

        while closed.1.try_recv().is_err() {
            self.writer.once_with_nothing();
        }

        closing.join().expect("no panic");
        while self.take() {
            while self.flying.len() < 200 && self.take() {}
            for waiting in std::mem::take(&mut self.flying) {
                self.land(&waiting, true);
            }

            self.writer.once();
            self.balances();
        }

        assert_eq!(
            (self.store.count().waiting, self.store.count().open),
            (0, 0)
        );

        self.close_the_books();
        let had: usize = self.parts.values().map(Vec::len).sum();
        assert_eq!(
            self.parts.len() as u64 + self.late,
            had as u64 + self.given_up,
            "each once, or given up"
        );

        for (name, had) in &self.parts {
            let is_right = match had.as_slice() {
                [] => self.given_up > 0,
                [_] => true,
                // The verdict came after the result, and stands for the record.
                [Verdict::Undecided, Verdict::Pass] | [Verdict::Pass, Verdict::Undecided] => true,
                _ => false,
            };

            assert!(is_right, "{name:?} had {had:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn each_part_has_one_result_in_order_and_the_counters_balance(steps in prop::collection::vec(step(), 1..80)) {
        let mut line = Line::start();
        for step in steps {
            line.does(step);
            line.balances();
        }
        line.ends();
    }
}
