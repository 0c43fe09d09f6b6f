//! Layer 6: a camera's way into the line: its frames become parts as its trigger says, and join the queue.

use crate::base::health::{Diagnostics, Health};
use crate::camera::{CameraState, CameraStatus, Sink};
use crate::data::counters::{Outcome, Tally, Ticket};
use crate::data::frame::Frame;
use crate::data::part::{Part, PartRequest, PartTiming, Stage};
use crate::data::picture::Picture;
use crate::data::report::Report;
use crate::data::verdict::Reason;
use crate::line::control::LineControl;
use crate::line::queue::{FrameSender, QueuedFrame};
use crate::line::views::ViewJoiner;
use crate::mqtt::publisher::BestEffort;
use crate::store::Store;
use crate::trigger::{Found, Odometer, Presence, Ring, Stretches, Trigger};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

/// How parts are asked for: by a camera, or by several that see the same part.
#[derive(Debug, Clone)]
pub struct PartSource {
    /// Theirs, or the name that they share.
    pub camera: Arc<str>,
    pub terms: PartTiming,
    /// They know the parts in one view.
    pub rules: LineControl,
}

impl PartSource {
    /// The parts in a frame.
    pub fn of(&self, frame: &Frame) -> Vec<PartRequest> {
        let ask = self.ask(frame.arrived, frame.captured_at);
        self.each(&PartRequest {
            part_id: frame.part_id.clone(),
            ..ask
        })
    }

    pub fn ask(&self, since: Instant, at: Timestamp) -> PartRequest {
        let (camera, terms) = (self.camera.clone(), self.terms);
        PartRequest {
            camera,
            region: None,
            part_id: None,
            count: None,
            position: None,
            since,
            at,
            terms,
            challenge: None,
        }
    }

    /// The same of every region; the next of a challenge are its parts.
    pub fn each(&self, ask: &PartRequest) -> Vec<PartRequest> {
        let challenge = || self.rules.claim(&self.camera, ask.since);
        let of = |region| PartRequest {
            region,
            challenge: challenge(),
            ..ask.clone()
        };
        self.rules.regions().into_iter().map(of).collect()
    }
}

/// Where a camera's frames become parts; shared by its thread and the foreman.
pub struct Admission {
    pub camera: Arc<str>,
    asking: PartSource,
    place: FrameSender,
    tally: Arc<Tally>,
    joins: Arc<Mutex<ViewJoiner>>,
    store: Store,
    way: Mutex<TriggerState>,
    /// For those who ask for a picture.
    newest: Mutex<Option<Arc<Picture>>>,
}

enum TriggerState {
    Continuous,
    Frame,
    EveryN {
        n: u64,
        seen: u64,
    },
    Command(Ring),
    Distance {
        stretches: Stretches,
        odometer: Odometer,
    },
    Presence {
        presence: Box<Presence>,
        told: bool,
    },
}

impl Admission {
    /// `joins` are the line's: a view that will not come is the camera's word on a part that others see too.
    pub fn new(
        asking: PartSource,
        trigger: &Trigger,
        place: FrameSender,
        tally: Arc<Tally>,
        joins: Arc<Mutex<ViewJoiner>>,
        store: Store,
    ) -> Self {
        let way = match trigger {
            Trigger::Continuous => TriggerState::Continuous,
            Trigger::Frame => TriggerState::Frame,
            Trigger::EveryN(n) => TriggerState::EveryN { n: *n, seen: 0 },
            Trigger::Command(settings) => TriggerState::Command(Ring::new(*settings)),
            Trigger::Distance(stretches) => TriggerState::Distance {
                stretches: *stretches,
                odometer: Odometer::default(),
            },
            Trigger::Presence(settings) => TriggerState::Presence {
                presence: Box::new(Presence::new(*settings)),
                told: false,
            },
        };
        Admission {
            camera: asking.camera.clone(),
            asking,
            place,
            tally,
            joins,
            store,
            way: Mutex::new(way),
            newest: Mutex::default(),
        }
    }

