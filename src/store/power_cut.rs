//! What the store's promises are worth when the power is cut. A layer under SQLite writes down what goes to the disk and
//! when it is synced; the disk is then rebuilt as it may be after a cut at many moments: all that was synced, and of the
//! rest nothing, all, or any of it, the last write torn. The store is opened on that, and asked for what was told.
//!
//! A file is taken to be there from its first sync on (SQLite syncs the folder when it makes one), and gone when deleted.

use super::layer::{self, Event, Told};
use super::test_run::{FakePolicy, passed, settings};
use super::*;
use crate::base::health::Diagnostics;
use crate::data::part::tests::ask;
use crate::data::part::{Part, PartRequest};
use crate::data::report::Report;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the sectors of a disk hold.
const SECTOR: usize = 512;
/// Moments at which the power is cut, in each run.
const CUTS: usize = 300;

/// A store at work, written down.
struct Recorded {
    name: &'static str,
    store: Store,
    writer: StoreWriter,
    random: StdRng,
    open: Vec<Part>,
    flying: Flying,
}

/// What the publisher has taken.
type Flying = Arc<Mutex<Vec<OutboxEntry>>>;

impl Recorded {
    fn run(name: &'static str, sync: Sync) -> Vec<Event> {
        let settings = StoreSettings {
            file: layer::path(name).into(),
            sync,
            ..settings(Path::new(""))
        };

        let (store, opened, _) =
            Store::open(settings, "01A", Diagnostics::default()).expect("opens");

        let random = StdRng::seed_from_u64(7);
        let flying = Flying::default();
        {
            // The publisher takes what it can at every moment, also in the middle of a commit.
            let (outbox, flying) = (store.outbox().clone(), flying.clone());
            layer::watch(name, Arc::new(move || look(name, &outbox, &flying)));
        }

        let mut run = Recorded {
            name,
            store,
            writer: StoreWriter::new(opened, FakePolicy { filler: 600 }),
            random,
            open: vec![],
            flying,
        };

        for step in 0..400 {
            match run.random.random_range(0..10) {
                0..3 => run.accept(step),
                3 => run.number(),
                4..7 => run.settle(),
                7 => run.land(),
                8 => run.writer.once_with_nothing(),
                _ if step % 4 == 0 => run.writer.take_the_log_over(),
                _ => {}
            }

            look(name, run.store.outbox(), &run.flying);
        }

        let Recorded { store, writer, .. } = run;
        drop((store, writer)); // it is closed, which takes the log away
        layer::take(name)
    }

    fn told(&self, told: Told) {
        layer::note(self.name, Event::Told(told));
    }

    fn asks(&mut self) -> Vec<PartRequest> {
        let count = self.random.random_range(1..4);
        let asks = (0..count).map(|_| {
            // Some of them are late at once.
            let deadline = Duration::from_secs(if self.random.random_bool(0.1) {
                0
            } else {
                3600
            });

            ask(
                if self.random.random_bool(0.5) {
                    "top"
                } else {
                    "side"
                },
                deadline,
            )
        });

        asks.collect()
    }

    /// A command's parts.
    fn accept(&mut self, step: usize) {
        let (id, asks) = (format!("id-{step}"), self.asks());
        let accepting = self
            .store
            .accept_durable_async(asks, Some(id.clone()), |parts| {
                format!("{} parts", parts.len())
            });

        self.writer.once();
        let (parts, answer) = accepting.wait().expect("open");
        self.told(Told::Answered { id, answer });
        for part in &parts {
            self.told(Told::Accepted {
                key: part.key,
                camera: part.camera().to_string(),
                seq: part.seq,
            });
        }

        self.open.extend(parts);
    }

    /// A free-running camera's.
    fn number(&mut self) {
        let asks = self.asks();
        let parts = self.store.accept(asks).expect("open");
        self.open.extend(parts);
        self.writer.once();
    }

    fn settle(&mut self) {
        let count = self.random.random_range(0..=self.open.len().min(4));
        let judged = (0..count).map(|_| {
            let part = self
                .open
                .swap_remove(self.random.random_range(0..self.open.len()));

            passed(&part)
        });

        let judged: Vec<Report> = judged.collect();
        self.store.submit(judged);
        self.writer.once();
    }

    /// The broker acknowledges some.
    fn land(&mut self) {
        let count = self
            .random
            .random_range(0..=self.flying.lock().expect("no panic").len());

        let landed: Vec<OutboxEntry> = self
            .flying
            .lock()
            .expect("no panic")
            .drain(..count)
            .collect();

        for waiting in landed {
            self.told(Told::Landed { key: waiting.key });
            self.store.acked(waiting.key, true);
        }

        self.writer.once_with_nothing();
    }
}

/// The publisher takes what there is.
fn look(name: &str, outbox: &Outbox, flying: &Flying) {
    while let Some(waiting) = outbox.next() {
        layer::note(
            name,
            Event::Told(Told::Left {
                key: waiting.key,
                body: waiting.row.to_stored(),
            }),
        );

        flying.lock().expect("no panic").push(waiting);
    }
}

/// A file as the disk holds it, and what it was asked for since its last sync.
#[derive(Default)]
struct File {
    is_there: bool,
    held: Vec<u8>,
    asked: Vec<(usize, Option<Vec<u8>>)>,
}

