//! The accounting of parts: which are accepted, which are open, and in which order results leave. Pure:
//! the time is the caller's.
//!
//! ```text
//! accept -> open --verdict--> settled --all before it in its camera are settled--> released, once
//!             \--deadline--> undecided(late or camera_lost), released in the same order
//! ```
//! A verdict that comes after that is for the record, unless the deadline itself brought one: a view that
//! failed speaks for its part, and a part has one verdict. An earlier part of a camera is due no later than
//! the next one, so that keeping the order makes no result later than its deadline.

use crate::data::part::{Part, PartRequest};
use crate::data::report::Report;
use crate::data::verdict::Reason;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// Makes the report of a part without a verdict.
type Undecide<'a> = &'a dyn Fn(&Part, Reason) -> Report;

/// Most parts that are remembered because their deadline brought a verdict. What still comes of them comes
/// within seconds.
const DECIDED_MAX: usize = 4096;

/// The parts of a run that have a number.
#[derive(Debug)]
pub struct Ledger {
    run_id: Arc<str>,
    /// Key of the next part.
    next_key: u64,
    accepted: u64,
    cameras: HashMap<Arc<str>, CameraLedger>,
    /// Keys of parts whose deadline brought a verdict.
    decided: BTreeSet<u64>,
    is_closed: bool,
}

/// The parts of one camera.
#[derive(Debug, Default)]
struct CameraLedger {
    last_seq: u64,
    /// Parts that are accepted and not released, by `seq`.
    open: BTreeMap<u64, LedgerEntry>,
}

#[derive(Debug)]
enum LedgerEntry {
    Open(Box<Part>),
    /// A result that waits for those before it.
    Settled(Box<Report>),
}

/// Fate of a verdict.
#[derive(Debug)]
pub enum Recording {
    /// A verdict that stands: these may leave now, in this order. Maybe none, maybe others that waited
    /// for it.
    Released(Vec<Report>),
    /// The part was undecided at its deadline: for the record.
    Late(Box<Report>),
    /// The part has a verdict already: nothing is said.
    Decided,
}

impl Ledger {
    /// An empty ledger; `next_key` is beyond every key that the store holds.
    pub fn new(run_id: Arc<str>, next_key: u64) -> Self {
        Ledger {
            run_id,
            next_key,
            accepted: 0,
            cameras: HashMap::new(),
            decided: BTreeSet::new(),
            is_closed: false,
        }
    }

    /// Gives the part its number; `None` when the line is stopping. Its deadline is never before that of
    /// the camera's last open part.
    pub fn accept(&mut self, ask: PartRequest) -> Option<Part> {
        if self.is_closed {
            return None;
        }

        // Numbers are counted by camera, keys over all: the key gives the order of the whole run.
        let camera = self.cameras.entry(ask.camera.clone()).or_default();
        camera.last_seq += 1;
        let part = Part::new(self.next_key, self.run_id.clone(), camera.last_seq, ask);
        self.next_key += 1;
        self.accepted += 1;
        camera
            .open
            .insert(part.seq, LedgerEntry::Open(Box::new(part.clone())));

        Some(part)
    }

    /// Gives each part its number; `None` when the line is stopping.
    pub fn accept_all(&mut self, asks: Vec<PartRequest>) -> Option<Vec<Part>> {
        let mut parts = Vec::with_capacity(asks.len());
        for ask in asks {
            parts.push(self.accept(ask)?);
        }

        Some(parts)
    }

    /// Takes a verdict; the results that may leave now come back.
    pub fn record_verdict(&mut self, report: Report) -> Recording {
        if self.decided.remove(&report.part.key) {
            return Recording::Decided;
        }

        let Some(camera) = self.cameras.get_mut(report.part.camera()) else {
            return Recording::Late(Box::new(report));
        };

        // The first verdict of a part settles it; a settled or released one takes no other.
        match camera.open.get_mut(&report.part.seq) {
            Some(entry @ LedgerEntry::Open(_)) => {
                *entry = LedgerEntry::Settled(Box::new(report));
                Recording::Released(camera.release())
            }
            _ => Recording::Late(Box::new(report)),
        }
    }

    /// Every part that is due becomes what `undecide` says of it.
    pub fn expire(&mut self, now: Instant, undecide: Undecide) -> Vec<Report> {
        self.settle_open(&|part| reason_if_due(part, now), undecide)
    }

    /// Every open part becomes undecided, and nothing is accepted any more: the line stops.
    pub fn close(&mut self, undecide: Undecide) -> Vec<Report> {
        self.is_closed = true;
        self.settle_open(&|_| Some(Reason::NotReady), undecide)
    }

    /// Settles the open parts for which there is a reason.
    fn settle_open(
        &mut self,
        reason: &dyn Fn(&Part) -> Option<Reason>,
        undecide: Undecide,
    ) -> Vec<Report> {
        let mut released = vec![];
        for camera in self.cameras.values_mut() {
            // All of a camera's parts are looked at: a trigger for the future may be due after
            // those behind it.
            for entry in camera.open.values_mut() {
                let LedgerEntry::Open(part) = entry else {
                    continue;
                };

                let Some(reason) = reason(part) else { continue };
                let report = undecide(part, reason);
                if report.reason.is_none() {
                    self.decided.insert(report.part.key);
                }

                *entry = LedgerEntry::Settled(Box::new(report));
            }

            released.extend(camera.release());
        }

        // Keys grow with time, so that the first one is the oldest.
        while self.decided.len() > DECIDED_MAX {
            self.decided.pop_first();
        }

        released
    }