    pub fn newest(&self) -> Option<Arc<Picture>> {
        self.newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn is_ready(&self) -> bool {
        !self.place.is_waiting()
    }

    /// A frame that the camera captured.
    pub fn show(&self, frame: Frame) {
        let ticket = self.tally.captured();
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(frame.picture.clone());
        let now = Instant::now();
        let mut way = self
            .way
            .lock()
            .expect("nobody panics while holding the way");
        let is_paused = self.asking.rules.is_paused();
        match &mut *way {
            // A command that came before the pause still needs its frame.
            TriggerState::Command(ring) => {
                let found = ring.put(frame, ticket, now);
                self.found(found);
            }
            _ if is_paused => ticket.settle(Outcome::Skipped),
            TriggerState::Continuous => {
                // The inspector has left, or the older one was settled: nothing comes back.
                let _ = self.place.put(QueuedFrame {
                    frame,
                    ticket: Some(ticket),
                    parts: vec![],
                });
            }
            TriggerState::Frame => self.part(frame, ticket, None),
            TriggerState::EveryN { n, seen } => {
                *seen += 1;
                if (*seen - 1).is_multiple_of(*n) {
                    self.part(frame, ticket, None);
                } else {
                    ticket.settle(Outcome::Skipped);
                }
            }
            TriggerState::Distance {
                stretches,
                odometer,
            } => match odometer.next(frame.captured_at, *stretches) {
                Some(mm) => self.part(frame, ticket, Some(mm)),
                None => ticket.settle(Outcome::Skipped),
            },
            TriggerState::Presence { presence, told } => match presence.look(frame, ticket, now) {
                Ok(None) => {}
                Ok(Some((frame, ticket))) => self.part(frame, ticket, None),
                Err(why) => {
                    if !std::mem::replace(told, true) {
                        tracing::error!(
                            "camera {}: {why}; no part will come. Correct it",
                            self.camera
                        );
                    }
                }
            },
        }
    }

    /// This frame is a part's; `position` in millimetres, where it is known.
    fn part(&self, frame: Frame, ticket: Ticket, position: Option<f64>) {
        let asks = self
            .asking
            .of(&frame)
            .into_iter()
            .map(|ask| PartRequest { position, ..ask })
            .collect();
        match self.store.accept_durable(asks) {
            Ok(parts) => {
                parts.iter().for_each(Part::found_its_frame);
                self.queue(QueuedFrame {
                    frame,
                    ticket: Some(ticket),
                    parts,
                });
            }
            Err(_) => ticket.settle(Outcome::Stopped),
        }
    }

    /// The parts of a trigger; nothing when the camera does not wait for commands.
    pub fn command(&self, parts: Vec<Part>, at: Timestamp) {
        parts.iter().for_each(|part| part.marks.reach(Stage::Asked));
        if let TriggerState::Command(ring) = &mut *self
            .way
            .lock()
            .expect("nobody panics while holding the way")
        {
            let found = ring.ask(parts, at, Instant::now());
            self.found(found);
        }
    }

    fn found(&self, found: Found) {
        found
            .waiting
            .into_iter()
            .for_each(|waiting| self.queue(waiting));
        let missed = found.missed.into_iter().map(|part| {
            let detail = "no frame was captured near its time".to_owned();
            let mut report = self.undecided(part, Reason::CameraLost);
            report.detail = Some(detail);
            report
        });
        self.settle(missed.collect());
    }

    fn queue(&self, waiting: QueuedFrame) {
        let mut joins = self.joins.lock().unwrap_or_else(PoisonError::into_inner);
        waiting
            .parts
            .iter()
            .for_each(|part| joins.framed(part, &self.camera));
        drop(joins);
        let Err(mut back) = self.place.put(waiting) else {
            return;
        };
        if let Some(ticket) = back.ticket.take() {
            ticket.settle(Outcome::Skipped);
        }
        let overload = |part| self.undecided(part, Reason::Overload);
        self.settle(back.parts.into_iter().map(overload).collect());
    }

    fn undecided(&self, part: Part, reason: Reason) -> Report {
        let judge = self.asking.rules.judge(part.ask.region.as_deref());
        Report {
            seen_by: self.camera.clone(),
            ..Report::undecided(part, reason, &judge)
        }
    }

    fn settle(&self, reports: Vec<Report>) {
        let now = Instant::now();
        let whole: Vec<Report> = {
            let mut joins = self.joins.lock().unwrap_or_else(PoisonError::into_inner);
            reports
                .into_iter()
                .filter_map(|report| joins.add(report, now))
                .collect()
        };
        if !whole.is_empty() {
            self.store.submit(whole);
        }
    }
}

/// What each camera is doing, once it has told.
pub type CameraStates = Arc<Mutex<BTreeMap<Arc<str>, CameraState>>>;

/// What a camera's thread holds.
pub struct CameraSink {
    pub entrance: Arc<Admission>,
    pub states: CameraStates,
    pub causes: Diagnostics,
    pub side: mpsc::Sender<BestEffort>,
}

impl Sink for CameraSink {
    fn frame(&mut self, frame: Frame) {
        self.entrance.show(frame);
    }