impl File {
    fn does(held: &mut Vec<u8>, at: usize, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else {
            return held.truncate(at);
        };

        held.resize(held.len().max(at + bytes.len()), 0);
        held[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn sync(&mut self) {
        self.is_there = true;
        for (at, bytes) in std::mem::take(&mut self.asked) {
            Self::does(&mut self.held, at, bytes.as_deref());
        }
    }

    /// One way how it may be found.
    fn found(&self, random: &mut StdRng) -> Option<Vec<u8>> {
        let share = [0.0, 0.5, 0.9, 1.0][random.random_range(0..4)];
        if !self.is_there && random.random_bool(0.5) {
            return None;
        }

        let mut held = self.held.clone();
        let last = self.asked.len().wrapping_sub(1);
        for (place, (at, bytes)) in self.asked.iter().enumerate() {
            if random.random_bool(share) {
                let bytes = bytes.as_deref().map(|bytes| {
                    let torn = place == last && random.random_bool(0.5);
                    if torn {
                        &bytes[..random.random_range(0..=bytes.len() / SECTOR) * SECTOR]
                    } else {
                        bytes
                    }
                });

                Self::does(&mut held, *at, bytes);
            }
        }

        Some(held)
    }
}

/// The disk after these, in a folder of its own.
pub(super) fn cut(events: &[Event], folder: &Path, random: &mut StdRng) {
    let mut files: BTreeMap<&str, File> = BTreeMap::new();
    for event in events {
        match event {
            Event::Write { file, at, bytes } => {
                files
                    .entry(file)
                    .or_default()
                    .asked
                    .push((*at, Some(bytes.clone())));
            }
            Event::Truncate { file, length } => {
                files.entry(file).or_default().asked.push((*length, None))
            }
            Event::Sync { file } => files.entry(file).or_default().sync(),
            Event::Delete { file } => drop(files.remove(file.as_str())),
            Event::Told(_) => {}
        }
    }

    for (name, file) in files {
        if let Some(held) = file.found(random) {
            let (_, end) = name.split_at(name.find('-').unwrap_or(name.len()));
            std::fs::write(folder.join(format!("box.db{end}")), held).expect("written");
        }
    }
}

/// Checks that a run finds the file on that disk whole, and each camera's numbers without gaps.
/// Returns the promises that were given and are broken.
#[expect(clippy::too_many_lines, reason = "one list of promises")]
fn broken_promises(events: &[Event], folder: &Path) -> Vec<String> {
    let causes = Diagnostics::default();
    let (_store, mut opened, found) =
        Store::open(settings(folder), "01B", causes.clone()).expect("opens");

    assert_eq!(
        causes.all().1,
        Vec::<String>::new(),
        "nothing is moved aside"
    );

    let database = opened.database();
    assert_eq!(database.integrity(), "ok");
    let numbers = database.numbers();
    for (camera, seqs) in &numbers {
        assert!(
            seqs.iter().copied().eq(1..=seqs.len() as u64),
            "{camera} has gaps: {seqs:?}"
        );

        let last = found
            .previous
            .iter()
            .find(|previous| previous.camera == *camera)
            .map(|previous| previous.last_seq);

        assert_eq!(last, seqs.last().copied(), "{camera}");
    }

    let waits: BTreeMap<u64, String> = database
        .page(0, usize::MAX >> 1)
        .expect("works")
        .results
        .into_iter()
        .map(|stored| (stored.key, stored.row.to_stored()))
        .collect();

    let told = events.iter().filter_map(|event| {
        if let Event::Told(told) = event {
            Some(told)
        } else {
            None
        }
    });

    let landed: BTreeSet<u64> = told
        .clone()
        .filter_map(|told| {
            if let Told::Landed { key } = told {
                Some(*key)
            } else {
                None
            }
        })
        .collect();

    let answers: BTreeMap<String, String> = found.answers.into_iter().collect();
    let broken = told.filter_map(|told| {
        let is_kept = match told {
            Told::Accepted { key, camera, seq } => {
                let is_known = numbers.get(camera).is_some_and(|seqs| seqs.contains(seq))
                    && *key < found.next_key;

                is_known && (waits.contains_key(key) || landed.contains(key))
            }
            Told::Answered { id, answer } => answers.get(id) == Some(answer),
            Told::Left { key, body } => waits
                .get(key)
                .map_or(landed.contains(key), |again| again == body),
            Told::Landed { .. } => true,
        };

        (!is_kept).then(|| format!("{told:?}"))
    });

    broken.collect()
}

/// The broken promises of all cuts of a run.
fn cut_often(events: &[Event], seed: u64) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(seed);
    // Half of them while the log is taken over into the file, or the file is made.
    let in_file = |event: &Event| matches!(event, Event::Write { file, .. } if !file.contains('-'));
    let taken_over: Vec<usize> = (0..events.len())
        .filter(|at| in_file(&events[*at]))
        .collect();

    assert!(
        taken_over.len() > 50,
        "{} writes to the file itself",
        taken_over.len()
    );

    let cuts = (0..CUTS).map(|n| match n % 2 {
        0 => random.random_range(0..=events.len()),
        _ => taken_over[random.random_range(0..taken_over.len())] + 1,
    });

    let cuts: Vec<usize> = cuts.collect();
    let broken = cuts.into_iter().flat_map(|at| {
        let folder = tempfile::tempdir().expect("a folder");
        cut(&events[..at], folder.path(), &mut random);
        broken_promises(&events[..at], folder.path())
    });

    broken.collect()
}

#[test]
fn what_was_told_is_there_after_a_power_cut() {
    let events = Recorded::run("full.db", Sync::Full);
    let told = events
        .iter()
        .filter(|event| matches!(event, Event::Told(_)))
        .count();

    assert!(told > 500, "{told} promises");
    assert_eq!(cut_often(&events, 1), Vec::<String>::new());
}

#[test]
fn without_fsync_a_power_cut_forgets_the_last_parts_and_breaks_nothing() {
    let events = Recorded::run("normal.db", Sync::Normal);
    assert!(
        !cut_often(&events, 2).is_empty(),
        "else the books of this test notice nothing"
    );
}