    /// Returns a key for a row that is no part's.
    pub fn spare_key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key - 1
    }

    /// Returns when the next part becomes undecided.
    pub fn next_due(&self) -> Option<Instant> {
        // By camera the first open one is the first due, but for triggers of a future time.
        self.cameras
            .values()
            .flat_map(|camera| camera.open.values())
            .filter_map(LedgerEntry::due)
            .min()
    }

    /// True until its result is released.
    pub fn is_open(&self, part: &Part) -> bool {
        match self.cameras.get(part.camera()) {
            Some(camera) => camera.open.contains_key(&part.seq),
            None => false,
        }
    }

    /// Parts that were accepted in all, and those of them that are not released. Under one lock, so that
    /// the two fit together.
    pub fn counts(&self) -> (u64, u64) {
        (self.accepted, self.open() as u64)
    }

    /// Parts that are accepted and not released.
    pub fn open(&self) -> usize {
        self.cameras.values().map(|camera| camera.open.len()).sum()
    }
}

impl LedgerEntry {
    fn due(&self) -> Option<Instant> {
        match self {
            LedgerEntry::Open(part) => Some(part.due()),
            LedgerEntry::Settled(_) => None,
        }
    }
}

/// Reason of a part whose time is over.
fn reason_if_due(part: &Part, now: Instant) -> Option<Reason> {
    if part.due() > now {
        return None;
    }

    Some(if part.has_frame() {
        Reason::Late
    } else {
        Reason::CameraLost
    })
}

impl CameraLedger {
    /// The settled parts at the front leave.
    fn release(&mut self) -> Vec<Report> {
        let mut released = vec![];
        while let Some(first) = self.open.first_entry() {
            if matches!(first.get(), LedgerEntry::Open(_)) {
                break;
            }

            if let LedgerEntry::Settled(report) = first.remove() {
                released.push(*report);
            }
        }

        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::part::tests::ask;
    use crate::data::report::tests::judge;
    use crate::data::verdict::Verdict;
    use proptest::prelude::*;
    use std::time::Duration;

    const DEADLINE: Duration = Duration::from_millis(100);

    fn say(part: &Part, reason: Reason) -> Report {
        Report::undecided(part.clone(), reason, &judge(part))
    }

    fn verdict(part: &Part) -> Report {
        let mut report = Report::undecided(part.clone(), Reason::NotReady, &judge(part));
        (report.verdict, report.reason) = (Verdict::Pass, None);
        report
    }

    #[test]
    fn a_part_without_a_verdict_is_undecided_at_its_deadline_and_the_verdict_is_for_the_record() {
        let mut ledger = Ledger::new("run".into(), 1);
        let part = ledger.accept(ask("top", DEADLINE)).expect("not closed");
        let due = ledger.next_due().expect("open");
        assert!(
            ledger
                .expire(due - Duration::from_nanos(1), &say)
                .is_empty()
        );

        let said = ledger.expire(due, &say);
        assert_eq!(
            (said[0].part.seq, said[0].reason),
            (1, Some(Reason::CameraLost))
        );

        assert!(matches!(
            ledger.record_verdict(verdict(&part)),
            Recording::Late(_)
        ));

        assert_eq!((ledger.open(), ledger.next_due()), (0, None));
    }

    #[test]
    fn a_part_that_its_deadline_decided_gets_no_second_verdict() {
        let mut ledger = Ledger::new("run".into(), 1);
        let part = ledger.accept(ask("top", DEADLINE)).expect("not closed");
        let due = ledger.next_due().expect("open");
        // A view that failed speaks for the part at its deadline.
        let said = ledger.expire(due, &|part, _| verdict(part));
        assert_eq!((said.len(), said[0].reason), (1, None));
        let recording = ledger.record_verdict(verdict(&part));
        assert!(matches!(recording, Recording::Decided), "{recording:?}");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Accept(usize),
        /// Of the parts so far, the one at this place (modulo).
        Settle(usize),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..2).prop_map(Step::Accept),
            any::<usize>().prop_map(Step::Settle),
            (0u64..80).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Against the promises: each part has one result, in the order of acceptance by camera, by its deadline.
        #[test]
        fn one_result_a_part_in_order_and_in_time(steps in proptest::collection::vec(step(), 1..120)) {
            let start = Instant::now();
            let mut now = start;
            let mut ledger = Ledger::new("run".into(), 1);
            let (mut parts, mut left) = (Vec::<Part>::new(), Vec::<(Report, Instant)>::new());
            for step in steps {
                match step {
                    Step::Accept(camera) => {
                        let mut ask = ask(["a", "b"][camera], DEADLINE);
                        ask.since = now;
                        parts.extend(ledger.accept(ask));
                    }
                    Step::Settle(at) if !parts.is_empty() => {
                        if let Recording::Released(reports) = ledger.record_verdict(verdict(&parts[at % parts.len()])) {
                            left.extend(reports.into_iter().map(|report| (report, now)));
                        }
                    }
                    Step::Settle(_) => {}
                    Step::Wait(ms) => {
                        // As the writer does: it wakes at every deadline on the way.
                        let until = now + Duration::from_millis(ms);
                        while let Some(due) = ledger.next_due().filter(|due| *due <= until) {
                            left.extend(ledger.expire(due, &say).into_iter().map(|report| (report, due)));
                        }
                        now = until;
                    }
                }
            }
            left.extend(ledger.close(&say).into_iter().map(|report| (report, now)));
            prop_assert_eq!(left.len(), parts.len());
            for camera in ["a", "b"] {
                let seqs: Vec<u64> = left.iter().map(|(r, _)| &r.part).filter(|p| &**p.camera() == camera).map(|p| p.seq).collect();
                let count = seqs.len() as u64;
                prop_assert_eq!(seqs, (1..=count).collect::<Vec<_>>());
            }
            for (report, at) in &left {
                prop_assert!(*at <= report.part.due());
            }
        }
    }
}