    fn is_ready(&self) -> bool {
        self.entrance.is_ready()
    }

    fn status(&mut self, status: CameraStatus) {
        let name = self.entrance.camera.clone();
        self.states
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), status.state);
        let who = format!("camera {name}");
        match (status.state, &status.last_reason) {
            (CameraState::Stalled | CameraState::Offline, reason) => {
                let reason = reason.as_deref().unwrap_or("no reason known");
                self.causes.set(
                    who,
                    Health::Failure,
                    format!("{}: {reason}", status.state.word()),
                );
            }
            _ => self.causes.clear(&who),
        }
        // Waits where heat maps fill the channel: a lost change would leave the retained status wrong. The publisher
        // being gone means that the line is ending.
        let _ = self.side.blocking_send(BestEffort::Camera { name, status });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::frame::tests::frame;
    use crate::data::part::tests::ask;
    use crate::data::report::tests::judge;
    use crate::data::verdict::Verdict;
    use crate::line::queue::intake;
    use crate::store::{StoreSettings, Sync};
    use crate::trigger::Overflow;
    use crate::trigger::RingSettings;
    use jiff::SignedDuration;
    use std::time::Duration;

    #[test]
    fn a_camera_that_has_no_frame_of_a_part_does_not_hide_that_another_sees_a_defect() {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = StoreSettings {
            file: folder.path().join("box.db"),
            sync: Sync::Normal,
            waiting_max: 10,
            keep: Duration::ZERO,
            keep_bytes: 0,
            reject_window: Duration::ZERO,
        };
        let causes = Diagnostics::default();
        let (store, _opened, _) = Store::open(settings, "01A", causes.clone()).expect("opens");
        let joins = Arc::new(Mutex::new(ViewJoiner::new(
            [("station".into(), vec!["top".into(), "side".into()])].into(),
        )));
        let asking = PartSource {
            camera: "top".into(),
            terms: PartTiming::default(),
            rules: LineControl::new(Default::default(), &BTreeMap::new(), causes),
        };
        let ring = Trigger::Command(RingSettings {
            bytes: 1000,
            window: Duration::from_millis(10),
        });
        let (_intake, mut places) = intake(&[Overflow::Queue(1)]);
        let entrance = Admission::new(
            asking,
            &ring,
            places.remove(0),
            Arc::default(),
            joins.clone(),
            store,
        );
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let part = Part::new(1, "01A".into(), 1, ask("station", Duration::from_secs(60)));
        entrance.command(vec![part.clone()], at(1));
        entrance.show(Frame {
            captured_at: at(2),
            ..frame("top")
        });
        let mut seen = Report::undecided(part.clone(), Reason::NotReady, &judge(&part));
        (seen.verdict, seen.reason, seen.seen_by) = (Verdict::Fail, None, "side".into());
        let said = joins
            .lock()
            .expect("no panic")
            .add(seen, Instant::now())
            .expect("both views");
        assert_eq!((said.verdict, &*said.seen_by), (Verdict::Fail, "side"));
        assert_eq!(
            (said.views[0].camera.as_str(), said.views[0].reason),
            ("top", Some(Reason::CameraLost))
        );
    }
}
