//! What the store's tests stand on: a run with a writer on a real file, and a line whose results say
//! little.

use super::*;
use crate::base::health::Diagnostics;
use crate::base::systemd::Heartbeat;
use crate::data::part::Part;
use crate::data::part::tests::ask;
use crate::data::report::tests::judge;
use crate::data::report::{DecisionPolicy, Report};
use crate::data::result::ResultRow;
use crate::data::result::tests::row;
use crate::data::verdict::{Reason, Verdict};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) const DEADLINE: Duration = Duration::from_secs(60);

pub(super) struct Run {
    pub store: Store,
    pub causes: Diagnostics,
    pub writer: JoinHandle<()>,
    pub found: Recovered,
}

pub(super) fn settings(folder: &Path) -> StoreSettings {
    StoreSettings {
        file: folder.join("box.db"),
        sync: Sync::Normal,
        waiting_max: 1_000_000,
        keep: Duration::from_secs(3600),
        keep_bytes: 1 << 40,
        reject_window: Duration::from_secs(1),
    }
}

/// A line whose results say little: which part, which verdict and why, and so many bytes of filler.
#[derive(Default)]
pub(super) struct FakePolicy {
    pub filler: usize,
}

impl ResultPolicy for FakePolicy {
    fn policy_for(&self, part: &Part) -> DecisionPolicy {
        judge(part)
    }

    fn at_deadline(&self, undecided: Report) -> Report {
        undecided
    }

    fn on_result(&self, _: &Report) -> Vec<KeyValue> {
        vec![]
    }

    fn on_released(&self, _row: &ResultRow) {}

    fn encode(&self, report: &Report) -> ResultRow {
        let part = &report.part;
        ResultRow {
            run_id: part.run_id.to_string(),
            verdict: report.verdict,
            reason: report.reason,
            detail: Some("x".repeat(self.filler)),
            ..row(part.camera(), part.seq)
        }
    }

    fn reject_message(&self, _: &Report) -> Option<Reject> {
        None
    }
}

/// That verdict of a part.
pub(super) fn passed(part: &Part) -> Report {
    let mut report = Report::undecided(part.clone(), Reason::NotReady, &judge(part));
    (report.verdict, report.reason) = (Verdict::Pass, None);
    report
}

impl Run {
    pub fn start(settings: StoreSettings, run_id: &str) -> Self {
        let causes = Diagnostics::default();
        let (store, opened, found) = Store::open(settings, run_id, causes.clone()).expect("opens");
        let writer = StoreWriter::new(opened, FakePolicy::default());
        let writer = std::thread::spawn(move || writer.run(&Heartbeat::default()));
        Run {
            store,
            causes,
            writer,
            found,
        }
    }

    pub fn accept(&self, count: usize) -> Vec<Part> {
        self.store
            .accept_durable((0..count).map(|_| ask("top", DEADLINE)).collect())
            .expect("open")
    }

    pub fn pass(&self, part: &Part) {
        self.store.submit(vec![passed(part)]);
    }

    /// What comes out next, within a while.
    pub fn next(&self) -> Option<OutboxEntry> {
        let until = Instant::now() + Duration::from_secs(2);
        loop {
            match self.store.outbox().next() {
                None if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                next => return next,
            }
        }
    }

    pub fn until(&self, fits: impl Fn(StoreCount) -> bool) {
        let until = Instant::now() + Duration::from_secs(5);
        while !fits(self.store.count()) {
            assert!(Instant::now() < until, "{:?}", self.store.count());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn end(self) {
        drop(self.store);
        self.writer.join().expect("no panic");
    }
}

/// What a kill leaves of an open store: nothing is closed.
pub(super) fn as_killed(file: &Path, copy: &Path) {
    for end in ["", "-wal"] {
        let beside = |path: &Path| format!("{}{end}", path.display());
        std::fs::copy(beside(file), beside(copy)).expect("copied");
    }
}
